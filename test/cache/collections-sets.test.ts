import { status as Code } from '@grpc/grpc-js';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { failureOf } from '../support/client.js';
import { rawRedis, type RawRedis } from '../support/raw-redis.js';
import { until } from '../support/redis-server.js';
import { onEachTopology, randomNamespace } from '../support/service.js';
import { FENCE, packEntry } from './entry-bytes.js';
import { membersOf, readPages } from './set-pages.js';

const MINUTE = 60_000n;
const bytes = (...texts: readonly string[]): Buffer[] => texts.map((text) => Buffer.from(text, 'latin1'));
const ttl = (ttlMs: bigint) => ({ $case: 'ttlMs', value: ttlMs }) as const;
const noExpiry = { $case: 'noExpiry', value: true } as const;
const wrongType = { code: Code.FAILED_PRECONDITION, reason: 'WRONG_TYPE' };

onEachTopology('a set', (service, topology) => {
  let raw: RawRedis;
  beforeAll(async () => {
    raw = await rawRedis(topology);
  });
  afterAll(async () => {
    await raw.close();
  });

  const redisKey = (key: string): string => `${service().namespace}:cache:{${key}}`;
  const newKey = (): string => `set:${randomNamespace()}`;
  const ttlOf = async (key: string): Promise<bigint | undefined> =>
    (await service().cache.getTtl({ keys: [key] })).items[0]?.ttlMs;
  const read = async (key: string): Promise<string[]> => membersOf(await readPages(service().cache, key, 1_000));

  test('counts what is new, whatever is named twice', async () => {
    const { cache } = service();
    const key = newKey();
    expect(await cache.addToSet({ key, members: bytes('a', 'b', 'a') })).toEqual({
      applied: true,
      addedCount: 2,
      size: 2n,
    });
    expect(await cache.addToSet({ key, members: bytes('b', 'c') })).toEqual({ applied: true, addedCount: 1, size: 3n });
    expect(await cache.removeFromSet({ key, members: bytes('a', 'x', 'a') })).toEqual({ removedCount: 1, size: 2n });
    expect(await cache.getSetMembers({ key })).toMatchObject({ nextPageToken: '', size: 2n });
    expect(await read(key)).toEqual(['b', 'c']);
    expect(await raw.command('TYPE', redisKey(key))).toBe('set');
  });

  test('that is not there is empty, and one that was emptied is not there', async () => {
    const { cache } = service();
    const key = newKey();
    expect(await cache.getSetMembers({ key })).toEqual({ members: [], nextPageToken: '', size: 0n });
    expect(await cache.removeFromSet({ key, members: bytes('a') })).toEqual({ removedCount: 0, size: 0n });
    await cache.addToSet({ key, members: bytes('a', 'b') });
    expect(await cache.removeFromSet({ key, members: bytes('a', 'b') })).toEqual({ removedCount: 2, size: 0n });
    expect(await cache.exists({ keys: [key] })).toEqual({ exists: [false] });
    await cache.increment({ key, delta: 1n });
  });

  test('takes any bytes, up to 64 KiB a member and 256 members a call', async () => {
    const { cache } = service();
    const key = newKey();
    const members = [
      ...Array.from({ length: 254 }, (_, index) => Buffer.from([index, 0xff, 0x0d, 0x0a, 0])),
      Buffer.from([0xc3, 0x28]),
      Buffer.alloc(65_536, 0x80),
    ];
    expect((await cache.addToSet({ key, members })).addedCount).toBe(256);
    expect(await read(key)).toEqual(members.map((member) => member.toString('latin1')).sort());
    expect(await cache.removeFromSet({ key, members })).toEqual({ removedCount: 256, size: 0n });
  });

  test('that would outgrow max_members is refused as a whole and stays as it is', async () => {
    const { cache } = service();
    const key = newKey();
    const maxMembers = 3;
    const refused = { applied: false, addedCount: 0 };
    const four = bytes('a', 'b', 'c', 'd');
    expect(await cache.addToSet({ key, members: four, maxMembers })).toEqual({ ...refused, size: 0n });
    expect(await cache.exists({ keys: [key] })).toEqual({ exists: [false] });
    await cache.addToSet({ key, members: bytes('a', 'b', 'a'), maxMembers, expiry: ttl(MINUTE) });
    const change = { key, maxMembers, expiry: ttl(60n * MINUTE), refreshExpiry: true };
    expect(await cache.addToSet({ ...change, members: bytes('c', 'd') })).toEqual({ ...refused, size: 2n });
    expect(await ttlOf(key)).toBeLessThanOrEqual(MINUTE);
    expect(await cache.addToSet({ ...change, members: bytes('c', 'b', 'c') })).toMatchObject({ size: 3n });
    expect(await cache.addToSet({ ...change, members: bytes('d') })).toEqual({ ...refused, size: 3n });
    expect(await read(key)).toEqual(['a', 'b', 'c']);
  });

  test('is told again what it holds, also when it holds more than max_members', async () => {
    const { cache } = service();
    const key = newKey();
    await cache.addToSet({ key, members: bytes('a', 'b', 'c') });
    const again = { key, maxMembers: 2, expiry: ttl(60n * MINUTE), refreshExpiry: true };
    expect(await cache.addToSet({ ...again, members: bytes('a', 'c') })).toEqual({
      applied: true,
      addedCount: 0,
      size: 3n,
    });
    expect(await ttlOf(key)).toBeGreaterThan(MINUTE);
    expect((await cache.addToSet({ ...again, members: bytes('a', 'd') })).applied).toBe(false);
  });

  test('gets its expiry when it is created, and another one only when asked', async () => {
    const { cache } = service();
    const key = newKey();
    await cache.addToSet({ key, members: bytes('a'), expiry: ttl(MINUTE / 2n) });
    await cache.addToSet({ key, members: bytes('b'), expiry: ttl(60n * MINUTE) });
    await cache.addToSet({ key, members: bytes('c'), expiry: noExpiry });
    expect(await ttlOf(key)).toBeLessThanOrEqual(MINUTE / 2n);
    // the default of the environment test
    await cache.addToSet({ key, members: bytes('c'), refreshExpiry: true });
    expect(await ttlOf(key)).toBeGreaterThan(MINUTE / 2n);
    expect(await ttlOf(key)).toBeLessThanOrEqual(MINUTE);
    await cache.removeFromSet({ key, members: bytes('c') });
    expect(await ttlOf(key)).toBeLessThanOrEqual(MINUTE);
    await cache.addToSet({ key, members: bytes('c'), expiry: noExpiry, refreshExpiry: true });
    expect(await ttlOf(key)).toBeUndefined();
    await cache.addToSet({ key, members: bytes('c'), expiry: ttl(MINUTE) });
    expect(await ttlOf(key)).toBeUndefined();
  });

  test.each([{ refreshExpiry: false }, { refreshExpiry: true }])(
    'created without a word about its expiry has the default one: %j',
    async (options) => {
      const key = newKey();
      await service().cache.addToSet({ key, members: bytes('a'), ...options });
      expect(await ttlOf(key)).toBeGreaterThan(0n);
      expect(await ttlOf(key)).toBeLessThanOrEqual(MINUTE);
    },
  );

  test('goes when its expiry is over, and the next one begins empty', async () => {
    const { cache } = service();
    const key = newKey();
    await cache.addToSet({ key, members: bytes('a'), expiry: ttl(1n) });
    await until(async () => (await cache.getSetMembers({ key })).size === 0n);
    expect(await cache.addToSet({ key, members: bytes('b') })).toEqual({ applied: true, addedCount: 1, size: 1n });
    expect(await ttlOf(key)).toBeGreaterThan(1n);
  });

  describe('at the key of', () => {
    const stub = packEntry({ flags: 0, version: 9n });
    const fenced = packEntry({ flags: 0, version: 9n, fields: [FENCE] });

    /** Writes past the service and answers the key. */
    async function put(packed: Buffer): Promise<string> {
      const key = newKey();
      await raw.command('SET', redisKey(key), packed, 'PX', '600000');
      return key;
    }

    test.each([
      ['a lease', stub],
      ['a deleted entry with a fence', fenced],
    ])('%s is empty, and stays so without a change', async (_, packed) => {
      const { cache } = service();
      const key = await put(packed);
      expect(await cache.getSetMembers({ key })).toEqual({ members: [], nextPageToken: '', size: 0n });
      expect(await cache.removeFromSet({ key, members: bytes('a') })).toEqual({ removedCount: 0, size: 0n });
      expect(await raw.command('GET', redisKey(key))).toEqual(packed);
    });

    test('a lease takes its place, with an expiry of its own', async () => {
      const { cache } = service();
      const key = await put(stub);
      const tooMany = { key, members: bytes('a', 'b'), maxMembers: 1 };
      expect(await cache.addToSet(tooMany)).toEqual({ applied: false, addedCount: 0, size: 0n });
      expect(await raw.command('GET', redisKey(key))).toEqual(stub);
      expect(await cache.addToSet({ key, members: bytes('a') })).toEqual({ applied: true, addedCount: 1, size: 1n });
      expect(await ttlOf(key)).toBeLessThanOrEqual(MINUTE);
    });

    test('a deleted entry with a fence cannot begin', async () => {
      const { cache } = service();
      const key = await put(fenced);
      expect(await failureOf(cache.addToSet({ key, members: bytes('a') }))).toMatchObject(wrongType);
      expect(await raw.command('GET', redisKey(key))).toEqual(fenced);
    });
  });
});
