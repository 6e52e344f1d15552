import { status as Code } from '@grpc/grpc-js';
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import { startCluster, startRedis, until, type RedisCluster, type RedisServer } from '../support/redis-server.js';
import { startTestService, type TestService } from '../support/service.js';
import { Watching } from '../cache/watch-support.js';

/** What Watch promises when Redis dies, hangs, evicts or hands over, and when the service goes away. */

const value = Buffer.from('v');
const cleanups: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

async function serviceOn(redis: { readonly url: string; remove(): Promise<void> }): Promise<TestService> {
  cleanups.push(() => redis.remove());
  const service = await startTestService({ REDIS_URL: redis.url });
  cleanups.push(() => service.stop());
  return service;
}

async function infoOf(redis: RedisServer, field: string): Promise<number> {
  const info = String(await redis.command('INFO', 'stats'));
  return Number(new RegExp(`^${field}:(\\d+)`, 'm').exec(info)?.[1]);
}

test.each([
  ['dies and comes back', 'SIGKILL'],
  ['hangs and goes on', 'SIGSTOP'],
] as const)('a Redis that %s: everything may be old, at once and when changes are told again', async (_, signal) => {
  const redis = await startRedis();
  const service = await serviceOn(redis);
  const watches = await Promise.all(
    [{ addKeys: ['k:1'] }, { addPrefixes: ['k:'] }, { addTags: ['t'] }].map((request) =>
      new Watching(service.channel).add(request),
    ),
  );
  if (signal === 'SIGKILL') await redis.stop(signal);
  else redis.signal(signal);
  for (const watch of watches) {
    await watch.until(({ resync, requestsInForce }) => resync && requestsInForce === 0n);
  }
  if (signal === 'SIGKILL') await redis.restart();
  else redis.signal('SIGCONT');
  for (const watch of watches) {
    await watch.until(({ resync, requestsInForce }) => resync && requestsInForce === 1n);
  }
  await until(async () => (await service.cache.set({ key: 'k:1', value })).stored);
  await service.cache.invalidateTags({ tags: ['t'] });
  const [key, prefix, tag] = watches;
  await key?.untilKey('k:1');
  await prefix?.untilKey('k:1');
  await tag?.until(({ tags }) => tags.length === 1);
  // told of the loss, and of its end
  expect(watches.map(({ resyncs }) => resyncs >= 2)).toEqual([true, true, true]);
});

test('what is asked for while Redis is away is in force when it is back', async () => {
  const redis = await startRedis();
  const service = await serviceOn(redis);
  await redis.stop('SIGKILL');
  const watch = new Watching(service.channel);
  watch.send({ addKeys: ['k:1'], addPrefixes: ['p:'], addTags: ['t'] });
  await redis.restart();
  await watch.untilInForce();
  await until(async () => (await service.cache.set({ key: 'p:1', value })).stored);
  await watch.untilKey('p:1');
  // it had nothing yet that could be old
  expect(watch.resyncs).toBe(0);
});

test('Redis broadcasts only while a prefix is watched, and only those', async () => {
  const redis = await startRedis();
  const service = await serviceOn(redis);
  const prefixes = (): Promise<number> => infoOf(redis, 'tracking_total_prefixes');
  const watch = await new Watching(service.channel).add({ addKeys: ['k'], addTags: ['t'] });
  expect(await prefixes()).toBe(0);
  await watch.add({ addPrefixes: ['p:', 'p:1', 'q:'] });
  // what begins with p:1 begins with p:
  expect(await prefixes()).toBe(2);
  await watch.add({ removePrefixes: ['p:'] });
  await until(async () => (await prefixes()) === 2);
  await watch.add({ removePrefixes: ['p:1', 'q:'] });
  await until(async () => (await prefixes()) === 0);
});

