import type { InlineRateLimitPolicy, RateLimitPolicy } from '../../client/index.js';
import type { OfRequest, RateLimitOptions } from './options.js';

const DEFAULT_WINDOW_MS = 60_000;
const MIN_WINDOW_MS = 10;
const MAX_WINDOW_MS = 2_592_000_000;
const MAX_EXACT_LIMIT = 8_192;
const MAX_LIMIT = 1_000_000_000;
const UNITS = [
  ['d', 86_400_000],
  ['h', 3_600_000],
  ['m', 60_000],
  ['s', 1_000],
] as const;

export interface Quota<Request, Response> {
  readonly of: OfRequest<Request, Response, RateLimitPolicy>;
  /** What counts is the same for all requests, also where the limit is not. */
  readonly counted: RateLimitPolicy;
}

/** Throws for options that no request could be decided by. */
export function quotaOf<Request, Response>(options: RateLimitOptions<Request, Response>): Quota<Request, Response> {
  const { policy } = options;
  if (policy !== undefined) return { of: () => policy, counted: policy };
  const max = options.maxRequests ?? options.limit ?? options.max;
  if (max === undefined) throw new TypeError('maxRequests is needed, or a policy');
  const { windowMs = DEFAULT_WINDOW_MS } = options;
  if (!Number.isInteger(windowMs) || windowMs < MIN_WINDOW_MS || windowMs > MAX_WINDOW_MS) {
    throw new RangeError(`windowMs must be ${MIN_WINDOW_MS} to ${MAX_WINDOW_MS}`);
  }
  if (typeof max === 'function') {
    const { name = `per-${spanOf(windowMs)}`, algorithm = 'sliding_buckets' } = options;
    const counted = { name, algorithm, windowMs, limit: 1 };
    return { of: async (request, response) => ({ ...counted, limit: await max(request, response) }), counted };
  }
  if (!Number.isInteger(max) || max < 1 || max > MAX_LIMIT) {
    throw new RangeError(`maxRequests must be 1 to ${MAX_LIMIT}`);
  }
  const { name = `${max}-in-${spanOf(windowMs)}`, algorithm = algorithmFor(max) } = options;
  const counted = { name, algorithm, limit: max, windowMs };
  return { of: () => counted, counted };
}

function algorithmFor(limit: number): InlineRateLimitPolicy['algorithm'] {
  return limit <= MAX_EXACT_LIMIT ? 'sliding_exact' : 'sliding_buckets';
}

/** Such as `15m`; what cannot be told in one unit is told in milliseconds. */
function spanOf(ms: number): string {
  const [unit, length] = UNITS.find(([, of]) => ms % of === 0) ?? ['ms', 1];
  return `${ms / length}${unit}`;
}
