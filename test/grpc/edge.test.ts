import { status as Code } from '@grpc/grpc-js';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { failureOf, type CallFailure } from '../support/client.js';
import { startRedis, until, type RedisServer } from '../support/redis-server.js';
import { startTestService, type Environment, type TestService } from '../support/service.js';

/** Calls whose Redis does not answer: a frozen process keeps its connections open. */

const SERVER_DEADLINE_MS = 300;

let redis: RedisServer;
let service: TestService;

beforeEach(async () => {
  redis = await startRedis();
});
afterEach(async () => {
  redis.signal('SIGCONT');
  await service.stop();
  await redis.remove();
});

async function startFrozen(env: Environment): Promise<TestService['cache']> {
  service = await startTestService({ REDIS_URL: redis.url, ...env });
  // the connection of the channel stands, so that a call's time is the call's
  await service.cache.get({ key: 'warm' });
  redis.signal('SIGSTOP');
  return service.cache;
}

/** Waits until Redis answers through the service again. */
async function thaw(): Promise<void> {
  redis.signal('SIGCONT');
  await until(async () => (await service.cache.exists({ keys: ['warm'] })).exists[0] === false);
}

describe('a call that Redis does not answer', () => {
  test('ends DEADLINE_EXCEEDED at the deadline of its caller', async () => {
    const cache = await startFrozen({});
    const startedAt = performance.now();
    const { code } = await failureOf(cache.get({ key: 'x' }, { deadline: Date.now() + 200 }));
    expect(code).toBe(Code.DEADLINE_EXCEEDED);
    // long before the 2 s of the server's default
    expect(performance.now() - startedAt).toBeLessThan(1_000);
  });

  test("ends at the server's default where the caller gives none", async () => {
    const cache = await startFrozen({ DEFAULT_DEADLINE_MS: String(SERVER_DEADLINE_MS) });
    const startedAt = performance.now();
    const failures = await Promise.all([
      failureOf(cache.get({ key: 'x' })),
      failureOf(cache.set({ key: 'x', value: Buffer.alloc(1) })),
    ]);
    expect(failures.map(({ code }) => code)).toEqual([Code.DEADLINE_EXCEEDED, Code.DEADLINE_EXCEEDED]);
    expect(performance.now() - startedAt).toBeGreaterThanOrEqual(SERVER_DEADLINE_MS - 1);
  });

  test("ends at the server's maximum where the caller would wait longer", async () => {
    const limit = String(SERVER_DEADLINE_MS);
    const cache = await startFrozen({ DEFAULT_DEADLINE_MS: limit, MAX_DEADLINE_MS: limit });
    const { code } = await failureOf(cache.get({ key: 'x' }, { deadline: Date.now() + 3_600_000 }));
    expect(code).toBe(Code.DEADLINE_EXCEEDED);
  });

  test('leaves nothing behind that the next calls stumble over', async () => {
    const cache = await startFrozen({ DEFAULT_DEADLINE_MS: String(SERVER_DEADLINE_MS) });
    const keys = Array.from({ length: 50 }, (_, index) => `late:${String(index)}`);
    const failures = await Promise.all(keys.map((key) => failureOf(cache.get({ key }))));
    expect(failures.every(({ code }) => code === Code.DEADLINE_EXCEEDED)).toBe(true);
    await thaw();
    await Promise.all(keys.map((key) => cache.set({ key, value: Buffer.from(key) })));
    const entries = await Promise.all(keys.map((key) => cache.get({ key })));
    expect(entries.map(({ entry }) => entry?.value.toString())).toEqual(keys);
  });
});

describe('with as many calls in flight as may be', () => {
  const overloaded = { code: Code.RESOURCE_EXHAUSTED, reason: 'OVERLOADED' };

  function expectOverload(failure: CallFailure): void {
    expect(failure).toMatchObject(overloaded);
    expect(failure.retryAfterMs).toBeGreaterThan(0);
  }

  test('the next one is refused at once, and the first is answered', async () => {
    const cache = await startFrozen({ MAX_IN_FLIGHT: '1' });
    const first = cache.set({ key: 'first', value: Buffer.from('x') });
    expectOverload(await failureOf(cache.get({ key: 'first' })));
    redis.signal('SIGCONT');
    expect((await first).stored).toBe(true);
    await until(async () => (await cache.get({ key: 'first' })).entry !== undefined);
  });

  test('one that ran out of time counts until Redis let it go', async () => {
    const cache = await startFrozen({ MAX_IN_FLIGHT: '1', DEFAULT_DEADLINE_MS: '100' });
    expect(await failureOf(cache.get({ key: 'x' }))).toMatchObject({ code: Code.DEADLINE_EXCEEDED });
    expectOverload(await failureOf(cache.get({ key: 'x' })));
    await thaw();
  });
});
