import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { pino } from 'pino';
import { parseRedisUrl } from '../../src/config/redis-url.js';
import { DomainError } from '../../src/errors.js';
import { rateLimitScripts } from '../../src/ratelimit/scripts.js';
import { RateLimitStore } from '../../src/ratelimit/store.js';
import type { LimitTerms } from '../../src/ratelimit/terms.js';
import type { Call } from '../../src/redis/call.js';
import type { BoundScript } from '../../src/redis/lua-script.js';
import { Redis } from '../../src/redis/redis.js';
import { until } from '../support/redis-server.js';
import { ask, limitTerms } from './terms-support.js';
import { randomNamespace, sharedRedisUrl } from '../support/service.js';

/** What happens on a Cluster between the look at several subjects and their charge. */

type Interfere = (script: string, key: string) => Promise<void> | undefined;

/** A Redis where a test may do something, or fail, just before a script runs. */
class InterruptedRedis extends Redis {
  interfere: Interfere = () => undefined;

  override async run<Reply>(bound: BoundScript<Reply>, call: Call): Promise<Reply> {
    await this.interfere(bound.script.name, bound.keys[0] ?? '');
    return super.run(bound, call);
  }
}

const MINUTE_MS = 60_000;
const logger = pino({ level: 'silent' });
const options = { target: parseRedisUrl(sharedRedisUrl('cluster')), scripts: rateLimitScripts, logger };
const redis = new InterruptedRedis(options);
const store = new RateLimitStore(redis, logger);
/** Another service on the same Cluster. */
const otherRedis = new Redis(options);
const other = new RateLimitStore(otherRedis, logger);

beforeAll(async () => {
  redis.connect();
  otherRedis.connect();
  await until(() => redis.isReady && otherRedis.isReady);
});
afterAll(() => {
  redis.destroy();
  otherRedis.destroy();
});

function newCase(interfere: Interfere = () => undefined): { call: Call; limits: [LimitTerms, LimitTerms, LimitTerms] } {
  redis.interfere = interfere;
  const terms = (subject: string, limit: number): LimitTerms => limitTerms(subject, { limit, windowMs: MINUTE_MS });
  return {
    call: { namespace: randomNamespace(), deadlineAt: Number.POSITIVE_INFINITY, ended: false },
    limits: [terms('user:ada', 5), terms('ip:::1', 2), terms('guild:9', 9)],
  };
}

async function usedOf(limits: readonly LimitTerms[], call: Call): Promise<number[]> {
  return (await other.peekRateLimit(limits, ask(1), call)).limits.map(({ used }) => used);
}

const unavailable = (): DomainError => new DomainError('REDIS_UNAVAILABLE', 'away');

describe('a limit that another call takes meanwhile', () => {
  test('denies the call, which is charged nowhere and sees the others as they were', async () => {
    const { call, limits } = newCase();
    const taken = limits[1];
    redis.interfere = (script, key) =>
      script === 'check-rate-limit' && key.includes(taken.subject)
        ? other.checkRateLimit([taken], ask(2), call).then(() => undefined)
        : undefined;
    const decision = await store.checkRateLimit(limits, ask(1), call);
    expect(decision).toMatchObject({ allowed: false, atomic: false });
    expect(decision.limits.map(({ denial, used }) => ({ over: denial === 'over', used }))).toEqual([
      { over: false, used: 0 },
      { over: true, used: 2 },
      { over: false, used: 0 },
    ]);
    const [first, second] = decision.limits;
    // nothing is in use, so it is reset now and not a window later
    expect((second?.resetAtMs ?? 0) - (first?.resetAtMs ?? 0)).toBeGreaterThan(MINUTE_MS / 2);
    expect(await usedOf(limits, call)).toEqual([0, 2, 0]);
  });

  test('leaves what was charged before the call', async () => {
    const { call, limits } = newCase();
    await other.checkRateLimit([limits[0]], ask(3), call);
    const taken = limits[1];
    redis.interfere = (script, key) =>
      script === 'check-rate-limit' && key.includes(taken.subject)
        ? other.checkRateLimit([taken], ask(2), call).then(() => undefined)
        : undefined;
    expect((await store.checkRateLimit(limits, ask(1), call)).allowed).toBe(false);
    expect(await usedOf(limits, call)).toEqual([3, 2, 0]);
  });
});

