/** The TypeScript SDK of shardkeep. */
export { status as Code } from '@grpc/grpc-js';
export { connect, type ConnectOptions, type ShardkeepClient } from './connect.js';
export type { NearCacheOptions, NearCacheStats } from './cache/near/near-cache.js';
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
