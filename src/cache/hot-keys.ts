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
 * The keys that are read most, in bounded memory: Space-Saving of Metwally, Agrawal and El Abbadi, "Efficient Computation
 * of Frequent and Top-k Elements in Data Streams", ICDT 2005, over a sample of the reads. A read that is not sampled costs
 * one subtraction. The gap between two samples is random, 1 to 127: at an even one, keys that are read in turn would be
 * taken for one key, or for none.
 */
export class HotKeys {
  private readonly places = new Map<string, number>();
  /** By place; numbers in a row, because with objects in a map a read, of ever new keys, costs 40 ns on average, not 15. */
  private readonly samples = new Uint32Array(MAX_KEYS);
  /** So many of them may have been of the keys that had the place before. */
  private readonly notItsOwn = new Uint32Array(MAX_KEYS);
  private readonly keys: string[] = [];
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
    const taken = this.keys
      .map((key, place) => ({ key, samples: (this.samples[place] ?? 0) - (this.notItsOwn[place] ?? 0) }))
      .sort((one, other) => other.samples - one.samples)
      .slice(0, limit);
    this.places.clear();
    this.samples.fill(0);
    this.notItsOwn.fill(0);
    this.keys.length = 0;
    return taken;
  }

  private sample(key: string): void {
    this.untilSample = this.nextGap();
    const place = this.places.get(key) ?? this.placeFor(key);
    this.samples[place] = (this.samples[place] ?? 0) + 1;
  }

  /** A place of its own while there is one; then that of the key with the fewest samples, which it takes over. */
  private placeFor(key: string): number {
    let place = this.keys.length;
    if (place === MAX_KEYS) {
      place = this.coldest();
      this.places.delete(this.keys[place] ?? '');
      this.notItsOwn[place] = this.samples[place] ?? 0;
    }
    this.keys[place] = key;
    this.places.set(key, place);
    return place;
  }

  private coldest(): number {
    let coldest = 0;
    let fewest = this.samples[0] ?? 0;
    for (let place = 1; place < MAX_KEYS; place++) {
      const samples = this.samples[place] ?? 0;
      if (samples >= fewest) continue;
      coldest = place;
      fewest = samples;
    }
    return coldest;
  }

  private nextGap(): number {
    return 1 + Math.floor(this.random() * (2 * SAMPLE_EVERY - 1));
  }
}
