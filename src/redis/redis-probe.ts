import type { NodeHealth, RedisHealth } from '../admin/health-report.js';
import type { MasterNode } from './connection.js';
import { evictionRisk, readInfo } from './node-report.js';
import type { Redis } from './redis.js';

export interface RedisProbeOptions {
  /** What is in it must not be evicted. */
  readonly mustKeep: boolean;
}

/** How long a master may take to say how it is. */
const ANSWER_MS = 500;
/** So old an answer is given again: whoever asks all the time shall not keep Redis busy. */
const FRESH_MS = 500;
/** From this part of its memory on something should be done. */
const MEMORY_WARNING = 0.9;

interface Answer {
  readonly health: NodeHealth;
  /** On the clock of `performance.now()`. */
  readonly at: number;
}

/**
 * Asks the masters of a Redis how they are, in bounded time also where one hangs: it is asked nothing more until it has
 * answered, or its connection was given up.
 */
export class RedisProbe {
  private readonly asked = new Map<string, Promise<NodeHealth>>();
  private readonly latest = new Map<string, Answer>();

  constructor(
    private readonly redis: Pick<Redis, 'isReady' | 'topology' | 'masters' | 'status'>,
    private readonly options: RedisProbeOptions,
  ) {}

  async health(): Promise<RedisHealth> {
    const { redis, options } = this;
    const nodes = await Promise.all(redis.masters().map((master) => this.healthOf(master)));
    const latencies = nodes.flatMap(({ latencyMs }) => latencyMs ?? []);
    return {
      up: redis.isReady,
      topology: redis.topology,
      openCircuits: redis.status.openCircuits,
      ...(latencies.length === 0 ? {} : { latencyMs: Math.max(...latencies) }),
      nodes,
      warnings: nodes.flatMap((node) => warningsOf(node, options)),
    };
  }

  private async healthOf(master: MasterNode): Promise<NodeHealth> {
    const { address } = master;
    const latest = this.latest.get(address);
    if (latest !== undefined && performance.now() - latest.at < FRESH_MS) return latest.health;
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<NodeHealth>((resolve) => {
      timer = setTimeout(resolve, ANSWER_MS, { address, up: false });
    });
    const health = await Promise.race([this.ask(master), late]);
    clearTimeout(timer);
    return health;
  }

  private ask(master: MasterNode): Promise<NodeHealth> {
    const { address } = master;
    const asked = this.asked.get(address);
    if (asked !== undefined) return asked;
    const answer = inspect(master).catch((): NodeHealth => ({ address, up: false }));
    this.asked.set(address, answer);
    void answer.then((health) => {
      this.asked.delete(address);
      if (health.up) this.latest.set(address, { health, at: performance.now() });
      else this.latest.delete(address);
    });
    return answer;
  }
}

async function inspect({ address, send }: MasterNode): Promise<NodeHealth> {
  const sentAt = performance.now();
  await send(['PING']);
  const latencyMs = Math.round((performance.now() - sentAt) * 1_000) / 1_000;
  const fields = await readInfo(send);
  const text = (name: string): string => fields.get(name) ?? '';
  const count = (name: string): number => Number(fields.get(name) ?? 0);
  return {
    address,
    up: true,
    latencyMs,
    role: text('role'),
    version: text('redis_version'),
    uptimeMs: count('uptime_in_seconds') * 1_000,
    usedMemoryBytes: count('used_memory'),
    maxMemoryBytes: count('maxmemory'),
    maxmemoryPolicy: text('maxmemory_policy'),
    evictedKeys: count('evicted_keys'),
    connectedClients: count('connected_clients'),
  };
}

function warningsOf(node: NodeHealth, { mustKeep }: RedisProbeOptions): string[] {
  const { address, up, maxmemoryPolicy, usedMemoryBytes = 0, maxMemoryBytes = 0 } = node;
  if (!up) return [`${address} does not answer`];
  if (!mustKeep) return [];
  const warnings: string[] = [];
  const risk = evictionRisk({ maxmemoryPolicy: maxmemoryPolicy ?? '' });
  if (risk !== undefined) warnings.push(`${address}: ${risk}`);
  if (maxMemoryBytes > 0 && usedMemoryBytes >= MEMORY_WARNING * maxMemoryBytes) {
    warnings.push(`${address}: more than ${String(MEMORY_WARNING * 100)} % of its memory is used`);
  }
  return warnings;
}
