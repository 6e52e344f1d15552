import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { pino } from 'pino';
import { parseRedisUrl } from '../../src/config/redis-url.js';
import { DomainError } from '../../src/errors.js';
import { CoalescedChecks } from '../../src/ratelimit/coalesced-checks.js';
import { rateLimitScripts } from '../../src/ratelimit/scripts.js';
import type { RateLimitDecision } from '../../src/ratelimit/decision.js';
import { RateLimitStore } from '../../src/ratelimit/store.js';
import type { AlgorithmName, LimitTerms } from '../../src/ratelimit/terms.js';
import type { Call } from '../../src/redis/call.js';
import type { BoundScript } from '../../src/redis/lua-script.js';
import { Redis } from '../../src/redis/redis.js';
import { until } from '../support/redis-server.js';
import { randomNamespace, sharedRedisUrl, TOPOLOGIES } from '../support/service.js';
import { ask, limitTerms } from './terms-support.js';

/** Calls of one turn that are alike, as one call of the script. */

/** Counts what is sent, and fails it where a test wants that. */
class CountingRedis extends Redis {
  runs = 0;
  failure: DomainError | undefined;

  override run<Reply>(bound: BoundScript<Reply>, call: Call): Promise<Reply> {
    this.runs++;
    return this.failure === undefined ? super.run(bound, call) : Promise.reject(this.failure);
  }
}

const logger = pino({ level: 'silent' });
const ALGORITHMS: readonly AlgorithmName[] = ['sliding_exact', 'sliding_buckets', 'token_bucket', 'fixed', 'calendar'];

function policyOf(algorithm: AlgorithmName) {
  return {
    ...{ algorithm, limit: 100, windowMs: algorithm === 'calendar' ? 0 : 3_600_000 },
    calendar: algorithm === 'calendar' ? { unit: 'month' as const, timeZone: 'UTC' } : undefined,
  };
}

