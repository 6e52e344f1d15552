import type { MetricDefinition } from '../admin/metrics.js';

/** What an operation is called that is no script: the command, such as GET. */
export type OperationName = string;

/**
 * Counts how long Redis takes, for all connections of the process. An operation is a command: calls that share one are one
 * operation. It lasts from the call of node-redis to the reply, so a service that is too busy to read replies looks slow
 * here as well.
 */
export class OperationTimer {
  private readonly slowMs: number;
  private readonly slowCounts = new Map<OperationName, number>();

  /** `slowMs`: from which duration on an operation is slow; 0: none is. */
  constructor(slowMs: number) {
    this.slowMs = slowMs === 0 ? Number.POSITIVE_INFINITY : slowMs;
  }

  /** Called once for each operation that was answered or lost; answers whether it was slow. */
  observe(script: OperationName, durationMs: number): boolean {
    if (durationMs < this.slowMs) return false;
    this.slowCounts.set(script, (this.slowCounts.get(script) ?? 0) + 1);
    return true;
  }

  get metrics(): readonly MetricDefinition[] {
    return [
      {
        name: 'shardkeep_redis_slow_operations_total',
        type: 'counter',
        help: 'Operations on Redis that took SLOW_OPERATION_MS and longer, by script.',
        values: () => [...this.slowCounts].map(([script, value]) => ({ labels: { script }, value })),
      },
    ];
  }
}
