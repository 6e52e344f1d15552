import { afterAll, beforeAll, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { CacheServiceService, ListSide } from '../../src/gen/shardkeep/cache/v1/cache.js';
import { TestChannel } from '../support/client.js';
import { startRedis, until, type RedisServer } from '../support/redis-server.js';
import { sharedRedisUrl, startTestService, type TestService } from '../support/service.js';

/** What is left in Redis after a time of everything: nothing that no live item explains, nothing immortal. */

const SEED = 20_261_121;
const CALLS = 3_000;
const CHANNELS = 4;

let redis: RedisServer;
let service: TestService;
let channels: TestChannel[];
beforeAll(async () => {
  redis = await startRedis();
  service = await startTestService({
    REDIS_URL: redis.url,
    // what is no cache's is kept elsewhere
    STATE_REDIS_URL: sharedRedisUrl('standalone'),
    LOCK_FENCE_RETENTION_MS: '1000',
  });
  channels = Array.from({ length: CHANNELS }, () => new TestChannel(service.address));
});
afterAll(async () => {
  for (const channel of channels) channel.close();
  await service.stop();
  await redis.remove();
});

type Cache = TestService['cache'];
type Call = (cache: Cache) => Promise<unknown>;

const ttl = fc.integer({ min: 1, max: 300 }).map((ms) => ({ $case: 'ttlMs' as const, value: BigInt(ms) }));
const entryKey = fc.integer({ min: 0, max: 20 }).map((index) => `entry:${String(index)}`);
const value = fc.uint8Array({ maxLength: 300 }).map((bytes) => Buffer.from(bytes));
const tags = fc.subarray(['a', 'b', 'c']);
const guard = fc.option(
  fc.record({ resource: fc.constantFrom('r', 's'), fencingToken: fc.bigInt({ min: 1n, max: 50n }) }),
  { nil: undefined },
);
const requestId = fc.constantFrom('', ...[1, 2, 3].map((each) => String(each).repeat(16)));

/** Every way to write, each with a life of at most 300 ms. */
const call: fc.Arbitrary<Call> = fc.oneof(
  fc.record({ key: entryKey, value, expiry: ttl, tags, guard }).map((request) => (cache: Cache) => cache.set(request)),
  fc
    .tuple(entryKey, value, fc.nat({ max: 200 }), fc.nat({ max: 200 }))
    .map(([key, bytes, freshMs, staleMs]) => async (cache: Cache) => {
      const freshness = { freshMs: BigInt(freshMs + 1), staleMs: BigInt(staleMs) };
      return cache.set({ key, value: bytes, expiry: { $case: 'freshness', value: freshness } });
    }),
  fc
    .record({
      key: entryKey,
      value,
      expiry: ttl,
      tags,
      guard,
      how: fc.constantFrom('fill', 'absent', 'fail', 'renew', 'leave'),
    })
    .map(({ key, value: bytes, expiry, tags: names, guard: by, how }) => async (cache: Cache) => {
      const { leaseToken } = await cache.getOrLease({ key, leaseMs: 100n });
      if (leaseToken.length === 0 || how === 'leave') return;
      if (how === 'fail') await cache.failLease({ key, leaseToken, retryAfterMs: 50n });
      else if (how === 'renew') await cache.renewLease({ key, leaseToken, leaseMs: 200n });
      else {
        const result =
          how === 'absent' ? ({ $case: 'absent', value: true } as const) : ({ $case: 'value', value: bytes } as const);
        await cache.fill({ key, leaseToken, result, expiry, tags: names, guard: by });
      }
    }),
  fc
    .record({ key: entryKey, guard })
    .map((each) => (cache: Cache) => cache.delete({ keys: [each.key], guard: each.guard })),
  fc
    .record({ key: entryKey, expiry: ttl })
    .map((each) => (cache: Cache) => cache.touch({ keys: [each.key], expiry: each.expiry })),
  fc.record({ index: fc.nat({ max: 5 }), expiry: ttl, requestId, guard }).map(
    ({ index, ...more }) =>
      (cache: Cache) =>
        cache.increment({ key: `counter:${String(index)}`, delta: 1n, ...more }),
  ),
  fc.record({ index: fc.nat({ max: 5 }), member: fc.nat({ max: 9 }), expiry: ttl, refreshExpiry: fc.boolean() }).map(
    ({ index, member, ...more }) =>
      (cache: Cache) =>
        cache.addToSet({ key: `set:${String(index)}`, members: [Buffer.from(String(member))], ...more }),
  ),
  fc.record({ index: fc.nat({ max: 5 }), member: fc.nat({ max: 9 }) }).map(
    ({ index, member }) =>
      (cache: Cache) =>
        cache.removeFromSet({ key: `set:${String(index)}`, members: [Buffer.from(String(member))] }),
  ),
  fc.record({ index: fc.nat({ max: 5 }), expiry: ttl, refreshExpiry: fc.boolean() }).map(
    ({ index, ...more }) =>
      (cache: Cache) =>
        cache.pushToList({
          key: `list:${String(index)}`,
          side: ListSide.TAIL,
          items: [Buffer.from('i')],
          maxLength: 5,
          ...more,
        }),
  ),
  tags.filter(({ length }) => length > 0).map((names) => (cache: Cache) => cache.invalidateTags({ tags: names })),
);

const list = async (): Promise<string[]> =>
  String(await redis.command('KEYS', '*'))
    .split(',')
    .filter((key) => key !== '');

test('a census after a time of everything finds nothing that is not explained', async () => {
  const caches = channels.map((channel) => channel.of(CacheServiceService));
  const calls = fc.sample(call, { numRuns: CALLS, seed: SEED });
  const { namespace } = service;
  const kinds = new Set<string>();
  const kindOf = (key: string): string => key.slice(namespace.length + 1).replace(/[:{].*$/, '');
  await Promise.all(
    caches.map(async (cache, first) => {
      for (let index = first; index < CALLS; index += CHANNELS) {
        // what a guard refuses is part of it
        await calls[index]?.(cache).catch(() => undefined);
        if (index % 500 === 0) {
          for (const key of await list()) kinds.add(kindOf(key));
        }
      }
    }),
  );
  // adds what was counted; of so many lookups some were sampled
  await service.cache.getCacheStats({});
  for (const key of await list()) kinds.add(kindOf(key));
  const expected = ['cache', 'fence', 'hot', 'request', 'stats', 'tags'];
  expect([...kinds].filter((kind) => kind !== 'meta').toSorted()).toEqual(expected);

  const keptKinds = new Set(['request', 'stats', 'hot']);
  const lasting = new Set([`${namespace}:tags:{tags:${namespace}}`, `${namespace}:meta`]);
  for (const key of await list()) {
    const ttlMs = Number(await redis.command('PTTL', key));
    // -2: gone in between
    if (!lasting.has(key) && ttlMs !== -2) expect([key, ttlMs >= 0]).toEqual([key, true]);
  }
  // entries, leases and fences end; the answers of requests are kept for ten minutes, statistics for longer
  await until(async () => (await list()).every((key) => lasting.has(key) || keptKinds.has(kindOf(key))));
  const requests = (await list()).filter((key) => kindOf(key) === 'request');
  expect(requests.length).toBeLessThanOrEqual(6 * 3);
  // the table knows of the three tags, softly or not at all, and of its clock and floor
  expect(Number(await redis.command('ZCARD', `${namespace}:tags:{tags:${namespace}}`))).toBe(5);
});
