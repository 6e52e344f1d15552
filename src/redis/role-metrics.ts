import type { MetricDefinition, Sample } from '../admin/metrics.js';
import { FAILURE_KINDS } from './errors.js';
import type { Redis } from './redis.js';
import { ROLES, type Role } from './roles.js';
import { ServerSampler, type ServerSample } from './server-sampler.js';

type Labels = Readonly<Record<'role', Role>>;

/** The Redis of each role as Prometheus sees it. One that serves several roles is told of under each of them. */
export class RoleMetrics {
  readonly metrics: readonly MetricDefinition[];
  private readonly samplers = new Map<Redis, ServerSampler>();

  constructor(private readonly roles: Readonly<Record<Role, Redis>>) {
    for (const role of ROLES) {
      const redis = roles[role];
      this.samplers.set(redis, this.samplers.get(redis) ?? new ServerSampler(redis));
    }
    this.metrics = [...this.ofCommands(), ...this.ofServers()];
  }

  start(): void {
    for (const sampler of this.samplers.values()) sampler.start();
  }

  close(): void {
    for (const sampler of this.samplers.values()) sampler.close();
  }

  private ofCommands(): readonly MetricDefinition[] {
    return [
      {
        name: 'shardkeep_redis_errors_total',
        type: 'counter',
        help: 'Commands that failed, by the first word of the reply or what happened to the connection.',
        // from 0 on, so that the first one is an increase
        values: this.ofEachRole(({ counts: { failures } }, labels) =>
          FAILURE_KINDS.map((error) => ({ labels: { ...labels, error }, value: failures.get(error) ?? 0 })),
        ),
      },
      {
        name: 'shardkeep_redis_script_reloads_total',
        type: 'counter',
        help: 'Scripts that a node had to be given again.',
        values: this.ofEachRole(({ counts }, labels) => [{ labels, value: counts.scriptReloads }]),
      },
      {
        name: 'shardkeep_redis_pending_commands',
        type: 'gauge',
        help: 'Commands that wait for their reply.',
        values: this.ofEachRole(({ counts }, labels) => [{ labels, value: counts.pending }]),
      },
    ];
  }

  private ofServers(): readonly MetricDefinition[] {
    const sampled = (
      name: string,
      help: string,
      valueOf: (sample: ServerSample, role: Role) => number | undefined,
    ): MetricDefinition => ({
      name: `shardkeep_redis_${name}`,
      type: 'gauge',
      // each worker asks the same Redis
      acrossWorkers: 'max',
      help,
      values: this.ofEachRole((redis, labels) => {
        const sample = this.samplers.get(redis)?.latest;
        const value = sample && valueOf(sample, labels.role);
        return value === undefined ? [] : [{ labels, value }];
      }),
    });
    return [
      sampled('memory_used_bytes', 'Memory in use, of all masters.', ({ usedMemoryBytes }) => usedMemoryBytes),
      sampled('memory_max_bytes', 'What it may be; 0: no limit.', ({ maxMemoryBytes }) => maxMemoryBytes),
      sampled('memory_used_ratio', 'How full the fullest master with a limit is.', ({ usedRatio }) => usedRatio),
      sampled('connected_clients', 'Connections to all masters.', ({ connectedClients }) => connectedClients),
      sampled('eviction_policy_wrong', '1: sessions and locks may be evicted.', ({ mayEvict }, role) =>
        role === 'cache' ? undefined : Number(mayEvict),
      ),
      {
        name: 'shardkeep_redis_evicted_keys_total',
        type: 'counter',
        acrossWorkers: 'max',
        help: 'Keys that were evicted since this process looks.',
        values: this.ofEachRole((redis, labels) => [{ labels, value: this.samplers.get(redis)?.evictedKeys ?? 0 }]),
      },
    ];
  }

  private ofEachRole(samplesOf: (redis: Redis, labels: Labels) => readonly Sample[]): () => readonly Sample[] {
    return () => ROLES.flatMap((role) => samplesOf(this.roles[role], { role }));
  }
}
