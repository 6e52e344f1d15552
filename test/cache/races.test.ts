import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { CacheServiceService } from '../../src/gen/shardkeep/cache/v1/cache.js';
import { TestChannel } from '../support/client.js';
import { sharedRedisUrl, startTestService, TOPOLOGIES, type TestService } from '../support/service.js';

/** Real parallel clients over several channels of two services that share one Redis. */

const CHANNELS_EACH = 3;
const ROUNDS = 20;

describe.each(TOPOLOGIES)('clients that race on %s', (topology) => {
  let services: TestService[];
  let channels: TestChannel[];
  let clients: TestService['cache'][];

  beforeAll(async () => {
    const first = await startTestService({ REDIS_URL: sharedRedisUrl(topology) });
    const second = await startTestService({ REDIS_URL: sharedRedisUrl(topology), NAMESPACE: first.namespace });
    services = [first, second];
    channels = services.flatMap(({ address }) => Array.from({ length: CHANNELS_EACH }, () => new TestChannel(address)));
    clients = channels.map((channel) => channel.of(CacheServiceService));
  });
  afterAll(async () => {
    for (const channel of channels) channel.close();
    await Promise.all(services.map((service) => service.stop()));
  });

  /** Runs the body at the same time for so many callers, spread over all clients. */
  function together<Result>(
    count: number,
    body: (cache: TestService['cache'], index: number) => Promise<Result>,
  ): Promise<Result[]> {
    return Promise.all(
      Array.from({ length: count }, (_, index) => {
        const cache = clients[index % clients.length];
        if (cache === undefined) throw new Error('no client');
        return body(cache, index);
      }),
    );
  }

  const one = (): TestService['cache'] => {
    const [cache] = clients;
    if (cache === undefined) throw new Error('no client');
    return cache;
  };
  const number = (value: Buffer | undefined): number => Number(value?.toString() ?? '0');

  test('to create a key: one of 60 wins, and its value stays', async () => {
    for (let round = 0; round < ROUNDS; round++) {
      const key = `create:${String(round)}`;
      const replies = await together(60, (cache, index) =>
        cache.set({ key, value: Buffer.from(String(index)), condition: { $case: 'ifAbsent', value: true } }),
      );
      const winners = replies.flatMap(({ stored }, index) => (stored ? [index] : []));
      expect(winners).toHaveLength(1);
      expect(number((await one().get({ key })).entry?.value)).toBe(winners[0]);
    }
  });

  test('to raise a number by if_version lose no step', async () => {
    const key = 'cas';
    await one().set({ key, value: Buffer.from('0') });
    await together(12, async (cache) => {
      for (let step = 0; step < 5; step++) {
        for (let stored = false; !stored;) {
          const { entry } = await cache.get({ key });
          const value = Buffer.from(String(number(entry?.value) + 1));
          const condition = { $case: 'ifVersion', value: entry?.version ?? 0n } as const;
          ({ stored } = await cache.set({ key, value, condition }));
        }
      }
    });
    expect(number((await one().get({ key })).entry?.value)).toBe(60);
  });

  test('to raise a number without if_version do lose steps', async () => {
    const key = 'no-cas';
    await one().set({ key, value: Buffer.from('0') });
    const read = await together(12, (cache) => cache.get({ key }));
    await together(12, (cache, index) => {
      const value = Buffer.from(String(number(read[index]?.entry?.value) + 1));
      return cache.set({ key, value });
    });
    expect(number((await one().get({ key })).entry?.value)).toBe(1);
  });

  test('to increment are each told another value, and none is lost', async () => {
    const start = 2n ** 53n;
    await one().increment({ key: 'count', delta: start });
    const replies = await together(300, (cache) => cache.increment({ key: 'count', delta: 1n }));
    const values = replies.map(({ value }) => value - start).sort((a, b) => Number(a - b));
    expect(values).toEqual(Array.from({ length: 300 }, (_, index) => BigInt(index + 1)));
  });

  test('to increment up to a ceiling: exactly as many are applied as fit', async () => {
    const replies = await together(200, (cache) => cache.increment({ key: 'seats', delta: 1n, ceiling: 42n }));
    expect(replies.filter(({ applied }) => applied)).toHaveLength(42);
    expect(replies.every(({ applied, value }) => applied || value === 42n)).toBe(true);
  });

  test('to spend what is there never go below the floor', async () => {
    await one().increment({ key: 'gold', delta: 100n });
    const replies = await together(60, (cache) => cache.increment({ key: 'gold', delta: -7n, floor: 0n }));
    expect(replies.filter(({ applied }) => applied)).toHaveLength(14);
    expect(await one().increment({ key: 'gold' })).toEqual({ applied: true, value: 2n });
  });

  test('to delete a key: one of 40 is told that it was there', async () => {
    for (let round = 0; round < ROUNDS; round++) {
      await one().set({ key: 'gone', value: Buffer.from('x') });
      const replies = await together(40, (cache) => cache.delete({ keys: ['gone'] }));
      expect(replies.filter(({ deleted }) => deleted[0])).toHaveLength(1);
    }
  });

  test('a delete against writes that need the entry: it never comes back', async () => {
    for (let round = 0; round < ROUNDS; round++) {
      const key = `resurrect:${String(round)}`;
      const { version } = await one().set({ key, value: Buffer.from('x') });
      await together(12, (cache, index): Promise<unknown> => {
        if (index === 5) return cache.delete({ keys: [key] });
        if (index % 3 === 0) return cache.touch({ keys: [key] });
        const condition =
          index % 3 === 1
            ? ({ $case: 'ifPresent', value: true } as const)
            : ({ $case: 'ifVersion', value: version } as const);
        return cache.set({ key, value: Buffer.from('y'), condition });
      });
      expect(await one().exists({ keys: [key] })).toEqual({ exists: [false] });
    }
  });

  test('to write one key get versions that differ, and the greatest is the one that stays', async () => {
    const replies = await together(100, (cache, index) =>
      cache.set({ key: 'versions', value: Buffer.from(String(index)) }),
    );
    const versions = replies.map(({ version }) => version);
    expect(new Set(versions).size).toBe(100);
    const { entry } = await one().get({ key: 'versions' });
    expect(entry?.version).toBe(versions.reduce((a, b) => (a > b ? a : b)));
    expect(replies[number(entry?.value)]?.version).toBe(entry?.version);
  });
});
