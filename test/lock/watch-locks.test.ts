import { status as Code } from '@grpc/grpc-js';
import { afterAll, afterEach, beforeAll, expect, test } from '@jest/globals';
import { LockServiceService, type LockSummary, type WatchLocksResponse } from '../../src/gen/shardkeep/lock/v1/lock.js';
import { LockFeed } from '../../src/lock/watch/lock-feed.js';
import { LockWatcher } from '../../src/lock/watch/lock-watcher.js';
import { keys } from '../../src/redis/keys.js';
import { redisUnavailable } from '../../src/redis/errors.js';
import { startRedis, until } from '../support/redis-server.js';
import { onEachTopology, sharedRedisUrl, startTestService, type TestService } from '../support/service.js';
import { openStream, type TestStream } from '../support/stream-client.js';
import { fenceOf, hold, queueUp } from './operations-support.js';

type Request = Parameters<typeof openStream<typeof LockServiceService.watchLocks>>[2];
type Watch = TestStream<unknown, WatchLocksResponse>;

const open: Watch[] = [];
afterEach(() => {
  for (const stream of open.splice(0)) {
    stream.result.catch(() => undefined);
    stream.cancel();
  }
});

/** Watches; resolves when changes are told. */
async function watch({ channel }: TestService, request: Request): Promise<Watch> {
  const stream = openStream(channel, LockServiceService.watchLocks, request) as unknown as Watch;
  open.push(stream);
  await stream.untilMessages(1);
  return stream;
}

/** All that was told of a resource, in order. */
function toldOf({ messages }: Watch, resource: string): LockSummary[] {
  return messages.flatMap(({ locks }) => locks.filter((lock) => lock.resource === resource));
}

function latest(stream: Watch, resource: string): LockSummary | undefined {
  return toldOf(stream, resource).at(-1);
}

