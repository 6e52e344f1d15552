import { status as Code } from '@grpc/grpc-js';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { CacheServiceService } from '../../src/gen/shardkeep/cache/v1/cache.js';
import { keys } from '../../src/redis/keys.js';
import { failureOf } from '../support/client.js';
import { serviceUrl, startRedis, until, type RedisServer } from '../support/redis-server.js';
import { killServiceProcesses, startServiceProcess } from '../support/service-process.js';
import { randomNamespace, sharedRedisUrl, startTestService, TOPOLOGIES, type TestService } from '../support/service.js';
import { startTcpProxy } from '../support/tcp-proxy.js';
import { bytes, type Cache } from './near-support.js';
import { hotKeysOf, totalsOf } from './stats-support.js';

/** What becomes of the counts of service processes that come and go, and while Redis does. */

afterEach(killServiceProcesses);

async function readMisses(cache: Cache, count: number): Promise<void> {
  for (let left = count; left > 0; left -= 200) {
    await cache.getMany({ keys: Array.from({ length: Math.min(left, 200) }, (_, index) => `k:${String(index)}`) });
  }
}

describe.each(TOPOLOGIES)('on %s', (topology) => {
  const start = async (namespace: string, more: Readonly<Record<string, string>> = {}) => {
    const service = await startServiceProcess({ REDIS_URL: sharedRedisUrl(topology), NAMESPACE: namespace, ...more });
    return { service, cache: service.channel().of(CacheServiceService) };
  };

  test('what several processes count adds up, and stays when one is killed or replaced', async () => {
    const namespace = randomNamespace();
    const [one, other] = await Promise.all([start(namespace), start(namespace)]);
    await readMisses(one.cache, 1_000);
    await readMisses(other.cache, 500);
    await other.cache.set({ key: 'k', value: bytes('v') });
    // what the other one counted comes by itself
    await until(async () => (await totalsOf(one.cache)).misses === 1_500);
    const before = await one.cache.getCacheStats({});
    await other.service.stop('SIGKILL');
    expect(await totalsOf(one.cache)).toEqual({ misses: 1_500, sets: 1 });

    // one that is told to go sends the last of it, whenever it sent before
    await readMisses(one.cache, 77);
    expect(await one.service.stop()).toEqual({ code: 0, signal: null });
    const successor = await startTestService({ REDIS_URL: sharedRedisUrl(topology), NAMESPACE: namespace });
    expect(await totalsOf(successor.cache)).toEqual({ misses: 1_577, sets: 1 });
    expect((await successor.cache.getCacheStats({})).countingSinceMs).toBe(before.countingSinceMs);
    const elsewhere = await startTestService({ REDIS_URL: sharedRedisUrl(topology) });
    expect(await totalsOf(elsewhere.cache)).toEqual({});
    await Promise.all([successor.stop(), elsewhere.stop()]);
  });

  test('workers count together, and are asked as one', async () => {
    const { service } = await start(randomNamespace(), { WORKERS: '2' });
    const caches = Array.from({ length: 8 }, () => service.channel().of(CacheServiceService));
    await Promise.all(caches.map((cache) => readMisses(cache, 100)));
    for (const cache of caches) {
      await until(async () => (await totalsOf(cache)).misses === 800);
      expect(await totalsOf(cache)).toEqual({ misses: 800 });
    }
  });
});

