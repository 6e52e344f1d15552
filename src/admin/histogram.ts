import type { MetricValue } from 'prom-client';

export type Sample = MetricValue<string> & { readonly metricName?: string };

/** Durations by their length: an addition or two for each, where prom-client's own histogram costs half a microsecond. */
export class Histogram {
  /** The last one holds what is above all bounds. */
  private readonly buckets: Float64Array;
  private totalMs = 0;

  /** Upper bounds in milliseconds, rising. */
  constructor(private readonly boundsMs: readonly number[]) {
    this.buckets = new Float64Array(boundsMs.length + 1);
  }

  get count(): number {
    return this.buckets.reduce((sum, durations) => sum + durations, 0);
  }

  add(durationMs: number): void {
    const { boundsMs, buckets } = this;
    let bucket = 0;
    while (bucket < boundsMs.length && durationMs > (boundsMs[bucket] ?? 0)) bucket++;
    buckets[bucket] = (buckets[bucket] ?? 0) + 1;
    this.totalMs += durationMs;
  }

  /** In seconds, as Prometheus wants them. */
  samples(name: string, labels: Readonly<Record<string, string>>): Sample[] {
    const values: Sample[] = [];
    let count = 0;
    this.buckets.forEach((durations, bucket) => {
      count += durations;
      const bound = this.boundsMs[bucket];
      const le = bound === undefined ? '+Inf' : bound / 1_000;
      values.push({ metricName: `${name}_bucket`, labels: { ...labels, le }, value: count });
    });
    values.push({ metricName: `${name}_sum`, labels, value: this.totalMs / 1_000 });
    values.push({ metricName: `${name}_count`, labels, value: count });
    return values;
  }
}
