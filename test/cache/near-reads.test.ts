import { status as Code } from '@grpc/grpc-js';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import { Consistency } from '../../src/gen/shardkeep/cache/v1/cache.js';
import { failureOf } from '../support/client.js';
import { serviceUrl, startRedis, until, type RedisServer } from '../support/redis-server.js';
import {
  onEachTopology,
  randomNamespace,
  sharedRedisUrl,
  startTestService,
  type TestService,
} from '../support/service.js';
import { startTcpProxy } from '../support/tcp-proxy.js';
import { bytes, lasting, near, NEAR, nearEntry, readsOn, ttl, type Cache } from './near-support.js';

/** Reads with CONSISTENCY_NEAR, and all that may happen to what they remember. */

describe('with a Redis of its own', () => {
  let redis: RedisServer;
  let service: TestService;
  /** Another process's writes, as far as the first can tell. */
  let other: TestService;
  beforeAll(async () => {
    redis = await startRedis(['--enable-debug-command', 'yes']);
    // the lease of whoever sweeps sessions is a key of another Redis
    const ours = { REDIS_URL: redis.url, STATE_REDIS_URL: sharedRedisUrl('standalone'), NAMESPACE: randomNamespace() };
    [service, other] = await Promise.all([startTestService({ ...ours, ...NEAR }), startTestService(ours)]);
  });
  afterAll(async () => {
    await Promise.all([service.stop(), other.stop()]);
    await redis.remove();
  });
  let tests = 0;
  /** Nothing that was told of it by an earlier test is still on its way. */
  let key: string;
  beforeEach(() => {
    key = `of test ${String(tests++)}`;
  });
  const redisKey = (key: string): string => `${service.namespace}:cache:{${key}}`;

  test('a value that was read once is answered without Redis, and a miss too; other reads go there', async () => {
    const { cache } = service;
    await cache.set({ key, value: bytes('v'), expiry: ttl(100_000n) });
    const first = await nearEntry(cache, key);
    expect(await near(cache, 'missing')).toBeUndefined();
    const before = await readsOn(redis);
    for (let round = 0; round < 50; round++) {
      expect(await nearEntry(cache, key)).toMatchObject({ value: bytes('v'), version: first?.version });
      expect(await near(cache, 'missing')).toBeUndefined();
    }
    const { items } = await cache.getMany({ keys: [key, 'missing', key], consistency: Consistency.NEAR });
    expect(items.map(({ entry }) => entry?.value.toString())).toEqual(['v', undefined, 'v']);
    expect(await readsOn(redis)).toBe(before);
    for (const consistency of [Consistency.UNSPECIFIED, Consistency.READ_MASTER]) {
      await cache.get({ key, consistency });
      await cache.getMany({ keys: [key], consistency });
    }
    expect(await readsOn(redis)).toBe(before + 4);
  });

  test('the time that is left goes down, and is never below 1', async () => {
    const { cache } = service;
    await cache.set({ key, value: bytes('v'), expiry: ttl(800n) });
    const seen: number[] = [];
    await until(async () => {
      const entry = await nearEntry(cache, key);
      if (entry !== undefined) seen.push(Number(entry.ttlMs));
      return entry === undefined;
    });
    expect(new Set(seen).size).toBeGreaterThan(2);
    expect(seen).toEqual(seen.toSorted((left, right) => right - left));
    expect(Math.max(...seen)).toBeLessThanOrEqual(800);
    expect(Math.min(...seen)).toBeGreaterThanOrEqual(1);
  });

  test('an entry is not answered after its expiry, though Redis has not noticed that yet', async () => {
    await redis.command('DEBUG', 'SET-ACTIVE-EXPIRE', '0');
    const { cache } = service;
    await cache.set({ key, value: bytes('v'), expiry: ttl(300n) });
    const expired = async (): Promise<string | undefined> =>
      /expired_keys:\d+/.exec(String(await redis.command('INFO', 'stats')))?.[0];
    const before = await expired();
    await until(async () => {
      expect(await expired()).toBe(before);
      return (await near(cache, key)) === undefined;
    });
    await redis.command('DEBUG', 'SET-ACTIVE-EXPIRE', '1');
  });

  test.each<[string, (cache: Cache) => Promise<unknown>, string | undefined]>([
    ['Set', (cache) => cache.set({ key, value: bytes('new'), expiry: lasting }), 'new'],
    ['Delete', (cache) => cache.delete({ keys: [key] }), undefined],
  ])('%s through another process is seen', async (_, write, expected) => {
    await service.cache.set({ key, value: bytes('old'), expiry: lasting });
    expect(await near(service.cache, key)).toBe('old');
    await write(other.cache);
    await until(async () => (await near(service.cache, key)) === expected);
    expect(await near(service.cache, key)).toBe(expected);
  });

  test('what another process creates, touches and counts is seen', async () => {
    expect(await near(service.cache, 'created')).toBeUndefined();
    await other.cache.set({ key: 'created', value: bytes('x'), expiry: lasting });
    await until(async () => (await near(service.cache, 'created')) === 'x');
    await other.cache.touch({ keys: ['created'], expiry: ttl(50_000n) });
    await until(async () => (await nearEntry(service.cache, 'created'))?.ttlMs !== undefined);
    expect(await near(service.cache, 'counter')).toBeUndefined();
    await other.cache.increment({ key: 'counter' });
    await until(async () => (await failureOf(near(service.cache, 'counter'))).code === Code.FAILED_PRECONDITION);
    expect(await failureOf(near(service.cache, 'counter'))).toMatchObject({ reason: 'WRONG_TYPE' });
  });

  test.each<[string, (key: string) => Promise<unknown>]>([
    ['DEL', (key) => redis.command('DEL', key)],
    ['an expiry by hand', (key) => redis.command('PEXPIRE', key, '1')],
    ['FLUSHALL', () => redis.command('FLUSHALL')],
    [
      'an eviction',
      async () => {
        await redis.command('CONFIG', 'SET', 'maxmemory-policy', 'allkeys-random');
        await redis.command('CONFIG', 'SET', 'maxmemory', '1');
        await redis.command('GET', 'x');
      },
    ],
  ])('%s by redis-cli is seen', async (_, change) => {
    await service.cache.set({ key, value: bytes('old'), expiry: lasting });
    expect(await near(service.cache, key)).toBe('old');
    await change(redisKey(key));
    await until(async () => (await near(service.cache, key)) === undefined);
    await redis.command('CONFIG', 'SET', 'maxmemory', '0');
  });

  test('when the connection that tells of changes is killed, nothing older is answered', async () => {
    const { cache } = service;
    await cache.set({ key, value: bytes('0'), expiry: lasting });
    for (let round = 1; round <= 10; round++) {
      await until(async () => {
        await near(cache, key);
        const before = await readsOn(redis);
        await near(cache, key);
        return (await readsOn(redis)) === before;
      });
      const killed = String(await redis.command('CLIENT', 'LIST'))
        .split('\n')
        .filter((line) => / flags=\S*t/.test(line))
        .map((line) => /id=(\d+)/.exec(line)?.[1] ?? '');
      expect(killed).toHaveLength(1);
      for (const id of killed) await redis.command('CLIENT', 'KILL', 'ID', id);
      await other.cache.set({ key, value: bytes(String(round)), expiry: lasting });
      await until(async () => (await near(cache, key)) === String(round));
    }
  });

  test('a Redis that dies: nothing is answered from memory; one that starts anew has forgotten all', async () => {
    await service.cache.set({ key, value: bytes('v'), expiry: lasting });
    expect(await near(service.cache, key)).toBe('v');
    await redis.stop('SIGKILL');
    await until(() => failureOf(near(service.cache, key)).then(({ code }) => code === Code.UNAVAILABLE));
    expect(await failureOf(near(service.cache, key))).toMatchObject({ code: Code.UNAVAILABLE });
    await redis.restart();
    await until(async () => (await near(service.cache, key)) === undefined);
    // the other service comes back in its own time
    await until(() => other.cache.set({ key, value: bytes('again'), expiry: lasting }).then(() => true));
    await until(async () => (await near(service.cache, key)) === 'again');
  });

  test('a Redis that is silent: nothing is answered from memory once that is noticed', async () => {
    const { namespace } = service;
    // the others are patient
    const soon = await startTestService({
      ...{ REDIS_URL: redis.url, STATE_REDIS_URL: sharedRedisUrl('standalone'), NAMESPACE: namespace },
      ...{ ...NEAR, REDIS_TIMEOUT_MS: '500' },
    });
    const { cache } = soon;
    await until(() => cache.set({ key, value: bytes('v'), expiry: lasting }).then(() => true));
    expect(await near(cache, key)).toBe('v');
    redis.signal('SIGSTOP');
    await until(() => failureOf(near(cache, key)).then(() => true));
    const { code } = await failureOf(near(cache, key));
    expect([Code.UNAVAILABLE, Code.DEADLINE_EXCEEDED]).toContain(code);
    redis.signal('SIGCONT');
    await until(async () => (await near(cache, key)) === 'v');
    await until(() => other.cache.set({ key, value: bytes('new'), expiry: lasting }).then(() => true));
    await until(async () => (await near(cache, key)) === 'new');
    await soon.stop();
  });
});

