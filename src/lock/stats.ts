import { Histogram } from '../admin/histogram.js';
import { MostFrequent } from '../most-frequent.js';
import type { ProcessCounts } from '../redis/stats-sender.js';
import type { AcquireOutcome } from './backend.js';

/**
 * What is counted of locks, and where its number stands: in this process, and in the lists that `add-stats.lua` keeps. A
 * counter never changes its place, and a new one goes behind the last: services of different versions add to one list.
 */
export const COUNTER = {
  /** Resources; of these after their call had waited. */
  granted: 0,
  grantedAfterWaiting: 1,
  /** Calls, by what was in the way. */
  refusedHeld: 2,
  refusedQueued: 3,
  refusedInDelay: 4,
  /** Resources. */
  released: 5,
  lost: 6,
  forceReleased: 7,
  /** Whole milliseconds. */
  waitedMs: 8,
  heldMs: 9,
} as const;

export type CounterName = keyof typeof COUNTER;
export type Counter = (typeof COUNTER)[CounterName];
export type CounterValues = Readonly<Record<CounterName, number>>;

const COUNTERS = Object.keys(COUNTER).length;
/** Resources that are counted at once. One of more than 1/128 of all contended calls is always among them. */
const MAX_CONTENDED = 128;
/** Up to the longest that a call can wait or a lease can be extended at once. */
const BUCKETS_MS = [
  1, 2.5, 5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 30_000, 60_000, 600_000, 3_600_000,
];

const REFUSED = {
  held: COUNTER.refusedHeld,
  queued: COUNTER.refusedQueued,
  in_delay: COUNTER.refusedInDelay,
} as const;

/** What this process counted of the locks of one namespace since it started. */
export class LockCounts implements ProcessCounts {
  /** By `COUNTER`. */
  readonly values = new Float64Array(COUNTERS);
  readonly beganAt = performance.now();
  readonly waits = new Histogram(BUCKETS_MS);
  readonly holds = new Histogram(BUCKETS_MS);
  /** Calls that stand in a queue now. */
  waiting = 0;
  private readonly contendedResources = new MostFrequent(MAX_CONTENDED);

  get ongoing(): number {
    return this.waiting;
  }

  /** `waitedMs`: undefined where it did not wait. */
  answered(outcome: AcquireOutcome, waitedMs: number | undefined): void {
    if (outcome.status === 'granted') {
      this.count(COUNTER.granted, outcome.grants.length);
      if (waitedMs !== undefined) this.count(COUNTER.grantedAfterWaiting, outcome.grants.length);
    } else {
      this.count(REFUSED[outcome.status]);
    }
    if (waitedMs === undefined) return;
    this.count(COUNTER.waitedMs, Math.round(waitedMs));
    this.waits.add(waitedMs);
  }

  /** A call found the resource taken. */
  contended(resource: string): void {
    this.contendedResources.add(resource);
  }

  released(heldMs: number): void {
    this.count(COUNTER.released);
    this.count(COUNTER.heldMs, Math.max(0, heldMs));
    this.holds.add(heldMs);
  }

  /** Where nobody knows how long they had been held. */
  releasedCount(count: number): void {
    this.count(COUNTER.released, count);
  }

  lost(count: number): void {
    this.count(COUNTER.lost, count);
  }

  forceReleased(): void {
    this.count(COUNTER.forceReleased);
  }

  takeHot(limit: number): { name: string; count: number }[] {
    const taken = this.contendedResources
      .all()
      .sort((one, other) => other.count - one.count)
      .slice(0, limit);
    this.contendedResources.clear();
    return taken;
  }

  private count(counter: Counter, by = 1): void {
    this.values[counter] = (this.values[counter] ?? 0) + by;
  }
}

/** What this process counted, by namespace. */
export class LockStats {
  private readonly counts = new Map<string, LockCounts>();

  of(namespace: string): LockCounts {
    let counts = this.counts.get(namespace);
    if (counts === undefined) {
      counts = new LockCounts();
      this.counts.set(namespace, counts);
    }
    return counts;
  }

  /** Of every namespace that was asked for. */
  all(): IterableIterator<[namespace: string, counts: LockCounts]> {
    return this.counts.entries();
  }
}
