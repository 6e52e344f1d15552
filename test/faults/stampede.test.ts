import { fork } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { afterEach, describe, expect, test } from '@jest/globals';
import { CacheServiceService, FillStatus, GetOrLeaseStatus as Status } from '../../src/gen/shardkeep/cache/v1/cache.js';
import type { PromiseClient } from '../support/client.js';
import { startRedis, until, type RedisServer } from '../support/redis-server.js';
import { killServiceProcesses, startServiceProcess, type ServiceProcess } from '../support/service-process.js';
import { randomNamespace, sharedRedisUrl, TOPOLOGIES } from '../support/service.js';

/** Everybody misses at once. */

type Cache = PromiseClient<typeof CacheServiceService>;

const MINUTE = { $case: 'ttlMs', value: 60_000n } as const;
const redises: RedisServer[] = [];

afterEach(async () => {
  await killServiceProcesses();
  await Promise.all(redises.splice(0).map((redis) => redis.remove()));
});

function startServices(count: number, redisUrl: string): Promise<ServiceProcess[]> {
  const env = { REDIS_URL: redisUrl, NAMESPACE: randomNamespace() };
  return Promise.all(Array.from({ length: count }, () => startServiceProcess(env)));
}

/** Reads through the cache as a game server would: loads when it is its turn, else waits. */
async function readThrough(cache: Cache, key: string, load: () => Promise<string>): Promise<string> {
  for (;;) {
    const answer = await cache.getOrLease(
      { key, leaseMs: 20_000n, waitMs: 30_000n },
      { deadline: Date.now() + 60_000 },
    );
    if (answer.status === Status.HIT) return answer.entry?.value.toString() ?? '';
    if (answer.status !== Status.LEASED) continue;
    const value = await load();
    await cache.fill({ key, ...answer, result: { $case: 'value', value: Buffer.from(value) }, expiry: MINUTE });
    return value;
  }
}

describe.each(TOPOLOGIES)('on %s', (topology) => {
  test('1,000 callers of 4 services who miss a key at once make one load, and all get its value', async () => {
    const services = await startServices(4, sharedRedisUrl(topology));
    const caches = services.map((service) => service.channel().of(CacheServiceService));
    let loads = 0;
    let asked = 0;
    const load = async (): Promise<string> => {
      loads++;
      // the slowest source there could be: all others are there
      await until(() => asked === 1_000);
      return `load ${String(loads)}`;
    };
    const answers = await Promise.all(
      Array.from({ length: 1_000 }, (_, index) => {
        const cache = caches[index % caches.length];
        if (cache === undefined) throw new Error('no client');
        asked++;
        return readThrough(cache, 'hot', load);
      }),
    );
    expect(loads).toBe(1);
    expect(new Set(answers)).toEqual(new Set(['load 1']));
  });
});

test('a loader that is killed is followed by another, and soon after its lease', async () => {
  const [service] = await startServices(1, sharedRedisUrl('standalone'));
  if (service === undefined) throw new Error('no service');
  const leaseMs = 1_500;
  const loader = fork(
    fileURLToPath(new URL('../support/lease-holder.ts', import.meta.url)),
    [service.address, 'hot', String(leaseMs)],
    { execArgv: ['--import', 'tsx'] },
  );
  await once(loader, 'message');
  const grantedAt = performance.now();
  const cache = service.channel().of(CacheServiceService);
  const waiters = Array.from({ length: 20 }, () => cache.getOrLease({ key: 'hot', leaseMs: 60_000n, waitMs: 20_000n }));
  const first = Promise.race(waiters);
  loader.kill('SIGKILL');
  await once(loader, 'exit');
  const next = await first;
  expect(next.status).toBe(Status.LEASED);
  expect(performance.now() - grantedAt).toBeLessThan(leaseMs + 1_000);
  const result = { $case: 'value', value: Buffer.from('second') } as const;
  expect((await cache.fill({ key: 'hot', ...next, result, expiry: MINUTE })).status).toBe(FillStatus.FILLED);
  const answers = await Promise.all(waiters);
  expect(answers.filter(({ status }) => status === Status.LEASED)).toHaveLength(1);
  expect(
    answers.filter(({ status, entry }) => status === Status.HIT && entry?.value.toString() === 'second'),
  ).toHaveLength(19);
});

