/** What the processes of a service say of themselves, and what the HTTP side port answers of that. */

export type HealthState = 'healthy' | 'degraded' | 'unhealthy';

/** One master as it answered just now; what it did not tell is undefined. */
export interface NodeHealth {
  readonly address: string;
  readonly up: boolean;
  /** From a PING to its answer. */
  readonly latencyMs?: number;
  readonly role?: string;
  readonly version?: string;
  readonly uptimeMs?: number;
  readonly usedMemoryBytes?: number;
  /** 0: as much as its machine has. */
  readonly maxMemoryBytes?: number;
  readonly maxmemoryPolicy?: string;
  readonly evictedKeys?: number;
  readonly connectedClients?: number;
}

/** The Redis of a role. */
export interface RedisHealth {
  /** Commands can be served; on Cluster by at least one master. */
  readonly up: boolean;
  readonly topology: string;
  /** Masters that were given up since they were silent, and are not back: what is for them fails at once. */
  readonly openCircuits: number;
  /** Of the slowest master that answered; undefined where none did. */
  readonly latencyMs?: number;
  readonly nodes: readonly NodeHealth[];
  /** What should be mended, though it works. */
  readonly warnings: readonly string[];
}

/** What a process that serves says of itself; it holds nothing of any user and no credentials. */
export interface ProcessHealth {
  readonly pid: number;
  readonly uptimeMs: number;
  /** As gRPC readiness. */
  readonly ready: boolean;
  readonly draining: boolean;
  /** Whether each is SERVING that gRPC health knows beside the process and its readiness; `policies` are one. */
  readonly services: Readonly<Record<string, boolean>>;
  /** By role: whether commands can be served. */
  readonly redisUp: Readonly<Record<string, boolean>>;
  readonly memory: { readonly rssBytes: number; readonly heapUsedBytes: number };
  readonly calls: { readonly inFlight: number; readonly parked: number; readonly streams: number };
  /** Lookups and writes since the start. */
  readonly cache: Readonly<Record<string, number>>;
  /** By role; undefined where Redis was not asked. */
  readonly redis?: Readonly<Record<string, RedisHealth>>;
}

/** All processes of a service, as far as they answered in time. */
export interface ServiceHealth {
  readonly version: string;
  /** Of the process that answers here, which with WORKERS is the supervisor. */
  readonly uptimeMs: number;
  readonly draining: boolean;
  /** Those that serve: without WORKERS one. */
  readonly processes: readonly ProcessHealth[];
  /** How many serve and said nothing in time. */
  readonly silent: number;
}

export interface HealthAnswer {
  readonly healthy: boolean;
  readonly body: Readonly<Record<string, unknown>>;
}

/** The processes work: none of them hangs. Never Redis, and never a worker that died, since it is replaced. */
export function liveAnswer({ uptimeMs, processes, silent }: ServiceHealth): HealthAnswer {
  const healthy = silent === 0;
  return { healthy, body: { status: stateOf(healthy), uptimeMs, ...countsOf(processes, silent) } };
}

/** Calls may be sent here: every process that serves is ready, and there is one. */
export function readyAnswer(service: ServiceHealth): HealthAnswer {
  const healthy = isReady(service);
  const { processes, silent } = service;
  const notReady = processes.filter(({ ready }) => !ready).length;
  return {
    healthy,
    body: { status: stateOf(healthy), draining: isDraining(service), ...countsOf(processes, silent), notReady },
  };
}

/** What stands in `/health`: as ready, with the reason where something is wrong. */
export function overallAnswer(service: ServiceHealth): HealthAnswer {
  const healthy = isReady(service);
  const { version, uptimeMs, processes, silent } = service;
  const services = allOf(processes, 'services');
  const redisUp = allOf(processes, 'redisUp');
  const isWhole = [services, redisUp].every((flags) => Object.values(flags).every(Boolean));
  return {
    healthy,
    body: {
      status: stateOf(healthy, !isWhole),
      version,
      uptimeMs,
      draining: isDraining(service),
      ...countsOf(processes, silent),
      redis: Object.fromEntries(Object.entries(redisUp).map(([role, up]) => [role, up ? 'up' : 'down'])),
      services: Object.fromEntries(
        Object.entries(services).map(([name, serving]) => [name, serving ? 'serving' : 'not_serving']),
      ),
    },
  };
}

