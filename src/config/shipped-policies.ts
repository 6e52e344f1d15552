import { DAY_MS, HOUR_MS, MINUTE_MS, PROFILE_DEFAULTS, SECOND_MS } from './defaults.js';
import type { ProfileSettings, RatePolicySettings, RpcLimitSettings } from './policies.js';

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

/** Each process admits half of the limit by itself while Redis is away. */
const HALF_HERE = { local_fraction: 0.5 };

/** Rate policies that ship; the policies file may replace them by name and add others. */
export const SHIPPED_RATE_POLICIES: Readonly<Record<string, RatePolicySettings>> = {
  // what guards an account stays shut while nobody can count
  auth: { algorithm: 'sliding_exact', limit: 5, window_ms: 15 * MINUTE_MS, on_redis_loss: 'deny' },
  // a game goes on, at half of its pace
  chat: { algorithm: 'sliding_exact', limit: 10, window_ms: 10 * SECOND_MS, on_redis_loss: HALF_HERE },
  combat: { algorithm: 'sliding_exact', limit: 10, window_ms: 5 * SECOND_MS, on_redis_loss: HALF_HERE },
  movement: { algorithm: 'sliding_exact', limit: 30, window_ms: SECOND_MS, on_redis_loss: HALF_HERE },
  api: { algorithm: 'sliding_exact', limit: 100, window_ms: 15 * MINUTE_MS, on_redis_loss: 'allow' },
  // no session can be created then anyway
  session_create: { algorithm: 'sliding_exact', limit: 10, window_ms: MINUTE_MS, on_redis_loss: 'fail' },
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
