import type { RatePolicySettings } from '../../src/config/rate-policy.js';

/** The policies of the suite `limits`: what the service and the library read, and where a peer takes its numbers from. */

const SECOND_MS = 1_000;
const HOUR_MS = 3_600_000;
/** As many as nobody asks for. */
const PLENTY = 1_000_000_000;

export const LIMIT_POLICIES = {
  fixed: { algorithm: 'fixed', limit: PLENTY, window_ms: SECOND_MS },
  exact: { algorithm: 'sliding_exact', limit: 30, window_ms: SECOND_MS },
  // of one subject that all calls are for: as many as 8,192 in 50 ms are admitted
  exact_hot: { algorithm: 'sliding_exact', limit: 8_192, window_ms: 50 },
  // of one player: a rate that no more is admitted of than by `exact`, in longer windows
  exact_2s: { algorithm: 'sliding_exact', limit: 60, window_ms: 2 * SECOND_MS },
  exact_5s: { algorithm: 'sliding_exact', limit: 150, window_ms: 5 * SECOND_MS },
  exact_10s: { algorithm: 'sliding_exact', limit: 300, window_ms: 10 * SECOND_MS },
  buckets: { algorithm: 'sliding_buckets', limit: 300, window_ms: 10 * SECOND_MS },
  tokens: { algorithm: 'token_bucket', limit: 30, window_ms: SECOND_MS, burst: 60 },
  // of which one call is admitted, and the rest of the run is denied
  spent: { algorithm: 'fixed', limit: 1, window_ms: HOUR_MS },
  day: { algorithm: 'calendar', limit: 1_000, unit: 'day' },
} as const satisfies Readonly<Record<string, RatePolicySettings>>;

export type LimitPolicyName = keyof typeof LIMIT_POLICIES;
