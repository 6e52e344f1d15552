/** Every default of the product; what ships for the policies file is in shipped-policies.ts. */

export type Environment = 'development' | 'production' | 'test';

export const SECOND_MS = 1_000;
export const MINUTE_MS = 60 * SECOND_MS;
export const HOUR_MS = 60 * MINUTE_MS;
export const DAY_MS = 24 * HOUR_MS;

export interface EnvironmentDefaults {
  readonly cacheTtlMs: number;
  readonly sessionIdleTtlMs: number;
  readonly maxSessionsPerUser: number;
}

export const ENVIRONMENT_DEFAULTS: Readonly<Record<Environment, EnvironmentDefaults>> = {
  development: { cacheTtlMs: 5 * MINUTE_MS, sessionIdleTtlMs: HOUR_MS, maxSessionsPerUser: 10 },
  production: { cacheTtlMs: HOUR_MS, sessionIdleTtlMs: 2 * HOUR_MS, maxSessionsPerUser: 5 },
  test: { cacheTtlMs: MINUTE_MS, sessionIdleTtlMs: 5 * MINUTE_MS, maxSessionsPerUser: 2 },
};

export const DEFAULTS = {
  namespace: 'aeturnis',
  grpcListen: '127.0.0.1:50051',
  logLevel: 'info',
  workers: 1,
  maxValueBytes: 1_048_576,
  /** For calls that come without a deadline. */
  defaultDeadlineMs: 2_000,
  /** Deadlines further away than this are cut to it. */
  maxDeadlineMs: 60_000,
  maxInFlight: 4_096,
  maxParked: 16_384,
  /** Calls in flight on one stream of the pipeline. */
  maxStreamCalls: 1_024,
  /** Open streams of stream RPCs, counted apart from calls. */
  maxStreams: 1_000,
  drainTimeoutMs: 10_000,
  maxConnections: 4_096,
  /** Clients of other languages send each call as a stream of its own; one of the pipeline needs a few. */
  maxConnectionStreams: 1_000,
  /** These two where other machines can connect; never on this one. */
  maxConnectionAgeMs: 30 * MINUTE_MS,
  maxConnectionIdleMs: 5 * MINUTE_MS,
  maxMetadataBytes: 8_192,
  keepaliveTimeMs: 30 * SECOND_MS,
  keepaliveTimeoutMs: 10 * SECOND_MS,
  /** How long Redis may be away before readiness says so. */
  readinessGraceMs: 3_000,
  /** From which duration on an operation on Redis is logged. */
  slowOperationMs: 100,
  /** There is no near cache. */
  nearCacheMaxBytes: 0,
  nearCacheTtlMs: 5 * SECOND_MS,
  lockFenceRetentionMs: DAY_MS,
  /** A master of a quorum that restarted is kept out for so long and twice the skew. */
  lockQuorumMaxTtlMs: MINUTE_MS,
  lockQuorumMaxClockSkewMs: 500,
  /** A Redis that answers nothing for so long is given up until it is back. */
  redisTimeoutMs: SECOND_MS,
  /** Sessions and locks are answered for as soon as the master has them. */
  stateReplicas: 0,
  stateReplicasTimeoutMs: 500,
  embeddedCacheMb: 256,
  embeddedStateMb: 512,
} as const;

/** The most sessions a user may have under a profile that only tracks them (`max_sessions: 0`). */
export const TRACK_ONLY_CEILING = 1_000;

/** What a profile says that does not say otherwise. */
export const PROFILE_DEFAULTS = {
  max_sessions_by_device_class: {},
  renewal_ttl_ms: 0,
  rotation_grace_ms: 15 * SECOND_MS,
  binding: { ip: 'signal', user_agent: 'signal', device_id: 'signal' },
} as const;
