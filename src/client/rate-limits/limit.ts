import { Algorithm, type InlinePolicy, type Limit } from '../../gen/shardkeep/ratelimit/v1/ratelimit.js';
import { mapIn, objectIn, optionsIn, wordIn, type OptionNames } from '../arguments.js';
import { toInt64 } from '../int64.js';

/**
 * Who is limited: `kind:id`, such as `user:42` or `ip:203.0.113.7`, 1 to 256 bytes of UTF-8. An IPv6 address counts as its
 * network of 64 bits. For a policy of several limits: who is meant by each kind, such as `{ ip: '203.0.113.7', user: '42' }`.
 */
export type RateLimitSubject = string | Readonly<Record<string, string>>;

/**
 * How a limit counts. `sliding_exact`: never more than the limit in any window, nothing denied that fits; limits up to 8,192.
 * `sliding_buckets`: never more than the limit either, and a unit counts up to a 60th longer. `token_bucket`: an even rate
 * with a burst. `fixed`: windows that begin with the first unit, so up to twice the limit around the end of one.
 * `concurrency`: so many at once.
 */
export type RateLimitAlgorithm = 'sliding_exact' | 'sliding_buckets' | 'token_bucket' | 'fixed' | 'concurrency';

/** A policy that is given with the call. Same subject, name, algorithm and window: one count, also when limits differ. */
export interface InlineRateLimitPolicy {
  /** Tells limits of one subject apart, 1 to 32 of [a-z0-9_-]. Never meets the name of a configured policy. */
  readonly name: string;
  readonly algorithm: RateLimitAlgorithm;
  /** Units in a window, 1 to 1,000,000,000; of `sliding_exact` and `concurrency` up to 8,192. */
  readonly limit: number;
  /** 10 to 2,592,000,000 (30 days), whole. */
  readonly windowMs: number;
  /** Of `token_bucket`: how many there can be at most, 1 to 1,000,000,000; as many as `limit` where it is absent. */
  readonly burst?: number;
}

/** The name of a policy of the service, or a policy itself. */
export type RateLimitPolicy = string | InlineRateLimitPolicy;

/** Who under what. */
export interface RateLimit {
  readonly subject: RateLimitSubject;
  /** In the `fields` of errors it is `policyName` or `inlinePolicy`. */
  readonly policy: RateLimitPolicy;
  /** Units to take from this limit, 1 to 64; those of the call where it is absent. */
  readonly cost?: number;
  /** A policy may have another limit for it. One that it does not know changes nothing. */
  readonly role?: string;
}

const INLINE_POLICY: OptionNames<InlineRateLimitPolicy> = {
  name: true,
  algorithm: true,
  limit: true,
  windowMs: true,
  burst: true,
};
const LIMIT: OptionNames<RateLimit> = { subject: true, policy: true, cost: true, role: true };

/** 1 to 16 of them, no subject and policy twice. On a Cluster limits of several subjects are not decided in one step. */
export type RateLimitOrMany = RateLimit | readonly RateLimit[];

const ALGORITHMS: Readonly<Record<RateLimitAlgorithm, Algorithm>> = {
  sliding_exact: Algorithm.SLIDING_EXACT,
  sliding_buckets: Algorithm.SLIDING_BUCKETS,
  token_bucket: Algorithm.TOKEN_BUCKET,
  fixed: Algorithm.FIXED,
  concurrency: Algorithm.CONCURRENCY,
};

/** `at`: what the limits are in, with a dot. */
export function limitMessages(limits: RateLimitOrMany, at = ''): Limit[] {
  const several = isSeveral(limits) ? limits : [limits];
  return several.map((limit, index) => limitMessage(limit, `${at}limits[${String(index)}]`));
}

function isSeveral(limits: RateLimitOrMany): limits is readonly RateLimit[] {
  return Array.isArray(limits);
}

function limitMessage(limit: RateLimit, at: string): Limit {
  const { subject, policy, cost, role } = optionsIn(limit, LIMIT, at);
  const isByKind = typeof subject === 'object';
  return {
    subject: isByKind ? '' : subject,
    policy:
      typeof policy === 'string'
        ? { $case: 'policyName', value: policy }
        : { $case: 'inlinePolicy', value: inlinePolicy(policy, at) },
    cost,
    role,
    subjects: isByKind ? { byKind: mapIn(subject, `${at}.subject`) } : undefined,
  };
}

function inlinePolicy(policy: InlineRateLimitPolicy, at: string): InlinePolicy {
  objectIn(policy, `${at}.policy`);
  const { name, algorithm, limit, windowMs, burst } = optionsIn(policy, INLINE_POLICY, `${at}.inlinePolicy`);
  return {
    ...{ name, limit, burst },
    algorithm: wordIn(ALGORITHMS, algorithm, `${at}.inlinePolicy.algorithm`),
    windowMs: toInt64(windowMs, `${at}.inlinePolicy.windowMs`),
  };
}
