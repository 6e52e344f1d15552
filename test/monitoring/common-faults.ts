import { keys, partitionOfUser } from '../../src/redis/keys.js';
import { metricsOf } from '../support/metrics.js';
import { until } from '../support/redis-server.js';
import { sharedRedisUrl } from '../support/service.js';
import { call, COMMON, lookAgain, WHILE_REDIS_FAILS, type Fault } from './faults.js';

/** Faults that are over at once, most of them on one service. */

const RELEASED_LATE_MS = 30;
const ENTRIES_A_CALL = 256;

export const COMMON_FAULTS: readonly Fault[] = [
  {
    name: 'somebody writes into a session by hand',
    alerts: ['ShardkeepInternalErrors'],
    place: COMMON,
    goOn: async ({ redis, service }) => {
      const userId = 'user of a broken session';
      const { session } = await service.sessions.createSession({ userId });
      const sessionId = session?.sessionId ?? '';
      const key = keys.session(service.namespace, partitionOfUser(userId), sessionId);
      // of the record at its end
      const length = Number(await redis.command('STRLEN', key));
      await redis.command('SETRANGE', key, String(length - 20), 'x'.repeat(20));
      await call(() => service.sessions.getSession({ sessionId }));
      await redis.command('DEL', key);
    },
  },
  {
    name: 'nearly as many wait as may',
    alerts: ['ShardkeepNearLimit'],
    place: COMMON,
    begin: async ({ service }) => {
      const { locks } = service;
      await locks.acquireLock({ resources: ['crowded'], ttlMs: 60_000n });
      const deadline = Date.now() + 60_000;
      for (let waiting = 0; waiting < 9; waiting++) {
        // whose turn it is soon makes room for the next
        const wait = { resources: ['crowded'], ttlMs: 5n, waitMs: 50_000n };
        void call(() => locks.acquireLock(wait, { deadline }));
      }
      await until(async () => (await metricsOf(service)).get('shardkeep_rpc_parked') === 9);
    },
    end: async ({ service }) => {
      await service.locks.forceReleaseLock({ resource: 'crowded', reason: 'over' });
      await until(async () => (await metricsOf(service)).get('shardkeep_rpc_parked') === 0);
    },
  },
  {
    name: 'locks are not released',
    alerts: ['ShardkeepLocksLost'],
    place: COMMON,
    goOn: async ({ service: { locks } }) => {
      const resources = Array.from({ length: 10 }, (_, at) => `lost ${String(at)}`);
      const acquireAll = async (): Promise<boolean> => {
        const answers = resources.map((resource) =>
          locks.acquireLock({ resources: [resource], ttlMs: BigInt(RELEASED_LATE_MS) }),
        );
        return (await Promise.all(answers)).every(({ lockToken }) => lockToken !== '');
      };
      await acquireAll();
      await until(acquireAll);
    },
  },
  {
    name: 'connections to Redis break',
    alerts: ['ShardkeepRedisReconnects'],
    minutes: 10,
    perhaps: WHILE_REDIS_FAILS,
    place: COMMON,
    goOn: async ({ redis, service }) => {
      const reconnects = async (): Promise<number> =>
        (await metricsOf(service)).get('shardkeep_redis_reconnects_total{role="state"}') ?? 0;
      for (let time = 0; time < 8; time++) {
        const before = await reconnects();
        await redis.command('CLIENT', 'KILL', 'TYPE', 'normal');
        await until(async () => (await reconnects()) > before);
      }
    },
  },
  {
    name: 'Redis is silent',
    alerts: ['ShardkeepRedisCircuitOpen', 'ShardkeepRedisDown'],
    perhaps: [
      ...WHILE_REDIS_FAILS,
      'ShardkeepCacheErrorRate',
      'ShardkeepSessionCreationFailures',
      'ShardkeepNotServing',
    ],
    place: COMMON,
    isUsed: false,
    begin: async ({ redis, service }) => {
      redis.signal('SIGSTOP');
      const told = async (name: string): Promise<number | undefined> =>
        (await metricsOf(service)).get(`shardkeep_redis_${name}{role="state"}`);
      await until(async () => {
        await Promise.all(
          Array.from({ length: 20 }, (_, at) => call(() => service.cache.exists({ keys: [String(at)] }))),
        );
        return (await told('circuit_open')) === 1 && (await told('up')) === 0;
      });
    },
    end: async ({ redis, service }) => {
      redis.signal('SIGCONT');
      await until(() => service.cache.exists({ keys: ['k1'] }).then(() => true));
    },
  },
  {
    name: 'the cache is too small',
    alerts: ['ShardkeepEvictionRateHigh'],
    perhaps: [...WHILE_REDIS_FAILS, 'ShardkeepCacheHitRatio'],
    env: { STATE_REDIS_URL: sharedRedisUrl('standalone') },
    redisFlags: ['--maxmemory', '3mb', '--maxmemory-policy', 'allkeys-lru'],
    goOn: async (place) => {
      const { cache } = place.service;
      const names = Array.from({ length: ENTRIES_A_CALL }, (_, at) => `entry ${String(at)}`);
      const defaults = { condition: undefined, tags: [], jitterPercent: 0, guard: undefined, expiry: undefined };
      const value = Buffer.alloc(1_000);
      for (let time = 0; time < 20; time++) {
        await cache.setMany({ entries: names.map((name) => ({ ...defaults, key: `${name} ${String(time)}`, value })) });
        for (let read = 0; read < 3; read++) await cache.getMany({ keys: names });
      }
      await lookAgain(place, 'cache');
    },
  },
];
