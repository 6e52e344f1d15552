import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { status as Code } from '@grpc/grpc-js';
import { FillStatus } from '../../src/gen/shardkeep/cache/v1/cache.js';
import { failureOf } from '../support/client.js';
import { rawRedis, type RawRedis } from '../support/raw-redis.js';
import { until } from '../support/redis-server.js';
import { onEachTopology, randomNamespace, type TestService } from '../support/service.js';

/** Writes that count only while their caller holds a lock. */

const guardOf = (fencingToken: bigint, resource = 'door') => ({ resource, fencingToken });
const MINUTE = { $case: 'ttlMs', value: 60_000n } as const;

type Cache = TestService['cache'];
type Guard = ReturnType<typeof guardOf>;
type Write = (cache: Cache, key: string, guard: Guard) => Promise<unknown>;

const set: Write = (cache, key, guard) => cache.set({ key, value: Buffer.from('x'), expiry: MINUTE, guard });
const remove: Write = (cache, key, guard) => cache.delete({ keys: [key], guard });
const increment: Write = (cache, key, guard) => cache.increment({ key, delta: 1n, expiry: MINUTE, guard });
const fill: Write = async (cache, key, guard) => {
  await cache.delete({ keys: [key] });
  const lease = await cache.getOrLease({ key, leaseMs: 60_000n });
  return cache.fill({ key, ...lease, result: { $case: 'value', value: Buffer.from('f') }, expiry: MINUTE, guard });
};