describe.each(TOPOLOGIES)('on %s', (topology) => {
  let redis: CountingRedis;
  let store: RateLimitStore;
  let checks: CoalescedChecks;
  /** Another process. */
  let otherRedis: Redis;
  let other: CoalescedChecks;

  beforeAll(async () => {
    const options = { target: parseRedisUrl(sharedRedisUrl(topology)), scripts: rateLimitScripts, logger };
    redis = new CountingRedis(options);
    otherRedis = new Redis(options);
    redis.connect();
    otherRedis.connect();
    store = new RateLimitStore(redis, logger);
    checks = new CoalescedChecks(store);
    other = new CoalescedChecks(new RateLimitStore(otherRedis, logger));
    await until(() => redis.isReady && otherRedis.isReady);
  });
  afterAll(() => {
    redis.destroy();
    otherRedis.destroy();
  });

  const newCall = (): Call => ({ namespace: randomNamespace(), deadlineAt: Number.POSITIVE_INFINITY, ended: false });
  /** So many calls in one turn, and how many times Redis was asked. */
  const together = async (
    count: number,
    check: (index: number) => Promise<RateLimitDecision>,
  ): Promise<{ decisions: RateLimitDecision[]; runs: number }> => {
    const before = redis.runs;
    const decisions = await Promise.all(Array.from({ length: count }, (_, index) => check(index)));
    return { decisions, runs: redis.runs - before };
  };

  test.each(ALGORITHMS)('%s: 200 calls are one, and answered as one after the other would be', async (algorithm) => {
    const terms = limitTerms('user:ada', policyOf(algorithm));
    const one = newCall();
    const two = newCall();
    const { decisions, runs } = await together(200, () => checks.check([terms], ask(3), one));
    // a window of the calendar may end between two tries
    expect(runs).toBeLessThanOrEqual(algorithm === 'calendar' ? 2 : 1);
    const expected: RateLimitDecision[] = [];
    for (let count = 0; count < 200; count++) expected.push(await store.checkRateLimit([terms], ask(3), two));
    const essence = ({ allowed, granted, atomic, limits }: RateLimitDecision): unknown[] => [
      ...[allowed, granted, atomic],
      ...limits.map(({ terms: of, denial, used, capacity, retryAfterMs }) => [
        of,
        denial,
        used,
        capacity,
        retryAfterMs > 0,
      ]),
    ];
    // tokens come back meanwhile, one in 36 s
    expect(decisions.map(essence)).toEqual(expected.map(essence));
    expect(decisions.filter(({ allowed }) => allowed)).toHaveLength(33);
  });

  test('two processes that race with 200 calls each admit exactly the limit', async () => {
    for (const algorithm of ALGORITHMS) {
      const call = newCall();
      const terms = limitTerms('user:ada', policyOf(algorithm));
      const decisions = await Promise.all(
        Array.from({ length: 400 }, (_, index) => (index % 2 === 0 ? checks : other).check([terms], ask(1), call)),
      );
      const admitted = decisions.filter(({ allowed }) => allowed);
      expect(admitted.map(({ limits }) => limits[0]?.used).toSorted((a = 0, b = 0) => a - b)).toEqual(
        Array.from({ length: 100 }, (_, index) => index + 1),
      );
    }
  });

  test('several limits of a subject: who comes first is admitted, until the first of them denies', async () => {
    const call = newCall();
    const limits = [10, 4].map((limit) => limitTerms('user:ada', { limit, storedName: `p${String(limit)}` }));
    const { decisions, runs } = await together(6, () => checks.check(limits, ask(1), call));
    expect(runs).toBe(1);
    expect(decisions.map(({ allowed }) => allowed)).toEqual([true, true, true, true, false, false]);
    expect(decisions.map((each) => each.limits.map(({ used, denial }) => [used, denial]))).toEqual([
      ...[1, 2, 3, 4].map((used) => [
        [used, undefined],
        [used, undefined],
      ]),
      ...Array<unknown>(2).fill([
        [4, undefined],
        [4, 'over'],
      ]),
    ]);
  });

  test('each is answered with the subject as it wrote it', async () => {
    const terms = limitTerms('ip:::1', { limit: 5 });
    const call = newCall();
    const { decisions, runs } = await together(2, (index) =>
      checks.check([{ ...terms, subject: `ip:${String(index)}` }], ask(1), call),
    );
    expect(runs).toBe(1);
    expect(decisions.map((each) => each.limits[0]?.terms.subject)).toEqual(['ip:0', 'ip:1']);
  });

  const DIFFERENT: readonly [string, (terms: LimitTerms) => LimitTerms, Parameters<typeof ask>][] = [
    ['a cost', (terms) => terms, [2]],
    ['a part', (terms) => terms, [2, { minCost: 1 }]],
    ['a charge of denials', (terms) => terms, [1, { chargeDenied: true }]],
    ['a subject', (terms) => ({ ...terms, countedAs: 'user:bob' }), [1]],
    ['a limit', (terms) => ({ ...terms, limit: 6 }), [1]],
    ['a cost of the limit', (terms) => ({ ...terms, cost: 1 }), [1]],
    ['a policy', (terms) => ({ ...terms, policy: { ...terms.policy, storedName: 'q' } }), [1]],
    ['a block', (terms) => ({ ...terms, policy: { ...terms.policy, blockMs: 5 } }), [1]],
    ['a limit that only watches', (terms) => ({ ...terms, isShadow: true }), [1]],
  ];
  test.each(DIFFERENT)('not with %s of its own', async (_, change, asked) => {
    const call = newCall();
    const terms = limitTerms('user:ada', { limit: 5 });
    const { runs } = await together(3, (index) =>
      index === 1 ? checks.check([change(terms)], ask(...asked), call) : checks.check([terms], ask(1), call),
    );
    expect(runs).toBe(2);
  });

  test('blocks, parts and those who only watch are asked one by one', async () => {
    const call = newCall();
    const terms = limitTerms('user:ada', { limit: 5 });
    const blocking = { ...terms, policy: { ...terms.policy, blockMs: 5 } };
    expect((await together(3, () => checks.check([blocking], ask(1), call))).runs).toBe(3);
    expect((await together(3, () => checks.check([{ ...terms, isShadow: true }], ask(1), call))).runs).toBe(3);
    expect((await together(3, () => checks.check([terms], ask(2, { minCost: 1 }), call))).runs).toBe(3);
  });

  test('a caller that ended is left out, and takes no place', async () => {
    const call = newCall();
    const terms = limitTerms('user:ada', { limit: 2 });
    const ended = { ...call, ended: false };
    const checking = [call, ended, call].map((each) => checks.check([terms], ask(1), each));
    ended.ended = true;
    const settled = await Promise.allSettled(checking);
    expect(settled.map((each) => each.status === 'fulfilled' && each.value.allowed)).toEqual([true, false, true]);
  });

  test('a failure reaches every one of them', async () => {
    redis.failure = new DomainError('REDIS_UNAVAILABLE', 'away');
    const call = newCall();
    const terms = limitTerms('user:ada', { limit: 2 });
    const settled = await Promise.allSettled(Array.from({ length: 3 }, () => checks.check([terms], ask(1), call)));
    redis.failure = undefined;
    expect(settled.every((each) => each.status === 'rejected' && each.reason instanceof DomainError)).toBe(true);
  });
});
