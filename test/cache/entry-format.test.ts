import { status as Code } from '@grpc/grpc-js';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { failureOf } from '../support/client.js';
import { rawRedis, type RawRedis } from '../support/raw-redis.js';
import { onEachTopology, randomNamespace } from '../support/service.js';
import { FENCE, fieldsOf, packEntry, type EntryBytes } from './entry-bytes.js';

const value = Buffer.from('value');
const unknown = { type: 200, bytes: Buffer.from('what a newer service knows') };

function withValueAt(packed: Buffer, valueAt: number): Buffer {
  packed.writeUInt16BE(valueAt, 1);
  return packed;
}

onEachTopology('an entry in Redis', (service, topology) => {
  let raw: RawRedis;
  beforeAll(async () => {
    raw = await rawRedis(topology);
  });
  afterAll(async () => {
    await raw.close();
  });

  const redisKey = (key: string): string => `${service().namespace}:cache:{${key}}`;

  /** Writes bytes past the service and answers their key. */
  async function put(packed: Buffer): Promise<string> {
    const key = `raw:${randomNamespace()}`;
    await raw.command('SET', redisKey(key), packed);
    return key;
  }

  async function bytesOf(key: string): Promise<Buffer> {
    const packed = await raw.command('GET', redisKey(key));
    if (!Buffer.isBuffer(packed)) throw new Error('no bytes');
    return packed;
  }

  test('is written with the documented header', async () => {
    const { cache } = service();
    const { version } = await cache.set({ key: 'layout', value, expiry: { $case: 'ttlMs', value: 60_000n } });
    const packed = await bytesOf('layout');
    const expiresAtMs = Number(await raw.command('PEXPIRETIME', redisKey('layout')));
    expect(packed).toEqual(packEntry({ value, version, createdAtMs: Number(version / 1_000n), expiresAtMs }));
    await cache.touch({ keys: ['layout'], expiry: { $case: 'noExpiry', value: true } });
    expect(await bytesOf('layout')).toEqual(packEntry({ value, version, createdAtMs: Number(version / 1_000n) }));
  });

  test('with header fields of a newer service is read', async () => {
    const { cache } = service();
    const key = await put(packEntry({ value, version: 42n, createdAtMs: 7, fields: [unknown, FENCE] }));
    expect((await cache.get({ key })).entry).toEqual({
      ...{ value, version: 42n, createdAtMs: 7n, ttlMs: undefined, stale: false, tags: [], freshTtlMs: undefined },
    });
    expect(await cache.exists({ keys: [key] })).toEqual({ exists: [true] });
    expect(await cache.touch({ keys: [key] })).toEqual({ touched: [true] });
    expect((await cache.get({ key })).entry?.value).toEqual(value);
    expect(fieldsOf(await bytesOf(key))).toEqual([unknown, FENCE]);
  });

  test.each<[string, EntryBytes]>([
    ['first', { fields: [FENCE, unknown] }],
    ['last', { fields: [unknown, FENCE] }],
    ['alone', { fields: [FENCE] }],
    ['without a value', { fields: [unknown, FENCE], flags: 0 }],
  ])('keeps its fence over a Set: %s', async (_, entry) => {
    const key = await put(packEntry({ value, ...entry }));
    expect((await service().cache.set({ key, value: Buffer.from('new') })).stored).toBe(true);
    expect(fieldsOf(await bytesOf(key))).toEqual([FENCE]);
    expect((await service().cache.get({ key })).entry?.value.toString()).toBe('new');
  });

  test('whose version is ahead of the clock is followed by a greater one', async () => {
    const ahead = 2n ** 52n;
    const key = await put(packEntry({ value, version: ahead }));
    const { version } = await service().cache.set({ key, value, condition: { $case: 'ifVersion', value: ahead } });
    expect(version).toBe(ahead + 1n);
    const stub = await put(packEntry({ flags: 0, version: ahead }));
    expect((await service().cache.set({ key: stub, value })).version).toBe(ahead + 1n);
  });

  describe('that is only a header', () => {
    const stub = (): Promise<string> => put(packEntry({ flags: 0, version: 9n, fields: [unknown] }));

    test('is a miss for every read', async () => {
      const { cache } = service();
      const key = await stub();
      expect((await cache.get({ key })).entry).toBeUndefined();
      expect((await cache.getMany({ keys: [key] })).items).toEqual([{ key, entry: undefined }]);
      expect(await cache.exists({ keys: [key] })).toEqual({ exists: [false] });
      expect((await cache.getTtl({ keys: [key] })).items).toEqual([{ key, exists: false, ttlMs: undefined }]);
    });

    test('is not touched, and deleted without having been there', async () => {
      const { cache } = service();
      const key = await stub();
      const before = await bytesOf(key);
      expect(await cache.touch({ keys: [key] })).toEqual({ touched: [false] });
      expect(await bytesOf(key)).toEqual(before);
      expect(await raw.command('PTTL', redisKey(key))).toBe(-1);
      expect(await cache.delete({ keys: [key] })).toEqual({ deleted: [false] });
      expect(await raw.command('EXISTS', redisKey(key))).toBe(0);
    });

    test('is absent for conditions', async () => {
      const { cache } = service();
      const key = await stub();
      const unmet = { stored: false, version: 0n };
      expect(await cache.set({ key, value, condition: { $case: 'ifPresent', value: true } })).toEqual(unmet);
      expect(await cache.set({ key, value, condition: { $case: 'ifVersion', value: 9n } })).toEqual(unmet);
      expect(await cache.set({ key, value, condition: { $case: 'ifAbsent', value: true } })).toMatchObject({
        stored: true,
      });
      expect((await cache.get({ key })).entry?.value).toEqual(value);
    });

    test('is no counter', async () => {
      expect(await failureOf(service().cache.increment({ key: await stub() }))).toMatchObject({ reason: 'WRONG_TYPE' });
    });
  });

  test.each([
    ['whose value would begin behind its end', withValueAt(packEntry({ value }), 200)],
    ['whose value would begin in its header', withValueAt(packEntry({ value }), 3)],
    ['whose field goes on behind the header', withValueAt(packEntry({ value, fields: [FENCE] }), 30)],
  ])('%s cannot be read, but is deleted', async (_, packed) => {
    const { cache } = service();
    const key = await put(packed);
    expect(await failureOf(cache.get({ key }))).toMatchObject({ code: Code.FAILED_PRECONDITION, reason: 'WRONG_TYPE' });
    await cache.delete({ keys: [key] });
    expect((await cache.set({ key, value })).stored).toBe(true);
    expect((await cache.get({ key })).entry?.value).toEqual(value);
  });

  test.each([
    ['of a later format', Buffer.from([2, ...packEntry({ value }).subarray(1)])],
    ['that was cut', packEntry({ value }).subarray(0, 23)],
    ['of one byte', Buffer.from([1])],
    ['of nothing', Buffer.alloc(0)],
  ])('%s is another kind of thing: not read, not overwritten, but touched and deleted', async (_, packed) => {
    const { cache } = service();
    const key = await put(packed);
    const wrong = { code: Code.FAILED_PRECONDITION, reason: 'WRONG_TYPE' };
    expect(await failureOf(cache.get({ key }))).toMatchObject(wrong);
    expect(await failureOf(cache.set({ key, value }))).toMatchObject(wrong);
    expect(await failureOf(cache.increment({ key }))).toMatchObject(wrong);
    expect(await cache.touch({ keys: [key] })).toEqual({ touched: [true] });
    expect(await bytesOf(key)).toEqual(packed);
    expect(await cache.delete({ keys: [key] })).toEqual({ deleted: [true] });
  });
});
