import { MostFrequent } from '../most-frequent.js';

/** One read of so many, on average, is looked at. */
export const SAMPLE_EVERY = 64;
/** Keys that are counted at once. One of a larger part of the samples than 1/128 is always among them. */
const MAX_KEYS = 128;

/** A key with the samples that are certainly its own. */
export interface HotKey {
  readonly key: string;
  readonly samples: number;
}

/**
 * The keys that are read most, over a sample of the reads. A read that is not sampled costs one subtraction. The gap between
 * two samples is random, 1 to 127: at an even one, keys that are read in turn would be taken for one key, or for none.
 */
export class HotKeys {
  private readonly sampled = new MostFrequent(MAX_KEYS);
  private untilSample: number;

  /** `random`: 0 to below 1. */
  constructor(private readonly random: () => number) {
    this.untilSample = this.nextGap();
  }

  read(key: string): void {
    if (--this.untilSample > 0) return;
    this.untilSample = this.nextGap();
    this.sampled.add(key);
  }

  /** The keys sampled since the last time, those with the most samples first; begins anew. */
  take(limit: number): HotKey[] {
    const taken = this.sampled
      .all()
      .map(({ name, count }) => ({ key: name, samples: count }))
      .sort((one, other) => other.samples - one.samples)
      .slice(0, limit);
    this.sampled.clear();
    return taken;
  }

  private nextGap(): number {
    return 1 + Math.floor(this.random() * (2 * SAMPLE_EVERY - 1));
  }
}
