import { policiesFile } from '../../support/namespace.js';

/** The limits of the load. `window` is exact; `bucket` admits its burst and then an even rate. */
export const LIMITS = {
  window: { limit: 20, windowMs: 2_000 },
  bucket: { limit: 20, windowMs: 2_000, burst: 10 },
} as const;
export type LimitName = keyof typeof LIMITS;

/** What services of a row are to know; without Redis a limit tells instead of guessing. */
export function chaosPolicies(): string {
  const { window, bucket } = LIMITS;
  const profile = { idle_ttl_ms: 1_800_000, absolute_ttl_ms: 0, touch_granularity_ms: 0, at_limit: 'evict_oldest' };
  return policiesFile({
    rpc_limits: [],
    session_profiles: { default: { ...profile, max_sessions: 0 } },
    rate_policies: {
      window: { algorithm: 'sliding_exact', limit: window.limit, window_ms: window.windowMs, on_redis_loss: 'fail' },
      bucket: {
        algorithm: 'token_bucket',
        ...{ limit: bucket.limit, window_ms: bucket.windowMs, burst: bucket.burst },
        on_redis_loss: 'fail',
      },
    },
  });
}
