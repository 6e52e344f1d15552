import type { MetricDefinition, Sample } from '../admin/metrics.js';
import type { Redis } from './redis.js';
import { ROLES, type Role } from './roles.js';

/** What this process sees of its Redis, by role; roles on one Redis tell the same. */
export function redisMetrics(roles: Readonly<Record<Role, Redis>>): readonly MetricDefinition[] {
  const byRole = (valueOf: (redis: Redis) => number) => (): readonly Sample[] =>
    ROLES.map((role) => ({ labels: { role }, value: valueOf(roles[role]) }));
  return [
    {
      name: 'shardkeep_redis_up',
      type: 'gauge',
      help: 'Whether the Redis of a role answers.',
      values: byRole(({ isReady }) => (isReady ? 1 : 0)),
    },
    {
      name: 'shardkeep_redis_circuit_open',
      type: 'gauge',
      help: 'Masters that were given up since they were silent, and are not back.',
      values: byRole(({ status }) => status.openCircuits),
    },
    {
      name: 'shardkeep_redis_reconnects_total',
      type: 'counter',
      help: 'How often a master was connected to again.',
      values: byRole(({ status }) => status.reconnects),
    },
  ];
}
