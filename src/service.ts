import type { Logger } from 'pino';
import { Metrics } from './admin/metrics.js';
import { collectionScripts } from './cache/collection-scripts.js';
import { CollectionStore } from './cache/collection-store.js';
import { cacheRpcs } from './cache/handlers.js';
import { NearCache } from './cache/near-cache.js';
import { cacheScripts } from './cache/scripts.js';
import { cacheMetrics } from './cache/stats-metrics.js';
import { StatsStore } from './cache/stats-store.js';
import { CacheStats } from './cache/stats.js';
import { LeaseStore } from './cache/lease-store.js';
import { leaseScripts } from './cache/lease-scripts.js';
import { ParkedCalls } from './cache/parked-calls.js';
import { PatternStore } from './cache/pattern-store.js';
import { CacheStore } from './cache/store.js';
import { tagScripts } from './cache/tag-scripts.js';
import { TagTables } from './cache/tags.js';
import { ChangeFeed } from './cache/watch/change-feed.js';
import { EvictionCounter } from './cache/watch/eviction-counter.js';
import { Watcher } from './cache/watch/watcher.js';
import type { Config } from './config/config.js';
import { namespacesOf } from './config/credentials-source.js';
import { ConfigError } from './config/config-error.js';
import { SettingsReload } from './config/settings-reload.js';
import { authorityOf } from './grpc/authority-of.js';
import { callMetrics } from './grpc/call-metrics.js';
import { healthMetrics } from './grpc/health-metrics.js';
import { Health } from './grpc/health.js';
import { Invoker } from './grpc/invoke.js';
import { Rejections } from './grpc/rejections.js';
import { GrpcServer } from './grpc/server.js';
import { Tracing } from './grpc/tracing.js';
import { allLockScripts, createLockService } from './lock/lock-service.js';
import { createQuorumLocks } from './lock/quorum/create-quorum-locks.js';
import { createRedlockLocks } from './lock/redlock/create-redlock-locks.js';
import { redlockScripts } from './lock/redlock/scripts.js';
import { createRateLimitService } from './ratelimit/rate-limit-service.js';
import { RpcGates } from './ratelimit/rpc-gate.js';
import { rateLimitScripts } from './ratelimit/scripts.js';
import { KeyBroadcast } from './redis/broadcast.js';
import { FormatMismatchError } from './redis/format.js';
import { redisMetrics } from './redis/redis-metrics.js';
import { OperationTimer } from './redis/operation-timer.js';
import { RoleMetrics } from './redis/role-metrics.js';
import { createRoles } from './redis/roles.js';
import { ShardChannels } from './redis/shard-channels.js';
import { statsScripts } from './redis/stats-scripts.js';
import { KeyTracking } from './redis/tracking.js';
import { allSessionScripts, createSessionService, heldSessionScripts } from './session/session-service.js';
import { createHealthReport, type ReportHealth } from './service-health.js';

import { ownVersion } from './version.js';

export interface ServiceOptions {
  readonly config: Config;
  readonly logger: Logger;
  /** A Redis that must not be served from; the process should end with this message. */
  readonly onUnusable: (error: Error) => void;
}

export interface Service {
  /** Where the API listens, with the port that was chosen for port 0. */
  readonly address: string;
  readonly metrics: Metrics;
  readonly health: ReportHealth;
  /** Resolves when every Redis answers. */
  readonly ready: Promise<void>;
  /** NOT_SERVING first, then the calls in flight, then the connections to Redis. Answers whether every call finished. */
  drain(): Promise<boolean>;
}

