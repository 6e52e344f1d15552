/** The TypeScript SDK of shardkeep. */
export { status as Code } from '@grpc/grpc-js';
export { connect, type ConnectOptions, type ShardkeepClient } from './connect.js';
export type { TlsOptions } from './credentials.js';
export {
  AbortedError,
  CancelledError,
  DeadlineExceededError,
  FailedPreconditionError,
  InvalidArgumentError,
  NotFoundError,
  PermissionDeniedError,
  ResourceExhaustedError,
  ShardkeepError,
  UnauthenticatedError,
  UnavailableError,
  UnimplementedError,
} from './errors.js';
export type { Health, HealthStatus } from './health.js';
export type { Logger } from './logger.js';
export type { DuplexMessageStream, MessageStream } from './rpc/message-stream.js';
export type { Rpc } from './rpc/rpc.js';
export type { CallOptions } from './transport/method.js';
export type { RetryOptions } from './transport/retrying-transport.js';
export type {
  CharacterClaim,
  CharacterClaimCheck,
  CharacterClaimPolicy,
  CharacterClaimRequest,
  CharacterEpoch,
  CharacterRef,
  CharacterRival,
  ClaimCharacterResult,
} from './sessions/character-claims.js';
export type { CreateSessionResult, SessionLogin } from './sessions/create-session.js';
export type {
  DestroyAllProgress,
  DestroyAllSessionsOptions,
  DestroyedUserSessions,
  DestroySessionOptions,
  DestroyUserSessionsOptions,
} from './sessions/end-sessions.js';
export type { RotateSessionOptions, RotateSessionResult } from './sessions/rotate-session.js';
export type { SessionClient, SessionClientField } from './sessions/session-client.js';
export type {
  CharacterTakenEvent,
  ResyncEvent,
  SessionChangedEvent,
  SessionEndedEvent,
  SessionEvent,
  SessionWarnedEvent,
  UnknownSessionEvent,
} from './sessions/session-events.js';
export type { SessionFields } from './sessions/session-fields.js';
export type { ForeignTokenSource, SessionStats } from './sessions/session-stats.js';
export type { SessionSelection, SessionWatch, WatchSessionsOptions } from './sessions/session-watch.js';
export type { DeviceClass, Session, SessionEnd, SessionEndCause } from './sessions/session.js';
export type { ExtendSessionOptions, ListUserSessionsOptions, Sessions, UserSessions } from './sessions/sessions.js';
export type { SessionChanges, SessionGuard, UpdateSessionOptions } from './sessions/update-session.js';
export type { SessionRefusal, ValidateSessionOptions, ValidateSessionResult } from './sessions/validate-session.js';
