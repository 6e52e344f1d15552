import type { Histogram } from '../admin/histogram.js';
import type { MetricDefinition, Sample } from '../admin/metrics.js';
import { COUNTER, type Counter, type LockCounts, type LockStats } from './stats.js';
import type { LockFeed } from './watch/lock-feed.js';

/** What this process counts of locks as Prometheus sees it: by namespace and outcome, never by resource. */
export function lockMetrics(stats: LockStats, feed: Pick<LockFeed, 'watchers'>): readonly MetricDefinition[] {
  const ofEach = (samplesOf: (counts: LockCounts, namespace: string) => readonly Sample[]) => (): readonly Sample[] =>
    [...stats.all()].flatMap(([namespace, counts]) => samplesOf(counts, namespace));
  const counter = (name: string, help: string, of: Counter): MetricDefinition => ({
    name: `shardkeep_lock_${name}_total`,
    type: 'counter',
    help,
    values: ofEach(({ values }, namespace) => [{ labels: { namespace }, value: values[of] ?? 0 }]),
  });
  const histogram = (name: string, help: string, of: (counts: LockCounts) => Histogram): MetricDefinition => ({
    name: `shardkeep_lock_${name}_seconds`,
    type: 'histogram',
    help,
    values: ofEach((counts, namespace) => of(counts).samples(`shardkeep_lock_${name}_seconds`, { namespace })),
  });
  const results = [
    ['granted', COUNTER.granted],
    ['held', COUNTER.refusedHeld],
    ['queued', COUNTER.refusedQueued],
    ['in_delay', COUNTER.refusedInDelay],
  ] as const;
  return [
    {
      name: 'shardkeep_lock_acquire_total',
      type: 'counter',
      help: 'Resources that were granted, and calls that were not, by what was in the way.',
      values: ofEach(({ values }, namespace) =>
        results.map(([result, place]) => ({ labels: { namespace, result }, value: values[place] ?? 0 })),
      ),
    },
    counter(
      'granted_after_waiting',
      'Of the resources granted, those whose call had waited.',
      COUNTER.grantedAfterWaiting,
    ),
    counter('released', 'Resources that their holder released.', COUNTER.released),
    counter('lost', 'Leases that were found to have run out.', COUNTER.lost),
    counter('force_released', 'Resources that ForceReleaseLock took.', COUNTER.forceReleased),
    {
      name: 'shardkeep_lock_waiting',
      type: 'gauge',
      help: 'Calls that stand in a queue.',
      values: ofEach(({ waiting }, namespace) => [{ labels: { namespace }, value: waiting }]),
    },
    histogram('wait', 'How long calls that waited did so, whether granted or not.', ({ waits }) => waits),
    {
      name: 'shardkeep_lock_watchers',
      type: 'gauge',
      help: 'Open streams of WatchLocks.',
      values: () => [{ labels: {}, value: feed.watchers }],
    },
    histogram('hold', 'How long what was released had been held.', ({ holds }) => holds),
  ];
}
