import { afterEach, describe, expect, test } from '@jest/globals';
import { CacheServiceService } from '../../src/gen/shardkeep/cache/v1/cache.js';
import { startRedis, until, type RedisServer } from '../support/redis-server.js';
import { killServiceProcesses, startServiceProcess, type ServiceProcess } from '../support/service-process.js';
import { sharedRedisUrl, type Environment } from '../support/service.js';
import { askSidePort } from '../support/side-port.js';

/** The health of a service as HTTP probes and operators see it. */

const PATHS = ['/health', '/health/live', '/health/ready', '/health/redis', '/health/detailed'];

let redis: RedisServer | undefined;
afterEach(async () => {
  await killServiceProcesses();
  await redis?.remove();
  redis = undefined;
});

const start = (env: Environment): Promise<ServiceProcess> =>
  startServiceProcess({ ADMIN_LISTEN: '127.0.0.1:0', ...env });

async function statusOf(service: ServiceProcess, path: string): Promise<string> {
  const { status, body } = await askSidePort(service, path);
  return `${String(status)} ${body.status ?? ''}`;
}

function workerPids({ logs }: ServiceProcess): number[] {
  return logs.filter(({ msg }) => msg === 'worker started').map(({ pid }) => Number(pid));
}

describe.each([1, 2])('with %i workers', (workers) => {
  test('a service that serves is healthy on every path, and says of what it consists', async () => {
    redis = await startRedis();
    await redis.command('ACL', 'SETUSER', 'game', 'on', '>canary-password', '~*', '&*', '+@all');
    const service = await start({
      REDIS_URL: `redis://game:canary-password@127.0.0.1:${String(redis.port)}`,
      WORKERS: String(workers),
    });
    const cache = service.channel().of(CacheServiceService);
    await cache.set({ key: 'canary-key', value: Buffer.from('canary-value') });
    await cache.get({ key: 'canary-key' });

    for (const path of PATHS) {
      const { status, headers, text, body } = await askSidePort(service, path);
      expect([path, status, body.status]).toEqual([path, 200, 'healthy']);
      expect(headers.get('cache-control')).toBe('no-store');
      expect(headers.get('content-type')).toBe('application/json; charset=utf-8');
      expect(text).not.toContain('canary');
      const head = await askSidePort(service, `${path}?verbose`, 'HEAD');
      expect([head.status, head.text]).toEqual([200, '']);
    }
    const master = {
      address: expect.any(String),
      up: true,
      latencyMs: expect.any(Number),
      role: 'master',
      version: expect.stringMatching(/^\d+\./),
      uptimeMs: expect.any(Number),
      usedMemoryBytes: expect.any(Number),
      maxMemoryBytes: 0,
      maxmemoryPolicy: 'noeviction',
      evictedKeys: 0,
      connectedClients: expect.any(Number),
    };
    const role = {
      status: 'healthy',
      up: true,
      topology: 'standalone',
      openCircuits: 0,
      latencyMs: expect.any(Number),
      nodes: [master],
      warnings: [],
    };
    const roles = { cache: role, state: role, limit: role };
    expect((await askSidePort(service, '/health/redis')).body).toEqual({ status: 'healthy', roles });
    expect((await askSidePort(service, '/health')).body).toMatchObject({
      draining: false,
      serving: workers,
      silent: 0,
      redis: { cache: 'up', state: 'up', limit: 'up' },
      services: { policies: 'serving', 'shardkeep.cache.v1.CacheService': 'serving' },
    });
    const { body } = await askSidePort(service, '/health/detailed');
    expect(body).toMatchObject({
      version: expect.stringMatching(/^\d+\.\d+\.\d+/),
      uptimeMs: expect.any(Number),
      redis: roles,
      cache: { hits: 1, misses: 0, sets: 1 },
      calls: { inFlight: 0, parked: 0, streams: 0 },
    });
    expect(body.processes).toHaveLength(workers);
  });
});

test('while Redis is away it lives and is not ready, and is both again with it', async () => {
  redis = await startRedis();
  const service = await start({ REDIS_URL: redis.url });
  await redis.stop('SIGKILL');
  await until(async () => (await statusOf(service, '/health/redis')) === '503 unhealthy');
  await until(async () => (await statusOf(service, '/health/ready')) === '503 unhealthy');
  expect(await statusOf(service, '/health/live')).toBe('200 healthy');
  const { status, body } = await askSidePort(service, '/health');
  expect(status).toBe(503);
  expect(body.redis).toEqual({ cache: 'down', state: 'down', limit: 'down' });
  await redis.restart();
  for (const path of PATHS) await until(async () => (await statusOf(service, path)) === '200 healthy');
});

