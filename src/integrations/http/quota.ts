import type { InlineRateLimitPolicy, RateLimitPolicy } from '../../client/index.js';
import type { OfRequest, RateLimitOptions } from './options.js';
import { refuseOptions } from '../../client/option-checks.js';
import { MAX_EXACT_LIMIT, refuseContradictions, refuseImpossible } from './rate-limit-checks.js';

const DEFAULT_WINDOW_MS = 60_000;
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

/** Of options each of which was checked; throws InvalidArgumentError where no request could be decided by all of them. */
export function quotaOf<Request, Response>(
  of: string,
  options: RateLimitOptions<Request, Response>,
): Quota<Request, Response> {
  refuseContradictions(of, options);
  const { policy } = options;
  if (policy !== undefined) {
    if (typeof policy === 'object') refuseImpossible(of, options, policy);
    return { of: () => policy, counted: policy };
  }
  const max = options.maxRequests ?? options.limit ?? options.max;
  if (max === undefined) refuseOptions(of, { at: 'maxRequests', mustBe: 'there, or a policy' });
  const { windowMs = DEFAULT_WINDOW_MS } = options;
  if (typeof max === 'function') {
    const { name = `per-${spanOf(windowMs)}`, algorithm = 'sliding_buckets' } = options;
    const counted = { name, algorithm, windowMs, limit: 1 };
    return { of: async (request, response) => ({ ...counted, limit: await max(request, response) }), counted };
  }
  const { name = `${max}-in-${spanOf(windowMs)}`, algorithm = algorithmFor(max) } = options;
  const counted = { name, algorithm, limit: max, windowMs };
  refuseImpossible(of, options, counted);
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
