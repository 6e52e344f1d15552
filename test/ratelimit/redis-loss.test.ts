import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import { pino } from 'pino';
import { parseRedisUrl } from '../../src/config/redis-url.js';
import { DomainError, type ErrorCode } from '../../src/errors.js';
import { LimitStatus } from '../../src/gen/shardkeep/ratelimit/v1/ratelimit.js';
import { DenialMemory } from '../../src/ratelimit/denial-memory.js';
import { toAnswer } from '../../src/ratelimit/fields.js';
import { RateLimiter } from '../../src/ratelimit/limiter.js';
import { RedisLoss } from '../../src/ratelimit/redis-loss.js';
import { rateLimitScripts } from '../../src/ratelimit/scripts.js';
import type { RateLimitDecision } from '../../src/ratelimit/decision.js';
import { RateLimitStore } from '../../src/ratelimit/store.js';
import type { LimitTerms, OnRedisLoss } from '../../src/ratelimit/terms.js';
import type { Call } from '../../src/redis/call.js';
import { Redis } from '../../src/redis/redis.js';
import { ShardChannels } from '../../src/redis/shard-channels.js';
import { startRedis, until, type RedisServer } from '../support/redis-server.js';
import { randomNamespace } from '../support/service.js';
import { ask, limitTerms } from './terms-support.js';

/** What limits answer while Redis is dead, or stands still. */

const DEADLINE_MS = 300;
const logger = pino({ level: 'silent' });
let server: RedisServer;
let redis: Redis;
let store: RateLimitStore;
let channels: ShardChannels;
let limiter: RateLimiter;
let memory: DenialMemory;

beforeAll(async () => {
  server = await startRedis();
  const target = parseRedisUrl(server.url);
  redis = new Redis({ target, scripts: rateLimitScripts, logger });
  redis.connect();
  store = new RateLimitStore(redis, logger);
  channels = new ShardChannels(target, logger);
  memory = new DenialMemory({ channels, topology: 'standalone', policies: { version: '1' } });
  limiter = newLimiter();
  await until(() => redis.isReady);
});
afterAll(async () => {
  memory.close();
  channels.close();
  redis.destroy();
  await server.remove();
});

function newLimiter(): RateLimiter {
  const nowMs = (): number => redis.clock.nowMs();
  return new RateLimiter({ store, memory, loss: new RedisLoss(nowMs), nowMs });
}

const newCall = (deadlineMs = DEADLINE_MS): Call => ({
  namespace: randomNamespace(),
  deadlineAt: performance.now() + deadlineMs,
  ended: false,
});

function under(onRedisLoss: OnRedisLoss, subject = 'user:ada', limit = 10): LimitTerms {
  const name = typeof onRedisLoss === 'string' ? onRedisLoss : 'local';
  return limitTerms(subject, { name, storedName: name, onRedisLoss, limit, windowMs: 60_000 });
}

/** The decision, and that it came before the deadline. */
async function decided(limits: readonly LimitTerms[], more = ask(1), call = newCall()): Promise<RateLimitDecision> {
  const decision = await limiter.checkRateLimit(limits, more, call);
  expect(performance.now()).toBeLessThan(call.deadlineAt);
  return decision;
}

async function failureOf(decision: Promise<RateLimitDecision>): Promise<ErrorCode> {
  try {
    await decision;
  } catch (error) {
    if (error instanceof DomainError) return error.code;
    throw error;
  }
  throw new Error('expected a failure');
}

function failed(): never {
  throw new Error('no such decision');
}

const LOSSES = {
  dead: { lose: () => server.stop('SIGKILL'), heal: () => server.restart() },
  silent: {
    lose: () => {
      server.signal('SIGSTOP');
      return Promise.resolve();
    },
    heal: () => {
      server.signal('SIGCONT');
      return Promise.resolve();
    },
  },
};

