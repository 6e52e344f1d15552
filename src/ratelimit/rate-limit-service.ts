import type { Logger } from 'pino';
import type { MetricDefinition } from '../admin/metrics.js';
import type { EnvoyDomainSettings } from '../config/envoy-domains.js';
import type { RatePolicySettings } from '../config/rate-policy.js';
import type { Rpc } from '../grpc/rpc.js';
import type { RedisTarget } from '../redis/connection.js';
import type { Redis } from '../redis/redis.js';
import { ShardChannels } from '../redis/shard-channels.js';
import { DeadlineWheel } from '../wire/deadline-wheel.js';
import { RateLimitAudit } from './audit.js';
import { ConcurrencyStore } from './concurrency-store.js';
import { DenialMemory } from './denial-memory.js';
import { envoyRpcs } from './envoy/handlers.js';
import { rateLimitRpcs } from './handlers.js';
import { HeldSlots } from './hold/held-slots.js';
import { limitMetrics } from './limit-metrics.js';
import { RateLimiter } from './limiter.js';
import { RatePolicies } from './policies.js';
import { RedisLoss } from './redis-loss.js';
import { Reservations } from './reservations.js';
import { StandingStore } from './standing-store.js';
import { RateLimitStatsStore } from './stats-store.js';
import { RateLimitStats } from './stats.js';
import { RateLimitStore } from './store.js';

/** What the policies file says of rate limits. */
export interface ServedRatePolicies {
  readonly ratePolicies: Readonly<Record<string, RatePolicySettings>>;
  readonly ipv6Prefix: number;
  readonly envoyDomains: EnvoyDomainSettings;
}

export interface RateLimitServiceOptions {
  readonly redis: Redis;
  /** Where that Redis is, for a connection that listens. */
  readonly target: RedisTarget;
  readonly served: ServedRatePolicies;
  readonly auditLog: boolean;
  readonly logger: Logger;
}

/** The parts of RateLimitService, put together. */
export interface RateLimitService {
  readonly rpcs: readonly Rpc[];
  readonly metrics: readonly MetricDefinition[];
  /** For the limits of RPCs. */
  readonly limiter: RateLimiter;
  readonly policies: RatePolicies;
  /** Serves a namespace, from now on or already: so that its metrics are there before its first call. */
  serve(namespace: string): void;
  /** From now on these. */
  replacePolicies(served: ServedRatePolicies): void;
  /** Begins to send what is counted. */
  start(): void;
  /** Sends the last of what is counted, and listens no more. */
  close(): Promise<void>;
}

export function createRateLimitService(options: RateLimitServiceOptions): RateLimitService {
  const { redis, logger } = options;
  let { envoyDomains } = options.served;
  const policies = new RatePolicies(options.served.ratePolicies, options.served.ipv6Prefix);
  const stats = new RateLimitStats((policy) => policies.has(policy));
  const statsStore = new RateLimitStatsStore(redis, stats, logger);
  const store = new RateLimitStore(redis, logger);
  const nowMs = (): number => redis.clock.nowMs();
  // opens no connection before somebody is denied
  const channels = new ShardChannels(options.target, logger.child({ roles: ['limit'] }));
  const memory = new DenialMemory({ channels, topology: redis.topology, policies });
  const onRoomMade = (standing: string): void => {
    memory.onRoomMade(standing);
  };
  const limiter = new RateLimiter({ store, memory, loss: new RedisLoss(nowMs), nowMs, stats });
  const slots = { store: new ConcurrencyStore(redis, store, onRoomMade), wheel: new DeadlineWheel() };
  return {
    rpcs: [
      ...envoyRpcs({
        limiter,
        policies,
        domainOf: (domain) => (Object.hasOwn(envoyDomains, domain) ? envoyDomains[domain] : undefined),
        nowMs,
      }),
      ...rateLimitRpcs({
        store,
        limiter,
        reservations: new Reservations(redis, store, onRoomMade),
        standings: new StandingStore(redis, onRoomMade),
        audit: new RateLimitAudit(options.auditLog ? logger : undefined),
        policies,
        stats,
        statsStore,
        openHeldSlots: (held) => new HeldSlots(held, slots),
        nowMs,
      }),
    ],
    metrics: limitMetrics({ stats, limiter, policies }),
    limiter,
    policies,
    serve: (namespace) => {
      stats.of(namespace);
    },
    replacePolicies: (served) => {
      policies.replace(served.ratePolicies, served.ipv6Prefix);
      ({ envoyDomains } = served);
    },
    start: () => {
      statsStore.start();
    },
    close: async () => {
      await statsStore.close();
      memory.close();
      channels.close();
    },
  };
}
