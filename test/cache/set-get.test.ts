import { status as Code } from '@grpc/grpc-js';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { failureOf } from '../support/client.js';
import { rawRedis, type RawRedis } from '../support/raw-redis.js';
import { until } from '../support/redis-server.js';
import { onEachTopology } from '../support/service.js';

const bytes = (text: string): Buffer => Buffer.from(text);
const lasting = { $case: 'noExpiry', value: true } as const;
const ttl = (value: bigint): { $case: 'ttlMs'; value: bigint } => ({ $case: 'ttlMs', value });

onEachTopology('cache', (service, topology) => {
  let raw: RawRedis;
  beforeAll(async () => {
    raw = await rawRedis(topology);
  });
  afterAll(async () => {
    await raw.close();
  });

  const pttl = async (key: string): Promise<number> =>
    Number(await raw.command('PTTL', `${service().namespace}:cache:{${key}}`));

  describe('GetMany', () => {
    test('answers every key in the order asked, twice for one named twice, without entry for a miss', async () => {
      const { cache } = service();
      await Promise.all(['b', 'a', 'c'].map((key) => cache.set({ key: `many:${key}`, value: bytes(key) })));
      const asked = ['c', 'x', 'a', 'c', 'b', 'y'].map((key) => `many:${key}`);
      const { items } = await cache.getMany({ keys: asked });
      expect(items.map(({ key }) => key)).toEqual(asked);
      expect(items.map(({ entry }) => entry?.value.toString())).toEqual(['c', undefined, 'a', 'c', 'b', undefined]);
    });

    test('reads 256 keys wherever they live', async () => {
      const { cache } = service();
      const keys = Array.from({ length: 256 }, (_, index) => `wide:${String(index)}`);
      await Promise.all(keys.map((key) => cache.set({ key, value: bytes(key) })));
      const { items } = await cache.getMany({ keys });
      expect(items.map(({ entry }) => entry?.value.toString())).toEqual(keys);
    });

    test('of more than a message may hold says so, wherever among the keys the large ones are', async () => {
      const { cache } = service();
      const value = Buffer.alloc(1_000_000, 7);
      await Promise.all([1, 2, 3, 4, 5].map((each) => cache.set({ key: `huge:${String(each)}`, value })));
      const large = [1, 2, 3, 4, 5].map((each) => `huge:${String(each)}`);
      const small = Array.from({ length: 100 }, (_, index) => `not there:${String(index)}`);
      for (const keys of [large, [...small, ...large], [...large, ...small]]) {
        expect(await failureOf(cache.getMany({ keys }))).toMatchObject({
          ...{ code: Code.RESOURCE_EXHAUSTED, reason: 'MESSAGE_TOO_LARGE' },
        });
      }
      const { items } = await cache.getMany({ keys: [...small, ...large.slice(0, 4), ...small.slice(0, 50)] });
      expect(items.filter(({ entry }) => entry !== undefined)).toHaveLength(4);
      expect(items).toHaveLength(154);
    });

    test('fails as a whole when one key holds another kind of thing', async () => {
      const { cache } = service();
      await cache.set({ key: 'mixed:entry', value: bytes('x') });
      await cache.increment({ key: 'mixed:counter' });
      expect(await failureOf(cache.getMany({ keys: ['mixed:entry', 'mixed:counter'] }))).toMatchObject({
        code: Code.FAILED_PRECONDITION,
        reason: 'WRONG_TYPE',
      });
    });
  });

  describe('Set', () => {
    test('keeps an empty value, which is no miss', async () => {
      const { cache } = service();
      await cache.set({ key: 'empty', value: Buffer.alloc(0) });
      expect((await cache.get({ key: 'empty' })).entry?.value).toEqual(Buffer.alloc(0));
    });

    test('keeps a value of the largest size', async () => {
      const { cache } = service();
      const value = Buffer.alloc(1_048_576, 7);
      await cache.set({ key: 'largest', value });
      expect((await cache.get({ key: 'largest' })).entry?.value.equals(value)).toBe(true);
    });

    test('without expiry takes the default of the environment', async () => {
      await service().cache.set({ key: 'default', value: bytes('x') });
      expect(await pttl('default')).toBeGreaterThan(50_000);
      expect(await pttl('default')).toBeLessThanOrEqual(60_000);
    });

    test('with no_expiry stays, and says so', async () => {
      const { cache } = service();
      await cache.set({ key: 'lasting', value: bytes('x'), expiry: lasting });
      expect(await pttl('lasting')).toBe(-1);
      expect((await cache.get({ key: 'lasting' })).entry).toMatchObject({ ttlMs: undefined });
      expect((await cache.getTtl({ keys: ['lasting'] })).items).toEqual([
        { key: 'lasting', exists: true, ttlMs: undefined },
      ]);
    });

    test('takes the whole range of TTLs', async () => {
      const { cache } = service();
      await cache.set({ key: 'year', value: bytes('x'), expiry: ttl(31_536_000_000n) });
      expect(await pttl('year')).toBeGreaterThan(31_535_990_000);
      await cache.set({ key: 'blink', value: bytes('x'), expiry: ttl(1n) });
      await until(async () => (await cache.get({ key: 'blink' })).entry === undefined);
    });

    test('replaces the expiry of the entry before', async () => {
      const { cache } = service();
      await cache.set({ key: 'again', value: bytes('x'), expiry: ttl(1_000n) });
      await cache.set({ key: 'again', value: bytes('y'), expiry: lasting });
      expect(await pttl('again')).toBe(-1);
      await cache.set({ key: 'again', value: bytes('z'), expiry: ttl(5_000n) });
      expect(await pttl('again')).toBeGreaterThan(1_000);
    });

    test('refuses no_expiry for keys that begin with temp:, and only for those', async () => {
      const { cache } = service();
      expect(await failureOf(cache.set({ key: 'temp:loot:7', value: bytes('x'), expiry: lasting }))).toMatchObject({
        code: Code.INVALID_ARGUMENT,
        fields: ['no_expiry'],
      });
      expect(await failureOf(cache.increment({ key: 'temp:loot:7', expiry: lasting }))).toMatchObject({
        fields: ['no_expiry'],
      });
      expect((await cache.exists({ keys: ['temp:loot:7'] })).exists).toEqual([false]);
      await cache.set({ key: 'temp:loot:7', value: bytes('x') });
      expect(await failureOf(cache.touch({ keys: ['other', 'temp:loot:7'], expiry: lasting }))).toMatchObject({
        fields: ['no_expiry'],
      });
      expect(await pttl('temp:loot:7')).toBeGreaterThan(0);
      expect((await cache.set({ key: 'temperature', value: bytes('x'), expiry: lasting })).stored).toBe(true);
    });

    test('never gives a version twice, also after the key was deleted', async () => {
      const { cache } = service();
      const versions: bigint[] = [];
      for (let round = 0; round < 20; round++) {
        versions.push((await cache.set({ key: 'versions', value: bytes('x') })).version);
        if (round % 3 === 0) await cache.delete({ keys: ['versions'] });
      }
      expect([...versions].sort((a, b) => Number(a - b))).toEqual(versions);
      expect(new Set(versions).size).toBe(versions.length);
    });
  });

  describe('a condition', () => {
    const key = 'conditional';
    const set = (
      condition: { $case: 'ifAbsent' | 'ifPresent'; value: boolean } | { $case: 'ifVersion'; value: bigint },
    ): Promise<{ stored: boolean; version: bigint }> => service().cache.set({ key, value: bytes('x'), condition });

    test('that is not met changes nothing and tells the version that is there', async () => {
      const { cache } = service();
      await cache.delete({ keys: [key] });
      expect(await set({ $case: 'ifPresent', value: true })).toEqual({ stored: false, version: 0n });
      expect(await set({ $case: 'ifVersion', value: 1n })).toEqual({ stored: false, version: 0n });
      const { version } = await cache.set({ key, value: bytes('first'), expiry: lasting });
      expect(await set({ $case: 'ifAbsent', value: true })).toEqual({ stored: false, version });
      expect(await set({ $case: 'ifVersion', value: version + 1n })).toEqual({ stored: false, version });
      expect(await set({ $case: 'ifVersion', value: 2n ** 63n - 1n })).toEqual({ stored: false, version });
      expect((await cache.get({ key })).entry).toMatchObject({ value: bytes('first'), version, ttlMs: undefined });
    });

    test('that is met writes, and an if_version counts once', async () => {
      const { cache } = service();
      await cache.delete({ keys: [key] });
      const first = await set({ $case: 'ifAbsent', value: true });
      const second = await set({ $case: 'ifPresent', value: true });
      const third = await set({ $case: 'ifVersion', value: second.version });
      const retry = await set({ $case: 'ifVersion', value: second.version });
      expect([first, second, third, retry].map(({ stored }) => stored)).toEqual([true, true, true, false]);
      expect(retry.version).toBe(third.version);
    });

    test('on another kind of thing is FAILED_PRECONDITION', async () => {
      const { cache } = service();
      await cache.increment({ key: 'conditional:counter' });
      const failure = failureOf(
        cache.set({ key: 'conditional:counter', value: bytes('x'), condition: { $case: 'ifAbsent', value: true } }),
      );
      expect(await failure).toMatchObject({ code: Code.FAILED_PRECONDITION, reason: 'WRONG_TYPE' });
    });
  });

  test('keys that look alike, hold braces or percent signs, or are long are different keys', async () => {
    const { cache } = service();
    const keys = [
      ...['{a}b', '{a}', 'a', '%7Ba%7D', '{}', '}{', 'a:b', 'a\r\nb', 'a b', '*', '[a', '\\', '../x', '__proto__'],
      ...['e\u0301', '\u00e9', '🦄', '\u202ex', ' ', 'x'.repeat(511), 'x'.repeat(512), 'ü'.repeat(256)],
    ];
    await Promise.all(keys.map((key) => cache.set({ key, value: bytes(key) })));
    const { items } = await cache.getMany({ keys });
    expect(items.map(({ entry }) => entry?.value.toString())).toEqual(keys);
  });
});
