import type { MetricDefinition, Sample } from '../admin/metrics.js';
import type { NearCache, NearCacheUse } from './near-cache.js';
import { COUNTER, type CacheStats, type Counter } from './stats.js';

/** What this process counts of the cache as Prometheus sees it: by namespace and outcome, never by key. */

type Labels = Readonly<Record<string, string>>;
type Series = readonly (readonly [counter: Counter, labels: Labels])[];

const LOOKUPS: Series = [
  [COUNTER.hits, { result: 'hit', from: 'master' }],
  [COUNTER.stale, { result: 'stale', from: 'master' }],
  [COUNTER.absentHits, { result: 'absent', from: 'master' }],
  [COUNTER.misses, { result: 'miss', from: 'master' }],
  [COUNTER.memoryHits, { result: 'hit', from: 'near' }],
  [COUNTER.memoryStale, { result: 'stale', from: 'near' }],
  [COUNTER.memoryMisses, { result: 'miss', from: 'near' }],
];

const LEASES: Series = [
  [COUNTER.leasesGranted, { outcome: 'granted' }],
  [COUNTER.fills, { outcome: 'filled' }],
  [COUNTER.leasesLost, { outcome: 'lost' }],
  [COUNTER.leasesFailed, { outcome: 'failed' }],
];

const WRITES: Series = [
  [COUNTER.sets, { outcome: 'stored' }],
  [COUNTER.setsUnmet, { outcome: 'condition_not_met' }],
  [COUNTER.deletes, { outcome: 'deleted' }],
  [COUNTER.increments, { outcome: 'incremented' }],
  [COUNTER.tagInvalidations, { outcome: 'tag_invalidated' }],
];

export function cacheMetrics(
  stats: CacheStats,
  near: Pick<NearCache, 'stats'> | undefined,
): readonly MetricDefinition[] {
  const counter = (name: string, help: string, series: Series): MetricDefinition => ({
    name,
    type: 'counter',
    help,
    values: () => [...stats.all()].flatMap(([namespace, { values }]) => samplesOf(namespace, values, series)),
  });
  const gauge = (name: string, help: string, valueOf: (use: NearCacheUse) => number): MetricDefinition => ({
    name,
    type: 'gauge',
    help,
    values: () => (near === undefined ? [] : [{ labels: {}, value: valueOf(near.stats) }]),
  });
  return [
    counter('shardkeep_cache_lookups_total', 'Keys of Get, GetMany and GetOrLease, by answer and its source.', LOOKUPS),
    counter('shardkeep_cache_near_misses_total', 'NEAR lookups that asked Redis, where there is a near cache.', [
      [COUNTER.nearMisses, {}],
    ]),
    counter('shardkeep_cache_leases_total', 'Leases that were granted, and how they ended.', LEASES),
    counter('shardkeep_cache_lease_waits_total', "Calls of GetOrLease that waited for somebody else's load.", [
      [COUNTER.leaseWaits, {}],
    ]),
    counter('shardkeep_cache_writes_total', 'Entries, counters and tags that were written, by outcome.', WRITES),
    gauge('shardkeep_cache_near_bytes', 'What the near cache holds, in bytes.', ({ bytes }) => bytes),
    gauge('shardkeep_cache_near_max_bytes', 'What the near cache may hold, in bytes.', ({ maxBytes }) => maxBytes),
    gauge('shardkeep_cache_near_entries', 'Keys in the near cache.', ({ entries }) => entries),
  ];
}

function samplesOf(namespace: string, values: Float64Array, series: Series): Sample[] {
  return series.map(([counter, labels]) => ({ labels: { namespace, ...labels }, value: values[counter] ?? 0 }));
}
