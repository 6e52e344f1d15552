import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { pino } from 'pino';
import { parseRedisUrl } from '../../src/config/redis-url.js';
import { rateLimitScripts } from '../../src/ratelimit/scripts.js';
import { RateLimitStore } from '../../src/ratelimit/store.js';
import type { AlgorithmName, LimitTerms } from '../../src/ratelimit/terms.js';
import type { Call } from '../../src/redis/call.js';
import { Redis } from '../../src/redis/redis.js';
import { until } from '../support/redis-server.js';
import { randomNamespace, sharedRedisUrl, TOPOLOGIES } from '../support/service.js';
import { ask, limitTerms } from './terms-support.js';

/** Two services and 200 calls at once over four limits that count differently. */

const CALLS = 200;
const WINDOW_MS = 2_592_000_000;
const LIMITS: readonly (readonly [AlgorithmName, number])[] = [
  ['sliding_exact', 60],
  ['sliding_buckets', 45],
  ['token_bucket', 80],
  ['fixed', 50],
];
const TIGHTEST = 45;

describe.each(TOPOLOGIES)('on %s', (topology) => {
  const logger = pino({ level: 'silent' });
  const services = [0, 1].map(() => {
    const redis = new Redis({ target: parseRedisUrl(sharedRedisUrl(topology)), scripts: rateLimitScripts, logger });
    return { redis, store: new RateLimitStore(redis, logger) };
  });
  const call: Call = { namespace: randomNamespace(), deadlineAt: Number.POSITIVE_INFINITY, ended: false };
  const storeAt = (index: number): RateLimitStore => {
    const service = services[index % services.length];
    if (service === undefined) throw new Error('no service');
    return service.store;
  };

  beforeAll(async () => {
    for (const { redis } of services) redis.connect();
    await until(() => services.every(({ redis }) => redis.isReady));
  });
  afterAll(() => {
    for (const { redis } of services) redis.destroy();
  });

  const usedOf = async (limits: readonly LimitTerms[]): Promise<number[]> =>
    (await storeAt(0).peekRateLimit(limits, ask(1), call)).limits.map(({ used }) => used);

  test('of one subject as many are admitted as the tightest has room for, and each is charged that', async () => {
    const subject = randomNamespace();
    const limits = LIMITS.map(([algorithm, limit]) =>
      limitTerms(subject, { algorithm, limit, windowMs: WINDOW_MS, storedName: algorithm }),
    );
    const decisions = await Promise.all(
      Array.from({ length: CALLS }, (_, at) => storeAt(at).checkRateLimit(limits, ask(1), call)),
    );
    expect(decisions.filter(({ allowed }) => allowed)).toHaveLength(TIGHTEST);
    expect(decisions.every(({ atomic }) => atomic)).toBe(true);
    expect(await usedOf(limits)).toEqual([TIGHTEST, TIGHTEST, TIGHTEST, TIGHTEST]);
  });

  test('of several subjects every limit is charged what was admitted, and no more than it allows at any time', async () => {
    const limits = LIMITS.map(([algorithm, limit]) =>
      limitTerms(randomNamespace(), { algorithm, limit, windowMs: WINDOW_MS, storedName: algorithm }),
    );
    const own = limits[1];
    if (own === undefined) throw new Error('no limit');
    // calls that look alike, in both orders, and some that take one of the limits from under the others
    const decisions = await Promise.all(
      Array.from({ length: CALLS }, async (_, at) => {
        if (at % 10 === 0) {
          return { alone: true, decision: await storeAt(at).checkRateLimit([own], ask(1), call) };
        }
        const ordered = at % 2 === 0 ? limits : limits.toReversed();
        return { alone: false, decision: await storeAt(at).checkRateLimit(ordered, ask(1), call) };
      }),
    );
    const admitted = decisions.filter(({ decision }) => decision.allowed);
    const together = admitted.filter(({ alone }) => !alone).length;
    expect(admitted.length).toBeLessThanOrEqual(TIGHTEST);
    expect(together).toBeGreaterThan(0);
    if (topology === 'standalone') expect(admitted).toHaveLength(TIGHTEST);
    for (const { decision } of decisions) {
      for (const { used, capacity } of decision.limits) expect(used).toBeLessThanOrEqual(capacity);
    }
    expect(await usedOf(limits)).toEqual([together, admitted.length, together, together]);
  });
});
