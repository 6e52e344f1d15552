import { status as Code } from '@grpc/grpc-js';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { ListSide } from '../../src/gen/shardkeep/cache/v1/cache.js';
import { failureOf } from '../support/client.js';
import { rawRedis, type RawRedis } from '../support/raw-redis.js';
import { until } from '../support/redis-server.js';
import { onEachTopology, randomNamespace } from '../support/service.js';
import { FENCE, packEntry } from './entry-bytes.js';
import { bytesIn, textsOf } from './set-pages.js';

const MINUTE = 60_000n;
const MAX_ANSWER_BYTES = 1_048_576;
const { HEAD, TAIL } = ListSide;
const bytes = (...texts: readonly string[]): Buffer[] => texts.map((text) => Buffer.from(text, 'latin1'));
const ttl = (ttlMs: bigint) => ({ $case: 'ttlMs', value: ttlMs }) as const;
const noExpiry = { $case: 'noExpiry', value: true } as const;

onEachTopology('a list', (service, topology) => {
  let raw: RawRedis;
  beforeAll(async () => {
    raw = await rawRedis(topology);
  });
  afterAll(async () => {
    await raw.close();
  });

  const redisKey = (key: string): string => `${service().namespace}:cache:{${key}}`;
  const newKey = (): string => `list:${randomNamespace()}`;
  const ttlOf = async (key: string): Promise<bigint | undefined> =>
    (await service().cache.getTtl({ keys: [key] })).items[0]?.ttlMs;
  const read = async (key: string, side = HEAD): Promise<string[]> =>
    textsOf((await service().cache.getList({ key, side, limit: 1_000 })).items);

  test('takes items in order at either end, and is read from either', async () => {
    const { cache } = service();
    const key = newKey();
    expect(await cache.pushToList({ key, side: TAIL, items: bytes('c', 'd') })).toEqual({
      length: 2n,
      trimmedCount: 0n,
    });
    expect(await cache.pushToList({ key, side: HEAD, items: bytes('b', 'a') })).toEqual({
      length: 4n,
      trimmedCount: 0n,
    });
    expect(await read(key)).toEqual(['a', 'b', 'c', 'd']);
    expect(await read(key, TAIL)).toEqual(['d', 'c', 'b', 'a']);
    expect(await raw.command('TYPE', redisKey(key))).toBe('list');
  });

  test('that is not there is empty', async () => {
    expect(await service().cache.getList({ key: newKey(), side: TAIL })).toEqual({
      items: [],
      length: 0n,
      nextOffset: undefined,
    });
  });

  test('takes any bytes, none too, up to 64 KiB an item and 256 items a call', async () => {
    const { cache } = service();
    const key = newKey();
    const items = [
      ...Array.from({ length: 254 }, (_, index) => Buffer.from([index, 0xff, 0x0d, 0x0a, 0])),
      Buffer.alloc(0),
      Buffer.alloc(65_536, 0x80),
    ];
    await cache.pushToList({ key, side: TAIL, items });
    expect(await read(key)).toEqual(textsOf(items));
  });

  describe('of seven', () => {
    const seven = ['a', 'b', 'c', 'd', 'e', 'f', 'g'];
    let key: string;
    beforeAll(async () => {
      key = newKey();
      await service().cache.pushToList({ key, side: TAIL, items: bytes(...seven) });
    });

    test.each([
      { side: HEAD, offset: 0n, limit: 3, items: 'abc', nextOffset: 3n },
      { side: HEAD, offset: 3n, limit: 3, items: 'def', nextOffset: 6n },
      { side: HEAD, offset: 4n, limit: 3, items: 'efg', nextOffset: undefined },
      { side: HEAD, offset: 6n, limit: 1_000, items: 'g', nextOffset: undefined },
      { side: HEAD, offset: 7n, limit: 1, items: '', nextOffset: undefined },
      { side: HEAD, offset: 4_294_967_295n, limit: 1_000, items: '', nextOffset: undefined },
      { side: TAIL, offset: 0n, limit: 3, items: 'gfe', nextOffset: 3n },
      { side: TAIL, offset: 5n, limit: 3, items: 'ba', nextOffset: undefined },
      { side: TAIL, offset: 6n, limit: 1, items: 'a', nextOffset: undefined },
      { side: TAIL, offset: 7n, limit: 1, items: '', nextOffset: undefined },
      { side: TAIL, offset: 4_294_967_295n, limit: 1_000, items: '', nextOffset: undefined },
    ])('from side $side, $limit behind $offset: "$items"', async ({ side, offset, limit, items, nextOffset }) => {
      const answer = await service().cache.getList({ key, side, offset, limit });
      expect(answer).toEqual({ items: bytes(...items.split('')), length: 7n, nextOffset });
    });
  });

  test('answers 100 items unless asked for another number', async () => {
    const { cache } = service();
    const key = newKey();
    const items = Array.from({ length: 120 }, (_, index) => Buffer.from(String(index)));
    await cache.pushToList({ key, side: TAIL, items });
    expect(await cache.getList({ key, side: HEAD })).toEqual({
      items: items.slice(0, 100),
      length: 120n,
      nextOffset: 100n,
    });
    expect(await read(key, TAIL)).toEqual(textsOf(items).reverse());
  });

  test.each([HEAD, TAIL])('of large items is answered in parts of at most 1 MiB, from side %s', async (side) => {
    const { cache } = service();
    const key = newKey();
    const items = Array.from({ length: 40 }, (_, index) => Buffer.alloc(65_536 - (index % 7) * 9_000, index));
    await cache.pushToList({ key, side: TAIL, items: items.slice(0, 20) });
    await cache.pushToList({ key, side: TAIL, items: items.slice(20) });
    const found: Buffer[] = [];
    for (let offset: bigint | undefined = 0n; offset !== undefined;) {
      const part = await cache.getList({ key, side, offset, limit: 1_000 });
      expect(bytesIn(part.items)).toBeLessThanOrEqual(MAX_ANSWER_BYTES);
      expect(part.nextOffset ?? 40n).toBe(offset + BigInt(part.items.length));
      const next =
        side === HEAD ? items[found.length + part.items.length] : items.at(-1 - found.length - part.items.length);
      // the part ends where the next item would not fit
      if (next !== undefined) expect(bytesIn([...part.items, next])).toBeGreaterThan(MAX_ANSWER_BYTES);
      found.push(...part.items);
      offset = part.nextOffset;
    }
    expect(textsOf(found)).toEqual(textsOf(side === HEAD ? items : [...items].reverse()));
  });

  test('with an item that is larger than an answer gives it alone', async () => {
    const { cache } = service();
    const key = newKey();
    const large = Buffer.alloc(2_000_000, 7);
    await raw.command('RPUSH', redisKey(key), 'a', large, 'b');
    expect((await cache.getList({ key, side: HEAD })).items).toEqual(bytes('a'));
    expect(textsOf((await cache.getList({ key, side: HEAD, offset: 1n })).items)).toEqual(textsOf([large]));
    expect(textsOf((await cache.getList({ key, side: TAIL, offset: 1n })).items)).toEqual(textsOf([large]));
  });

  test('is trimmed at the other end to max_length, of what was pushed too', async () => {
    const { cache } = service();
    const key = newKey();
    const push = (side: ListSide, maxLength: number, ...items: string[]) =>
      cache.pushToList({ key, side, items: bytes(...items), maxLength });
    expect(await push(TAIL, 3, 'a', 'b')).toEqual({ length: 2n, trimmedCount: 0n });
    expect(await push(TAIL, 3, 'c')).toEqual({ length: 3n, trimmedCount: 0n });
    expect(await push(TAIL, 3, 'd')).toEqual({ length: 3n, trimmedCount: 1n });
    expect(await read(key)).toEqual(['b', 'c', 'd']);
    expect(await push(HEAD, 4, 'y', 'x')).toEqual({ length: 4n, trimmedCount: 1n });
    expect(await read(key)).toEqual(['x', 'y', 'b', 'c']);
    expect(await push(HEAD, 2, '1', '2', '3')).toEqual({ length: 2n, trimmedCount: 5n });
    expect(await read(key)).toEqual(['3', '2']);
    expect(await push(TAIL, 1, '4', '5')).toEqual({ length: 1n, trimmedCount: 3n });
    expect(await read(key)).toEqual(['5']);
    expect(await cache.pushToList({ key, side: TAIL, items: bytes('6') })).toEqual({ length: 2n, trimmedCount: 0n });
  });

  test('gets its expiry when it is created, and another one only when asked', async () => {
    const { cache } = service();
    const key = newKey();
    const push = { key, side: TAIL, items: bytes('a') };
    await cache.pushToList({ ...push, expiry: ttl(MINUTE / 2n) });
    await cache.pushToList({ ...push, expiry: ttl(60n * MINUTE), maxLength: 1 });
    await cache.pushToList({ ...push, expiry: noExpiry });
    expect(await ttlOf(key)).toBeLessThanOrEqual(MINUTE / 2n);
    // the default of the environment test
    await cache.pushToList({ ...push, refreshExpiry: true });
    expect(await ttlOf(key)).toBeGreaterThan(MINUTE / 2n);
    expect(await ttlOf(key)).toBeLessThanOrEqual(MINUTE);
    await cache.pushToList({ ...push, expiry: noExpiry, refreshExpiry: true });
    expect(await ttlOf(key)).toBeUndefined();
    await cache.pushToList({ ...push, expiry: ttl(MINUTE) });
    expect(await ttlOf(key)).toBeUndefined();
  });

  test('created without a word about its expiry has the default one', async () => {
    const key = newKey();
    await service().cache.pushToList({ key, side: HEAD, items: bytes('a'), maxLength: 1 });
    expect(await ttlOf(key)).toBeGreaterThan(0n);
    expect(await ttlOf(key)).toBeLessThanOrEqual(MINUTE);
  });

  test('goes when its expiry is over, and the next one begins empty', async () => {
    const { cache } = service();
    const key = newKey();
    await cache.pushToList({ key, side: TAIL, items: bytes('a'), expiry: ttl(1n) });
    await until(async () => (await cache.getList({ key, side: HEAD })).length === 0n);
    expect((await cache.pushToList({ key, side: TAIL, items: bytes('b') })).length).toBe(1n);
    expect(await ttlOf(key)).toBeGreaterThan(1n);
  });

  test('takes the place of a lease, but not of a deleted entry with a fence', async () => {
    const { cache } = service();
    const stub = packEntry({ flags: 0, version: 9n });
    const fenced = packEntry({ flags: 0, version: 9n, fields: [FENCE] });
    const [free, kept] = [newKey(), newKey()];
    await raw.command('SET', redisKey(free), stub, 'PX', '600000');
    await raw.command('SET', redisKey(kept), fenced, 'PX', '600000');
    for (const key of [free, kept]) {
      expect(await cache.getList({ key, side: HEAD })).toMatchObject({ items: [], length: 0n });
    }
    expect((await cache.pushToList({ key: free, side: HEAD, items: bytes('a') })).length).toBe(1n);
    expect(await ttlOf(free)).toBeLessThanOrEqual(MINUTE);
    expect(await failureOf(cache.pushToList({ key: kept, side: HEAD, items: bytes('a') }))).toMatchObject({
      code: Code.FAILED_PRECONDITION,
      reason: 'WRONG_TYPE',
    });
    expect(await raw.command('GET', redisKey(kept))).toEqual(fenced);
  });
});