test('a circuit that is open in any worker is told', async () => {
  redis = await startRedis();
  const service = await start({ REDIS_URL: redis.url, WORKERS: '2', REDIS_TIMEOUT_MS: '300' });
  const circuits = async (path: string): Promise<unknown> => {
    const { body } = await askSidePort(service, path);
    const roles = (path === '/health/redis' ? body.roles : body.redis) as { state?: { openCircuits?: number } };
    return roles.state?.openCircuits;
  };
  expect(await circuits('/health/detailed')).toBe(0);
  redis.signal('SIGSTOP');
  for (const path of ['/health/redis', '/health/detailed']) await until(async () => (await circuits(path)) === 1);
  redis.signal('SIGCONT');
  await until(async () => (await circuits('/health/detailed')) === 0);
});

test('that a Redis hangs is told, and does not make the answer hang', async () => {
  redis = await startRedis();
  const service = await start({ REDIS_URL: redis.url });
  redis.signal('SIGSTOP');
  // asked while it still counts as connected: these have to find out
  const answers = await Promise.all(
    Array.from({ length: 20 }, () => askSidePort(service, '/health/redis').then(({ body }) => body)),
  );
  for (const { status, roles } of answers) {
    expect(status).toBe('unhealthy');
    expect(roles).toMatchObject({ state: { nodes: [{ up: false }] } });
  }
  expect(await statusOf(service, '/health/live')).toBe('200 healthy');
  redis.signal('SIGCONT');
  for (const path of PATHS) await until(async () => (await statusOf(service, path)) === '200 healthy');
});

test('a sidecar without Redis is degraded, and ready', async () => {
  redis = await startRedis();
  const service = await start({ REDIS_URL: redis.url, SIDECAR: '1' });
  await redis.stop('SIGKILL');
  await until(async () => (await statusOf(service, '/health')) === '200 degraded');
  expect(await statusOf(service, '/health/ready')).toBe('200 healthy');
  expect(await statusOf(service, '/health/redis')).toBe('503 unhealthy');
});

test('a Redis that may evict sessions is a warning', async () => {
  redis = await startRedis(['--maxmemory', '100mb', '--maxmemory-policy', 'allkeys-lru']);
  const service = await start({ REDIS_URL: redis.url, CACHE_REDIS_URL: sharedRedisUrl('standalone') });
  const { status, body } = await askSidePort(service, '/health/redis');
  expect([status, body.status]).toEqual([200, 'degraded']);
  expect(body.roles).toMatchObject({
    cache: { status: 'healthy', warnings: [] },
    state: { status: 'degraded', warnings: [expect.stringContaining('allkeys-lru')] },
  });
});

test('of a Cluster each master is told', async () => {
  const service = await start({ REDIS_URL: sharedRedisUrl('cluster') });
  const { body } = await askSidePort(service, '/health/redis');
  const { state } = body.roles as Readonly<Record<string, { readonly nodes: readonly unknown[] }>>;
  expect(state).toMatchObject({ status: 'healthy', up: true, topology: 'cluster' });
  expect(state?.nodes.length).toBeGreaterThan(1);
});

test('a service that drains is not ready at once, and lives until it goes', async () => {
  redis = await startRedis();
  const service = await start({ REDIS_URL: redis.url, MAX_DEADLINE_MS: '30000', DEFAULT_DEADLINE_MS: '30000' });
  redis.signal('SIGSTOP');
  // holds the drain
  const call = service
    .channel()
    .of(CacheServiceService)
    .get({ key: 'k' })
    .catch(() => undefined);
  await until(async () => {
    const { calls } = (await askSidePort(service, '/health/detailed')).body;
    return (calls as { readonly inFlight: number }).inFlight === 1;
  });
  const answers: unknown[] = [];
  service.signal('SIGTERM');
  const asked = service.log('stopped').then(() => true);
  do {
    const ready = await askSidePort(service, '/health/ready').catch(() => undefined);
    const live = await askSidePort(service, '/health/live').catch(() => undefined);
    if (live !== undefined) answers.push([ready?.status, ready?.body.draining, live.status]);
  } while (!(await Promise.race([asked, Promise.resolve(false)])));
  expect(answers).toContainEqual([503, true, 200]);
  await call;
  expect(await service.exited).toEqual({ code: 0, signal: null });
});

test('a worker that hangs keeps the service from being alive and ready; one that died does not', async () => {
  const service = await start({ REDIS_URL: sharedRedisUrl('standalone'), WORKERS: '2' });
  const [first = 0, second = 0] = workerPids(service);
  process.kill(first, 'SIGSTOP');
  const live = await askSidePort(service, '/health/live');
  expect([live.status, live.body]).toMatchObject([503, { status: 'unhealthy', serving: 2, silent: 1 }]);
  expect(await statusOf(service, '/health/ready')).toBe('503 unhealthy');
  process.kill(first, 'SIGCONT');
  await until(async () => (await statusOf(service, '/health/ready')) === '200 healthy');
  process.kill(second, 'SIGKILL');
  await service.log('worker died');
  expect(await statusOf(service, '/health/live')).toBe('200 healthy');
  await until(async () => (await askSidePort(service, '/health/ready')).body.serving === 2);
  expect(await statusOf(service, '/health/ready')).toBe('200 healthy');
});
