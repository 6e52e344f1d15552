import type { Headers } from '../gen/shardkeep/ratelimit/v1/ratelimit.js';
import type { LimitResult, RateLimitDecision } from './decision.js';

/**
 * What an HTTP response may say of a decision: `RateLimit` and `RateLimit-Policy` of
 * draft-ietf-httpapi-ratelimit-headers-10, the older `X-RateLimit-*`, and `Retry-After` (RFC 9110 10.2.3). Those that are
 * for one limit tell of the one that has the least room; limits that only watch are not told of.
 */
export function headersOf({ allowed, limits }: Pick<RateLimitDecision, 'allowed' | 'limits'>, nowMs: number): Headers {
  const told = limits.filter(({ terms, denies }) => denies || !terms.isShadow);
  const tightest = told
    .filter(({ isChecked }) => isChecked)
    .reduce<LimitResult | undefined>(
      (one, other) => (one === undefined || roomIn(other) < roomIn(one) ? other : one),
      undefined,
    );
  const retryAfterMs = allowed ? 0 : Math.max(...told.map((limit) => limit.retryAfterMs));
  const headers = {
    rateLimitPolicy: told.map(policyItem).join(', '),
    retryAfter: allowed ? '' : String(Math.ceil(retryAfterMs / 1_000)),
  };
  if (tightest === undefined) {
    return { ...headers, rateLimit: '', xRateLimitLimit: '', xRateLimitRemaining: '', xRateLimitReset: '' };
  }
  const remaining = remainingOf(tightest);
  // the draft's t is when the quota is back, which for a window that slides is at the latest when nothing is in use
  const secondsLeft = Math.ceil(leftMs(tightest, nowMs) / 1_000);
  return {
    ...headers,
    rateLimit: `"${tightest.terms.policy.name}";r=${String(remaining)};t=${String(secondsLeft)}`,
    xRateLimitLimit: String(tightest.capacity),
    xRateLimitRemaining: String(remaining),
    xRateLimitReset: String(Math.ceil(tightest.resetAtMs / 1_000)),
  };
}

/**
 * How long until nothing of a limit is in use. By a copy of Redis's clock, which may be behind by half a round trip: what ends
 * within a window is told to, or a window that has just begun would be rounded up to a second more than it has.
 */
export function leftMs(limit: Pick<LimitResult, 'terms' | 'resetAtMs' | 'used' | 'capacity'>, nowMs: number): number {
  const left = Math.max(0, limit.resetAtMs - nowMs);
  return endsWithinWindow(limit) ? Math.min(left, limit.terms.policy.windowMs) : left;
}

function endsWithinWindow({ terms, used, capacity }: Pick<LimitResult, 'terms' | 'used' | 'capacity'>): boolean {
  const { algorithm, burst } = terms.policy;
  switch (algorithm) {
    case 'sliding_exact':
    case 'fixed':
      return true;
    case 'token_bucket':
      // one whose limit was lowered may owe more than it holds now
      return burst === undefined && used <= capacity;
    // parts of a window end up to a 60th of it later; the others have none
    case 'sliding_buckets':
    case 'calendar':
    case 'concurrency':
      return false;
  }
}

/** Units left of one limit. */
export function remainingOf({ capacity, used, denial }: LimitResult): number {
  return denial === 'banned' ? 0 : Math.max(0, capacity - used);
}

/** The part of a limit that is left; below none where it denies. */
function roomIn(limit: LimitResult): number {
  return limit.denial === undefined ? remainingOf(limit) / limit.capacity : -1;
}

/** Names of policies are tokens, so that they need no escapes inside quotes. */
function policyItem({ terms, capacity }: LimitResult): string {
  const { name, windowMs, algorithm } = terms.policy;
  // a bucket fills at a rate, whatever fits into it
  const quota = algorithm === 'token_bucket' ? terms.limit : capacity;
  const window = windowMs === 0 ? '' : `;w=${String(Math.ceil(windowMs / 1_000))}`;
  return `"${name}";q=${String(quota)}${window}`;
}
