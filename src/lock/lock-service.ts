import type { Logger } from 'pino';
import type { MetricDefinition } from '../admin/metrics.js';
import type { Rpc } from '../grpc/rpc.js';
import type { BroadcastEvents, KeyBroadcast } from '../redis/broadcast.js';
import type { AnyLuaScript } from '../redis/lua-script.js';
import type { Readiness } from '../redis/readiness.js';
import type { Redis } from '../redis/redis.js';
import type { ShardChannels } from '../redis/shard-channels.js';
import type { KeyTracking } from '../redis/tracking.js';
import { DeadlineWheel } from '../wire/deadline-wheel.js';
import { LockAudit } from './audit.js';
import type { LockBackend } from './backend.js';
import { lockMode } from './lock-mode.js';
import { lockRpcs } from './handlers.js';
import { HeldSampler } from './held-sampler.js';
import { HoldStore } from './hold/hold-store.js';
import { HoldStream } from './hold/hold-stream.js';
import { holdScripts } from './hold/scripts.js';
import { lockMetrics } from './lock-metrics.js';
import { CountedLocks } from './masters/counted-locks.js';
import { LockOperationStore } from './operation-store.js';
import { lockScripts } from './scripts.js';
import { LockStatsStore } from './stats-store.js';
import { LockStats } from './stats.js';
import { LockStore } from './store.js';
import { WakeChannels } from './wake-channels.js';
import { LockFeed } from './watch/lock-feed.js';
import { LockWatcher } from './watch/lock-watcher.js';

/** Locks that live on masters of their own instead of the `state` Redis. */
export interface RemoteLocks {
  readonly locks: LockBackend & Readiness & { drain(): void };
  readonly metrics: readonly MetricDefinition[];
  /** Begins to connect in the background. */
  connect(): void;
  close(): Promise<void>;
}

export interface LockServiceOptions {
  readonly redis: Redis;
  readonly channels: ShardChannels;
  /** Of single keys of the same Redis. */
  readonly tracking: KeyTracking;
  /** Of beginnings of keys of the same Redis. */
  readonly createBroadcast: (events: BroadcastEvents) => KeyBroadcast;
  readonly namespace: string;
  /** How long the fencing token of a resource is remembered after its last lease. */
  readonly fenceRetentionMs: number;
  readonly remote: RemoteLocks | undefined;
  readonly auditLog: boolean;
  readonly logger: Logger;
}

/** The parts of LockService, put together. */
export interface LockService {
  readonly rpcs: readonly Rpc[];
  readonly metrics: readonly MetricDefinition[];
  /** Whether locks can be taken. */
  readonly readiness: Readiness;
  /** For the one process that looks after a namespace, often: counts the locks that are held when it is time to. */
  lookAfter(namespace: string): void;
  /** Begins to connect to masters of its own, and to send what is counted. */
  start(): void;
  /** Lets go of everybody who waits, and lets nobody wait. */
  drain(): void;
  /** Sends the last of what was counted, and closes the connections of its own. */
  close(): Promise<void>;
}

export const allLockScripts: readonly AnyLuaScript[] = [...lockScripts, ...holdScripts];

/** What only locks on the `state` Redis can do. */
const NEEDS_QUEUES = new Set([
  'HoldLocks',
  'ListLocks',
  'WatchLocks',
  'ForceReleaseLock',
  'CleanupExpiredLocks',
  'GetLockStats',
]);

export function createLockService(options: LockServiceOptions): LockService {
  const { redis, channels, tracking, createBroadcast, fenceRetentionMs, remote, logger } = options;
  const stats = new LockStats();
  // so that its metrics are there before its first call
  stats.of(options.namespace);
  const wakes = new WakeChannels(channels, redis.topology);
  const store = new LockStore({ redis, wakes, stats, fenceRetentionMs });
  const locks = remote?.locks ?? store;
  const holds = new HoldStore(redis, { fenceRetentionMs });
  const leaseWheel = new DeadlineWheel();
  const operations = new LockOperationStore({ redis, stats, fenceRetentionMs });
  const statsStore = new LockStatsStore(redis, stats, logger);
  const held = new HeldSampler(operations);
  const feed = new LockFeed({ tracking, createBroadcast });
  const rpcs = lockRpcs({
    locks: remote === undefined ? store : new CountedLocks(remote.locks, stats),
    openHoldStream: (namespace) => new HoldStream({ namespace, locks: store, holds, wakes, wheel: leaseWheel }),
    operations,
    stats: statsStore,
    audit: new LockAudit(options.auditLog ? logger : undefined),
    openLockWatcher: (namespace, selection) => new LockWatcher({ namespace, ...selection, feed, store: operations }),
  });
  return {
    rpcs: remote === undefined ? rpcs : rpcs.map(refuseWithoutQueues),
    metrics: [...lockMetrics(stats, feed), ...held.metrics, ...(remote?.metrics ?? [])],
    readiness: remote?.locks ?? redis,
    lookAfter: (namespace) => {
      if (remote === undefined) void held.lookAfter(namespace);
    },
    start: () => {
      remote?.connect();
      statsStore.start();
    },
    drain: () => {
      locks.drain();
    },
    close: async () => {
      await statsStore.close();
      await remote?.close();
    },
  };
}

function refuseWithoutQueues(rpc: Rpc): Rpc {
  const method = rpc.name.slice(rpc.name.indexOf('/') + 1);
  if (!NEEDS_QUEUES.has(method)) return rpc;
  const refuse = (): Promise<never> => Promise.reject(lockMode(method));
  if (rpc.kind === 'unary') return { ...rpc, handle: refuse };
  return { ...rpc, handle: () => ({ [Symbol.asyncIterator]: () => ({ next: refuse }) }) };
}