/** Every role's Redis answers every process; needs processes that asked it. */
export function redisAnswer({ processes, silent }: ServiceHealth): HealthAnswer {
  const roles = redisOf(processes);
  const all = Object.values(roles);
  const healthy = silent === 0 && all.length > 0 && all.every(({ status }) => status !== 'unhealthy');
  const isImpaired = all.some(({ status }) => status !== 'healthy');
  return { healthy, body: { status: stateOf(healthy, isImpaired), roles } };
}

/** Everything, of all processes together and of each; needs processes that asked Redis. */
export function detailedAnswer(service: ServiceHealth): HealthAnswer {
  const { healthy, body } = overallAnswer(service);
  const redis = redisAnswer(service);
  const isImpaired = body.status !== 'healthy' || redis.body.status !== 'healthy';
  return {
    healthy,
    body: {
      ...body,
      status: stateOf(healthy, isImpaired),
      redis: redis.body.roles,
      cache: sumOf(service.processes.map(({ cache }) => cache)),
      calls: sumOf(service.processes.map(({ calls }) => calls)),
      memory: sumOf(service.processes.map(({ memory }) => memory)),
      processes: service.processes.map(({ pid, uptimeMs, ready, draining, memory, calls }) => ({
        ...{ pid, uptimeMs, ready, draining, memory, calls },
      })),
    },
  };
}

function stateOf(healthy: boolean, isImpaired = false): HealthState {
  if (!healthy) return 'unhealthy';
  return isImpaired ? 'degraded' : 'healthy';
}

function isReady(service: ServiceHealth): boolean {
  const { processes, silent } = service;
  return !isDraining(service) && silent === 0 && processes.length > 0 && processes.every(({ ready }) => ready);
}

function isDraining({ draining, processes }: ServiceHealth): boolean {
  return draining || processes.some((process) => process.draining);
}

function countsOf(processes: readonly ProcessHealth[], silent: number): { serving: number; silent: number } {
  return { serving: processes.length + silent, silent };
}

/** A flag of all processes is true where each has it. */
function allOf(processes: readonly ProcessHealth[], field: 'services' | 'redisUp'): Record<string, boolean> {
  const flags: Record<string, boolean> = {};
  for (const process of processes) {
    for (const [name, flag] of Object.entries(process[field])) flags[name] = flag && flags[name] !== false;
  }
  return flags;
}

function sumOf(counts: readonly Readonly<Record<string, number>>[]): Record<string, number> {
  const sum: Record<string, number> = {};
  for (const each of counts) {
    for (const [name, count] of Object.entries(each)) sum[name] = (sum[name] ?? 0) + count;
  }
  return sum;
}

type RoleHealth = RedisHealth & { readonly status: HealthState };

/**
 * Of several processes the one that is worst off stands for a role: each has a connection of its own. A circuit that is open in
 * any of them is told, whichever that is.
 */
function redisOf(processes: readonly ProcessHealth[]): Record<string, RoleHealth> {
  const roles: Record<string, RoleHealth> = {};
  for (const { redis } of processes) {
    for (const [role, health] of Object.entries(redis ?? {})) {
      const next = { status: redisStateOf(health), ...health };
      const known = roles[role];
      const worst = known === undefined || isWorse(next, known) ? next : known;
      roles[role] = { ...worst, openCircuits: Math.max(next.openCircuits, known?.openCircuits ?? 0) };
    }
  }
  return roles;
}

const STATES: readonly HealthState[] = ['healthy', 'degraded', 'unhealthy'];

function isWorse(one: RoleHealth, other: RoleHealth): boolean {
  const difference = STATES.indexOf(one.status) - STATES.indexOf(other.status);
  return difference === 0 ? (one.latencyMs ?? 0) > (other.latencyMs ?? 0) : difference > 0;
}

function redisStateOf({ up, nodes, warnings, openCircuits }: RedisHealth): HealthState {
  const healthy = up && nodes.some((node) => node.up);
  // an answer is given again for a while, so a node may be up here whose circuit opened since
  return stateOf(healthy, openCircuits > 0 || warnings.length > 0 || nodes.some((node) => !node.up));
}
