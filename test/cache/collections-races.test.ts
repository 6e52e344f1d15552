import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { CacheServiceService, ListSide } from '../../src/gen/shardkeep/cache/v1/cache.js';
import { TestChannel } from '../support/client.js';
import { sharedRedisUrl, startTestService, TOPOLOGIES, type TestService } from '../support/service.js';
import { membersOf, readPages, textsOf } from './set-pages.js';

/** Real parallel clients over several channels of two services that share one Redis. */

const CHANNELS_EACH = 3;
const ROUNDS = 20;
const MINUTE = 60_000n;

type Cache = TestService['cache'];

describe.each(TOPOLOGIES)('clients that race for a collection on %s', (topology) => {
  let services: TestService[];
  let channels: TestChannel[];
  let clients: Cache[];
  let one: Cache;

  beforeAll(async () => {
    const first = await startTestService({ REDIS_URL: sharedRedisUrl(topology) });
    const second = await startTestService({ REDIS_URL: sharedRedisUrl(topology), NAMESPACE: first.namespace });
    services = [first, second];
    channels = services.flatMap(({ address }) => Array.from({ length: CHANNELS_EACH }, () => new TestChannel(address)));
    clients = channels.map((channel) => channel.of(CacheServiceService));
    one = first.cache;
  });
  afterAll(async () => {
    for (const channel of channels) channel.close();
    await Promise.all(services.map((service) => service.stop()));
  });

  /** Runs the body at the same time for so many callers, spread over all clients. */
  function together<Result>(count: number, body: (cache: Cache, index: number) => Promise<Result>): Promise<Result[]> {
    return Promise.all(
      Array.from({ length: count }, (_, index) => body(clients[index % clients.length] ?? one, index)),
    );
  }

  const member = (index: number): Buffer => Buffer.from(`player:${String(index)}`);

  test('one by one fill a set to max_members, and not one more', async () => {
    const replies = await together(200, (cache, index) =>
      cache.addToSet({ key: 'seats', members: [member(index)], maxMembers: 42 }),
    );
    const seated = replies.flatMap(({ applied }, index) => (applied ? [member(index)] : []));
    expect(seated).toHaveLength(42);
    expect(replies.filter(({ applied }) => !applied).every(({ size }) => size === 42n)).toBe(true);
    expect(membersOf(await readPages(one, 'seats', 1_000))).toEqual(textsOf(seated).sort());
  });

  test('in parties of five fill it with whole parties', async () => {
    const replies = await together(40, (cache, index) => {
      const members = Array.from({ length: 5 }, (_, seat) => member(index * 5 + seat));
      return cache.addToSet({ key: 'arena', members, maxMembers: 42 });
    });
    expect(replies.filter(({ applied }) => applied)).toHaveLength(8);
    expect((await one.getSetMembers({ key: 'arena' })).size).toBe(40n);
  });

  test('without max_members, each looking first, do pass it', async () => {
    const key = 'unguarded';
    await together(12, (cache) => cache.getSetMembers({ key }));
    await together(12, (cache, index) => cache.addToSet({ key, members: [member(index)] }));
    expect((await one.getSetMembers({ key })).size).toBe(12n);
  });

  test('to add one member are told once that it is new', async () => {
    const replies = await together(100, (cache) =>
      cache.addToSet({ key: 'once', members: [member(0)], maxMembers: 1 }),
    );
    expect(replies.every(({ applied, size }) => applied && size === 1n)).toBe(true);
    expect(replies.filter(({ addedCount }) => addedCount === 1)).toHaveLength(1);
  });

  test('to take one member out are told once that it was there', async () => {
    await one.addToSet({ key: 'loot', members: [member(0), member(1)] });
    const replies = await together(100, (cache) => cache.removeFromSet({ key: 'loot', members: [member(0)] }));
    expect(replies.filter(({ removedCount }) => removedCount === 1)).toHaveLength(1);
    expect(replies.every(({ size }) => size === 1n)).toBe(true);
  });

  const ttlOf = async (key: string): Promise<bigint | undefined> => (await one.getTtl({ keys: [key] })).items[0]?.ttlMs;
  /** Of so many minutes a caller, so that what is left tells whose it is. */
  const ownTtl = (index: number) => ({ $case: 'ttlMs', value: BigInt(index + 1) * MINUTE }) as const;
  const ownerOf = (ttlMs: bigint | undefined): number => Number(((ttlMs ?? 0n) - 1n) / MINUTE);

  test('to create a set: it has the expiry of the one who did', async () => {
    for (let round = 0; round < ROUNDS; round++) {
      const key = `born:${String(round)}`;
      const replies = await together(30, (cache, index) =>
        cache.addToSet({ key, members: [member(index)], expiry: ownTtl(index) }),
      );
      expect(ownerOf(await ttlOf(key))).toBe(replies.findIndex(({ size }) => size === 1n));
    }
  });

  test('to create a list: it has the expiry of the one who did', async () => {
    for (let round = 0; round < ROUNDS; round++) {
      const key = `begun:${String(round)}`;
      const replies = await together(30, (cache, index) =>
        cache.pushToList({ key, side: ListSide.TAIL, items: [member(index)], expiry: ownTtl(index) }),
      );
      expect(ownerOf(await ttlOf(key))).toBe(replies.findIndex(({ length }) => length === 1n));
    }
  });

  test('to empty a set and to fill it again never leave one without an expiry', async () => {
    for (let round = 0; round < ROUNDS; round++) {
      const key = `flapping:${String(round)}`;
      await together(24, (cache, index): Promise<unknown> => {
        const members = [member(0)];
        if (index % 3 === 1) return cache.removeFromSet({ key, members });
        if (index % 3 === 2) return cache.delete({ keys: [key] });
        return cache.addToSet({ key, members, expiry: ownTtl(0), refreshExpiry: index % 2 === 0 });
      });
      const [item] = (await one.getTtl({ keys: [key] })).items;
      expect(item?.exists === true && item.ttlMs === undefined).toBe(false);
    }
  });

  test('to push keep exactly max_length items, each of them pushed once, and count what they trimmed', async () => {
    const replies = await together(300, (cache, index) =>
      cache.pushToList({ key: 'log', side: ListSide.TAIL, items: [member(index)], maxLength: 50 }),
    );
    expect(replies.every(({ length }) => length <= 50n)).toBe(true);
    expect(replies.reduce((sum, { trimmedCount }) => sum + trimmedCount, 0n)).toBe(250n);
    const { items, length } = await one.getList({ key: 'log', side: ListSide.HEAD, limit: 1_000 });
    expect(length).toBe(50n);
    expect(new Set(textsOf(items)).size).toBe(50);
  });

  test('to push several items each keep them together', async () => {
    await together(60, (cache, index) =>
      cache.pushToList({
        key: 'together',
        side: index % 2 === 0 ? ListSide.HEAD : ListSide.TAIL,
        items: [0, 1, 2].map((part) => Buffer.from(`${String(index)}:${String(part)}`)),
      }),
    );
    const { items } = await one.getList({ key: 'together', side: ListSide.HEAD, limit: 1_000 });
    const texts = textsOf(items);
    expect(texts).toHaveLength(180);
    for (let at = 0; at < texts.length; at += 3) {
      const index = Number(texts[at]?.split(':')[0]);
      const parts = index % 2 === 0 ? [2, 1, 0] : [0, 1, 2];
      expect(texts.slice(at, at + 3)).toEqual(parts.map((part) => `${String(index)}:${String(part)}`));
    }
  });
});