describe('with a Redis of its own', () => {
  let redis: RedisServer;
  let service: TestService;
  let cache: Cache;
  let namespace: string;
  beforeEach(async () => {
    redis = await startRedis(['--appendonly', 'yes', '--maxmemory-policy', 'noeviction']);
    service = await startTestService({ REDIS_URL: redis.url });
    ({ namespace, cache } = service);
  });
  afterEach(async () => {
    await service.stop();
    await redis.remove();
  });

  const isBack = (): Promise<void> => until(async () => (await cache.get({ key: 'k' })).entry === undefined);
  /** How often something was added: that sets fields of a hash, and nothing else here does. */
  const additions = async (): Promise<string> =>
    /^cmdstat_hset:calls=(\d+)/m.exec(String(await redis.command('INFO', 'commandstats')))?.[1] ?? 'never';

  test('while Redis is away the RPC is UNAVAILABLE, and what was counted before comes later', async () => {
    await readMisses(cache, 300);
    await redis.stop();
    expect(await failureOf(cache.getCacheStats({}))).toMatchObject({
      code: Code.UNAVAILABLE,
      reason: 'REDIS_UNAVAILABLE',
    });
    await redis.restart();
    await isBack();
    // with the read that told that it is back
    expect(await totalsOf(cache)).toEqual({ misses: 301 });
  });

  test('an addition whose answer got lost counts once', async () => {
    const proxy = await startTcpProxy(redis.port);
    const behind = await startTestService({ REDIS_URL: serviceUrl(proxy.port) });
    const through = behind.cache;
    await readMisses(through, 300);
    const { stats } = keys.cacheStats(behind.namespace);
    proxy.hold(stats);
    const asked = failureOf(through.getCacheStats({}));
    await proxy.held(1);
    expect(String(await redis.command('HGET', stats, 'total'))).toContain('300');
    await redis.command('CLIENT', 'KILL', 'TYPE', 'normal');
    expect((await asked).code).toBe(Code.UNAVAILABLE);
    proxy.release();
    await until(async () => (await totalsOf(through)).misses !== undefined);
    expect(await totalsOf(through)).toEqual({ misses: 300 });
    await behind.stop();
    await proxy.close();
  });

  test('a Redis that is full is told of, and what it did not take comes later', async () => {
    await cache.getCacheStats({});
    await redis.command('CONFIG', 'SET', 'maxmemory', '1');
    await readMisses(cache, 300);
    const full = await cache.getCacheStats({});
    expect(full.redis).toMatchObject({ masters: 1, memoryMaxBytes: 1n });
    expect(full.totals?.misses).toBe(0n);
    await redis.command('CONFIG', 'SET', 'maxmemory', '0');
    expect(await totalsOf(cache)).toEqual({ misses: 300 });
  });

  test('what Redis evicts is told', async () => {
    await redis.command('CONFIG', 'SET', 'maxmemory-policy', 'allkeys-lru');
    await redis.command('CONFIG', 'SET', 'maxmemory', '4mb');
    await until(async () => {
      const value = Buffer.alloc(100_000);
      await Promise.all(Array.from({ length: 20 }, () => cache.set({ key: String(Math.random()), value })));
      return ((await cache.getCacheStats({})).redis?.evictedKeys ?? 0n) > 0n;
    });
    const { redis: told } = await cache.getCacheStats({});
    expect(told?.memoryMaxBytes).toBe(4_194_304n);
    expect(told?.memoryUsedBytes).toBeGreaterThan(1_000_000n);
  });

  test('a loss of what was counted begins it anew', async () => {
    await readMisses(cache, 300);
    const before = await cache.getCacheStats({});
    await redis.command('FLUSHALL');
    expect((await cache.getCacheStats({ minutes: 60 })).countingSinceMs).toBeUndefined();
    await readMisses(cache, 7);
    const after = await cache.getCacheStats({});
    expect(after.totals?.misses).toBe(7n);
    expect(after.countingSinceMs).toBeGreaterThan(before.countingSinceMs ?? 0n);
  });

  test('nothing is sent where nothing was counted', async () => {
    await readMisses(cache, 1);
    await cache.getCacheStats({});
    const before = await additions();
    expect(before).not.toBe('never');
    for (let round = 0; round < 5; round++) await cache.getCacheStats({});
    expect(await additions()).toBe(before);
  });

  test('a service is gone in its time though Redis takes nothing', async () => {
    const other = await startServiceProcess({ REDIS_URL: redis.url, NAMESPACE: namespace });
    await readMisses(other.channel().of(CacheServiceService), 300);
    redis.signal('SIGSTOP');
    expect(await other.stop()).toEqual({ code: 0, signal: null });
    redis.signal('SIGCONT');
  });

  test('no key is logged, however hot', async () => {
    const talking = await startServiceProcess({ REDIS_URL: redis.url, LOG_LEVEL: 'trace' });
    const hot = talking.channel().of(CacheServiceService);
    const secret = 'user:4711:profile';
    for (let round = 0; round < 4; round++) await hot.getMany({ keys: Array.from({ length: 256 }, () => secret) });
    expect(hotKeysOf(await hot.getCacheStats({}))).toEqual([secret]);
    await redis.stop();
    expect((await failureOf(hot.getCacheStats({}))).code).toBe(Code.UNAVAILABLE);
    await talking.stop();
    expect(talking.logs.length).toBeGreaterThan(3);
    expect([...talking.logs.map((line) => JSON.stringify(line)), ...talking.output].join('\n')).not.toContain(secret);
  });
});