onEachTopology('WatchLocks', (service, topology) => {
  let other: TestService;
  beforeAll(async () => {
    other = await startTestService({ REDIS_URL: sharedRedisUrl(topology), NAMESPACE: service().namespace });
  });
  afterAll(() => other.stop());

  test('tells first how the resources stand, all of them at once', async () => {
    const { locks } = service();
    const granted = await hold(locks, 'first:held', { owner: 'shard-1' });
    const stream = await watch(service(), { resources: ['first:held', 'first:free'] });
    expect(stream.messages).toHaveLength(1);
    expect(stream.messages[0]?.resync).toBe(false);
    expect(latest(stream, 'first:held')).toMatchObject({
      holder: { owner: 'shard-1', expiresAtMs: granted.expiresAtMs },
      holderCount: 1n,
      waitingCount: 0n,
      fencingToken: fenceOf(granted),
    });
    expect(latest(stream, 'first:free')).toMatchObject({ holder: undefined, holderCount: 0n, fencingToken: 0n });
  });

  test.each(['resources', 'prefix'])(
    'by %s tells of grants, waiters, releases and force, over all services',
    async (by) => {
      const resource = `${by}:lock`;
      const stream = await watch(service(), by === 'prefix' ? { prefix: 'prefix:' } : { resources: [resource] });
      const granted = await hold(other.locks, resource, { owner: 'shard-2' });
      await until(() => latest(stream, resource)?.fencingToken === fenceOf(granted));
      expect(latest(stream, resource)).toMatchObject({ holder: { owner: 'shard-2' }, holderCount: 1n });

      const waiting = await queueUp(other.locks, resource, { owner: 'shard-3' });
      await until(() => latest(stream, resource)?.waitingCount === 1n);
      await other.locks.releaseLock({ resources: [resource], lockToken: granted.lockToken });
      await until(() => latest(stream, resource)?.holder?.owner === 'shard-3');
      const next = await waiting.granted;
      expect(latest(stream, resource)).toMatchObject({ waitingCount: 0n, fencingToken: fenceOf(next) });

      const forced = await service().locks.forceReleaseLock({ resource, reason: 'stuck' });
      await until(() => latest(stream, resource)?.fencingToken === forced.fencingToken);
      expect(latest(stream, resource)).toMatchObject({ holder: undefined, holderCount: 0n });
    },
  );

  test.each(['resources', 'prefix'])('by %s tells of a lease that ran out though nobody touched it', async (by) => {
    const { locks } = service();
    const [before, meanwhile] = [`ends ${by}:before`, `ends ${by}:meanwhile`];
    await hold(locks, before, { ttlMs: 3_000n });
    const stream = await watch(
      service(),
      by === 'prefix' ? { prefix: `ends ${by}:` } : { resources: [before, meanwhile] },
    );
    await hold(locks, meanwhile, { ttlMs: 300n });
    for (const resource of [before, meanwhile]) {
      // of whoever held it only the fence is left
      await until(() => {
        const { holderCount, fencingToken = 0n } = latest(stream, resource) ?? {};
        return holderCount === 0n && fencingToken > 0n;
      });
    }
    expect(stream.messages.some(({ resync }) => resync)).toBe(false);
  });

  test('tells of each holder that runs out of those who share a lock', async () => {
    const { locks } = service();
    const resource = 'ends:shared';
    const stream = await watch(service(), { resources: [resource] });
    await hold(locks, resource, { permits: 1 });
    await hold(locks, resource, { permits: 1, ttlMs: 500n });
    await until(async () => (await locks.getLock({ resource })).holderCount === 1n);
    await until(() => latest(stream, resource)?.holderCount === 1n);
    expect(latest(stream, resource)?.holder?.permits).toBe(1);
  });

  test('tells what is watched and nothing else', async () => {
    const { locks } = service();
    const stream = await watch(service(), { resources: ['named'], prefix: 'some*' });
    for (const resource of ['some', 'some?', 'namedly', 'some*1', 'named', 'some*2']) await hold(locks, resource);
    const watched = ['named', 'some*1', 'some*2'];
    await until(() => watched.every((resource) => latest(stream, resource)?.holderCount === 1n));
    const told = new Set(stream.messages.flatMap(({ locks: summaries }) => summaries.map((lock) => lock.resource)));
    expect([...told].toSorted()).toEqual(watched);
    expect(stream.messages.some(({ resync }) => resync)).toBe(false);
  });

  test('the last state is told, however quickly it changes, to many at once', async () => {
    const { locks } = service();
    const resource = 'busy';
    const streams = await Promise.all(
      Array.from({ length: 8 }, (_, index) =>
        watch(index % 2 === 0 ? service() : other, index < 4 ? { resources: [resource] } : { prefix: 'bus' }),
      ),
    );
    for (let round = 0; round < 60; round++) {
      const { lockToken } = await hold(locks, resource);
      await locks.releaseLock({ resources: [resource], lockToken });
    }
    const last = await hold(locks, resource, { owner: 'the last' });
    for (const stream of streams) {
      await until(() => latest(stream, resource)?.fencingToken === fenceOf(last));
      const fences = toldOf(stream, resource).map(({ fencingToken }) => Number(fencingToken));
      expect(fences).toEqual(fences.toSorted((one, two) => one - two));
    }
  });
});

test('ends with UNAVAILABLE when the service drains', async () => {
  const service = await startTestService({ REDIS_URL: sharedRedisUrl('standalone') });
  const stream = await watch(service, { resources: ['drained'], prefix: 'x' });
  const code = stream.code();
  await service.service.drain();
  expect(await code).toBe(Code.UNAVAILABLE);
  await service.stop();
});

test('while nobody watches Redis is asked for nothing, and pushes nothing', async () => {
  const redis = await startRedis();
  const service = await startTestService({ REDIS_URL: redis.url });
  const tracked = async (): Promise<boolean> => / flags=\S*t/.test(String(await redis.command('CLIENT', 'LIST')));
  const broadcasts = async (): Promise<number> =>
    Number(/tracking_total_prefixes:(\d+)/.exec(String(await redis.command('INFO', 'stats')))?.[1]);
  await hold(service.locks, 'a');
  expect(await tracked()).toBe(false);
  const stream = await watch(service, { resources: ['a'], prefix: 'p' });
  expect(await broadcasts()).toBe(1);
  stream.result.catch(() => undefined);
  stream.cancel();
  await until(async () => (await broadcasts()) === 0);
  await service.stop();
  await redis.remove();
});

