import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { CacheServiceService } from '../../src/gen/shardkeep/cache/v1/cache.js';
import { startRedis, until, type RedisServer } from '../support/redis-server.js';
import { killServiceProcesses, startServiceProcess } from '../support/service-process.js';
import { bytes, near, NEAR, nearEntry, readsOn } from './near-support.js';

/** The near cache of the built service, in processes of their own. */

let redis: RedisServer;
beforeEach(async () => {
  redis = await startRedis();
});
afterEach(async () => {
  await killServiceProcesses();
  await redis.remove();
});

/** But the one that asks. */
async function connections(): Promise<number> {
  return (String(await redis.command('CLIENT', 'LIST')).match(/^id=/gm)?.length ?? 0) - 1;
}

test('without NEAR_CACHE_MAX_BYTES it answers NEAR from Redis, over the connection it has', async () => {
  const service = await startServiceProcess({ REDIS_URL: redis.url });
  const cache = service.channel().of(CacheServiceService);
  await cache.set({ key: 'k', value: bytes('v') });
  const reads = await readsOn(redis);
  for (let round = 0; round < 10; round++) expect(await near(cache, 'k')).toBe('v');
  expect(await readsOn(redis)).toBe(reads + 10);
  expect(await connections()).toBe(1);
});

test('with it, a second connection is there from the first NEAR read on, and gone with the process', async () => {
  const service = await startServiceProcess({ REDIS_URL: redis.url, ...NEAR });
  const cache = service.channel().of(CacheServiceService);
  await cache.get({ key: 'k' });
  expect(await connections()).toBe(1);
  await near(cache, 'k');
  expect(await connections()).toBe(2);
  expect(await service.stop()).toEqual({ code: 0, signal: null });
  await until(async () => (await connections()) === 0);
});

test('what one process writes is seen by another, whose memory answers in between', async () => {
  const writer = await startServiceProcess({ REDIS_URL: redis.url });
  const reader = await startServiceProcess({ REDIS_URL: redis.url, NAMESPACE: writer.namespace, ...NEAR });
  const [writing, reading] = [writer, reader].map((process) => process.channel().of(CacheServiceService));
  if (writing === undefined || reading === undefined) throw new Error('unreachable');
  for (let round = 0; round < 30; round++) {
    const { version } = await writing.set({ key: 'k', value: bytes(String(round)) });
    await until(async () => (await nearEntry(reading, 'k'))?.version === version);
    const reads = await readsOn(redis);
    await near(reading, 'k');
    expect(await readsOn(redis)).toBe(reads);
  }
});