describe('a caller who waits', () => {
  test('is told at once that the load failed', async () => {
    const [service] = await startServices(1, sharedRedisUrl('standalone'));
    const cache = service?.channel().of(CacheServiceService);
    if (cache === undefined) throw new Error('no service');
    const { leaseToken } = await cache.getOrLease({ key: 'k', leaseMs: 60_000n });
    const waiting = cache.getOrLease(
      { key: 'k', leaseMs: 60_000n, waitMs: 60_000n },
      { deadline: Date.now() + 60_000 },
    );
    await cache.failLease({ key: 'k', leaseToken, retryAfterMs: 60_000n });
    expect(await waiting).toMatchObject({ status: Status.LOADING, loadFailed: true });
  });

  test('gets what a Set wrote instead, and the lease that a Delete set free', async () => {
    const [service] = await startServices(1, sharedRedisUrl('standalone'));
    const cache = service?.channel().of(CacheServiceService);
    if (cache === undefined) throw new Error('no service');
    await cache.getOrLease({ key: 'k', leaseMs: 60_000n });
    const first = cache.getOrLease({ key: 'k', leaseMs: 60_000n, waitMs: 60_000n }, { deadline: Date.now() + 60_000 });
    await cache.set({ key: 'k', value: Buffer.from('set') });
    expect((await first).entry?.value.toString()).toBe('set');
    await cache.delete({ keys: ['k'] });
    await cache.getOrLease({ key: 'k', leaseMs: 60_000n });
    const second = cache.getOrLease({ key: 'k', leaseMs: 60_000n, waitMs: 60_000n }, { deadline: Date.now() + 60_000 });
    await cache.delete({ keys: ['k'] });
    expect((await second).status).toBe(Status.LEASED);
  });

  test('waits no longer than it said, and no longer than its deadline', async () => {
    const [service] = await startServices(1, sharedRedisUrl('standalone'));
    const cache = service?.channel().of(CacheServiceService);
    if (cache === undefined) throw new Error('no service');
    await cache.getOrLease({ key: 'k', leaseMs: 60_000n });
    expect((await cache.getOrLease({ key: 'k', leaseMs: 60_000n, waitMs: 50n })).status).toBe(Status.LOADING);
    const deadline = Date.now() + 1_000;
    expect((await cache.getOrLease({ key: 'k', leaseMs: 60_000n, waitMs: 60_000n }, { deadline })).status).toBe(
      Status.LOADING,
    );
  });

  test('takes no place among the calls in flight, and there are as many as may wait', async () => {
    const env = { REDIS_URL: sharedRedisUrl('standalone'), MAX_IN_FLIGHT: '2', MAX_PARKED: '20' };
    const service = await startServiceProcess(env);
    const cache = service.channel().of(CacheServiceService);
    const { leaseToken } = await cache.getOrLease({ key: 'k', leaseMs: 60_000n });
    const waiting: Promise<unknown>[] = [];
    const wait = () =>
      cache.getOrLease({ key: 'k', leaseMs: 60_000n, waitMs: 60_000n }, { deadline: Date.now() + 60_000 });
    for (let parked = 0; parked < 20; parked++) {
      waiting.push(wait());
      // answered behind it
      await cache.get({ key: 'other' });
    }
    // one more is answered as if it had not asked to wait
    expect((await wait()).status).toBe(Status.LOADING);
    await cache.fill({ key: 'k', leaseToken, result: { $case: 'value', value: Buffer.from('v') }, expiry: MINUTE });
    await Promise.all(waiting);
    expect((await cache.get({ key: 'k' })).entry?.value.toString()).toBe('v');
  });

  test('is let go by a drain', async () => {
    const [service] = await startServices(1, sharedRedisUrl('standalone'));
    const cache = service?.channel().of(CacheServiceService);
    if (service === undefined || cache === undefined) throw new Error('no service');
    await cache.getOrLease({ key: 'k', leaseMs: 60_000n });
    const waiting = cache.getOrLease(
      { key: 'k', leaseMs: 60_000n, waitMs: 60_000n },
      { deadline: Date.now() + 60_000 },
    );
    await cache.get({ key: 'other' });
    service.signal('SIGTERM');
    expect((await waiting).status).toBe(Status.LOADING);
    expect(await service.exited).toEqual({ code: 0, signal: null });
  });

  test('is looked after without word of changes too, as while that connection is lost', async () => {
    const redis = await startRedis();
    redises.push(redis);
    const [service] = await startServices(1, redis.url);
    const cache = service?.channel().of(CacheServiceService);
    if (cache === undefined) throw new Error('no service');
    const { leaseToken } = await cache.getOrLease({ key: 'k', leaseMs: 60_000n });
    const waiting = cache.getOrLease(
      { key: 'k', leaseMs: 60_000n, waitMs: 60_000n },
      { deadline: Date.now() + 60_000 },
    );
    const trackingId = async (): Promise<string | undefined> =>
      /^id=(\d+) .* flags=\S*t/m.exec(String(await redis.command('CLIENT', 'LIST')))?.[1];
    await until(async () => (await trackingId()) !== undefined);
    for (let kill = 0; kill < 3; kill++) {
      const id = await trackingId();
      if (id !== undefined) await redis.command('CLIENT', 'KILL', 'ID', id);
      await cache.get({ key: 'other' });
    }
    const result = { $case: 'value', value: Buffer.from('v') } as const;
    await cache.fill({ key: 'k', leaseToken, result, expiry: MINUTE });
    expect((await waiting).entry?.value.toString()).toBe('v');
  });
});
