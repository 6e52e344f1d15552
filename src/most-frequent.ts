/** Something with how often it was certainly seen. */
export interface Frequent {
  readonly name: string;
  readonly count: number;
}

/**
 * What is seen most, in bounded memory: Space-Saving of Metwally, Agrawal and El Abbadi, "Efficient Computation of Frequent
 * and Top-k Elements in Data Streams", ICDT 2005. Of what is more than one in `places` of all that is added none is missing.
 */
export class MostFrequent {
  private readonly placeOf = new Map<string, number>();
  /** By place; numbers in a row, because with objects in a map an addition, of ever new names, costs 40 ns on average, not 15. */
  private readonly counts: Uint32Array;
  /** So many of them may have been of the names that had the place before. */
  private readonly notItsOwn: Uint32Array;
  private readonly names: string[] = [];

  constructor(private readonly places: number) {
    this.counts = new Uint32Array(places);
    this.notItsOwn = new Uint32Array(places);
  }

  /** Answers how often the name was certainly added. */
  add(name: string): number {
    const place = this.placeOf.get(name) ?? this.placeFor(name);
    const count = (this.counts[place] ?? 0) + 1;
    this.counts[place] = count;
    return count - (this.notItsOwn[place] ?? 0);
  }

  /** In no order. */
  all(): Frequent[] {
    return this.names.map((name, place) => ({
      name,
      count: (this.counts[place] ?? 0) - (this.notItsOwn[place] ?? 0),
    }));
  }

  clear(): void {
    this.placeOf.clear();
    this.counts.fill(0);
    this.notItsOwn.fill(0);
    this.names.length = 0;
  }

  /** A place of its own while there is one; then that of the name with the lowest count, which it takes over. */
  private placeFor(name: string): number {
    let place = this.names.length;
    if (place === this.places) {
      place = this.rarest();
      this.placeOf.delete(this.names[place] ?? '');
      this.notItsOwn[place] = this.counts[place] ?? 0;
    }
    this.names[place] = name;
    this.placeOf.set(name, place);
    return place;
  }

  private rarest(): number {
    let rarest = 0;
    let fewest = this.counts[0] ?? 0;
    for (let place = 1; place < this.places; place++) {
      const count = this.counts[place] ?? 0;
      if (count >= fewest) continue;
      rarest = place;
      fewest = count;
    }
    return rarest;
  }
}
