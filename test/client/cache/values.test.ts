import * as msgpack from '@msgpack/msgpack';
import { describe, expect, test } from '@jest/globals';
import { binary, Code, FailedPreconditionError, InvalidArgumentError, messagePack } from '../../../src/client/index.js';
import { errorOf } from '../../support/client-error.js';
import { until } from '../../support/redis-server.js';
import { sdkClient } from '../../support/sdk-client.js';
import { onEachTopology, randomNamespace } from '../../support/service.js';

interface User {
  readonly name: string;
  readonly level: number;
}

const ada: User = { name: 'Ada', level: 50 };
const bob: User = { name: 'Bob', level: 7 };

onEachTopology('values', (service) => {
  const cacheOf = () => sdkClient(service().address).cache;

  test('come back as they were, with version and time to live', async () => {
    const cache = cacheOf();
    const key = randomNamespace();
    const { stored, version } = await cache.set(key, ada, { ttlMs: 60_000 });
    expect(stored).toBe(true);
    expect(await cache.get<User>(key)).toEqual(ada);
    const entry = await cache.getEntry<User>(key);
    expect(entry).toMatchObject({ value: ada, version, stale: false });
    expect(entry?.ttlMs).toBeGreaterThan(0);
    expect(await cache.getTtl(key)).toBeGreaterThan(0);
    expect(await cache.get('not there')).toBeUndefined();
    expect(await cache.getTtl('not there')).toBeUndefined();
  });

  test.each([null, false, 0, '', [], {}, 'text', 1.5, [null]])('%j is a value, not a miss', async (value) => {
    const cache = cacheOf();
    const key = randomNamespace();
    await cache.set(key, value);
    expect(await cache.get(key)).toEqual(value);
  });

  test('many at once, more than one call takes, in the order asked', async () => {
    const cache = cacheOf();
    const run = randomNamespace();
    const keys = Array.from({ length: 600 }, (_, index) => `${run}:${String(index)}`);
    const stored = await cache.setMany(keys.map((key, value) => ({ key, value, ttlMs: 60_000 })));
    expect(stored.every((answer) => answer.stored)).toBe(true);
    expect(await cache.getMany<number>([...keys, 'no such key', keys[0] ?? ''])).toEqual([
      ...keys.keys(),
      undefined,
      0,
    ]);
    expect((await cache.deleteMany(keys)).filter(Boolean)).toHaveLength(600);
    expect(await cache.getMany(keys)).toEqual(keys.map(() => undefined));
    expect(await cache.getMany([])).toEqual([]);
    expect(await cache.setMany([])).toEqual([]);
  });

  test('of several writes one that cannot be done fails alone where errors are only logged', async () => {
    const cache = cacheOf();
    const [counter, entry] = [randomNamespace(), randomNamespace()];
    await cache.increment(counter);
    const write = cache.setMany([
      { key: entry, value: 1 },
      { key: counter, value: 2, condition: 'present' },
    ]);
    expect(await errorOf(write)).toBeInstanceOf(FailedPreconditionError);
    expect(await cache.get(entry)).toBe(1);
  });

  test('conditions hold: absent, present, version', async () => {
    const cache = cacheOf();
    const key = randomNamespace();
    expect(await cache.set(key, ada, { condition: 'present' })).toEqual({ stored: false, version: 0 });
    const first = await cache.set(key, ada, { condition: 'absent' });
    expect(first.stored).toBe(true);
    expect(await cache.set(key, bob, { condition: 'absent' })).toEqual({ stored: false, version: first.version });
    const second = await cache.set(key, bob, { condition: { version: first.version } });
    expect(second.version).toBeGreaterThan(first.version);
    expect((await cache.set(key, ada, { condition: { version: first.version } })).stored).toBe(false);
    expect(await cache.get(key)).toEqual(bob);
  });

  test('are deleted, looked for and touched', async () => {
    const cache = cacheOf();
    const key = randomNamespace();
    expect(await cache.exists(key)).toBe(false);
    expect(await cache.touch(key, { ttlMs: 1_000 })).toBe(false);
    await cache.set(key, 1, { noExpiry: true });
    expect(await cache.getTtl(key)).toBe(Infinity);
    expect(await cache.touch(key, { ttlMs: 60_000 })).toBe(true);
    expect(await cache.getTtl(key)).toBeLessThan(Infinity);
    expect(await cache.exists(key)).toBe(true);
    expect(await cache.delete(key)).toBe(true);
    expect(await cache.delete(key)).toBe(false);
  });

  test('counters count: numbers, bounds, and all 64 bits as bigint', async () => {
    const cache = cacheOf();
    const key = randomNamespace();
    expect(await cache.increment(key)).toBe(1);
    expect(await cache.increment(key, -3)).toBe(-2);
    expect(await cache.incrementWithin(key, -3, { floor: -4 })).toEqual({ applied: false, value: -2n });
    const large = randomNamespace();
    expect(await cache.increment(large, 2n ** 63n - 2n)).toBe(2n ** 63n - 2n);
    await expect(cache.increment(large, 1)).rejects.toBeInstanceOf(RangeError);
    expect(await cache.increment(large, 0n)).toBe(2n ** 63n - 1n);
    expect((await errorOf(cache.increment(large, 1n))).reason).toBe('COUNTER_OVERFLOW');
    expect((await errorOf(cache.increment(key, 0.5))).fields).toEqual(['delta']);
    expect((await errorOf(cache.increment(key, 1, { floor: NaN }))).fields).toEqual(['floor']);
  });

  test('sets hold equal members once, and more than a page of them', async () => {
    const cache = cacheOf();
    const key = randomNamespace();
    const members = Array.from({ length: 250 }, (_, index) => ({ user: index }));
    expect(await cache.addToSet(key, members)).toEqual({ applied: true, addedCount: 250, size: 250 });
    expect((await cache.addToSet(key, [{ user: 0 }, 'ada'])).addedCount).toBe(1);
    expect(await cache.removeFromSet(key, ['ada', 'nobody'])).toBe(1);
    expect(new Set((await cache.getSetMembers<User>(key)).map((member) => JSON.stringify(member)))).toEqual(
      new Set(members.map((member) => JSON.stringify(member))),
    );
    expect(await cache.addToSet(key, ['one too many'], { maxMembers: 250 })).toMatchObject({ applied: false });
    expect(await cache.getSetMembers('no such set')).toEqual([]);
  });

  test('lists keep the newest items, and are read from either end', async () => {
    const cache = cacheOf();
    const key = randomNamespace();
    expect(await cache.pushToList(key, ['a', 'b', 'c'])).toBe(3);
    expect(await cache.pushToList(key, ['d'], { maxLength: 3 })).toBe(3);
    expect(await cache.getList(key)).toEqual(['b', 'c', 'd']);
    expect(await cache.getList(key, { side: 'tail', limit: 2 })).toEqual(['d', 'c']);
    expect(await cache.getList(key, { offset: 1 })).toEqual(['c', 'd']);
    expect(await cache.pushToList(key, ['first'], { side: 'head' })).toBe(4);
    expect(await cache.getList(key, { limit: 1 })).toEqual(['first']);
    const long = randomNamespace();
    for (let page = 0; page < 9; page++)
      await cache.pushToList(
        long,
        Array.from({ length: 250 }, (_, index) => page * 250 + index),
      );
    expect(await cache.getList(long)).toEqual([...Array(2_250).keys()]);
  });

  test('a pattern is deleted, or only counted', async () => {
    const cache = cacheOf();
    const run = randomNamespace();
    await cache.setMany(Array.from({ length: 20 }, (_, index) => ({ key: `${run}:${String(index)}`, value: index })));
    expect(await cache.deletePattern(`${run}:*`, { dryRun: true })).toMatchObject({ matched: 20, deleted: 0 });
    const steps: number[] = [];
    expect(await cache.deletePattern(`${run}:*`, { onProgress: ({ deleted }) => steps.push(deleted) })).toMatchObject({
      deleted: 20,
    });
    expect(steps.at(-1)).toBe(20);
    expect((await errorOf(cache.deletePattern('*'))).reason).toBe('BROAD_PATTERN');
  });

  test('a write under an old fencing token is refused', async () => {
    const cache = cacheOf();
    const key = randomNamespace();
    await cache.set(key, 'new', { guard: { resource: 'lock', fencingToken: 7 } });
    const late = cache.set(key, 'old', { guard: { resource: 'lock', fencingToken: 6 } });
    expect((await errorOf(late)).reason).toBe('OLD_FENCING_TOKEN');
    expect(await cache.get(key)).toBe('new');
    const deletion = cache.delete(key, { guard: { resource: 'lock', fencingToken: 6 } });
    expect((await errorOf(deletion)).reason).toBe('OLD_FENCING_TOKEN');
  });

  test('codecs and schema versions live side by side, each a miss to the other', async () => {
    const cache = cacheOf();
    const packed = cache.with({ codec: messagePack(msgpack) });
    const blobs = cache.with({ codec: binary });
    const [first, second] = [randomNamespace(), randomNamespace()];
    await packed.set(first, { bytes: new Uint8Array([1, 2]) });
    expect(await packed.get(first)).toEqual({ bytes: new Uint8Array([1, 2]) });
    expect(await cache.get(first)).toBeUndefined();
    await blobs.set(second, Buffer.from([0, 255]));
    expect(await blobs.get(second)).toEqual(Buffer.from([0, 255]));
    const next = cache.with({ schemaVersion: 2 });
    await cache.set(first, ada);
    expect(await next.get(first)).toBeUndefined();
  });

  test('statistics tell what was read and written', async () => {
    const cache = cacheOf();
    const key = randomNamespace();
    await cache.set(key, 1);
    await cache.get(key);
    await until(async () => (await cache.getCacheStats()).totals.hits > 0);
    const { hitRatio, minutes, redis } = await cache.getCacheStats({ minutes: 1 });
    expect(hitRatio).toBeGreaterThan(0);
    expect(minutes).toHaveLength(1);
    expect(redis?.memoryUsedBytes).toBeGreaterThan(0);
  });

  describe('what is wrong is said by its field, also where errors are only logged', () => {
    test.each([
      ['an empty key', () => cacheOf().get(''), 'key'],
      ['a key that is too long', () => cacheOf().set('k'.repeat(513), 1), 'key'],
      ['no time', () => cacheOf().set('k', 1, { ttlMs: 0 }), 'ttlMs'],
      ['a time that is none', () => cacheOf().set('k', 1, { ttlMs: NaN }), 'ttlMs'],
      ['both expiries', () => cacheOf().set('k', 1, { ttlMs: 1, noExpiry: true }), 'ttlMs'],
      ['staleness of nothing', () => cacheOf().set('k', 1, { staleMs: 1 }), 'staleMs'],
      [
        'a threshold of everything',
        () => cacheOf().cacheAside('k', () => 1, { refreshThreshold: 1 }),
        'refreshThreshold',
      ],
    ])('%s', async (_, call, field) => {
      const error = await errorOf(Promise.resolve().then(call));
      expect(error).toBeInstanceOf(InvalidArgumentError);
      expect(error.code).toBe(Code.INVALID_ARGUMENT);
      expect(error.fields[0]).toBe(field);
    });
  });
});
