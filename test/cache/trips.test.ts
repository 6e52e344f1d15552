import { afterAll, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import { CacheServiceService, GetOrLeaseStatus as Status } from '../../src/gen/shardkeep/cache/v1/cache.js';
import type { PromiseClient } from '../support/client.js';
import { serviceUrl, startRedis, until, type RedisServer } from '../support/redis-server.js';
import { killServiceProcesses, startServiceProcess } from '../support/service-process.js';
import { sharedRedisUrl } from '../support/service.js';
import { startTcpProxy, type TcpProxy } from '../support/tcp-proxy.js';
import { bytes, near, NEAR } from './near-support.js';

/** How often a call goes to Redis and back, counted on the wire. */

const MINUTE = { $case: 'ttlMs', value: 60_000n } as const;

let redis: RedisServer;
let proxy: TcpProxy;
let cache: PromiseClient<typeof CacheServiceService>;
/** Through another service, on no wire that is counted. */
let other: PromiseClient<typeof CacheServiceService>;
/** What was sent in one piece, by names of commands; what the service sends by itself left out. */
let trips: string[][] = [];

beforeAll(async () => {
  redis = await startRedis();
  const port = Number(new URL(redis.url).port);
  proxy = await startTcpProxy(port, (piece) => {
    const commands = piece.split(/(?=\*\d+\r\n\$\d+\r\n[A-Z]+\r\n)/).filter((text) => !text.includes(':stats:{'));
    const names = commands.map((text) => /^\*\d+\r\n\$\d+\r\n([A-Z]+)\r\n/.exec(text)?.[1] ?? '');
    const asked = names.filter((name) => !['', 'PING', 'TIME'].includes(name));
    if (asked.length > 0) trips.push(asked);
  });
  // sessions are swept elsewhere
  const state = { STATE_REDIS_URL: sharedRedisUrl('standalone') };
  const through = serviceUrl(proxy.port);
  const service = await startServiceProcess({ REDIS_URL: through, ...state, ...NEAR });
  const another = await startServiceProcess({ REDIS_URL: redis.url, NAMESPACE: service.namespace });
  cache = service.channel().of(CacheServiceService);
  other = another.channel().of(CacheServiceService);
  await cache.set({ key: 'plain', value: bytes('p'), expiry: MINUTE });
});
afterAll(async () => {
  await killServiceProcesses();
  await proxy.close();
  await redis.remove();
});
beforeEach(() => {
  trips = [];
});

async function tripsOf(call: () => Promise<unknown>): Promise<string[][]> {
  trips = [];
  await call();
  return trips;
}

describe('before any tag was seen', () => {
  test('a Get is one trip, a hit of GetOrLease too, and a Set', async () => {
    expect(await tripsOf(() => cache.get({ key: 'plain' }))).toEqual([['GET']]);
    expect(await tripsOf(() => cache.getOrLease({ key: 'plain', leaseMs: 1n }))).toEqual([['GET']]);
    expect(await tripsOf(() => cache.set({ key: 'plain', value: bytes('p'), expiry: MINUTE }))).toEqual([['EVALSHA']]);
    expect(await tripsOf(() => cache.getMany({ keys: ['plain', 'a', 'plain'] }))).toEqual([['MGET'], ['EXISTS']]);
  });
});

describe('where entries have tags', () => {
  beforeAll(async () => {
    await cache.set({ key: 'tagged', value: bytes('t'), expiry: MINUTE, tags: ['guild'] });
    await cache.get({ key: 'tagged' });
  });

  test('a Get is one trip, tagged or not, while the clock stands', async () => {
    for (const key of ['tagged', 'plain', 'missing']) {
      const [trip, ...more] = await tripsOf(() => cache.get({ key }));
      expect(trip?.toSorted()).toEqual(['GET', 'ZSCORE']);
      expect(more).toEqual([]);
    }
  });

  test('one read of the clock serves all keys of a call', async () => {
    const [trip, ...more] = await tripsOf(() => cache.getMany({ keys: ['tagged', 'plain'] }));
    expect(trip?.toSorted()).toEqual(['MGET', 'ZSCORE']);
    expect(more).toEqual([]);
  });

  test('when the clock has moved, the changes are one trip more, once', async () => {
    await other.invalidateTags({ tags: ['another'] });
    expect(await tripsOf(() => cache.get({ key: 'tagged' }))).toHaveLength(2);
    expect(await tripsOf(() => cache.get({ key: 'tagged' }))).toHaveLength(1);
  });

  test('a lease is asked for in one trip with the clock', async () => {
    const asked = await tripsOf(async () => {
      expect((await cache.getOrLease({ key: 'to load', leaseMs: 60_000n })).status).toBe(Status.LEASED);
    });
    expect(asked.map((trip) => trip.toSorted())).toEqual([
      ['GET', 'ZSCORE'],
      ['EVALSHA', 'ZSCORE'],
    ]);
  });

  test.each([
    ['was invalidated', 60_000n, (key: string): Promise<unknown> => other.invalidateTags({ tags: [key] })],
    ['has run out', 300n, (key: string) => until(async () => (await other.get({ key })).entry === undefined)],
  ])(
    'who waits for the load of an entry that %s is woken when it is there, and not before',
    async (key, staleMs, end) => {
      const expiry = { $case: 'freshness', value: { freshMs: 1n, staleMs } } as const;
      await other.set({ key, value: bytes('old'), tags: [key], expiry });
      await until(async () => (await other.get({ key })).entry?.stale === true);
      expect((await other.getOrLease({ key, leaseMs: 60_000n })).status).toBe(Status.LEASED);
      await end(key);
      const lookOuts = (): number => trips.filter((trip) => trip.includes('CLIENT') && trip.includes('GET')).length;
      await tripsOf(async () => {
        const waits = cache.getOrLease({ key, leaseMs: 60_000n, waitMs: 10_000n }, { deadline: Date.now() + 20_000 });
        await until(() => lookOuts() > 0);
        // on the same way; another look-out would come before these
        for (let reads = 0; reads < 10; reads++) await near(cache, `${key}: ${String(reads)}`);
        expect(lookOuts()).toBe(11);
        await other.set({ key, value: bytes('new'), expiry: MINUTE });
        expect((await waits).entry?.value).toEqual(Buffer.from('new'));
      });
    },
  );

  test('a near read of a tagged entry is no trip at all, until an invalidation through anybody', async () => {
    const noTrip = async (): Promise<boolean> => (await tripsOf(() => near(cache, 'tagged'))).length === 0;
    await until(noTrip);
    for (let round = 0; round < 20; round++) {
      await other.invalidateTags({ tags: [`unrelated ${String(round)}`] });
      await until(noTrip);
      expect(await near(cache, 'tagged')).toBe('t');
    }
    await cache.invalidateTags({ tags: ['guild'] });
    // through the same process: never the old one
    expect(await near(cache, 'tagged')).toBeUndefined();
    await other.set({ key: 'tagged', value: bytes('u'), expiry: MINUTE, tags: ['guild'] });
    await until(async () => (await near(cache, 'tagged')) === 'u' && (await noTrip()));
    await other.invalidateTags({ tags: ['guild'] });
    await until(async () => (await near(cache, 'tagged')) === undefined);
  });
});
