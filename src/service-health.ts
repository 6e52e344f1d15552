import type { ProcessHealth, RedisHealth } from './admin/health-report.js';
import { COUNTER, type CacheStats, type CounterName } from './cache/stats.js';
import type { Health } from './grpc/health.js';
import type { Invoker } from './grpc/invoke.js';
import { RedisProbe } from './redis/redis-probe.js';
import { ROLES, type Roles } from './redis/roles.js';

export interface ServiceHealthOptions {
  readonly roles: Pick<Roles, (typeof ROLES)[number]>;
  readonly health: Pick<Health, 'serving' | 'isDraining'>;
  readonly invoker: Pick<Invoker, 'load'>;
  readonly cacheStats: CacheStats;
}

export interface ProcessHealthOptions {
  /** Also asks each master how it is. */
  readonly withRedis: boolean;
}

/** Says how this process is; in bounded time, whatever Redis does. */
export type ReportHealth = (options: ProcessHealthOptions) => Promise<ProcessHealth>;

/** What gRPC health knows of the process as a whole. */
const WHOLE: ReadonlySet<string> = new Set(['liveness', 'readiness']);

/** Makes what tells the health of this process on the HTTP side port. */
export function createHealthReport({ roles, health, invoker, cacheStats }: ServiceHealthOptions): ReportHealth {
  // roles may share a Redis, which is asked once for all of them
  const probes = [...new Set(ROLES.map((role) => roles[role]))].map((redis) => {
    const here = ROLES.filter((role) => roles[role] === redis);
    return { here, probe: new RedisProbe(redis, { mustKeep: here.some((role) => role !== 'cache') }) };
  });
  const askRedis = async (): Promise<Record<string, RedisHealth>> => {
    const answers = await Promise.all(
      probes.map(async ({ here, probe }) => {
        const answer = await probe.health();
        return here.map((role) => [role, answer] as const);
      }),
    );
    return Object.fromEntries(answers.flat());
  };
  return async ({ withRedis }) => {
    const { rss, heapUsed } = process.memoryUsage();
    const redis = withRedis ? await askRedis() : undefined;
    return {
      pid: process.pid,
      uptimeMs: Math.round(process.uptime() * 1_000),
      ready: health.serving.get('readiness') === true,
      draining: health.isDraining,
      services: Object.fromEntries([...health.serving].filter(([name]) => !WHOLE.has(name))),
      redisUp: Object.fromEntries(ROLES.map((role) => [role, roles[role].isReady])),
      memory: { rssBytes: rss, heapUsedBytes: heapUsed },
      calls: invoker.load,
      cache: countsOf(cacheStats),
      ...(redis === undefined ? {} : { redis }),
    };
  };
}

const TOLD: Readonly<Record<string, readonly CounterName[]>> = {
  hits: ['hits', 'absentHits', 'memoryHits'],
  stale: ['stale', 'memoryStale'],
  misses: ['misses', 'memoryMisses'],
  leasesGranted: ['leasesGranted'],
  sets: ['sets'],
  deletes: ['deletes'],
};

/** Of all namespaces together, since the start of this process. */
function countsOf(stats: CacheStats): Record<string, number> {
  const counted = [...stats.all()];
  return Object.fromEntries(
    Object.entries(TOLD).map(([told, counters]) => [
      told,
      counted.reduce(
        (sum, [, { values }]) => counters.reduce((each, counter) => each + (values[COUNTER[counter]] ?? 0), sum),
        0,
      ),
    ]),
  );
}
