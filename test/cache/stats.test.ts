import { status as Code } from '@grpc/grpc-js';
import { describe, expect, test } from '@jest/globals';
import { connect } from '../../src/client/index.js';
import {
  CacheServiceService,
  Consistency,
  GetOrLeaseStatus as Status,
  InvalidationMode,
} from '../../src/gen/shardkeep/cache/v1/cache.js';
import { failureOf } from '../support/client.js';
import { until } from '../support/redis-server.js';
import { onEachTopology, sharedRedisUrl, startTestService } from '../support/service.js';
import { openStream } from '../support/stream-client.js';
import { bytes, near, NEAR, ttl } from './near-support.js';
import { countedBy, countsOf, hotKeysOf } from './stats-support.js';

/** What is counted, and as what. */

const MINUTE_MS = 60_000;
const MINUTE = ttl(60_000n);
const loading = { leaseMs: 60_000n } as const;
const valueOf = (text: string): { $case: 'value'; value: Buffer } => ({ $case: 'value', value: bytes(text) });
const absent = { $case: 'absent', value: true } as const;

onEachTopology('what GetCacheStats counts', (service) => {
  test('of Get and GetMany is each key, by what was answered', async () => {
    const { cache } = service();
    await cache.set({ key: 'plain', value: bytes('p') });
    await cache.set({
      key: 'old',
      value: bytes('o'),
      expiry: { $case: 'freshness', value: { freshMs: 1n, staleMs: 60_000n } },
    });
    await until(async () => (await cache.get({ key: 'old' })).entry?.stale === true);
    expect(await countedBy(cache, () => cache.get({ key: 'plain' }))).toEqual({ hits: 1 });
    expect(await countedBy(cache, () => cache.get({ key: 'no such' }))).toEqual({ misses: 1 });
    expect(await countedBy(cache, () => cache.get({ key: 'old' }))).toEqual({ stale: 1 });
    const keys = ['plain', 'no such', 'plain', 'old', 'nor such'];
    expect(await countedBy(cache, () => cache.getMany({ keys }))).toEqual({ hits: 2, misses: 2, stale: 1 });
  });

  test('of a tagged entry is what its tags made of it', async () => {
    const { cache } = service();
    const read = (): Promise<unknown> => cache.get({ key: 'tagged' });
    await cache.set({ key: 'tagged', value: bytes('t'), tags: ['soft', 'hard'] });
    expect(await countedBy(cache, read)).toEqual({ hits: 1 });
    const soften = (): Promise<unknown> => cache.invalidateTags({ tags: ['soft'], mode: InvalidationMode.SOFT });
    expect(await countedBy(cache, soften)).toEqual({ tagInvalidations: 1 });
    expect(await countedBy(cache, read)).toEqual({ stale: 1 });
    const harden = (): Promise<unknown> => cache.invalidateTags({ tags: ['hard', 'other'] });
    expect(await countedBy(cache, harden)).toEqual({ tagInvalidations: 2 });
    expect(await countedBy(cache, read)).toEqual({ misses: 1 });
  });

  test('of a load are its lookups, the lease, and how that ended', async () => {
    const { cache } = service();
    const lease = async (key: string): Promise<Buffer> => (await cache.getOrLease({ key, ...loading })).leaseToken;
    let token = bytes('');
    const ask = async (): Promise<void> => {
      token = await lease('k');
    };
    expect(await countedBy(cache, ask)).toEqual({ misses: 1, leasesGranted: 1 });
    expect(await countedBy(cache, () => lease('k'))).toEqual({ misses: 1 });
    const fill = (): Promise<unknown> => cache.fill({ key: 'k', leaseToken: token, result: valueOf('v') });
    expect(await countedBy(cache, fill)).toEqual({ fills: 1 });
    expect(await countedBy(cache, fill)).toEqual({ leasesLost: 1 });
    expect(await countedBy(cache, () => lease('k'))).toEqual({ hits: 1 });

    token = await lease('none');
    expect(await countedBy(cache, () => cache.fill({ key: 'none', leaseToken: token, result: absent }))).toEqual({
      fills: 1,
    });
    expect(await countedBy(cache, () => lease('none'))).toEqual({ absentHits: 1 });
    // to its caller it is a miss like any other
    expect(await countedBy(cache, () => cache.get({ key: 'none' }))).toEqual({ misses: 1 });

    token = await lease('broken');
    const fail = (): Promise<unknown> => cache.failLease({ key: 'broken', leaseToken: token });
    expect(await countedBy(cache, fail)).toEqual({ leasesFailed: 1 });
    expect(await countedBy(cache, fail)).toEqual({});
  });

  test('of an early load is a hit that was leased, and of a stale entry a stale one', async () => {
    const { cache } = service();
    await cache.set({ key: 'early', value: bytes('e'), expiry: ttl(600_000n) });
    const early = { $case: 'earlyFraction', value: Number.MIN_VALUE } as const;
    const ask = (): Promise<unknown> => cache.getOrLease({ key: 'early', ...loading, early });
    expect(await countedBy(cache, ask)).toEqual({ hits: 1, leasesGranted: 1 });
    expect(await countedBy(cache, ask)).toEqual({ hits: 1 });
    await cache.set({ key: 'soft', value: bytes('s'), tags: ['to be stale'] });
    await cache.invalidateTags({ tags: ['to be stale'], mode: InvalidationMode.SOFT });
    const load = (): Promise<unknown> => cache.getOrLease({ key: 'soft', ...loading });
    expect(await countedBy(cache, load)).toEqual({ stale: 1, leasesGranted: 1 });
    expect(await countedBy(cache, load)).toEqual({ stale: 1 });
  });

  test('of a caller that waits is one lookup, whatever it waits for', async () => {
    const { cache } = service();
    await cache.getOrLease({ key: 'awaited', ...loading });
    const wait = async (): Promise<void> => {
      const { status } = await cache.getOrLease({ key: 'awaited', ...loading, waitMs: 50n });
      expect(status).toBe(Status.LOADING);
    };
    expect(await countedBy(cache, wait)).toEqual({ leaseWaits: 1, misses: 1 });
  });

  test('of writes is what they changed', async () => {
    const { cache, channel } = service();
    const value = bytes('v');
    const ifAbsent = { $case: 'ifAbsent', value: true } as const;
    expect(await countedBy(cache, () => cache.set({ key: 'w', value, condition: ifAbsent }))).toEqual({ sets: 1 });
    expect(await countedBy(cache, () => cache.set({ key: 'w', value, condition: ifAbsent }))).toEqual({ setsUnmet: 1 });
    const entry = { value, condition: ifAbsent, expiry: MINUTE, tags: [], jitterPercent: 0, guard: undefined };
    const entries = ['w', 'w2'].map((key) => ({ key, ...entry }));
    const setMany = (): Promise<unknown> => cache.setMany({ entries });
    expect(await countedBy(cache, setMany)).toEqual({ sets: 1, setsUnmet: 1 });

    const increment = (): Promise<unknown> =>
      Promise.all([1, 2].map(() => cache.increment({ key: 'n', delta: 1n, ceiling: 1n })));
    expect(await countedBy(cache, increment)).toEqual({ increments: 1 });

    const remove = (): Promise<unknown> => cache.delete({ keys: ['w', 'n', 'never there'] });
    expect(await countedBy(cache, remove)).toEqual({ deletes: 2 });
    const pattern = (dryRun: boolean) => async (): Promise<void> => {
      await openStream(channel, CacheServiceService.deletePattern, { pattern: 'w*', dryRun }).result;
    };
    expect(await countedBy(cache, pattern(true))).toEqual({});
    expect(await countedBy(cache, pattern(false))).toEqual({ deletes: 1 });
  });

  test('of calls that fail is nothing', async () => {
    const { cache } = service();
    await cache.increment({ key: 'counter', delta: 1n });
    const fail = async (): Promise<void> => {
      for (const call of [
        () => cache.get({ key: 'counter' }),
        () => cache.set({ key: 'counter', value: bytes('v') }),
        () => cache.getOrLease({ key: 'counter', ...loading }),
        () => cache.increment({ key: 'counter', delta: 2n ** 63n - 1n }),
      ]) {
        expect((await failureOf(call())).code).toBe(Code.FAILED_PRECONDITION);
      }
      expect((await failureOf(cache.get({ key: '' }))).code).toBe(Code.INVALID_ARGUMENT);
    };
    expect(await countedBy(cache, fail)).toEqual({});
  });

  test('stays in its namespace, and is the same over every transport', async () => {
    const { cache, address } = service();
    const other = await startTestService({ REDIS_URL: sharedRedisUrl('standalone') });
    await cache.set({ key: 'mine', value: bytes('v') });
    expect(await other.cache.getCacheStats({ minutes: 60, hotKeyLimit: 100 })).toMatchObject({
      countingSinceMs: undefined,
      minutes: [],
      hotKeys: [],
      hotKeyWindowMs: 0n,
    });
    await other.stop();
    const clients = [
      connect(address, { timeoutMs: 30_000 }),
      connect(address, { timeoutMs: 30_000, transport: 'unary' }),
    ];
    const answers = await Promise.all(clients.map((client) => client.rpc.cache.getCacheStats({ hotKeyLimit: 0 })));
    expect(answers[0]?.totals).toEqual(answers[1]?.totals);
    expect(answers[0]?.totals?.sets).toBeGreaterThan(0n);
    await Promise.all(clients.map((client) => client.close()));
  });

  test('of the last minutes adds up to what was counted since it began', async () => {
    const { cache } = service();
    const { minutes, totals, countingSinceMs } = await cache.getCacheStats({ minutes: 60 });
    const starts = minutes.map(({ startMs }) => Number(startMs));
    // one after the other, from the one in which counting began
    expect(starts).toEqual(starts.map((_, index) => (starts[0] ?? 0) + index * MINUTE_MS));
    expect(starts[0]).toBe(Number(countingSinceMs) - (Number(countingSinceMs) % MINUTE_MS));
    const sums: Record<string, number> = {};
    for (const { counters } of minutes) {
      for (const [name, count] of Object.entries(countsOf(counters))) sums[name] = (sums[name] ?? 0) + count;
    }
    expect(sums).toEqual(countsOf(totals));
    expect((await cache.getCacheStats({ minutes: 1 })).minutes).toHaveLength(1);
    expect((await cache.getCacheStats({})).minutes).toEqual([]);
  });
});

