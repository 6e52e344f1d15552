import type { MetricDefinition } from '../admin/metrics.js';
import type { Health } from './health.js';

/** What grpc.health.v1.Health answers, as numbers. */
export function healthMetrics(health: Pick<Health, 'serving' | 'isDraining'>): readonly MetricDefinition[] {
  return [
    {
      name: 'shardkeep_health_serving',
      type: 'gauge',
      acrossWorkers: 'min',
      help: '1: SERVING, 0: NOT_SERVING, by the name that a health check asks for.',
      values: () => [...health.serving].map(([service, serving]) => ({ labels: { service }, value: Number(serving) })),
    },
    {
      name: 'shardkeep_draining',
      type: 'gauge',
      help: 'Processes that go away and take no calls any more.',
      values: () => [{ labels: {}, value: Number(health.isDraining) }],
    },
  ];
}
