import { status as Code } from '@grpc/grpc-js';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { ListSide } from '../../src/gen/shardkeep/cache/v1/cache.js';
import { failureOf } from '../support/client.js';
import { rawRedis, type RawRedis } from '../support/raw-redis.js';
import { until } from '../support/redis-server.js';
import { onEachTopology, randomNamespace } from '../support/service.js';

/** Delete, Exists, Touch and GetTtl take a key of any kind; the rest only their own. */

const KINDS = ['entry', 'counter', 'set', 'list', 'hash', 'zset', 'text'] as const;
type Kind = (typeof KINDS)[number];
const MINUTE = 60_000n;

onEachTopology('a key', (service, topology) => {
  let raw: RawRedis;
  beforeAll(async () => {
    raw = await rawRedis(topology);
  });
  afterAll(async () => {
    await raw.close();
  });

  const redisKey = (key: string): string => `${service().namespace}:cache:{${key}}`;

  /** Makes a key of this kind that does not expire and answers its name. */
  async function make(kind: Kind): Promise<string> {
    const key = `${kind}:${randomNamespace()}`;
    const { cache } = service();
    const expiry = { $case: 'noExpiry', value: true } as const;
    const makers: Record<Kind, () => Promise<unknown>> = {
      entry: () => cache.set({ key, value: Buffer.from('x'), expiry }),
      counter: () => cache.increment({ key, delta: -5n, expiry }),
      set: () => cache.addToSet({ key, members: [Buffer.from('member')], expiry }),
      list: () => cache.pushToList({ key, side: ListSide.TAIL, items: [Buffer.from('item')], expiry }),
      hash: () => raw.command('HSET', redisKey(key), 'field', 'value'),
      zset: () => raw.command('ZADD', redisKey(key), '1', 'member'),
      text: () => raw.command('SET', redisKey(key), 'written by somebody else'),
    };
    await makers[kind]();
    return key;
  }

  const dump = (key: string): Promise<unknown> => raw.command('DUMP', redisKey(key));

  describe.each(KINDS)('that holds a %s', (kind) => {
    test('exists until it is deleted, once', async () => {
      const { cache } = service();
      const key = await make(kind);
      expect(await cache.exists({ keys: [key, 'nowhere', key] })).toEqual({ exists: [true, false, true] });
      expect(await cache.delete({ keys: ['nowhere', key] })).toEqual({ deleted: [false, true] });
      expect(await cache.delete({ keys: [key] })).toEqual({ deleted: [false] });
      expect(await cache.exists({ keys: [key] })).toEqual({ exists: [false] });
      expect(await raw.command('EXISTS', redisKey(key))).toBe(0);
    });

    test('takes a new expiry without another change, and loses it again', async () => {
      const { cache } = service();
      const key = await make(kind);
      const ttlOf = async (): Promise<bigint | undefined> => (await cache.getTtl({ keys: [key] })).items[0]?.ttlMs;
      expect(await ttlOf()).toBeUndefined();
      expect(await cache.touch({ keys: [key], expiry: { $case: 'ttlMs', value: 2n * MINUTE } })).toEqual({
        touched: [true],
      });
      expect(await ttlOf()).toBeGreaterThan(MINUTE);
      expect(await ttlOf()).toBeLessThanOrEqual(2n * MINUTE);
      expect(await cache.touch({ keys: [key] })).toEqual({ touched: [true] });
      expect(await ttlOf()).toBeLessThanOrEqual(MINUTE);
      const before = await dump(key);
      await cache.touch({ keys: [key], expiry: { $case: 'noExpiry', value: true } });
      expect(await ttlOf()).toBeUndefined();
      // an entry holds its expiry in its header too
      expect(kind === 'entry' ? before : await dump(key)).toEqual(before);
    });

    test('goes when its expiry is over', async () => {
      const { cache } = service();
      const key = await make(kind);
      await cache.touch({ keys: [key], expiry: { $case: 'ttlMs', value: 1n } });
      await until(async () => !(await cache.exists({ keys: [key] })).exists[0]);
      expect((await cache.getTtl({ keys: [key] })).items).toEqual([{ key, exists: false, ttlMs: undefined }]);
      expect(await cache.touch({ keys: [key] })).toEqual({ touched: [false] });
      expect(await cache.delete({ keys: [key] })).toEqual({ deleted: [false] });
    });

    const wrong = { code: Code.FAILED_PRECONDITION, reason: 'WRONG_TYPE' };
    test('is nothing but what it is, and stays as it is', async () => {
      const { cache } = service();
      const key = await make(kind);
      const before = await dump(key);
      const one = Buffer.from('y');
      const callsFor: Partial<Record<Kind, readonly (() => Promise<unknown>)[]>> = {
        entry: [() => cache.get({ key }), () => cache.getMany({ keys: [key] }), () => cache.set({ key, value: one })],
        counter: [() => cache.increment({ key, delta: 1n })],
        set: [
          () => cache.addToSet({ key, members: [one], refreshExpiry: true }),
          () => cache.addToSet({ key, members: [one], maxMembers: 1 }),
          () => cache.removeFromSet({ key, members: [one] }),
          () => cache.getSetMembers({ key }),
        ],
        list: [
          () => cache.pushToList({ key, side: ListSide.HEAD, items: [one], refreshExpiry: true, maxLength: 1 }),
          () => cache.getList({ key, side: ListSide.TAIL }),
        ],
      };
      for (const [other, calls] of Object.entries(callsFor)) {
        if (other === kind) continue;
        for (const call of calls) expect(await failureOf(call())).toMatchObject(wrong);
      }
      expect(await dump(key)).toEqual(before);
    });
  });

  test('that is touched keeps value, version and age, and tells the new TTL', async () => {
    const { cache } = service();
    const key = await make('entry');
    const { entry } = await cache.get({ key });
    await cache.touch({ keys: [key], expiry: { $case: 'ttlMs', value: 2n * MINUTE } });
    const touched = (await cache.get({ key })).entry;
    expect({ ...touched, ttlMs: undefined }).toEqual(entry);
    expect(touched?.ttlMs).toBeGreaterThan(MINUTE);
  });

  test('of 256 that are touched, deleted and looked for on every node is answered in its place', async () => {
    const { cache } = service();
    const keys = Array.from({ length: 256 }, (_, index) => `bulk:${String(index)}`);
    const even = keys.map((_, index) => index % 2 === 0);
    await Promise.all(keys.filter((_, index) => even[index]).map((key) => cache.increment({ key })));
    expect(await cache.exists({ keys })).toEqual({ exists: even });
    expect(await cache.touch({ keys })).toEqual({ touched: even });
    expect((await cache.getTtl({ keys })).items.map(({ key, exists }) => ({ key, exists }))).toEqual(
      keys.map((key, index) => ({ key, exists: even[index] })),
    );
    expect(await cache.delete({ keys })).toEqual({ deleted: even });
    expect(await cache.exists({ keys })).toEqual({ exists: keys.map(() => false) });
  });
});