onEachTopology('what GetCacheStats tells of Redis', (service, topology) => {
  test('is of all its masters', async () => {
    const { redis, nearCache } = await service().cache.getCacheStats({});
    expect(redis).toMatchObject({ masters: topology === 'cluster' ? 3 : 1, memoryMaxBytes: 0n, evictedKeys: 0n });
    expect(redis?.memoryUsedBytes).toBeGreaterThan(500_000n);
    // it is off by default
    expect(nearCache).toBeUndefined();
  });
});

onEachTopology(
  'with a near cache',
  (service) => {
    test('lookups are counted by where they were answered from', async () => {
      const { cache } = service();
      await cache.set({ key: 'k', value: bytes('v') });
      const readTwice = async (): Promise<void> => {
        expect(await near(cache, 'k')).toBe('v');
        expect(await near(cache, 'k')).toBe('v');
      };
      expect(await countedBy(cache, readTwice)).toEqual({ hits: 2, nearHits: 1, nearMisses: 1 });
      const readMany = (): Promise<unknown> =>
        cache.getMany({ keys: ['k', 'k', 'no such'], consistency: Consistency.NEAR });
      expect(await countedBy(cache, readMany)).toEqual({ hits: 2, misses: 1, nearHits: 2, nearMisses: 1 });
      // what does not ask for it is in neither
      expect(await countedBy(cache, () => cache.get({ key: 'k' }))).toEqual({ hits: 1 });

      const { nearCache } = await cache.getCacheStats({});
      expect(nearCache).toMatchObject({ hits: 3n, misses: 2n, maxBytes: 8_000_000n });
      expect(nearCache?.entries).toBeGreaterThan(0n);
      expect(nearCache?.bytes).toBeGreaterThan(0n);
    });
  },
  NEAR,
);

