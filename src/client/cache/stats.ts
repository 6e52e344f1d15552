import type { CacheCounters, GetCacheStatsResponse } from '../../gen/shardkeep/cache/v1/cache.js';
import type { Rpc } from '../rpc/rpc.js';
import { CALL_OPTIONS, type CallOptions } from '../transport/method.js';
import { optionsIn, wholeNumberIn, type OptionNames } from '../arguments.js';

export interface CacheStatsOptions {
  /** The last so many minutes, with the one that is running, 0 to 60; none by default. */
  readonly minutes?: number;
  /** How many hot keys at most, 0 to 100; 10 by default. */
  readonly hotKeyLimit?: number;
}

export const CACHE_STATS_OPTIONS: OptionNames<CacheStatsOptions & CallOptions> = {
  ...CALL_OPTIONS,
  minutes: true,
  hotKeyLimit: true,
};

/** Counts of one time, by the names of the proto; see CacheCounters there. */
export type CacheCounts = { readonly [Name in keyof CacheCounters]: number };

export interface CacheStats {
  /** Unix milliseconds of Redis's clock; undefined where nothing was counted for 7 days, or Redis lost it. */
  readonly countingSinceMs: number | undefined;
  readonly totals: CacheCounts;
  /** What part of the lookups was answered, 0 to 1; undefined where there were none. */
  readonly hitRatio: number | undefined;
  readonly minutes: readonly { readonly startMs: number; readonly counters: CacheCounts }[];
  /** Estimates from a sample of one lookup in 64. */
  readonly hotKeys: readonly { readonly key: string; readonly readsPerSecond: number }[];
  /** The Redis behind the cache; undefined where one of its masters is away. */
  readonly redis:
    | {
        readonly masters: number;
        readonly memoryUsedBytes: number;
        /** 0: at least one has no limit. */
        readonly memoryMaxBytes: number;
        readonly evictedKeys: number;
      }
    | undefined;
}

export async function cacheStatsOf(rpc: Rpc['cache'], options: CacheStatsOptions & CallOptions): Promise<CacheStats> {
  const { minutes = 0, hotKeyLimit = 10 } = optionsIn(options, CACHE_STATS_OPTIONS);
  const request = {
    minutes: wholeNumberIn(minutes, 'minutes', { min: 0, max: 60 }),
    hotKeyLimit: wholeNumberIn(hotKeyLimit, 'hotKeyLimit', { min: 0, max: 100 }),
  };
  return statsOf(await rpc.getCacheStats(request, options));
}

function statsOf({ countingSinceMs, totals, minutes, hotKeys, redis }: GetCacheStatsResponse): CacheStats {
  const counted = countsOf(totals);
  const answered = counted.hits + counted.stale + counted.absentHits;
  const lookups = answered + counted.misses;
  return {
    countingSinceMs: countingSinceMs === undefined ? undefined : Number(countingSinceMs),
    totals: counted,
    hitRatio: lookups === 0 ? undefined : answered / lookups,
    minutes: minutes.map(({ startMs, counters }) => ({ startMs: Number(startMs), counters: countsOf(counters) })),
    hotKeys,
    redis: redis && {
      masters: redis.masters,
      memoryUsedBytes: Number(redis.memoryUsedBytes),
      memoryMaxBytes: Number(redis.memoryMaxBytes),
      evictedKeys: Number(redis.evictedKeys),
    },
  };
}

function countsOf(counters: CacheCounters | undefined): CacheCounts {
  const count = (name: keyof CacheCounters): number => Number(counters?.[name] ?? 0n);
  return {
    hits: count('hits'),
    stale: count('stale'),
    absentHits: count('absentHits'),
    misses: count('misses'),
    nearHits: count('nearHits'),
    nearMisses: count('nearMisses'),
    leasesGranted: count('leasesGranted'),
    leasesLost: count('leasesLost'),
    leasesFailed: count('leasesFailed'),
    fills: count('fills'),
    leaseWaits: count('leaseWaits'),
    sets: count('sets'),
    setsUnmet: count('setsUnmet'),
    deletes: count('deletes'),
    increments: count('increments'),
    tagInvalidations: count('tagInvalidations'),
  };
}