describe('between a tracked read and its answer', () => {
  let redis: RedisServer;
  let proxy: Awaited<ReturnType<typeof startTcpProxy>>;
  let service: TestService;
  let other: TestService;
  beforeAll(async () => {
    redis = await startRedis();
    proxy = await startTcpProxy(redis.port);
    service = await startTestService({ REDIS_URL: serviceUrl(proxy.port), ...NEAR });
    other = await startTestService({ REDIS_URL: redis.url, NAMESPACE: service.namespace });
    await near(service.cache, 'warm');
  });
  afterAll(async () => {
    await Promise.all([service.stop(), other.stop()]);
    await proxy.close();
    await redis.remove();
  });

  test.each<[string, () => TestService]>([
    ['this process', () => service],
    ['another process', () => other],
  ])('a write through %s makes it an answer that is not kept', async (writer, by) => {
    const key = `raced by ${writer}`;
    await other.cache.set({ key, value: bytes('old'), expiry: lasting });
    // the connections that read and write are not held, only the one that tells of changes
    proxy.hold('TRACKING');
    const first = near(service.cache, key);
    await proxy.held(bytes('+OK\r\n$27\r\n').length + 27);
    await by().cache.set({ key, value: bytes('new'), expiry: lasting });
    // asked after the write was answered: it must not join the first
    const second = near(service.cache, key);
    await until(async () => (await readsOn(redis)) >= 2);
    proxy.release();
    expect(await first).toBe('old');
    if (writer === 'this process') expect(await second).toBe('new');
    else await second;
    await until(async () => (await near(service.cache, key)) === 'new');
    expect(await near(service.cache, key)).toBe('new');
  });
});

