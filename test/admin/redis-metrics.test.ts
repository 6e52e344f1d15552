import { afterEach, expect, test } from '@jest/globals';
import { metricsOf } from '../support/metrics.js';
import { startRedis, until, type RedisServer } from '../support/redis-server.js';
import { sharedRedisUrl, startTestService, type Environment, type TestService } from '../support/service.js';

/** What Prometheus is told of the Redis behind the service. */

const cleanups: (() => Promise<unknown>)[] = [];

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).toReversed()) await cleanup();
});

async function redisWith(...flags: string[]): Promise<RedisServer> {
  const redis = await startRedis(flags);
  cleanups.push(() => redis.remove());
  return redis;
}

async function serviceOn(env: Environment): Promise<TestService> {
  const service = await startTestService(env);
  cleanups.push(() => service.stop());
  return service;
}

async function sample(service: TestService, name: string): Promise<number | undefined> {
  return (await metricsOf(service)).get(`shardkeep_redis_${name}`);
}

/** A value that holds so much that a few of them fill a Redis. */
const LARGE = Buffer.alloc(200_000, 1);

test.each(['standalone', 'cluster'] as const)(
  'a script, a read and their durations are counted on %s',
  async (topology) => {
    const service = await serviceOn({ REDIS_URL: sharedRedisUrl(topology) });
    await service.cache.set({ key: 'k', value: Buffer.from('v') });
    await service.cache.get({ key: 'k' });
    for (const script of ['set', 'GET']) {
      expect(await sample(service, `script_duration_seconds_count{script="${script}"}`)).toBe(1);
      expect(await sample(service, `script_duration_seconds_bucket{script="${script}",le="+Inf"}`)).toBe(1);
      expect(await sample(service, `script_duration_seconds_sum{script="${script}"}`)).toBeGreaterThan(0);
    }
    for (const role of ['cache', 'state', 'limit']) {
      expect(await sample(service, `errors_total{role="${role}",error="OOM"}`)).toBe(0);
      await until(async () => ((await sample(service, `memory_used_bytes{role="${role}"}`)) ?? 0) > 0);
      expect(await sample(service, `connected_clients{role="${role}"}`)).toBeGreaterThan(0);
    }
    // beside those of the service itself, which come and go
    await until(async () => (await sample(service, 'pending_commands{role="cache"}')) === 0);
  },
);

test('a full Redis is told of by its errors and by how full it is', async () => {
  const [cache, state] = await Promise.all([redisWith('--maxmemory', '3mb'), redisWith()]);
  const service = await serviceOn({ CACHE_REDIS_URL: cache.url, STATE_REDIS_URL: state.url });
  const fill = async (): Promise<boolean> => {
    const error = await service.cache.set({ key: `k${String(Math.random())}`, value: LARGE }).then(
      () => undefined,
      (failure: unknown) => failure,
    );
    return error !== undefined;
  };
  await until(fill);
  await cache.command('CLIENT', 'KILL', 'TYPE', 'normal');
  await until(async () => ((await sample(service, 'memory_used_ratio{role="cache"}')) ?? 0) > 0.8);
  expect(await sample(service, 'errors_total{role="cache",error="OOM"}')).toBeGreaterThan(0);
  expect(await sample(service, 'errors_total{role="state",error="OOM"}')).toBe(0);
  expect(await sample(service, 'memory_max_bytes{role="cache"}')).toBe(3 * 1_024 * 1_024);
  expect(await sample(service, 'memory_used_ratio{role="state"}')).toBeUndefined();
  expect(await sample(service, 'eviction_policy_wrong{role="state"}')).toBe(0);
  expect(await sample(service, 'eviction_policy_wrong{role="cache"}')).toBeUndefined();
});

test('what is evicted is counted since the service looks, also across a restart of Redis', async () => {
  const redis = await redisWith('--maxmemory', '4mb', '--maxmemory-policy', 'allkeys-lru');
  const evict = async (): Promise<void> => {
    await until(async () => {
      await redis.command('SET', `k${String(Math.random())}`, LARGE.toString('latin1'));
      return /evicted_keys:[1-9]/.test(String(await redis.command('INFO', 'stats')));
    });
  };
  await evict();
  const service = await serviceOn({ REDIS_URL: redis.url });
  const evicted = (): Promise<number | undefined> => sample(service, 'evicted_keys_total{role="state"}');
  await until(async () => (await sample(service, 'eviction_policy_wrong{role="state"}')) === 1);
  expect(await evicted()).toBe(0);
  await redis.stop('SIGKILL');
  await redis.restart();
  await evict();
  // each time it comes back it is asked
  await until(async () => {
    await redis.command('CLIENT', 'KILL', 'TYPE', 'normal');
    return ((await evicted()) ?? 0) > 0;
  });
});

test('a script that Redis forgot is given to it again, once for each call, and the caller sees nothing of it', async () => {
  const redis = await redisWith();
  const service = await serviceOn({ REDIS_URL: redis.url });
  await redis.command('SCRIPT', 'FLUSH');
  await service.cache.set({ key: 'k', value: Buffer.from('v') });
  expect(await sample(service, 'script_reloads_total{role="cache"}')).toBeGreaterThanOrEqual(1);
  expect(await sample(service, 'errors_total{role="cache",error="NOSCRIPT"}')).toBeGreaterThanOrEqual(1);
  await redis.stop('SIGKILL');
  await until(async () => {
    await service.cache.get({ key: 'k' }).catch(() => undefined);
    return ((await sample(service, 'errors_total{role="cache",error="not_sent"}')) ?? 0) > 0;
  });
  expect(await sample(service, 'pending_commands{role="cache"}')).toBe(0);
});
