import type { ProcessCounts } from '../redis/stats-sender.js';
import { HotKeys, SAMPLE_EVERY } from './hot-keys.js';

/**
 * What is counted of the cache, and where its number stands: in this process, and in the lists that `add-stats.lua`
 * keeps. A counter never changes its place, and a new one goes behind the last: services of different versions add to one
 * list.
 */
export const COUNTER = {
  /** Lookups by what their callers were told; by the master of the key… */
  hits: 0,
  stale: 1,
  absentHits: 2,
  misses: 3,
  /** …and from the memory of a service process. */
  memoryHits: 4,
  memoryStale: 5,
  memoryMisses: 6,
  /** Lookups that might have been answered from memory, and were not. */
  nearMisses: 7,
  leasesGranted: 8,
  leasesLost: 9,
  leasesFailed: 10,
  fills: 11,
  leaseWaits: 12,
  sets: 13,
  setsUnmet: 14,
  deletes: 15,
  increments: 16,
  tagInvalidations: 17,
} as const;

export type CounterName = keyof typeof COUNTER;
export type Counter = (typeof COUNTER)[CounterName];

export type CounterValues = Readonly<Record<CounterName, number>>;

const COUNTERS = Object.keys(COUNTER).length;

/** What a lookup found, as far as counting goes; undefined: nothing. */
interface Found {
  readonly stale: boolean;
  /** The source has nothing. */
  readonly absent: boolean;
}

/** What this process counted of one namespace since it started. A lookup costs one addition and one subtraction. */
export class CacheCounts implements ProcessCounts {
  /** By `COUNTER`. */
  readonly values = new Float64Array(COUNTERS);
  readonly hotKeys: HotKeys;
  /** On the clock of `performance.now()`. */
  readonly beganAt = performance.now();
  /** What waits here is not counted. */
  readonly ongoing = 0;

  constructor(random: () => number) {
    this.hotKeys = new HotKeys(random);
  }

  count(counter: Counter, by = 1): void {
    this.values[counter] = (this.values[counter] ?? 0) + by;
  }

  takeHot(limit: number): { name: string; count: number }[] {
    return this.hotKeys.take(limit).map(({ key, samples }) => ({ name: key, count: samples * SAMPLE_EVERY }));
  }

  /** Counts a lookup that the master answered, and hands on what it found. */
  lookedUp<Entry extends Found>(entry: Entry | undefined): Entry | undefined {
    if (entry === undefined) this.count(COUNTER.misses);
    else if (entry.stale) this.count(COUNTER.stale);
    else this.count(entry.absent ? COUNTER.absentHits : COUNTER.hits);
    return entry;
  }

  /** Counts a lookup that was answered from memory, and hands on what it found. */
  lookedUpInMemory<Entry extends Found>(entry: Entry | undefined): Entry | undefined {
    if (entry === undefined) this.count(COUNTER.memoryMisses);
    else this.count(entry.stale ? COUNTER.memoryStale : COUNTER.memoryHits);
    return entry;
  }
}

/** What this process counted, by namespace. */
export class CacheStats {
  private readonly counts = new Map<string, CacheCounts>();

  /** `random`: 0 to below 1, for the choice of reads that hot keys are found by. */
  constructor(private readonly random: () => number = Math.random) {}

  of(namespace: string): CacheCounts {
    let counts = this.counts.get(namespace);
    if (counts === undefined) {
      counts = new CacheCounts(this.random);
      this.counts.set(namespace, counts);
    }
    return counts;
  }

  /** Of every namespace that was asked for. */
  all(): IterableIterator<[namespace: string, counts: CacheCounts]> {
    return this.counts.entries();
  }
}
