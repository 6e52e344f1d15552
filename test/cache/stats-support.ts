import type { CacheCounters, GetCacheStatsResponse } from '../../src/gen/shardkeep/cache/v1/cache.js';
import type { Cache } from './near-support.js';

/** What GetCacheStats tells, and how it changes. */

type Counts = Partial<Record<keyof CacheCounters, number>>;

/** The counters that are not 0. */
export function countsOf(counters: CacheCounters | undefined): Counts {
  const numbers = Object.entries(counters ?? {}).map(([name, count]) => [name, Number(count)] as const);
  return Object.fromEntries(numbers.filter(([, count]) => count !== 0));
}

export async function totalsOf(cache: Cache): Promise<Counts> {
  return countsOf((await cache.getCacheStats({})).totals);
}

/** By how much the counters of the namespace went up while something was done. */
export async function countedBy(cache: Cache, work: () => Promise<unknown>): Promise<Counts> {
  const before = await totalsOf(cache);
  await work();
  const after = await totalsOf(cache);
  const names = Object.keys(after) as (keyof CacheCounters)[];
  const grown = names.map((name) => [name, (after[name] ?? 0) - (before[name] ?? 0)] as const);
  return Object.fromEntries(grown.filter(([, count]) => count !== 0));
}

export function hotKeysOf({ hotKeys }: GetCacheStatsResponse): string[] {
  return hotKeys.map(({ key }) => key);
}
