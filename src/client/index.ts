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
