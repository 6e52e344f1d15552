import type { Ask } from '../../src/ratelimit/limit-scripts.js';
import { ALGORITHMS, type AlgorithmName, type LimitTerms, type PolicyTerms } from '../../src/ratelimit/terms.js';

export const ALGORITHM_NAMES = Object.keys(ALGORITHMS) as readonly AlgorithmName[];

/** A subject under a policy that says nothing but what is given. */
export function limitTerms(subject: string, policy: Partial<PolicyTerms> & { readonly limit: number }): LimitTerms {
  return {
    subject,
    countedAs: subject,
    policy: {
      ...{ name: 'p', storedName: 'p', algorithm: 'sliding_exact', tiers: {}, windowMs: 60_000 },
      ...{ burst: undefined, calendar: undefined, enforced: 1, onRedisLoss: 'fail', blockMs: undefined },
      ladder: undefined,
      ...policy,
    },
    limit: policy.limit,
    cost: undefined,
    isShadow: false,
  };
}

export function ask(cost: number, more: Partial<Ask> = {}): Ask {
  return { cost, minCost: 0, chargeDenied: false, ...more };
}
