import type { InlineRateLimitPolicy } from '../../client/index.js';
import {
  callable,
  clientWithRateLimits,
  duration,
  either,
  flag,
  name,
  nonEmptyText,
  oneOf,
  optional,
  refuseOptions,
  shape,
  wholeNumber,
  type OptionCheck,
  type OptionChecks,
} from '../../client/option-checks.js';
import { loggerWith } from './logger.js';
import type { RateLimitOptions } from './options.js';

const MAX_LIMIT = 1_000_000_000;
const MAX_COST = 64;
/** Of algorithms that remember each request. */
export const MAX_EXACT_LIMIT = 8_192;
export const windowLength = wholeNumber(10, 2_592_000_000);
const limitSize = wholeNumber(1, MAX_LIMIT);
const algorithm = oneOf('sliding_exact', 'sliding_buckets', 'token_bucket', 'fixed');

const inlinePolicy = shape<InlineRateLimitPolicy>({
  name,
  algorithm,
  limit: limitSize,
  windowMs: windowLength,
  burst: optional(limitSize),
});
const policy: OptionCheck = (value) => (typeof value === 'object' ? inlinePolicy(value) : name(value));
const limitOrFunction = optional(either(callable, limitSize));

export const RATE_LIMIT_CHECKS: OptionChecks<RateLimitOptions<never, never>> = {
  client: clientWithRateLimits,
  windowMs: optional(windowLength),
  maxRequests: limitOrFunction,
  limit: limitOrFunction,
  max: limitOrFunction,
  name: optional(name),
  algorithm: optional(algorithm),
  policy: optional(policy),
  keyGenerator: optional(callable),
  role: optional(callable),
  cost: optional(either(callable, wholeNumber(1, MAX_COST))),
  skip: optional(callable),
  skipSuccessfulRequests: optional(flag),
  skipFailedRequests: optional(flag),
  requestWasSuccessful: optional(callable),
  onLimit: optional(callable),
  standardHeaders: optional(oneOf(true, false, 'draft-6', 'draft-7', 'draft-8')),
  legacyHeaders: optional(flag),
  failMode: optional(oneOf('open', 'closed')),
  timeoutMs: optional(duration),
  retrySafe: optional(flag),
  logger: loggerWith('warn'),
  requestPropertyName: optional(nonEmptyText),
};

/** What a limiter goes by where it has no policy. */
const IN_PLACE_OF_A_POLICY = ['maxRequests', 'limit', 'max', 'windowMs', 'name', 'algorithm'] as const;

/** Throws InvalidArgumentError for options that exclude each other. */
export function refuseContradictions<Request, Response>(
  of: string,
  options: Partial<RateLimitOptions<Request, Response>>,
): void {
  if (options.policy !== undefined) {
    const others = IN_PLACE_OF_A_POLICY.filter((each) => options[each] !== undefined);
    if (others.length > 0)
      refuseOptions(of, ...others.map((at) => ({ at, mustBe: 'left out, as the policy says it' })));
  }
  const given = (['maxRequests', 'limit', 'max'] as const).filter((each) => options[each] !== undefined);
  if (new Set(given.map((each) => options[each])).size > 1)
    refuseOptions(of, ...given.map((at) => ({ at, mustBe: 'the only one of its kind' })));
}

/** As refuseContradictions, of numbers that do not go together. */
export function refuseImpossible<Request, Response>(
  of: string,
  { algorithm: counting, cost }: RateLimitOptions<Request, Response>,
  counted: Pick<InlineRateLimitPolicy, 'algorithm' | 'limit' | 'burst'>,
): void {
  if (counted.algorithm === 'sliding_exact' && counted.limit > MAX_EXACT_LIMIT) {
    const at = counting === undefined ? 'policy.algorithm' : 'algorithm';
    refuseOptions(of, { at, mustBe: `"sliding_buckets" for more than ${String(MAX_EXACT_LIMIT)}` });
  }
  const room = counted.burst ?? counted.limit;
  if (typeof cost === 'number' && cost > room) refuseOptions(of, { at: 'cost', mustBe: `at most ${String(room)}` });
}
