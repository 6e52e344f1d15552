import { afterEach, describe, expect, test } from '@jest/globals';
import { Code, UnavailableError, type ShardkeepClient } from '../../../src/client/index.js';
import { errorOf } from '../../support/client-error.js';
import { startRedis, until, type RedisServer } from '../../support/redis-server.js';
import { sdkClient } from '../../support/sdk-client.js';
import { killServiceProcesses, startServiceProcess, type ServiceProcess } from '../../support/service-process.js';
import { randomNamespace, sharedRedisUrl } from '../../support/service.js';

const redises: RedisServer[] = [];

afterEach(async () => {
  await killServiceProcesses();
  await Promise.all(redises.splice(0).map((redis) => redis.remove()));
});

interface Lines {
  readonly warned: string[];
  readonly failed: string[];
}

/** A client that soon asks again, and what it logs. */
function impatient(address: string): { readonly client: ShardkeepClient; readonly lines: Lines } {
  const lines: Lines = { warned: [], failed: [] };
  const client = sdkClient(address, {
    timeoutMs: 1_000,
    retry: { maxAttempts: 1 },
    cache: { circuit: { failures: 3, openMs: 50, maxOpenMs: 200 } },
    logger: {
      debug: () => undefined,
      warn: (_, message) => lines.warned.push(message),
      error: (_, message) => lines.failed.push(message),
    },
  });
  return { client, lines };
}

/** Every use of a cache that is away, and what of it is told. */
async function useWithout({ cache }: ShardkeepClient): Promise<void> {
  let loads = 0;
  const loader = () => `load ${String(++loads)}`;
  // the circuit opens, and everything goes on
  for (let count = 1; count <= 5; count++) expect(await cache.cacheAside('k', loader)).toBe(`load ${String(count)}`);
  expect(cache.circuitState).not.toBe('closed');
  const together = await Promise.all(Array.from({ length: 50 }, () => cache.cacheAside('k', loader)));
  expect(together).toEqual(Array(50).fill('load 6'));
  expect(await cache.get('k')).toBeUndefined();
  expect(await cache.getMany(['k', 'l'])).toEqual([undefined, undefined]);
  expect(await cache.exists('k')).toBe(false);
  expect(await cache.getTtl('k')).toBeUndefined();
  expect(await cache.getSetMembers('s')).toEqual([]);
  expect(await cache.getList('l')).toEqual([]);
  expect(await cache.set('k', 1)).toEqual({ stored: false, version: 0 });
  expect(await cache.setMany([{ key: 'k', value: 1 }])).toEqual([{ stored: false, version: 0 }]);
  expect(await cache.delete('k')).toBe(false);
  expect(await cache.touch('k')).toBe(false);
  expect(await cache.addToSet('s', [1])).toMatchObject({ applied: false });
  expect(await cache.pushToList('l', [1])).toBe(0);
  await cache.invalidateByTag('t');
  let written: unknown;
  await cache.writeThrough('k', 'value', (value) => void (written = value));
  expect(written).toBe('value');
  // what cannot be made up
  expect(await errorOf(cache.increment('n'))).toBeInstanceOf(UnavailableError);
  for (const write of [
    cache.set('k', 1, { condition: 'absent' }),
    cache.set('k', 1, { guard: { resource: 'lock', fencingToken: 1 } }),
    cache.setMany([{ key: 'k', value: 1, condition: 'present' }]),
    cache.delete('k', { guard: { resource: 'lock', fencingToken: 1 } }),
  ])
    expect(await errorOf(write)).toBeInstanceOf(UnavailableError);
  // what is wrong stays wrong: it needs no service to say so
  expect((await errorOf(cache.set('k', undefined))).code).toBe(Code.INVALID_ARGUMENT);
}

async function heals({ cache }: ShardkeepClient): Promise<void> {
  await until(async () => (await cache.set('k', 'kept', { ttlMs: 60_000 })).stored);
  expect(cache.circuitState).toBe('closed');
  expect(await cache.cacheAside('k', () => 'must not run')).toBe('kept');
}

describe('while the cache is away loaders run, nothing is lost but the cache, and it comes back by itself', () => {
  const env = () => ({ REDIS_URL: sharedRedisUrl('standalone'), NAMESPACE: randomNamespace() });

  test('the service is killed', async () => {
    const settings = env();
    const service = await startServiceProcess(settings);
    const { client, lines } = impatient(service.address);
    await heals(client);
    await service.stop('SIGKILL');
    await useWithout(client);
    expect(lines.failed.length).toBeGreaterThan(0);
    // an outage is told, and not at every call
    expect(lines.warned.length + lines.failed.length).toBeLessThan(60);
    await startServiceProcess({ ...settings, GRPC_LISTEN: service.address });
    await heals(client);
  });

  test('the service stands still: after a few timeouts nothing waits for it', async () => {
    const service: ServiceProcess = await startServiceProcess(env());
    const { client } = impatient(service.address);
    await heals(client);
    service.signal('SIGSTOP');
    // not even those who would wait for another one's load
    const load = (id: number) => client.cache.cacheAside(`k${String(id)}`, () => id, { waitMs: 60_000 });
    expect(await Promise.all([1, 2, 3].map(load))).toEqual([1, 2, 3]);
    expect(client.cache.circuitState).not.toBe('closed');
    // one call at a time finds out; each of the others would have waited for a second
    const startedAt = performance.now();
    await Promise.all(Array.from({ length: 1_000 }, () => client.cache.get('k')));
    const others = await Promise.all(Array.from({ length: 1_000 }, () => client.cache.cacheAside('k', () => 'loaded')));
    expect(new Set(others)).toEqual(new Set(['loaded']));
    expect(performance.now() - startedAt).toBeLessThan(30_000);
    service.signal('SIGCONT');
    await heals(client);
  });

  test('Redis is killed', async () => {
    const redis = await startRedis();
    redises.push(redis);
    const service = await startServiceProcess({ REDIS_URL: redis.url });
    const { client } = impatient(service.address);
    await heals(client);
    redis.signal('SIGKILL');
    // a service that has not noticed yet may answer
    await until(async () => {
      await client.cache.get('k');
      return client.cache.circuitState !== 'closed';
    });
    await useWithout(client);
    expect(await errorOf(client.rpc.sessions.listUserSessions({ userId: 'ada' }))).toBeInstanceOf(UnavailableError);
  });

  test('a client that is closed makes nothing up', async () => {
    const service = await startServiceProcess(env());
    const client = sdkClient(service.address);
    await client.close();
    expect(await errorOf(client.cache.get('k'))).toBeInstanceOf(UnavailableError);
    expect(await errorOf(client.cache.set('k', 1))).toBeInstanceOf(UnavailableError);
    expect(await errorOf(client.cache.cacheAside('k', () => 1))).toBeInstanceOf(UnavailableError);
  });

  test('where that is asked for, reads and writes fail instead', async () => {
    const service = await startServiceProcess(env());
    const client = sdkClient(service.address, {
      retry: { maxAttempts: 1 },
      cache: { onReadError: 'throw', onWriteError: 'throw' },
    });
    await service.stop('SIGKILL');
    expect(await errorOf(client.cache.get('k'))).toBeInstanceOf(UnavailableError);
    expect(await errorOf(client.cache.set('k', 1))).toBeInstanceOf(UnavailableError);
    expect(await errorOf(client.cache.delete('k'))).toBeInstanceOf(UnavailableError);
    // a loader is better than an error
    expect(await client.cache.cacheAside('k', () => 'loaded')).toBe('loaded');
  });
});
