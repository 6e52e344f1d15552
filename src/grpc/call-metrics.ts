import type { MetricDefinition } from '../admin/metrics.js';
import type { CallLoad, Invoker } from './invoke.js';
import type { GrpcServer, PipelineLoad } from './server.js';
import { FAILURE_REASONS } from './status.js';

export interface CallMetricsOptions {
  readonly invoker: Pick<Invoker, 'load' | 'failures'>;
  readonly server: Pick<GrpcServer, 'pipelineLoad'>;
  readonly maxInFlight: number;
  readonly maxParked: number;
  readonly maxStreams: number;
}

/** What goes on in this process, how much of it may, and why calls failed. How many ended is counted by `Metrics`. */
export function callMetrics({ invoker, server, ...limits }: CallMetricsOptions): readonly MetricDefinition[] {
  const gauge = (name: string, help: string, valueOf: () => number): MetricDefinition => ({
    name: `shardkeep_${name}`,
    type: 'gauge',
    help,
    values: () => [{ labels: {}, value: valueOf() }],
  });
  const now = (name: keyof CallLoad) => () => invoker.load[name];
  const pipeline = (name: keyof PipelineLoad) => () => server.pipelineLoad[name];
  return [
    gauge('rpc_in_flight', 'Unary calls that are worked for.', now('inFlight')),
    gauge('rpc_in_flight_max', 'How many may be; the next one answers OVERLOADED.', () => limits.maxInFlight),
    gauge('rpc_parked', 'Unary calls that wait for something other than Redis.', now('parked')),
    gauge('rpc_parked_max', 'How many may.', () => limits.maxParked),
    gauge('rpc_streams', 'Open streams, without those of the pipeline.', now('streams')),
    gauge('rpc_streams_max', 'How many may be open.', () => limits.maxStreams),
    gauge('pipeline_streams', 'Open streams of the pipeline.', pipeline('streams')),
    gauge('pipeline_unsent_bytes', 'Answers in the pipeline that callers have yet to take.', pipeline('unsentBytes')),
    {
      name: 'shardkeep_rpc_errors_total',
      type: 'counter',
      help: 'Calls that failed, by reason.',
      // from 0 on, so that the first one is an increase
      values: () => FAILURE_REASONS.map((reason) => ({ labels: { reason }, value: invoker.failures.get(reason) ?? 0 })),
    },
  ];
}
