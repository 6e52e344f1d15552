import type { Logger } from 'pino';
import { warnOfHoles } from './known-holes.js';
import type { Call } from './call.js';
import { describeTarget, type RedisTarget } from './connection.js';
import { startEmbeddedRedis, type EmbeddedRedis } from './embedded.js';
import { checkFormat, checkFormatScript, FormatMismatchError } from './format.js';
import type { AnyLuaScript } from './lua-script.js';
import { evictionRisk, unusableReason, type NodeReport } from './node-report.js';
import type { OperationTimer } from './operation-timer.js';
import { REPLICA_COMMANDS, ROLE_COMMANDS } from './permissions.js';
import { Redis, type RedisOptions } from './redis.js';

/**
 * What a Redis is for. `cache` may lose anything at any time; `state` (sessions, locks) must not be evicted; `limit`
 * holds rate limits, with `state` unless told otherwise.
 */
export const ROLES = ['cache', 'state', 'limit'] as const;
export type Role = (typeof ROLES)[number];

/** Where the roles are; equal targets share one connection. */
export type RedisPlan =
  | { readonly kind: 'external'; readonly targets: Readonly<Record<Role, RedisTarget>> }
  | {
      readonly kind: 'embedded';
      readonly binary: string;
      readonly dataDir: string | undefined;
      readonly cacheMaxMemoryMb: number;
      readonly stateMaxMemoryMb: number;
    };

export interface RolesOptions {
  readonly plan: RedisPlan;
  readonly scripts: Readonly<Record<Role, readonly AnyLuaScript[]>>;
  /** All that data is served of; more may be added. */
  readonly namespaces: readonly string[];
  readonly maxRetries: number | undefined;
  /** A node that answers nothing for so long is given up until it is back. */
  readonly timeoutMs: number;
  /** Scripts of the role `state` that are answered when so many replicas have what they wrote. */
  readonly replicated?: RedisOptions['replicated'];
  /** Refuse, instead of warn, when sessions could be evicted. */
  readonly strictEviction: boolean;
  readonly timer: OperationTimer;
  readonly logger: Logger;
  /** A Redis that this service must not serve from: too old, of another topology or data format. */
  readonly onUnusable: (error: Error) => void;
}

export interface Roles extends Readonly<Record<Role, Redis>> {
  /** Where each role's Redis is, for connections of another kind. */
  readonly targets: Readonly<Record<Role, RedisTarget>>;
  /**
   * Serves another namespace from now on. Throws FormatMismatchError, and does not, where its data cannot be read. Of a Redis
   * that is away the data is looked at when it is back, as that of the others.
   */
  addNamespace(namespace: string): Promise<void>;
  /** Asks for no rights in other namespaces any more. */
  keepNamespaces(namespaces: ReadonlySet<string>): void;
  /** Begins to connect; ready states arrive by `Redis.onStateChange`. */
  connect(): void;
  /** Waits for replies, closes connections, ends embedded children. */
  close(): Promise<void>;
}

type EmbeddedPlan = Extract<RedisPlan, { kind: 'embedded' }>;

/** Running children, and where they are. */
export interface EmbeddedRoles {
  readonly targets: Readonly<Record<Role, RedisTarget>>;
  /** Resolves when the child of a role serves for the first time, or was stopped. */
  serving(role: Role): Promise<void>;
  stop(): Promise<void>;
}

export function startEmbeddedRoles(plan: EmbeddedPlan, logger: Logger): EmbeddedRoles {
  const start = (role: 'cache' | 'state', maxMemoryMb: number): EmbeddedRedis => {
    const { binary, dataDir } = plan;
    return startEmbeddedRedis({ role, binary, maxMemoryMb, logger, ...(dataDir === undefined ? {} : { dataDir }) });
  };
  const state = start('state', plan.stateMaxMemoryMb);
  const cache = start('cache', plan.cacheMaxMemoryMb);
  return {
    targets: { cache: cache.target, state: state.target, limit: state.target },
    serving: (role) => (role === 'cache' ? cache : state).serving(),
    stop: async () => {
      await Promise.all([state.stop(), cache.stop()]);
    },
  };
}