test.each(['REDIS_UNAVAILABLE', 'OUTCOME_UNKNOWN', 'REDIS_OUT_OF_MEMORY'] as const)(
  'a charge that fails with %s takes the others back and is told',
  async (code) => {
    const { call, limits } = newCase((script, key) =>
      script === 'check-rate-limit' && key.includes('guild:') ? Promise.reject(new DomainError(code, 'x')) : undefined,
    );
    await expect(store.checkRateLimit(limits, ask(2), call)).rejects.toMatchObject({ code });
    expect(await usedOf(limits, call)).toEqual([0, 0, 0]);
  },
);

test('of many calls at once as many are admitted as there is room for, whatever order they ask in', async () => {
  const { call, limits } = newCase();
  const [user, ip, guild] = limits;
  const orders = [limits, [guild, ip, user], [ip, user, guild]];
  const calls = Array.from({ length: 200 }, (_, index) => {
    const from = index % 2 === 0 ? store : other;
    return from.checkRateLimit(orders[index % orders.length] ?? limits, ask(1), call);
  });
  const decisions = await Promise.all(calls);
  expect(decisions.filter(({ allowed }) => allowed)).toHaveLength(2);
  expect(await usedOf(limits, call)).toEqual([2, 2, 2]);
});

test('a refund outlasts a Redis that is away for a moment', async () => {
  let awayUntil = Number.POSITIVE_INFINITY;
  const { call, limits } = newCase((script, key) => {
    if (script === 'check-rate-limit' && key.includes('guild:')) return Promise.reject(unavailable());
    if (script !== 'refund-rate-limit') return undefined;
    awayUntil = Math.min(awayUntil, performance.now() + 60);
    return performance.now() < awayUntil ? Promise.reject(unavailable()) : undefined;
  });
  await expect(store.checkRateLimit(limits, ask(1), call)).rejects.toMatchObject({ code: 'REDIS_UNAVAILABLE' });
  expect(await usedOf(limits, call)).toEqual([0, 0, 0]);
});

test('a refund that never comes through leaves a charge, which denies too much and not too little', async () => {
  const { call, limits } = newCase((script, key) =>
    script === 'refund-rate-limit' || (script === 'check-rate-limit' && key.includes('guild:'))
      ? Promise.reject(unavailable())
      : undefined,
  );
  await expect(store.checkRateLimit(limits, ask(1), call)).rejects.toMatchObject({ code: 'REDIS_UNAVAILABLE' });
  expect(await usedOf(limits, call)).toEqual([1, 1, 0]);
});

test('a call that ended before it is charged is charged nowhere; one that ended after it stays charged', async () => {
  const { call: living, limits } = newCase();
  let ended = false;
  const call: Call = {
    ...living,
    get ended() {
      return ended;
    },
  };
  redis.interfere = (script) => {
    ended = ended || script === 'check-rate-limit';
    return undefined;
  };
  await expect(store.checkRateLimit(limits, ask(1), call)).rejects.toMatchObject({ code: 'REDIS_UNAVAILABLE' });
  expect(await usedOf(limits, living)).toEqual([0, 0, 0]);

  redis.interfere = () => undefined;
  ended = false;
  const decision = store.checkRateLimit([limits[0]], ask(1), call);
  await Promise.resolve();
  ended = true;
  expect((await decision).allowed).toBe(true);
  expect(await usedOf(limits, living)).toEqual([1, 0, 0]);
});

test('a call under a shorter window does not forget what counts under a longer one', async () => {
  const { call, limits } = newCase();
  const [long] = limits;
  const short = { ...long, limit: 10, policy: { ...long.policy, windowMs: 10 } };
  await store.checkRateLimit([long], ask(5), call);
  expect((await store.checkRateLimit([short], ask(1), call)).allowed).toBe(true);
  // charged later and for longer: when it counts no more, the short window is over for good
  const witness = limitTerms('user:witness', { limit: 10, windowMs: 20 });
  await store.checkRateLimit([witness], ask(1), call);
  await until(async () => (await usedOf([witness], call))[0] === 0);
  expect((await store.checkRateLimit([long], ask(1), call)).allowed).toBe(false);
});