test('evictions are told as a count, and evicted keys by name', async () => {
  const redis = await startRedis(['--maxmemory', '8mb', '--maxmemory-policy', 'allkeys-lru']);
  const service = await serviceOn(redis);
  const watch = await new Watching(service.channel).add({ addPrefixes: ['e:'] });
  const big = Buffer.alloc(100_000);
  const write = async (from: number): Promise<void> => {
    for (let index = from; index < from + 200; index++)
      await service.cache.set({ key: `e:${String(index)}`, value: big });
  };
  const toldBefore = (): number => watch.stream.messages.reduce((sum, { evicted }) => sum + Number(evicted), 0);
  await write(0);
  // nobody asked yet
  expect(toldBefore()).toBe(0);
  await watch.add({ addEvictions: true });
  // from the first look at Redis on; what was evicted before is nobody's
  const base = await infoOf(redis, 'evicted_keys');
  expect(base).toBeGreaterThan(0);
  let told = 0;
  let written = 200;
  while (told === 0) {
    await write(written);
    written += 200;
    told = toldBefore();
  }
  const total = await infoOf(redis, 'evicted_keys');
  while (told < total - base) told += Number((await watch.until(({ evicted }) => evicted > 0n)).evicted);
  // keys are told when written and when evicted: one that was not written again for a while was told twice
  const times = watch.toldKeys.filter((key) => key === 'e:0').length;
  expect(times + watch.resyncs).toBeGreaterThan(1);
});

test('a service that drains ends the stream', async () => {
  const redis = await startRedis();
  const service = await serviceOn(redis);
  const watch = await new Watching(service.channel).add({ addPrefixes: ['k'] });
  expect(await service.service.drain()).toBe(true);
  expect(await watch.stream.code()).toBe(Code.UNAVAILABLE);
});

describe('on Cluster', () => {
  const names = Array.from({ length: 12 }, (_, index) => `c:${String(index)}`);
  let cluster: RedisCluster;
  let service: TestService;
  beforeAll(async () => {
    cluster = await startCluster(3, 1);
    service = await startTestService({ REDIS_URL: cluster.url });
  });
  afterAll(async () => {
    await service.stop();
    await cluster.remove();
  });

  /**
   * Writes every key, on all masters, and waits until all are told; what was written before everything may be old is not told
   * by name, so it is written again.
   */
  async function tellsAll(watch: Watching): Promise<void> {
    const told = new Set<string>();
    const write = async (): Promise<void> => {
      for (const key of names) await until(async () => (await service.cache.set({ key, value })).stored);
    };
    await write();
    while (told.size < names.length) {
      const { keys, resync, requestsInForce } = await watch.until(({ keys, resync }) => keys.length > 0 || resync);
      for (const key of keys) told.add(key);
      if (resync && requestsInForce === 1n) await write();
    }
  }

  test.each([
    ['dies', 0],
    ['hands over while it lives', 1],
  ])('a master that %s: its successor is found, everything may be old', async (how, index) => {
    const byPrefix = await new Watching(service.channel).add({ addPrefixes: ['c:'] });
    const byKey = await new Watching(service.channel).add({ addKeys: names });
    await Promise.all([tellsAll(byPrefix), tellsAll(byKey)]);
    const master = cluster.masters[index];
    if (how === 'dies') await master?.stop('SIGKILL');
    else await (await replicaOf(cluster, master))?.command('CLUSTER', 'FAILOVER');
    await byPrefix.until(({ resync, requestsInForce }) => resync && requestsInForce === 1n);
    await Promise.all([tellsAll(byPrefix), tellsAll(byKey)]);
    // a master that could be asked until it was none: its keys are named instead
    expect(byKey.resyncs > 0).toBe(how === 'dies');
    for (const { stream } of [byPrefix, byKey]) stream.cancel();
  });
});

async function replicaOf(cluster: RedisCluster, master: RedisServer | undefined): Promise<RedisServer | undefined> {
  for (const replica of cluster.replicas) {
    const [role, , port] = (await replica.command('ROLE')) as unknown[];
    if (role === 'slave' && port === master?.port) return replica;
  }
  throw new Error('no replica');
}