export function createRoles(options: RolesOptions): Roles {
  const { plan } = options;
  const running: EmbeddedRoles =
    plan.kind === 'embedded'
      ? startEmbeddedRoles(plan, options.logger)
      : { targets: plan.targets, serving: () => Promise.resolve(), stop: () => Promise.resolve() };
  const { targets } = running;

  const namespaces = new Set(options.namespaces);
  const byTarget = new Map<string, Redis>();
  let closed = false;
  // what waits for replicas has a connection of its own, since all that is behind it there waits too
  const connectionOf = (role: Role): string =>
    JSON.stringify([targets[role], role === 'state' && options.replicated !== undefined]);
  const connect = (role: Role): Redis => {
    const id = connectionOf(role);
    const rolesHere = ROLES.filter((other) => connectionOf(other) === id);
    const redis =
      byTarget.get(id) ??
      new Redis({
        target: targets[role],
        scripts: [checkFormatScript, ...rolesHere.flatMap((other) => options.scripts[other])],
        timer: options.timer,
        logger: options.logger.child({ roles: rolesHere }),
        timeoutMs: options.timeoutMs,
        ...(role === 'state' && options.replicated !== undefined ? { replicated: options.replicated } : {}),
        ...(options.maxRetries === undefined ? {} : { maxRetries: options.maxRetries }),
        permissions: { namespaces, commands: commandsFor(role, options) },
        onNode: (report, self) => admitNode(report, self, rolesHere, { ...options, namespaces: [...namespaces] }),
      });
    byTarget.set(id, redis);
    return redis;
  };

  const roles = { cache: connect('cache'), state: connect('state'), limit: connect('limit') };
  return {
    ...roles,
    targets,
    addNamespace: async (namespace) => {
      if (namespaces.has(namespace)) return;
      const ready = [...byTarget.values()].filter(({ isReady }) => isReady);
      await Promise.all(ready.map((redis) => checkFormatOf(redis, namespace).catch(onlyMismatch)));
      namespaces.add(namespace);
    },
    keepNamespaces: (kept) => {
      for (const namespace of namespaces) if (!kept.has(namespace)) namespaces.delete(namespace);
    },
    connect: () => {
      for (const [redis, role] of new Map(ROLES.map((each) => [roles[each], each]))) {
        // a child that has yet to load its data is not away
        void running.serving(role).then(() => {
          if (!closed) redis.connect();
        });
      }
    },
    close: async () => {
      closed = true;
      await Promise.all([...byTarget.values()].map((redis) => redis.close()));
      await running.stop();
    },
  };
}

function commandsFor(role: Role, { replicated }: RolesOptions): readonly string[] {
  return role === 'state' && replicated !== undefined ? [...ROLE_COMMANDS, ...REPLICA_COMMANDS] : ROLE_COMMANDS;
}

/** How long a node may take to answer for its format before it counts as not ready. */
const FORMAT_CHECK_MS = 2_000;

async function admitNode(
  report: NodeReport,
  redis: Redis,
  roles: readonly Role[],
  options: RolesOptions,
): Promise<void> {
  const { logger, onUnusable, namespaces } = options;
  const refuse = (message: string): never => {
    const error = new Error(`Redis at ${report.address}: ${message}`);
    onUnusable(error);
    throw error;
  };
  const reason = unusableReason(report, redis.topology);
  if (reason !== undefined) refuse(reason);
  warnOfHoles(report, logger);
  const mustKeep = roles.filter((role) => role !== 'cache');
  const risk = mustKeep.length > 0 ? evictionRisk(report) : undefined;
  if (risk !== undefined) {
    if (options.strictEviction) refuse(risk);
    logger.error({ address: report.address, roles: mustKeep, maxmemoryPolicy: report.maxmemoryPolicy }, risk);
  }
  try {
    await Promise.all(namespaces.map((namespace) => checkFormatOf(redis, namespace)));
  } catch (error) {
    if (error instanceof FormatMismatchError) refuse(error.message);
    // the master of the format key may be the one that is away: the others serve their slots meanwhile
    if (redis.topology === 'standalone') throw error;
    logger.warn({ address: report.address, err: error }, 'data format not checked');
  }
}

function checkFormatOf(redis: Redis, namespace: string): Promise<void> {
  const call: Call = { namespace, deadlineAt: performance.now() + FORMAT_CHECK_MS, ended: false };
  return checkFormat(redis, call);
}

/** For an error that is to be passed over unless it says that data cannot be read. */
function onlyMismatch(error: unknown): void {
  if (error instanceof FormatMismatchError) throw error;
}

/** Names every role's Redis for the log, without credentials. */
export function describePlan(plan: RedisPlan): string {
  if (plan.kind === 'embedded') {
    return plan.dataDir === undefined
      ? 'embedded Redis, nothing kept'
      : `embedded Redis, state kept in ${plan.dataDir}`;
  }
  return ROLES.map((role) => `${role} ${describeTarget(plan.targets[role])}`).join(', ');
}