describe.each(Object.entries(LOSSES))('Redis %s:', (kind, { lose, heal }) => {
  beforeAll(async () => {
    limiter = newLimiter();
    await lose();
  });
  afterAll(async () => {
    await heal();
    await until(async () => !(await limiter.checkRateLimit([under('allow')], ask(1), newCall())).degraded);
  });

  test('`allow` admits, and says that nothing was looked at', async () => {
    const decision = await decided([under('allow')]);
    expect(decision).toMatchObject({ allowed: true, granted: 1, degraded: true });
    const answer = toAnswer(decision, { policyVersion: '1', wantHeaders: true, nowMs: 0 });
    expect(answer).toMatchObject({ allowed: true, degraded: true, retryAfterMs: 0 });
    expect(answer.limits[0]).toMatchObject({ status: LimitStatus.NOT_CHECKED, limit: 10, remaining: 0 });
    expect(answer.headers).toMatchObject({ rateLimit: '', xRateLimitRemaining: '', retryAfter: '' });
  });

  test('`deny` denies for a second', async () => {
    const answer = toAnswer(await decided([under('deny')]), { policyVersion: '1', wantHeaders: false, nowMs: 0 });
    expect(answer).toMatchObject({ allowed: false, degraded: true, granted: 0, retryAfterMs: 1_000 });
    expect(answer.limits[0]).toMatchObject({ status: LimitStatus.OVER, remaining: 0, retryAfterMs: 1_000 });
  });

  test('a local fraction admits its share and no more, however many ask at once', async () => {
    const call = newCall(5_000);
    const limits = [under({ localFraction: 0.35 })];
    const decisions = await Promise.all(Array.from({ length: 20 }, () => decided(limits, ask(1), call)));
    expect(decisions.filter(({ allowed }) => allowed)).toHaveLength(3);
    expect(decisions.every(({ degraded }) => degraded)).toBe(true);
    expect(decisions.slice(0, 4).map((each) => each.limits[0]?.used)).toEqual([1, 2, 3, 3]);
    const denied = toAnswer(decisions[3] ?? failed(), { policyVersion: '1', wantHeaders: false, nowMs: 0 });
    expect(denied.limits[0]).toMatchObject({ status: LimitStatus.OVER, limit: 3, remaining: 0 });
    expect(denied.retryAfterMs).toBeGreaterThan(0);
    expect(denied.retryAfterMs).toBeLessThanOrEqual(60_000);
  });

  test('all or nothing: what one limit denies is charged to no other', async () => {
    const namespace = randomNamespace();
    const call = (): Call => ({ ...newCall(), namespace });
    const local = under({ localFraction: 0.2 });
    for (let tries = 0; tries < 3; tries++) {
      expect((await decided([local, under('deny')], ask(1), call())).allowed).toBe(false);
    }
    expect((await decided([local, under('allow')], ask(2), call())).allowed).toBe(true);
    expect((await decided([local, under('allow')], ask(1), call())).allowed).toBe(false);
  });

  test('a part of the cost is granted where that is enough', async () => {
    const namespace = randomNamespace();
    const call = (): Call => ({ ...newCall(), namespace });
    const limits = [under({ localFraction: 0.3 })];
    expect(await decided(limits, ask(5, { minCost: 2 }), call())).toMatchObject({ allowed: true, granted: 3 });
    expect(await decided(limits, ask(5, { minCost: 1 }), call())).toMatchObject({ allowed: false, granted: 0 });
  });

  test('a limit that only watches denies nothing', async () => {
    expect(await decided([{ ...under('deny'), isShadow: true }])).toMatchObject({ allowed: true, degraded: true });
  });

  test('one limit that says `fail` fails the call', async () => {
    const failing = limiter.checkRateLimit(
      [under('allow'), under('fail')],
      ask(1),
      newCall(kind === 'dead' ? 300 : 9_000),
    );
    expect(['REDIS_UNAVAILABLE', 'OUTCOME_UNKNOWN']).toContain(await failureOf(failing));
  });
});

describe('when Redis is back', () => {
  afterEach(() => {
    server.signal('SIGCONT');
  });

  test('it decides again, also of those whose local share is in use', async () => {
    const namespace = randomNamespace();
    const limits = [under({ localFraction: 0.1 }, 'user:bob')];
    const check = (): Promise<RateLimitDecision> => limiter.checkRateLimit(limits, ask(1), { ...newCall(), namespace });
    server.signal('SIGSTOP');
    expect((await check()).allowed).toBe(true);
    expect(await check()).toMatchObject({ allowed: false, degraded: true });
    server.signal('SIGCONT');
    await until(async () => {
      const { degraded, allowed } = await check();
      return !degraded && allowed;
    });
  });
});

describe('what is no loss of Redis', () => {
  const loss = new RedisLoss(() => 0);
  const failing = (code: ErrorCode, call = newCall()): Promise<RateLimitDecision> =>
    loss.guard([under('allow')], ask(1), call, () => Promise.reject(new DomainError(code, 'x')));

  test.each(['INVALID_FIELD', 'WRONG_TYPE', 'REDIS_OUT_OF_MEMORY'] as const)('%s is told', async (code) => {
    expect(await failureOf(failing(code))).toBe(code);
  });

  test.each(['REDIS_UNAVAILABLE', 'OUTCOME_UNKNOWN', 'OVERLOADED'] as const)('but %s is one', async (code) => {
    expect((await failing(code)).degraded).toBe(true);
  });

  test('a call that ended is admitted nowhere', async () => {
    expect(await failureOf(failing('REDIS_UNAVAILABLE', { ...newCall(), ended: true }))).toBe('REDIS_UNAVAILABLE');
    const before = { ...loss.answered };
    const call = { ...newCall(20), ended: false };
    let lose: (error: Error) => void = () => undefined;
    const decision = loss.guard([under('allow')], ask(1), call, () => new Promise((_, reject) => (lose = reject)));
    call.ended = true;
    await until(() => performance.now() > call.deadlineAt);
    lose(new DomainError('OUTCOME_UNKNOWN', 'x'));
    expect(await failureOf(decision)).toBe('OUTCOME_UNKNOWN');
    expect(loss.answered).toEqual(before);
  });
});
