import { Histogram } from '../admin/histogram.js';
import type { MetricDefinition } from '../admin/metrics.js';

/** What an operation is called that is no script: the command, such as GET. */
export type OperationName = string;

/** Upper bounds in milliseconds: a script takes Redis some 10 µs, and the way there and back the rest. */
const BUCKETS_MS = [0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25, 50, 100, 250, 500, 1_000, 2_500];
const DURATIONS = 'shardkeep_redis_script_duration_seconds';

interface Operations {
  readonly durations: Histogram;
  slow: number;
}

/**
 * Counts how long Redis takes, for all connections of the process. An operation is a command: calls that share one are one
 * operation. It lasts from the call of node-redis to the reply, so a service that is too busy to read replies looks slow
 * here as well.
 */
export class OperationTimer {
  private readonly slowMs: number;
  private readonly byName = new Map<OperationName, Operations>();

  /** `slowMs`: from which duration on an operation is slow; 0: none is. */
  constructor(slowMs: number) {
    this.slowMs = slowMs === 0 ? Number.POSITIVE_INFINITY : slowMs;
  }

  /** Called once for each operation that was answered or lost; answers whether it was slow. */
  observe(script: OperationName, durationMs: number): boolean {
    let operations = this.byName.get(script);
    if (operations === undefined) {
      operations = { durations: new Histogram(BUCKETS_MS), slow: 0 };
      this.byName.set(script, operations);
    }
    operations.durations.add(durationMs);
    if (durationMs < this.slowMs) return false;
    operations.slow++;
    return true;
  }

  get metrics(): readonly MetricDefinition[] {
    return [
      {
        name: 'shardkeep_redis_slow_operations_total',
        type: 'counter',
        help: 'Operations on Redis that took SLOW_OPERATION_MS and longer, by script.',
        values: () => [...this.byName].map(([script, { slow }]) => ({ labels: { script }, value: slow })),
      },
      {
        name: DURATIONS,
        type: 'histogram',
        help: 'How long Redis took for an operation, from sending to the reply, by script.',
        values: () => [...this.byName].flatMap(([script, { durations }]) => durations.samples(DURATIONS, { script })),
      },
    ];
  }
}