describe('hot keys', () => {
  test.each(['standalone', 'cluster'] as const)(
    'come with the key of half of the reads first, on %s',
    async (where) => {
      const service = await startTestService({ REDIS_URL: sharedRedisUrl(where) });
      const { cache } = service;
      const ROUNDS = 150;
      for (let round = 0; round < ROUNDS; round++) {
        // every second key is the hot one, every eighth the warm one, and the others are read seldom
        const keys = Array.from({ length: 256 }, (_, index) => {
          if (index % 2 === 0) return 'hot';
          return index % 8 === 1 ? 'warm' : `cold:${String((round * 256 + index * 7) % 9_000)}`;
        });
        await cache.getMany({ keys });
      }
      const { hotKeys } = await cache.getCacheStats({});
      expect(hotKeys.slice(0, 2).map(({ key }) => key)).toEqual(['hot', 'warm']);
      expect(hotKeys).toHaveLength(10);
      const rates = hotKeys.map(({ readsPerSecond }) => readsPerSecond);
      expect(rates).toEqual(rates.toSorted((one, other) => other - one));
      expect(hotKeysOf(await cache.getCacheStats({ hotKeyLimit: 1 }))).toEqual(['hot']);
      expect(hotKeysOf(await cache.getCacheStats({ hotKeyLimit: 0 }))).toEqual([]);
      expect(hotKeysOf(await cache.getCacheStats({ hotKeyLimit: 100 })).length).toBeGreaterThan(20);
      await service.stop();
    },
  );
});
