import { Registry, type Metric } from 'prom-client';
import { Histogram, type Sample } from './histogram.js';

export type { Sample };

/** Upper bounds in milliseconds; a sidecar answers most calls in the first. */
const BUCKETS_MS = [0.25, 0.5, 1, 2.5, 5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000];
/** gRPC status codes go from 0 to 16. */
const CODES = 17;
const CODE_NAMES = [
  ...['OK', 'CANCELLED', 'UNKNOWN', 'INVALID_ARGUMENT', 'DEADLINE_EXCEEDED', 'NOT_FOUND', 'ALREADY_EXISTS'],
  ...['PERMISSION_DENIED', 'RESOURCE_EXHAUSTED', 'FAILED_PRECONDITION', 'ABORTED', 'OUT_OF_RANGE', 'UNIMPLEMENTED'],
  ...['INTERNAL', 'UNAVAILABLE', 'DATA_LOSS', 'UNAUTHENTICATED'],
] as const;

/** The calls of one RPC: an addition or two for each, where prom-client's own histogram costs half a microsecond. */
class RpcCounts {
  readonly byCode = new Float64Array(CODES);
  readonly durations = new Histogram(BUCKETS_MS);

  /** `durationMs` of a stream says nothing of how quick the service is, and is undefined. */
  ended(code: number, durationMs: number | undefined): void {
    this.byCode[code] = (this.byCode[code] ?? 0) + 1;
    if (durationMs !== undefined) this.durations.add(durationMs);
  }
}

/**
 * How the values of several workers become one: `sum` of what each counts for itself; `max` or `min` of what all of them
 * tell of the same thing, such as a Redis or the machine, or of what the worst of them has.
 */
export type AcrossWorkers = 'sum' | 'max' | 'min';

/** A metric whose values are asked for at each scrape. */
export interface MetricDefinition {
  readonly name: string;
  readonly type: 'counter' | 'gauge' | 'histogram';
  readonly help: string;
  /** `sum` where it is not said. */
  readonly acrossWorkers?: AcrossWorkers;
  readonly values: () => readonly Sample[];
}

/** What this process counts, in the Prometheus data model. */
export class Metrics {
  readonly registry = new Registry();
  private readonly rpcs = new Map<string, RpcCounts>();

  constructor() {
    this.register({
      name: 'shardkeep_rpc_handled_total',
      type: 'counter',
      help: 'Calls that ended, by RPC and gRPC status code.',
      values: () => this.handled(),
    });
    this.register({
      name: 'shardkeep_rpc_duration_seconds',
      type: 'histogram',
      help: 'Time from arrival to answer, by unary RPC.',
      values: () => this.durations(),
    });
  }

  /** Counts the calls of one RPC. */
  observerOf(rpc: string): { ended(code: number, durationMs: number | undefined): void } {
    const counts = this.rpcs.get(rpc) ?? new RpcCounts();
    this.rpcs.set(rpc, counts);
    return counts;
  }

  register({ name, type, help, acrossWorkers = 'sum', values }: MetricDefinition): void {
    const told = (): object => ({ name, help, type, aggregator: acrossWorkers, values: values() });
    const metric = { name, get: () => Promise.resolve(told()) };
    // a registry asks a metric for its name and its values, whatever its class
    this.registry.registerMetric(metric as unknown as Metric);
  }

  private handled(): Sample[] {
    const values: Sample[] = [];
    for (const [rpc, { byCode }] of this.rpcs) {
      byCode.forEach((value, code) => {
        if (value > 0) values.push({ labels: { rpc, code: CODE_NAMES[code] ?? String(code) }, value });
      });
    }
    return values;
  }

  private durations(): Sample[] {
    return [...this.rpcs]
      .filter(([, { durations }]) => durations.count > 0)
      .flatMap(([rpc, { durations }]) => durations.samples('shardkeep_rpc_duration_seconds', { rpc }));
  }
}
