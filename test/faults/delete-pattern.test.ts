import { status as Code } from '@grpc/grpc-js';
import { afterEach, expect, test } from '@jest/globals';
import {
  CacheServiceService,
  type DeletePatternRequest,
  type DeletePatternResponse,
} from '../../src/gen/shardkeep/cache/v1/cache.js';
import { failureOf, type TestChannel } from '../support/client.js';
import { DatabaseSnapshot } from '../support/database-snapshot.js';
import { startRedis, until, type RedisServer } from '../support/redis-server.js';
import { killServiceProcesses, startServiceProcess } from '../support/service-process.js';
import { policiesFile, startTestService, type TestService } from '../support/service.js';
import { openStream, type TestStream } from '../support/stream-client.js';

/** A DeletePattern that is long at work: beside other calls, in a drain, without its caller or its Redis. */

const MANY = 100_000;
/** So many take it long enough to be met in the middle. */
const SOME = 40_000;
const HELD_US = 5_000;
/** What a service adds by itself: it counts meanwhile. */
const STATISTICS = /:(?:stats|hot):\{(?:stats|locks|limits):/;
const closers: (() => Promise<unknown>)[] = [];

afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close();
  await killServiceProcesses();
});

async function ownRedis(): Promise<{ redis: RedisServer; database: DatabaseSnapshot }> {
  const redis = await startRedis();
  const database = await DatabaseSnapshot.open(redis.url);
  closers.push(
    () => redis.remove(),
    () => database.close(),
  );
  return { redis, database };
}

async function ownService(redis: RedisServer): Promise<TestService> {
  const service = await startTestService({ REDIS_URL: redis.url, POLICIES_FILE: policiesFile({ rpc_limits: [] }) });
  closers.push(() => service.stop());
  return service;
}

/** Writes `mob:0`, `mob:1`, … past the service. */
async function makeMobs(database: DatabaseSnapshot, namespace: string, count = MANY): Promise<void> {
  const name = (index: number): string => `${namespace}:cache:{mob:${String(index)}}`;
  for (let from = 0; from < count; from += 1_000) {
    const pairs = Array.from({ length: 1_000 }, (_, index) => [name(from + index), '7']);
    await database.command(['MSET', ...pairs.flat()]);
  }
}

function deleteMobs(channel: TestChannel): TestStream<DeletePatternRequest, DeletePatternResponse> {
  return openStream(channel, CacheServiceService.deletePattern, { pattern: 'mob:*' });
}

const mobsLeft = async (database: DatabaseSnapshot): Promise<number> =>
  ((await database.command(['KEYS', '*:cache:{mob:*'])) as unknown[]).length;

/**
 * Redis's own time in µs of a page and of a script, on average: a busy machine takes the processor from Redis in the middle
 * of some of them, and only a benchmark on an idle one can tell how long the longest took.
 */
async function timesOf(database: DatabaseSnapshot): Promise<{ readonly scanUs: number; readonly scriptUs: number }> {
  const stats = String(await database.command(['INFO', 'commandstats']));
  const usOf = (command: string): number =>
    Number(new RegExp(`_${command}:.*usec_per_call=([\\d.]+)`).exec(stats)?.[1] ?? Number.NaN);
  return { scanUs: usOf('scan'), scriptUs: usOf('evalsha') };
}

test('100,000 keys go beside other calls: nothing else changes, everybody is answered, pages and scripts are short', async () => {
  const { redis, database } = await ownRedis();
  const [service, neighbour] = [await ownService(redis), await ownService(redis)];
  const { sessions, locks, rateLimits } = service;
  const value = Buffer.from('v');
  const expiry = { $case: 'noExpiry', value: true } as const;
  const hot = Array.from({ length: 200 }, (_, index) => `hot:${String(index)}`);
  for (const key of hot) await service.cache.set({ key, value, expiry });
  for (const key of ['mob', 'Mob:1', 'xmob:1']) await service.cache.set({ key, value, expiry });
  for (const key of ['mob:1', 'mob:2']) await neighbour.cache.set({ key, value, expiry });
  await sessions.createSession({ userId: 'mob:1' });
  await locks.acquireLock({ resources: ['mob:1'], ttlMs: 600_000n });
  await rateLimits.checkRateLimit({
    limits: [{ subject: 'mob:1', policy: { $case: 'policyName', value: 'api' } }],
    cost: 1,
  });
  const before = await database.take({ without: STATISTICS });

  await makeMobs(database, service.namespace);
  await database.command(['CONFIG', 'RESETSTAT']);
  const stream = deleteMobs(service.channel);
  let over = false;
  let gets = 0;
  const readAll = async (): Promise<void> => {
    for (let index = 0; !over; index++) {
      const { entry } = await service.cache.get({ key: hot[index % hot.length] ?? '' });
      expect(entry?.value).toEqual(value);
      gets++;
    }
  };
  const readers = Array.from({ length: 4 }, readAll);
  const messages = await stream.result;
  over = true;
  await Promise.all(readers);
  expect(messages.at(-1)).toMatchObject({ matched: BigInt(MANY), deleted: BigInt(MANY), done: true });
  expect(messages.slice(0, -1).every(({ done }) => !done)).toBe(true);
  const deleted = messages.map((message) => message.deleted);
  expect(deleted).toEqual(deleted.toSorted((one, other) => Number(one - other)));
  expect(gets).toBeGreaterThan(100);
  expect(await database.take({ without: STATISTICS })).toBe(before);
  const { scanUs, scriptUs } = await timesOf(database);
  expect(scriptUs).toBeLessThan(HELD_US);
  expect(scanUs).toBeLessThan(HELD_US);
}, 180_000);

