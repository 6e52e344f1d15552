import type { Logger } from 'pino';
import type { MetricDefinition } from '../admin/metrics.js';
import type { Rpc } from '../grpc/rpc.js';
import type { BroadcastEvents, KeyBroadcast } from '../redis/broadcast.js';
import type { Redis } from '../redis/redis.js';
import type { ShardChannels } from '../redis/shard-channels.js';
import type { KeyTracking } from '../redis/tracking.js';
import { LockAudit } from './audit.js';
import { lockRpcs } from './handlers.js';
import { lockMetrics } from './lock-metrics.js';
import { LockOperationStore } from './operation-store.js';
import { LockStatsStore } from './stats-store.js';
import { LockStats } from './stats.js';
import { LockStore } from './store.js';
import { WakeChannels } from './wake-channels.js';
import { LockFeed } from './watch/lock-feed.js';
import { LockWatcher } from './watch/lock-watcher.js';

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
  readonly auditLog: boolean;
  readonly logger: Logger;
}

/** The parts of LockService, put together. */
export interface LockService {
  readonly rpcs: readonly Rpc[];
  readonly metrics: readonly MetricDefinition[];
  /** Begins to send what is counted. */
  start(): void;
  /** Lets go of everybody who waits, and lets nobody wait. */
  drain(): void;
  /** Sends the last of what was counted. */
  close(): Promise<void>;
}

export function createLockService(options: LockServiceOptions): LockService {
  const { redis, channels, tracking, createBroadcast, fenceRetentionMs, logger } = options;
  const stats = new LockStats();
  // so that its metrics are there before its first call
  stats.of(options.namespace);
  const locks = new LockStore({
    redis,
    wakes: new WakeChannels(channels, redis.topology),
    stats,
    fenceRetentionMs,
  });
  const operations = new LockOperationStore({ redis, stats, fenceRetentionMs });
  const statsStore = new LockStatsStore(redis, stats, logger);
  const feed = new LockFeed({ tracking, createBroadcast });
  return {
    rpcs: lockRpcs({
      locks,
      operations,
      stats: statsStore,
      audit: new LockAudit(options.auditLog ? logger : undefined),
      openLockWatcher: (namespace, selection) => new LockWatcher({ namespace, ...selection, feed, store: operations }),
    }),
    metrics: lockMetrics(stats, feed),
    start: () => {
      statsStore.start();
    },
    drain: () => {
      locks.drain();
    },
    close: () => statsStore.close(),
  };
}
