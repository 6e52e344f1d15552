/** The TypeScript SDK of shardkeep. */
export { status as Code } from '@grpc/grpc-js';
export type { Cache, CacheOptions } from './cache/cache.js';
export type { WarmOutcome } from './cache/cache-aside.js';
export { CacheKeys } from './cache/cache-keys.js';
export { binary } from './cache/codec/binary.js';
export type { Codec } from './cache/codec/codec.js';
export { json } from './cache/codec/json.js';
export { messagePack } from './cache/codec/message-pack.js';
export type { ValueOptions } from './cache/codec/value-format.js';
export type { AddedToSet, AddToSetOptions, GetListOptions, PushToListOptions } from './cache/collections.js';
export type { Incremented, IncrementOptions } from './cache/counters.js';
export type { CircuitOptions } from './cache/circuit.js';
export type { DegradingOptions } from './cache/degrading.js';
export type { CacheEntry, Guard, SetEntry, SetOptions, Stored } from './cache/entries.js';
export type { EntryExpiryOptions, ExpiryOptions } from './cache/expiry.js';
export type { DeletedPattern, DeleteOptions, DeletePatternOptions, InvalidateOptions } from './cache/invalidation.js';
export type { CacheAsideOptions, TaggedCacheOptions } from './cache/load-terms.js';
export type { LoadContext, Loader } from './cache/loader.js';
export type { CacheCounts, CacheStats, CacheStatsOptions } from './cache/stats.js';
export { TtlMs } from './cache/ttl-presets.js';
export type { WarmEntry, WarmFailure, WarmManyOptions, WarmProgress, WarmResult, WarmStep } from './cache/warming.js';
export type { Writer, WriteThroughOptions } from './cache/write-through.js';
export { connect, type ConnectOptions, type ShardkeepClient } from './connect.js';
export type { NearCacheOptions, NearCacheStats } from './cache/near/near-cache.js';
export type { TlsOptions } from './credentials.js';
export {
  AbortedError,
  CancelledError,
  DeadlineExceededError,
  FailedPreconditionError,
  InvalidArgumentError,
  LoadFailedError,
  NotFoundError,
  PermissionDeniedError,
  ResourceExhaustedError,
  ShardkeepError,
  UnauthenticatedError,
  UnavailableError,
  UnimplementedError,
} from './errors.js';
export type { Health, HealthStatus } from './health.js';
export type { AcquireLockResult, Lock, LockRefusal } from './locks/acquire-outcome.js';
export type { AcquireLockOptions, HoldLockOptions, LockTerms } from './locks/acquire-request.js';
export type { HeldLock } from './locks/held-lease.js';
export { LockLostError, LockNotAcquiredError, type LockLoss } from './locks/lock-errors.js';
export type {
  CheckedFencingToken,
  CleanedUpLocks,
  ExtendLockResult,
  ForceReleaseLockOptions,
  ForceReleaseLockResult,
  ListLocksOptions,
  LockStatsOptions,
  ReleaseLockResult,
  WatchedLocks,
  WatchLocksOptions,
} from './locks/lock-operations.js';
export type { LockGrant, LockHolder, LockState, LockSummary, LockWaiter } from './locks/lock-state.js';
export type { HotLock, LockStats } from './locks/lock-stats.js';
export type { Locks } from './locks/locks.js';
export type { LockedBody } from './locks/with-lock.js';
export type { Logger } from './logger.js';
export type { DuplexMessageStream, MessageStream } from './rpc/message-stream.js';
export * as RpcEnums from './rpc/enums.js';
export type { Rpc } from './rpc/rpc.js';
export type { CallOptions } from './transport/method.js';
export type { RetryOptions } from './transport/retrying-transport.js';
export type { TraceContext } from './transport/trace-context.js';
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
export type { RateLimitBan } from './rate-limits/bans.js';
export type { RateLimitDecision, RateLimitOutlook, RateLimitState, RateLimitStatus } from './rate-limits/decision.js';
export type { DeniedSlots, HeldSlots } from './rate-limits/held-slots.js';
export type {
  InlineRateLimitPolicy,
  RateLimit,
  RateLimitAlgorithm,
  RateLimitOrMany,
  RateLimitPolicy,
  RateLimitSubject,
} from './rate-limits/limit.js';
export type {
  BanOptions,
  CheckOptions,
  CheckRateLimitOptions,
  HoldConcurrencyOptions,
  ListBansOptions,
  OverrideRateLimitOptions,
  PeekRateLimitOptions,
  RateLimitCheck,
  RateLimitStatsOptions,
  ReserveRateLimitOptions,
  UnbanOptions,
} from './rate-limits/options.js';
export type { ConfiguredRateLimitPolicies, ConfiguredRateLimitPolicy } from './rate-limits/policies.js';
export type { RateLimits } from './rate-limits/rate-limits.js';
export type { RateLimitReservation, RateLimitSettlement } from './rate-limits/reservation.js';
export type { DeniedSubject, RateLimitPolicyStats, RateLimitStats } from './rate-limits/stats.js';