test('it stops when its caller cancels', async () => {
  const { redis, database } = await ownRedis();
  const service = await ownService(redis);
  await makeMobs(database, service.namespace, SOME);
  const stream = deleteMobs(service.channel);
  await stream.untilMessages(1);
  stream.cancel();
  expect(await stream.code()).toBe(Code.CANCELLED);
  let left = -1;
  await until(async () => {
    const before = left;
    left = await mobsLeft(database);
    return left === before;
  });
  expect(left).toBeGreaterThan(1_000);
  expect(left).toBeLessThan(SOME);
  // the place is free for the next
  expect((await deleteMobs(service.channel).result).at(-1)?.done).toBe(true);
});

test('its caller hears from it also while Redis is silent, and it goes on when that speaks again', async () => {
  const { redis, database } = await ownRedis();
  const service = await ownService(redis);
  await makeMobs(database, service.namespace, 20_000);
  const stream = deleteMobs(service.channel);
  redis.signal('SIGSTOP');
  await stream.untilMessages(2);
  redis.signal('SIGCONT');
  expect((await stream.result).at(-1)).toMatchObject({ deleted: 20_000n, done: true });
});

test('a caller that does not read does not hold it up', async () => {
  const { redis, database } = await ownRedis();
  const service = await ownService(redis);
  const before = await mobsLeft(database);
  await makeMobs(database, service.namespace, 20_000);
  const stream = deleteMobs(service.channel);
  stream.pause();
  await until(async () => (await mobsLeft(database)) === before);
  stream.resume();
  expect((await stream.result).at(-1)).toMatchObject({ deleted: 20_000n, done: true });
});

test('a service that is told to go lets it finish', async () => {
  const { redis, database } = await ownRedis();
  const service = await startServiceProcess({ REDIS_URL: redis.url, DRAIN_TIMEOUT_MS: '30000' });
  await makeMobs(database, service.namespace, SOME);
  const stream = deleteMobs(service.channel());
  await stream.untilMessages(1);
  service.signal('SIGTERM');
  await service.log('draining');
  expect(await mobsLeft(database)).toBeGreaterThan(1_000);
  expect((await stream.result).at(-1)).toMatchObject({ deleted: BigInt(SOME), done: true });
  expect(await service.exited).toEqual({ code: 0, signal: null });
});

test('a service whose time to go is over says so, and what was done', async () => {
  const { redis, database } = await ownRedis();
  const service = await startServiceProcess({ REDIS_URL: redis.url, DRAIN_TIMEOUT_MS: '100' });
  await makeMobs(database, service.namespace, SOME);
  const stream = deleteMobs(service.channel());
  await stream.untilMessages(1);
  service.signal('SIGTERM');
  expect(await failureOf(stream.result)).toMatchObject({ code: Code.UNAVAILABLE, reason: 'DRAINING' });
  expect(stream.messages.at(-1)?.done).toBe(false);
  expect(await service.exited).toEqual({ code: 0, signal: null });
});

test('a Redis that dies in the middle ends it with UNAVAILABLE, what was done told before', async () => {
  const { redis, database } = await ownRedis();
  const service = await startServiceProcess({ REDIS_URL: redis.url });
  await makeMobs(database, service.namespace, SOME);
  const stream = deleteMobs(service.channel());
  await stream.untilMessages(1);
  await database.close();
  await redis.stop('SIGKILL');
  const failure = await failureOf(stream.result);
  expect(failure.code).toBe(Code.UNAVAILABLE);
  expect(failure.retryAfterMs).toBeGreaterThan(0);
  const last = stream.messages.at(-1);
  expect(last?.done).toBe(false);
  expect(last?.deleted).toBeGreaterThan(0n);
});