/** Composes the product and begins to serve; Redis may still be away. */
export async function startService({ config, logger, onUnusable }: ServiceOptions): Promise<Service> {
  const timer = new OperationTimer(config.redis.slowOperationMs);
  const roles = createRoles({
    plan: config.redis.plan,
    scripts: {
      cache: [...cacheScripts, ...leaseScripts, ...tagScripts, ...collectionScripts, ...statsScripts],
      state: [
        ...allLockScripts,
        ...(config.lock.redlock === undefined ? [] : redlockScripts),
        ...statsScripts,
        ...allSessionScripts,
      ],
      limit: [...rateLimitScripts, ...statsScripts],
    },
    namespaces: config.namespaces,
    maxRetries: config.redis.maxRetries,
    strictEviction: config.redis.strictEviction,
    timeoutMs: config.redis.timeoutMs,
    ...(config.redis.stateReplicas === undefined
      ? {}
      : { replicated: { ...config.redis.stateReplicas, scripts: [...allLockScripts, ...heldSessionScripts] } }),
    timer,
    logger,
    onUnusable,
  });
  const roleMetrics = new RoleMetrics(roles);
  // opens no connection before somebody needs it
  const cacheTracking = new KeyTracking(roles.targets.cache, logger.child({ roles: ['cache'] }));
  const near =
    config.cache.nearMaxBytes === 0
      ? undefined
      : new NearCache({
          tracking: cacheTracking,
          maxBytes: config.cache.nearMaxBytes,
          ttlMs: config.cache.nearTtlMs,
          keepsMissing: roles.cache.topology === 'standalone',
        });
  const cacheStats = new CacheStats();
  const statsStore = new StatsStore(roles.cache, cacheStats, logger);
  const rateLimits = createRateLimitService({
    redis: roles.limit,
    target: roles.targets.limit,
    served: config,
    auditLog: config.auditLog,
    logger,
  });
  const tags = new TagTables(roles.cache, near === undefined ? undefined : cacheTracking);
  const parkedCalls = new ParkedCalls(cacheTracking);
  const evictions = new EvictionCounter(roles.cache);
  const feed = new ChangeFeed({
    redis: roles.cache,
    tracking: cacheTracking,
    createBroadcast: (events) => new KeyBroadcast(roles.targets.cache, logger.child({ roles: ['cache'] }), events),
  });
  // opens no connection before somebody listens
  const stateChannels = new ShardChannels(roles.targets.state, logger.child({ roles: ['state'] }));
  const sessions = createSessionService({
    redis: roles.state,
    channels: stateChannels,
    profiles: config.profiles,
    auditLog: config.auditLog,
    onSweeping: (namespace) => {
      locks.lookAfter(namespace);
    },
    logger,
  });
  const forMasters = { strictEviction: config.redis.strictEviction, timer, logger, onUnusable };
  // at most one of both is set
  const remoteLocks =
    (config.lock.redlock &&
      createRedlockLocks({
        ...config.lock.redlock,
        ...forMasters,
        state: roles.state,
        timeoutMs: config.redis.timeoutMs,
      })) ??
    (config.lock.quorum &&
      createQuorumLocks({
        ...config.lock.quorum,
        ...forMasters,
        namespace: config.namespace,
        fenceRetentionMs: config.lock.fenceRetentionMs,
      }));
  const stateTracking = new KeyTracking(roles.targets.state, logger.child({ roles: ['state'] }));
  const locks = createLockService({
    redis: roles.state,
    channels: stateChannels,
    tracking: stateTracking,
    createBroadcast: (events) => new KeyBroadcast(roles.targets.state, logger.child({ roles: ['state'] }), events),
    fenceRetentionMs: config.lock.fenceRetentionMs,
    remote: remoteLocks,
    auditLog: config.auditLog,
    logger,
  });
  const rpcs = [
    ...cacheRpcs({
      store: new CacheStore(roles.cache, tags, cacheStats, { ...config.lock, ...config.grpc }, near),
      leases: new LeaseStore(roles.cache, tags, parkedCalls, cacheStats, config.lock),
      patterns: new PatternStore(roles.cache, cacheStats),
      collections: new CollectionStore(roles.cache),
      stats: statsStore,
      near,
      openWatcher: (namespace) => new Watcher(namespace, feed, evictions),
      defaultTtlMs: config.cache.defaultTtlMs,
      maxValueBytes: config.cache.maxValueBytes,
    }),
    ...sessions.rpcs,
    ...locks.rpcs,
    ...rateLimits.rpcs,
  ];
  const serve = (namespace: string): void => {
    // so that its metrics are there before its first call
    cacheStats.of(namespace);
    for (const part of [sessions, locks, rateLimits]) part.serve(namespace);
  };
  for (const namespace of config.namespaces) serve(namespace);
  const served = authorityOf(config.credentials, config.namespace, rpcs);
  const credentialsReload = new SettingsReload({
    name: 'credentials',
    setting: 'CREDENTIALS_FILE',
    source: config.credentialsSource,
    apply: async (file) => {
      const namespaces = namespacesOf(file);
      // callers come into a namespace when all of it works
      for (const namespace of namespaces) await roles.addNamespace(namespace).catch(toConfigError);
      for (const namespace of namespaces) serve(namespace);
      served.replace(file);
      // nobody can call them any more
      const kept = new Set(namespaces);
      sessions.keepOnly(kept);
      roles.keepNamespaces(kept);
    },
    logger,
  });
  const health = new Health({
    services: {
      'envoy.service.ratelimit.v3.RateLimitService': roles.limit,
      'shardkeep.cache.v1.CacheService': roles.cache,
      'shardkeep.lock.v1.LockService': locks.readiness,
      'shardkeep.ratelimit.v1.RateLimitService': roles.limit,
      'shardkeep.session.v1.SessionService': roles.state,
    },
    sidecar: config.grpc.sidecar,
    readinessGraceMs: config.grpc.readinessGraceMs,
  });
  const { limiter, policies } = rateLimits;
  const rateGates = new RpcGates({ limiter, policies, rpcLimits: config.rpcLimits, rpcs });
  const policiesReload = new SettingsReload({
    name: 'policies',
    setting: 'POLICIES_FILE',
    source: config.policiesSource,
    apply: (others) => {
      // the one that can refuse is the first
      rateGates.replace(others.rpcLimits);
      rateLimits.replacePolicies(others);
      sessions.replaceProfiles(others.profiles);
    },
    onCurrent: (isCurrent) => {
      health.setPoliciesCurrent(isCurrent);
    },
    logger,
  });
  const rejections = new Rejections();
  const metrics = new Metrics();
  for (const metric of redisMetrics(roles)) metrics.register(metric);
  metrics.register(rejections.metric);
  for (const metric of cacheMetrics(cacheStats, near)) metrics.register(metric);
  const parts = [sessions, locks, rateLimits, policiesReload, credentialsReload, served, timer, roleMetrics];
  for (const metric of parts.flatMap((part) => part.metrics)) metrics.register(metric);
  const invoker = new Invoker({
    rateGateOf: (rpc) => rateGates.gateOf(rpc),
    observerOf: (rpc) => metrics.observerOf(rpc),
    maxInFlight: config.grpc.maxInFlight,
    maxParked: config.grpc.maxParked,
    maxStreams: config.grpc.maxStreams,
    tracing: Tracing.ofProcess(ownVersion()),
    rejections,
    logger,
  });
  const server = new GrpcServer({
    ...config.grpc,
    rpcs,
    invoker,
    rejections,
    health,
    authority: served.authority,
    logger,
  });
  const own = [...callMetrics({ ...config.grpc, invoker, server }), ...healthMetrics(health)];
  for (const metric of own) metrics.register(metric);

  for (const metric of server.metrics) metrics.register(metric);

  const ready = new Promise<void>((resolve) => {
    const redises = [roles.cache, roles.state, roles.limit, locks.readiness];
    const check = (): void => {
      if (redises.every(({ isReady }) => isReady)) resolve();
    };
    for (const redis of redises) redis.onStateChange(check);
  });
  roles.connect();
  const address = await server.start().catch(async (error: unknown) => {
    await locks.close();
    await roles.close();
    throw error;
  });
  statsStore.start();
  rateLimits.start();
  locks.start();
  sessions.start();
  policiesReload.start();
  credentialsReload.start();
  roleMetrics.start();
  logger.info({ address }, 'listening');

  return {
    address,
    metrics,
    health: createHealthReport({ roles, health, invoker, cacheStats }),
    ready,
    drain: async () => {
      policiesReload.close();
      credentialsReload.close();
      const sweepersClosed = sessions.close();
      roleMetrics.close();
      health.drain();
      invoker.drain();
      parkedCalls.drain();
      locks.drain();
      const finished = await server.drain(config.grpc.drainTimeoutMs);
      await sweepersClosed;
      served.close();
      await Promise.all([statsStore.close(), locks.close(), rateLimits.close()]);
      feed.close();
      await cacheTracking.close();
      await stateTracking.close();
      stateChannels.close();
      await roles.close();
      return finished;
    },
  };
}

/** A namespace that cannot be served is a mistake in the file that names it. */
function toConfigError(error: unknown): never {
  if (error instanceof FormatMismatchError) throw new ConfigError([`CREDENTIALS_FILE: ${error.message}`]);
  throw error;
}