onEachTopology('a guard', (service, topology) => {
  let raw: RawRedis;
  beforeAll(async () => {
    raw = await rawRedis(topology);
  });
  afterAll(async () => {
    await raw.close();
  });

  const newKey = (): string => `guarded:${randomNamespace()}`;
  const redisKey = (key: string): string => `${service().namespace}:cache:{${key}}`;
  const old = (token: bigint) => ({
    ...{ code: Code.FAILED_PRECONDITION, reason: 'OLD_FENCING_TOKEN', metadata: { fencing_token: String(token) } },
  });

  describe.each<[string, Write]>([
    ['Set', set],
    ['Delete', remove],
    ['Increment', increment],
    ['Fill', fill],
  ])('of %s', (_, write) => {
    test('lets the same and a higher token write, and refuses a lower one', async () => {
      const { cache } = service();
      const key = newKey();
      for (const token of [5n, 5n, 9_007_199_254_740_990n]) await write(cache, key, guardOf(token));
      const before = await raw.command('DUMP', redisKey(key));
      expect(await failureOf(write(cache, key, guardOf(9_007_199_254_740_989n)))).toMatchObject(
        old(9_007_199_254_740_990n),
      );
      if (write !== fill) expect(await raw.command('DUMP', redisKey(key))).toEqual(before);
    });

    test('counts each resource by itself, and at most four', async () => {
      const { cache } = service();
      const key = newKey();
      for (const [index, resource] of ['a', 'b', 'c', 'd'].entries()) {
        await write(cache, key, guardOf(BigInt(10 - index), resource));
      }
      expect(await failureOf(write(cache, key, guardOf(9n, 'a')))).toMatchObject(old(10n));
      expect(await failureOf(write(cache, key, guardOf(6n, 'd')))).toMatchObject(old(7n));
      await write(cache, key, guardOf(8n, 'c'));
      expect(await failureOf(write(cache, key, guardOf(99n, 'e')))).toMatchObject({
        ...{ code: Code.FAILED_PRECONDITION, reason: 'TOO_MANY_GUARDS' },
      });
    });
  });

  test('is remembered over a Delete, over writes without one, and longer than the entry', async () => {
    const { cache } = service();
    const key = newKey();
    await cache.set({ key, value: Buffer.from('x'), expiry: { $case: 'ttlMs', value: 1n }, guard: guardOf(7n) });
    await until(async () => (await cache.get({ key })).entry === undefined);
    expect(await failureOf(set(cache, key, guardOf(6n)))).toMatchObject(old(7n));
    await cache.set({ key, value: Buffer.from('y') });
    expect(await failureOf(set(cache, key, guardOf(6n)))).toMatchObject(old(7n));
    expect(await cache.delete({ keys: [key] })).toEqual({ deleted: [true] });
    expect((await cache.get({ key })).entry).toBeUndefined();
    expect(await cache.exists({ keys: [key] })).toEqual({ exists: [false] });
    expect(await failureOf(set(cache, key, guardOf(6n)))).toMatchObject(old(7n));
    const lease = await cache.getOrLease({ key, leaseMs: 1n });
    expect(lease.leaseToken).toHaveLength(24);
    expect(await failureOf(set(cache, key, guardOf(6n)))).toMatchObject(old(7n));
    // it goes with the fence's retention, not never
    expect(Number(await raw.command('PTTL', redisKey(key)))).toBeGreaterThan(0);
  });

  test('does not let an unmet condition raise the token', async () => {
    const { cache } = service();
    const key = newKey();
    await set(cache, key, guardOf(5n));
    const unmet = { $case: 'ifAbsent', value: true } as const;
    expect(await cache.set({ key, value: Buffer.from('x'), condition: unmet, guard: guardOf(50n) })).toMatchObject({
      stored: false,
    });
    await set(cache, key, guardOf(6n));
  });

  test('of Delete needs an entry or nothing', async () => {
    const { cache } = service();
    const key = newKey();
    await cache.increment({ key });
    expect(await failureOf(remove(cache, key, guardOf(5n)))).toMatchObject({ reason: 'WRONG_TYPE' });
    expect((await cache.increment({ key, delta: 0n })).applied).toBe(true);
  });

  test('of a lock: who lost it cannot write what the next one wrote', async () => {
    const { cache, locks } = service();
    const key = newKey();
    const resource = newKey();
    const acquire = async (): Promise<{ lockToken: string; fencingToken: bigint }> => {
      const { lockToken, grants } = await locks.acquireLock({ resources: [resource], ttlMs: 60_000n });
      return { lockToken, fencingToken: grants[0]?.fencingToken ?? 0n };
    };
    const first = await acquire();
    await set(cache, key, guardOf(first.fencingToken, resource));
    await locks.releaseLock({ resources: [resource], lockToken: first.lockToken });
    const second = await acquire();
    await cache.set({ key, value: Buffer.from('second'), guard: guardOf(second.fencingToken, resource) });
    expect(await failureOf(set(cache, key, guardOf(first.fencingToken, resource)))).toMatchObject(
      old(second.fencingToken),
    );
    expect((await cache.get({ key })).entry?.value.toString()).toBe('second');
  });

  test('that races lets the highest token win, whoever comes first', async () => {
    const { cache } = service();
    for (let round = 0; round < 10; round++) {
      const key = newKey();
      const writes = Array.from({ length: 20 }, (_, index) => {
        const token = BigInt(index + 1);
        const value = Buffer.from(String(token));
        return cache.set({ key, value, guard: guardOf(token) }).catch(() => undefined);
      });
      await Promise.all(writes.sort(() => Math.random() - 0.5));
      expect((await cache.get({ key })).entry?.value.toString()).toBe('20');
    }
  });

  test('of a Fill that is refused stores nothing', async () => {
    const { cache } = service();
    const key = newKey();
    await set(cache, key, guardOf(5n));
    await cache.delete({ keys: [key] });
    const lease = await cache.getOrLease({ key, leaseMs: 60_000n });
    const result = { $case: 'value', value: Buffer.from('x') } as const;
    expect(await failureOf(cache.fill({ key, ...lease, result, guard: guardOf(4n) }))).toMatchObject(old(5n));
    expect((await cache.get({ key })).entry).toBeUndefined();
    expect((await cache.fill({ key, ...lease, result, guard: guardOf(6n) })).status).toBe(FillStatus.FILLED);
  });

  describe('and the request id of an Increment', () => {
    const requestId = (): string => randomNamespace().padEnd(16, 'x');

    test('count a retry once, also 100 at a time', async () => {
      const { cache } = service();
      const key = newKey();
      const id = requestId();
      const answers = await Promise.all(
        Array.from({ length: 100 }, () => cache.increment({ key, delta: 5n, requestId: id })),
      );
      expect(new Set(answers.map(({ value }) => value))).toEqual(new Set([5n]));
      expect(await cache.increment({ key, delta: 1n, requestId: requestId() })).toEqual({ applied: true, value: 6n });
      expect((await cache.increment({ key, delta: 5n, requestId: id })).value).toBe(5n);
      expect((await cache.increment({ key, delta: 0n })).value).toBe(6n);
    });

    test('are not remembered of what was not applied', async () => {
      const { cache } = service();
      const key = newKey();
      const again = { key, delta: 5n, ceiling: 4n, requestId: requestId() };
      expect(await cache.increment(again)).toEqual({ applied: false, value: 0n });
      expect(await cache.increment({ ...again, ceiling: 5n })).toEqual({ applied: true, value: 5n });
    });

    test('leave keys that expire', async () => {
      const { cache } = service();
      const key = newKey();
      const id = requestId();
      await cache.increment({ key, delta: 1n, requestId: id, guard: guardOf(3n) });
      const { namespace } = service();
      for (const left of [`${namespace}:request:{${key}}:${id}`, `${namespace}:fence:{${key}}`]) {
        expect(Number(await raw.command('PTTL', left))).toBeGreaterThan(0);
      }
    });
  });
});
