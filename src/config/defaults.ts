import type { ProfileSettings, RatePolicySettings, RpcLimitSettings } from './policies.js';

/** Every default of the product. */

export type Environment = 'development' | 'production' | 'test';

const SECOND_MS = 1_000;
const MINUTE_MS = 60 * SECOND_MS;
const HOUR_MS = 60 * MINUTE_MS;
const DAY_MS = 24 * HOUR_MS;

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
  /** How long Redis may be away before readiness says so. */
  readinessGraceMs: 3_000,
  /** There is no near cache. */
  nearCacheMaxBytes: 0,
  nearCacheTtlMs: 5 * SECOND_MS,
  lockFenceRetentionMs: DAY_MS,
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

/** Profiles that ship; the policies file may replace them by name and add others. `default` follows the environment. */
export function shippedProfiles(session: { idleTtlMs: number; maxSessions: number }): Record<string, ProfileSettings> {
  const common = { ...PROFILE_DEFAULTS, touch_granularity_ms: MINUTE_MS, at_limit: 'evict_oldest' } as const;
  return {
    default: {
      idle_ttl_ms: session.idleTtlMs,
      absolute_ttl_ms: 30 * DAY_MS,
      max_sessions: session.maxSessions,
      ...common,
    },
    game: {
      idle_ttl_ms: 30 * MINUTE_MS,
      absolute_ttl_ms: DAY_MS,
      max_sessions: session.maxSessions,
      ...common,
    },
    mobile: { idle_ttl_ms: 30 * DAY_MS, absolute_ttl_ms: 0, max_sessions: 0, ...common },
    // OWASP ASVS 4.0.3 3.3.2: re-authentication at L1 every 30 days; L2 every 12 h or 30 min idle; L3 12 h or 15 min idle
    asvs_l1: {
      idle_ttl_ms: 30 * DAY_MS,
      absolute_ttl_ms: 30 * DAY_MS,
      max_sessions: session.maxSessions,
      ...common,
    },
    asvs_l2: {
      idle_ttl_ms: 30 * MINUTE_MS,
      absolute_ttl_ms: 12 * HOUR_MS,
      max_sessions: session.maxSessions,
      ...common,
    },
    asvs_l3: {
      idle_ttl_ms: 15 * MINUTE_MS,
      absolute_ttl_ms: 12 * HOUR_MS,
      max_sessions: session.maxSessions,
      ...common,
    },
  };
}

/** Rate policies that ship; the policies file may replace them by name and add others. */
export const SHIPPED_RATE_POLICIES: Readonly<Record<string, RatePolicySettings>> = {
  auth: { algorithm: 'sliding_exact', limit: 5, window_ms: 15 * MINUTE_MS },
  chat: { algorithm: 'sliding_exact', limit: 10, window_ms: 10 * SECOND_MS },
  combat: { algorithm: 'sliding_exact', limit: 10, window_ms: 5 * SECOND_MS },
  movement: { algorithm: 'sliding_exact', limit: 30, window_ms: SECOND_MS },
  api: { algorithm: 'sliding_exact', limit: 100, window_ms: 15 * MINUTE_MS },
  session_create: { algorithm: 'sliding_exact', limit: 10, window_ms: MINUTE_MS },
};

/** Which RPCs are limited, by which policy and for whom; the policies file may replace the list. */
export const SHIPPED_RPC_LIMITS: readonly RpcLimitSettings[] = [
  {
    rpc: 'shardkeep.session.v1.SessionService/CreateSession',
    policy: 'session_create',
    subjects: [
      { kind: 'user', field: 'user_id' },
      { kind: 'ip', field: 'metadata.ip' },
    ],
  },
];
