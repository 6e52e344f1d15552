import type {
  CacheCounters,
  CacheServiceService,
  GetCacheStatsResponse,
  NearCacheStats,
} from '../gen/shardkeep/cache/v1/cache.js';
import type { Implementation } from '../grpc/rpc.js';
import { integer, optional } from '../grpc/rules.js';
import type { NearCache, NearCacheUse } from './near-cache.js';
import { namedCounts, type CountedStats } from '../redis/stats-scripts.js';
import type { RedisUse, StatsReport, StatsStore } from './stats-store.js';
import { COUNTER, type CounterValues } from './stats.js';

export interface StatsHandlerOptions {
  readonly stats: StatsStore;
  readonly near: Pick<NearCache, 'stats'> | undefined;
}

const MAX_MINUTES = 60;
const MAX_HOT_KEYS = 100;
const DEFAULT_HOT_KEYS = 10;
/** Over a shorter time nothing can be said of a second. */
const MIN_WINDOW_MS = 1_000;

export function statsMethods({
  stats,
  near,
}: StatsHandlerOptions): Pick<Implementation<typeof CacheServiceService>, 'getCacheStats'> {
  return {
    getCacheStats: {
      access: 'admin',
      rules: {
        minutes: integer({ min: 0, max: MAX_MINUTES }),
        hotKeyLimit: optional(integer({ min: 0, max: MAX_HOT_KEYS })),
      },
      handle: async ({ minutes, hotKeyLimit = DEFAULT_HOT_KEYS }, call) => {
        const report = await stats.getCacheStats({ minutes, hotKeyLimit }, call);
        return toResponse(report, near?.stats);
      },
    },
  };
}

function toResponse({ counted, redis }: StatsReport, near: NearCacheUse | undefined): GetCacheStatsResponse {
  return {
    countingSinceMs: counted === undefined ? undefined : BigInt(counted.sinceMs),
    totals: toCounters(counted?.total ?? namedCounts(COUNTER, [])),
    minutes: (counted?.minutes ?? []).map(({ startMs, counts }) => ({
      startMs: BigInt(startMs),
      counters: toCounters(counts),
    })),
    ...toHotKeys(counted),
    nearCache: near === undefined ? undefined : toNearCache(near),
    redis: redis === undefined ? undefined : toRedis(redis),
  };
}

function toHotKeys(
  counted: CountedStats<CounterValues> | undefined,
): Pick<GetCacheStatsResponse, 'hotKeys' | 'hotKeyWindowMs'> {
  if (counted === undefined) return { hotKeys: [], hotKeyWindowMs: 0n };
  const windowMs = Math.max(counted.hotWindowMs, MIN_WINDOW_MS);
  return {
    hotKeys: counted.hot.map(({ name, count }) => ({ key: name, readsPerSecond: (count * 1_000) / windowMs })),
    hotKeyWindowMs: BigInt(windowMs),
  };
}

function toCounters(counts: CounterValues): CacheCounters {
  const { memoryHits, memoryStale, memoryMisses } = counts;
  return {
    hits: BigInt(counts.hits + memoryHits),
    stale: BigInt(counts.stale + memoryStale),
    absentHits: BigInt(counts.absentHits),
    misses: BigInt(counts.misses + memoryMisses),
    nearHits: BigInt(memoryHits + memoryStale + memoryMisses),
    nearMisses: BigInt(counts.nearMisses),
    leasesGranted: BigInt(counts.leasesGranted),
    leasesLost: BigInt(counts.leasesLost),
    leasesFailed: BigInt(counts.leasesFailed),
    fills: BigInt(counts.fills),
    leaseWaits: BigInt(counts.leaseWaits),
    sets: BigInt(counts.sets),
    setsUnmet: BigInt(counts.setsUnmet),
    deletes: BigInt(counts.deletes),
    increments: BigInt(counts.increments),
    tagInvalidations: BigInt(counts.tagInvalidations),
  };
}

function toNearCache({ hits, misses, entries, bytes, maxBytes }: NearCacheUse): NearCacheStats {
  return {
    hits: BigInt(hits),
    misses: BigInt(misses),
    entries: BigInt(entries),
    bytes: BigInt(bytes),
    maxBytes: BigInt(maxBytes),
  };
}

function toRedis({ masters, usedMemoryBytes, maxMemoryBytes, evictedKeys }: RedisUse): GetCacheStatsResponse['redis'] {
  return {
    masters,
    memoryUsedBytes: BigInt(usedMemoryBytes),
    memoryMaxBytes: BigInt(maxMemoryBytes),
    evictedKeys: BigInt(evictedKeys),
  };
}