test('a Redis that went away is told as resync, with how the resources stand, and watched on', async () => {
  const redis = await startRedis(['--appendonly', 'yes']);
  const service = await startTestService({ REDIS_URL: redis.url });
  const { locks } = service;
  await hold(locks, 'named');
  const stream = await watch(service, { resources: ['named'], prefix: 'pre:' });
  const before = stream.messages.length;
  await redis.stop('SIGKILL');
  await redis.restart();
  await until(() => stream.messages.some(({ resync }) => resync));
  const told = stream.messages.slice(before);
  expect(told.find(({ resync }) => resync)?.locks.map(({ resource }) => resource)).toContain('named');
  await until(async () => (await locks.getLock({ resource: 'named' })).holderCount >= 0n);
  const granted = await hold(locks, 'pre:later');
  await until(() => latest(stream, 'pre:later')?.fencingToken === fenceOf(granted));
  const forced = await locks.forceReleaseLock({ resource: 'named', reason: 'r' });
  await until(() => latest(stream, 'named')?.fencingToken === forced.fencingToken);
  await service.stop();
  await redis.remove();
});

/** A watcher whose Redis says what the test wants. */
function scripted(
  resources: readonly string[],
  prefix: string,
  ending: readonly { readonly resource: string; readonly endedMsAgo: number }[] = [],
) {
  const reads: string[] = [];
  let isAway = false;
  const feed = new LockFeed({
    tracking: { read: () => Promise.resolve({ value: 1, tracked: true, stop: () => undefined }) },
    createBroadcast: () => ({ follow: () => undefined, covers: () => true, close: () => undefined }) as never,
  });
  const summary = (resource: string) => ({
    ...{ resource, holders: [], holderCount: 0, waiters: [], waitingCount: 0, fence: reads.length },
    ...{ delayLeftMs: 0, changesInMs: 0, endedMsAgo: 0 },
  });
  const watcher = new LockWatcher({
    namespace: 'n',
    resources,
    prefix,
    feed,
    store: {
      summaryOf: (resource) => {
        reads.push(resource);
        return isAway ? Promise.reject(redisUnavailable('test')) : Promise.resolve(summary(resource));
      },
      listEnding: () =>
        Promise.resolve({
          locks: ending.map(({ resource, endedMsAgo }) => ({ ...summary(resource), endedMsAgo })),
          next: undefined,
        }),
    },
  });
  const change = (resource: string): void => {
    watcher.tell({ kind: 'key', topics: 'prefix', name: keys.lock('n', resource) });
  };
  return {
    ...{ feed, watcher, change, reads },
    setAway: (away: boolean) => {
      isAway = away;
    },
  };
}

test('who reads slowly is told each resource once, as it is then', async () => {
  const { watcher, change, reads } = scripted([], 'a');
  expect(await watcher.next()).toEqual({ locks: [], resync: false });
  for (let round = 0; round < 10_000; round++) change(`a${String(round % 150)}`);
  expect(reads).toEqual([]);
  const [first, second] = [await watcher.next(), await watcher.next()];
  expect([first?.locks.length, second?.locks.length]).toEqual([100, 50]);
  expect(reads).toHaveLength(150);
  watcher.close();
  expect(await watcher.next()).toBeUndefined();
});

test('of more than can be kept for a slow reader resync is told, and how the named resources stand', async () => {
  const { watcher, change, reads, feed } = scripted(['named'], 'a');
  expect((await watcher.next())?.locks.map(({ resource }) => resource)).toEqual(['named']);
  for (let index = 0; index <= 8_192; index++) change(`a${String(index)}`);
  const news = await watcher.next();
  expect(news).toMatchObject({ resync: true, locks: [{ resource: 'named' }] });
  expect(reads).toEqual(['named', 'named']);
  change('a7');
  expect(await watcher.next()).toMatchObject({ resync: false, locks: [{ resource: 'a7' }] });
  expect(feed.watchers).toBe(1);
  watcher.close();
  expect(feed.watchers).toBe(0);
});

test('what cannot be read is told when it can be again', async () => {
  const { watcher, change, setAway, reads } = scripted(['named'], '');
  await watcher.next();
  setAway(true);
  change('named');
  const next = watcher.next();
  await until(() => reads.length >= 3);
  setAway(false);
  expect(await next).toMatchObject({ locks: [{ resource: 'named' }] });
  watcher.close();
});

test('of a prefix is told what ended while the stream began, and not what ended long before', async () => {
  const { watcher } = scripted([], 'a', [
    { resource: 'a:just now', endedMsAgo: 1 },
    { resource: 'a:long ago', endedMsAgo: 3_600_000 },
  ]);
  expect(await watcher.next()).toEqual({ locks: [], resync: false });
  const news = await watcher.next();
  expect(news?.locks.map(({ resource }) => resource)).toEqual(['a:just now']);
  watcher.close();
});
