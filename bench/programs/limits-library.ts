import { pino } from 'pino';
import type { Call } from '../../src/redis/call.js';
import { Redis } from '../../src/redis/redis.js';
import { ShardChannels } from '../../src/redis/shard-channels.js';
import { DenialMemory } from '../../src/ratelimit/denial-memory.js';
import type { Ask } from '../../src/ratelimit/limit-scripts.js';
import { RateLimiter } from '../../src/ratelimit/limiter.js';
import { RatePolicies } from '../../src/ratelimit/policies.js';
import { RedisLoss } from '../../src/ratelimit/redis-loss.js';
import { rateLimitScripts } from '../../src/ratelimit/scripts.js';
import { RateLimitStore } from '../../src/ratelimit/store.js';
import type { LimitTerms } from '../../src/ratelimit/terms.js';
import type { Target } from './fixtures.js';
import { limitsOperation, spend, type Checks } from './limits.js';
import { LIMIT_POLICIES, type LimitPolicyName } from './limit-policies.js';
import type { LoadPlan } from './protocol.js';

/**
 * The service's limiter as its handlers use it, in the process of whoever asks: what it would be as a library, and what of
 * the service's time is not gRPC's.
 */

const NAMESPACE = 'library';
const TIMEOUT_MS = 10_000;
const ASK: Ask = { cost: 1, minCost: 0, chargeDenied: false };
/** No other check shares the script's call of one that would do with a part. */
const ASK_ALONE: Ask = { ...ASK, minCost: 1 };

export async function openLimitsLibrary({ address, limits: plan }: LoadPlan): Promise<Target> {
  const target = {
    topology: 'standalone',
    tls: false,
    socketPath: address.slice('unix:'.length),
    database: 0,
  } as const;
  const logger = pino({ level: 'silent' });
  const redis = new Redis({ target, scripts: rateLimitScripts, logger });
  const ready = new Promise<void>((resolve) => {
    redis.onStateChange((isReady) => {
      if (isReady) resolve();
    });
  });
  redis.connect();
  await ready;
  const nowMs = (): number => redis.clock.nowMs();
  const policies = new RatePolicies(LIMIT_POLICIES);
  const limiter = new RateLimiter({
    store: new RateLimitStore(redis, logger),
    memory: new DenialMemory({ channels: new ShardChannels(target, logger), topology: redis.topology, policies }),
    loss: new RedisLoss(nowMs),
    nowMs,
  });
  const termsOf = (subject: string, name: LimitPolicyName): LimitTerms => {
    const terms = policies.named(subject, name);
    if (terms === undefined) throw new Error(`no policy ${name}`);
    return terms;
  };
  const newCall = (): Call => ({
    namespace: NAMESPACE,
    deadlineAt: performance.now() + TIMEOUT_MS,
    ended: false,
  });
  const ask = async (limits: readonly LimitTerms[], terms: Ask, call: Call): Promise<boolean> => {
    const { allowed } = await limiter.checkRateLimit(limits, terms, call);
    return allowed;
  };
  const checks: Checks = {
    check: (subject, names, alone) =>
      ask(
        names.map((name) => termsOf(subject, name)),
        alone ? ASK_ALONE : ASK,
        newCall(),
      ),
    checkMany: (subjects, name) => {
      const call = newCall();
      return Promise.all(subjects.map((subject) => ask([termsOf(subject, name)], ASK, call)));
    },
  };
  if (plan !== undefined) await spend(checks, plan);
  return { operations: [limitsOperation(checks, plan)] };
}
