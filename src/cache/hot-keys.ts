/** One read of so many, on average, is looked at. */
export const SAMPLE_EVERY = 64;
/** Keys that are counted at once. One of a larger part of the samples than 1/128 is always among them. */
const MAX_KEYS = 128;

/** A key with the samples that are certainly its own. */
export interface HotKey {
  readonly key: string;
  readonly samples: number;
}

interface Sampled {
  samples: number;
  /** So many of them may have been of the keys that stood here before. */
  notItsOwn: number;
}

/**
 * The keys that are read most, in bounded memory: Space-Saving of Metwally, Agrawal and El Abbadi, "Efficient Computation
 * of Frequent and Top-k Elements in Data Streams", ICDT 2005, over a sample of the reads. A read that is not sampled costs
 * one subtraction. The gap between two samples is random, 1 to 127: at an even one, keys that are read in turn would be
 * taken for one key, or for none.
 */
export class HotKeys {
  private readonly keys = new Map<string, Sampled>();
  private untilSample: number;

  /** `random`: 0 to below 1. */
  constructor(private readonly random: () => number) {
    this.untilSample = this.nextGap();
  }

  read(key: string): void {
    if (--this.untilSample === 0) this.sample(key);
  }

  /** The keys sampled since the last time, those with the most samples first; begins anew. */
  take(limit: number): HotKey[] {
    const taken = [...this.keys]
      .map(([key, { samples, notItsOwn }]) => ({ key, samples: samples - notItsOwn }))
      .sort((one, other) => other.samples - one.samples)
      .slice(0, limit);
    this.keys.clear();
    return taken;
  }

  private sample(key: string): void {
    this.untilSample = this.nextGap();
    const known = this.keys.get(key);
    if (known !== undefined) known.samples++;
    else this.keys.set(key, this.makeRoom());
  }

  /** A new key takes the place, and the samples, of the one with the fewest. */
  private makeRoom(): Sampled {
    if (this.keys.size < MAX_KEYS) return { samples: 1, notItsOwn: 0 };
    let coldest: string | undefined;
    let fewest = Number.POSITIVE_INFINITY;
    for (const [key, { samples }] of this.keys) {
      if (samples >= fewest) continue;
      coldest = key;
      fewest = samples;
    }
    if (coldest !== undefined) this.keys.delete(coldest);
    return { samples: fewest + 1, notItsOwn: fewest };
  }

  private nextGap(): number {
    return 1 + Math.floor(this.random() * (2 * SAMPLE_EVERY - 1));
  }
}
