import { RateLimiterRedis, RateLimiterRes } from 'rate-limiter-flexible';
import { createClient } from 'redis';
import { BEST, failLoudly, redisAddress } from './best-settings.js';
import type { Target } from './fixtures.js';
import { limitsOperation, spend, type Checks } from './limits.js';
import { LIMIT_POLICIES, type LimitPolicyName } from './limit-policies.js';
import type { LoadPlan } from './protocol.js';

/**
 * rate-limiter-flexible in the process of whoever asks: fixed windows, on node-redis at its best settings. A limiter for
 * each policy; one that is to deny remembers in the process who is over, which is its best, and costs the others a look.
 */
export async function openLimitsByHand({ address, limits: plan }: LoadPlan): Promise<Target> {
  const client = createClient({ ...BEST, ...redisAddress(address) });
  await client.on('error', failLoudly).connect();
  const limiters = new Map<LimitPolicyName, RateLimiterRedis>();
  const limiterOf = (name: LimitPolicyName): RateLimiterRedis => {
    const known = limiters.get(name);
    if (known !== undefined) return known;
    const policy = LIMIT_POLICIES[name];
    if (policy.algorithm === 'calendar') throw new Error('it knows no calendar');
    const limiter = new RateLimiterRedis({
      storeClient: client,
      useRedisPackage: true,
      keyPrefix: `hand:${name}`,
      points: policy.limit,
      duration: policy.window_ms / 1_000,
      ...(plan?.denied === true && { inMemoryBlockOnConsumed: policy.limit }),
    });
    limiters.set(name, limiter);
    return limiter;
  };
  const consume = async (subject: string, name: LimitPolicyName): Promise<boolean> => {
    try {
      await limiterOf(name).consume(subject, 1);
      return true;
    } catch (refusal) {
      if (refusal instanceof RateLimiterRes) return false;
      throw refusal;
    }
  };
  const checks: Checks = {
    check: async (subject, policies) => {
      const [only] = policies;
      if (policies.length === 1 && only !== undefined) return consume(subject, only);
      const answers = await Promise.all(policies.map((policy) => consume(subject, policy)));
      return answers.every((allowed) => allowed);
    },
    checkMany: (subjects, policy) => Promise.all(subjects.map((subject) => consume(subject, policy))),
  };
  if (plan !== undefined) await spend(checks, plan);
  return { operations: [limitsOperation(checks, plan)] };
}
