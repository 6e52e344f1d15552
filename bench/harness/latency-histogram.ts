/** Values below this are exact; above, a bucket is at most 1/64 of its value wide. */
const LINEAR_BITS = 7;
const LINEAR_COUNT = 2 ** LINEAR_BITS;
const HALF_COUNT = LINEAR_COUNT / 2;
const BUCKET_COUNT = LINEAR_COUNT + (32 - LINEAR_BITS) * HALF_COUNT;
/** A unit is 0.1 µs, so the largest value is 7 minutes. */
const UNITS_PER_MS = 10_000;
const LARGEST = 2 ** 32 - 1;

/** Latencies in buckets: recording costs nanoseconds and no garbage, and the counts of several processes add up. */
export class LatencyHistogram {
  private readonly counts: Uint32Array;

  constructor(counts?: readonly number[]) {
    this.counts = counts === undefined ? new Uint32Array(BUCKET_COUNT) : Uint32Array.from(counts);
  }

  record(latencyMs: number): void {
    const units = Math.min(LARGEST, Math.max(0, Math.round(latencyMs * UNITS_PER_MS)));
    const bucket = bucketOf(units);
    this.counts[bucket] = (this.counts[bucket] ?? 0) + 1;
  }

  reset(): void {
    this.counts.fill(0);
  }

  add(other: LatencyHistogram): void {
    for (const [bucket, count] of other.counts.entries()) this.counts[bucket] = (this.counts[bucket] ?? 0) + count;
  }

  /** For sending to another process. */
  toJSON(): number[] {
    return [...this.counts];
  }

  /** The latency that the given share (0 to 1) of all calls did not pass. */
  quantileMs(share: number): number {
    const total = this.counts.reduce((sum, count) => sum + count, 0);
    if (total === 0) throw new Error('no latencies were recorded');
    let left = Math.max(1, Math.ceil(total * share));
    for (const [bucket, count] of this.counts.entries()) {
      left -= count;
      if (left <= 0) return upperBoundOf(bucket) / UNITS_PER_MS;
    }
    throw new Error('the counts do not add up');
  }
}

function bucketOf(units: number): number {
  if (units < LINEAR_COUNT) return units;
  const shift = 32 - Math.clz32(units) - LINEAR_BITS;
  return LINEAR_COUNT + (shift - 1) * HALF_COUNT + ((units >>> shift) - HALF_COUNT);
}

function upperBoundOf(bucket: number): number {
  if (bucket < LINEAR_COUNT) return bucket;
  const shift = Math.floor((bucket - LINEAR_COUNT) / HALF_COUNT) + 1;
  const top = ((bucket - LINEAR_COUNT) % HALF_COUNT) + HALF_COUNT;
  return (top + 1) * 2 ** shift - 1;
}