onEachTopology(
  'near reads',
  (service, topology) => {
    let other: TestService;
    beforeAll(async () => {
      other = await startTestService({ REDIS_URL: sharedRedisUrl(topology), NAMESPACE: service().namespace, ...NEAR });
    });
    afterAll(async () => {
      await other.stop();
    });

    test('see every write that went through the same process and was answered', async () => {
      const { cache } = service();
      const keys = ['a', 'b', 'c', 'd', 'e'].map((name) => `own:${name}`);
      const older: string[] = [];
      await Promise.all(
        Array.from({ length: 25 }, async (_, worker) => {
          const key = keys[worker % keys.length] ?? '';
          for (let round = 0; round < 60; round++) {
            const { version } = await cache.set({ key, value: bytes(`${String(worker)}:${String(round)}`) });
            const [one, { items }] = await Promise.all([
              nearEntry(cache, key),
              cache.getMany({ keys: [key], consistency: Consistency.NEAR }),
            ]);
            for (const entry of [one, items[0]?.entry]) {
              if (entry === undefined || entry.version < version) older.push(`${key} ${String(round)}`);
            }
            if (worker < keys.length && round % 10 === 9) {
              await cache.delete({ keys: [`${key}:gone`] });
              expect(await near(cache, `${key}:gone`)).toBeUndefined();
              await cache.set({ key: `${key}:gone`, value: bytes(String(round)) });
              expect(await near(cache, `${key}:gone`)).toBe(String(round));
            }
          }
        }),
      );
      expect(older).toEqual([]);
    });

    test('come to the last of many writes, whichever process made it', async () => {
      const caches = [service().cache, other.cache];
      const keys = Array.from({ length: 20 }, (_, index) => `shared:${String(index)}`);
      let writing = true;
      const readers = caches.map(async (cache) => {
        while (writing) await cache.getMany({ keys, consistency: Consistency.NEAR });
      });
      const written = await Promise.all(
        keys.map(async (key, index) => {
          let last = 0n;
          for (let round = 0; round < 100; round++) {
            const cache = caches[(round + index) % caches.length];
            last = (await cache?.set({ key, value: bytes(String(round)) }))?.version ?? 0n;
          }
          return last;
        }),
      );
      writing = false;
      await Promise.all(readers);
      for (const cache of caches) {
        await until(async () => {
          const { items } = await cache.getMany({ keys, consistency: Consistency.NEAR });
          return items.every(({ entry }, index) => entry?.version === written[index]);
        });
      }
      expect(new Set(written).size).toBe(keys.length);
    });

    test('a Get that is sent after a write was answered sees it, however many share its command', async () => {
      const { cache } = service();
      const older: string[] = [];
      await Promise.all(
        Array.from({ length: 40 }, async (_, worker) => {
          const key = `joined:${String(worker % 2)}`;
          for (let round = 0; round < 40; round++) {
            const { version } = await cache.set({ key, value: bytes('x') });
            const entries = await Promise.all([1, 2, 3].map(async () => (await cache.get({ key })).entry));
            if (entries.some((entry) => entry === undefined || entry.version < version)) older.push(key);
          }
        }),
      );
      expect(older).toEqual([]);
    });
  },
  NEAR,
);
