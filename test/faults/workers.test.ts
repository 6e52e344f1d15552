import { createServer } from 'node:net';
import { once } from 'node:events';
import { afterEach, describe, expect, test } from '@jest/globals';
import { connect, type ShardkeepClient } from '../../src/client/index.js';
import { startRedis, until, type RedisServer } from '../support/redis-server.js';
import { killServiceProcesses, startServiceProcess, type ServiceProcess } from '../support/service-process.js';
import { sharedRedisUrl } from '../support/service.js';

/** Several processes behind one listener. */

const clients: ShardkeepClient[] = [];
const redises: RedisServer[] = [];

afterEach(async () => {
  await killServiceProcesses();
  await Promise.all(clients.splice(0).map((client) => client.close()));
  await Promise.all(redises.splice(0).map((redis) => redis.remove()));
});

function client(address: string): ShardkeepClient {
  const connected = connect(address, { timeoutMs: 10_000, logger: false, retry: { maxAttempts: 1 } });
  clients.push(connected);
  return connected;
}

/** The pids of the workers that were started, in their order. */
function workerPids({ logs }: ServiceProcess): number[] {
  return logs.filter(({ msg }) => msg === 'worker started').map(({ pid }) => Number(pid));
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

test('SIGHUP replaces the workers one by one, and no call fails', async () => {
  const service = await startServiceProcess({ REDIS_URL: sharedRedisUrl('standalone'), WORKERS: '2' });
  const before = workerPids(service);
  expect(before).toHaveLength(2);
  const failures: unknown[] = [];
  let answered = 0;
  let stopping = false;
  const load = Array.from({ length: 6 }, async () => {
    const { cache } = client(service.address).rpc;
    while (!stopping) {
      try {
        await Promise.all(Array.from({ length: 10 }, () => cache.increment({ key: 'n', delta: 1n })));
        answered += 10;
      } catch (error) {
        failures.push(error);
        stopping = true;
      }
    }
  });
  await until(() => answered > 500);
  service.signal('SIGHUP');
  await service.log('workers replaced');
  const answeredThen = answered;
  await until(() => answered > answeredThen + 500 || stopping);
  stopping = true;
  await Promise.all(load);

  expect(failures).toEqual([]);
  expect(Number((await client(service.address).rpc.cache.increment({ key: 'n', delta: 0n })).value)).toBe(answered);
  expect(workerPids(service)).toHaveLength(4);
  await until(() => !before.some(isAlive));
});

test('a worker that is killed is replaced, the others serve on, and embedded Redis keeps what it has', async () => {
  const service = await startServiceProcess({ WORKERS: '2', EMBEDDED_REDIS: '1' });
  const { sessionToken } = await client(service.address).rpc.sessions.createSession({ userId: 'ada' });
  const [first = 0] = workerPids(service);
  process.kill(first, 'SIGKILL');
  await service.log('worker died');
  await until(() => workerPids(service).length === 3);
  // a new connection goes to whichever worker takes it
  for (let round = 0; round < 4; round++) {
    const { sessions } = client(service.address).rpc;
    await until(async () => (await sessions.validateSession({ sessionToken })).session?.userId === 'ada');
    expect((await sessions.listUserSessions({ userId: 'ada' })).sessions).toHaveLength(1);
  }
});

test('SIGTERM answers what is in flight, ends every worker and exits 0', async () => {
  const service = await startServiceProcess({ REDIS_URL: sharedRedisUrl('standalone'), WORKERS: '3' });
  const calls = Array.from({ length: 12 }, async () => {
    const { cache } = client(service.address).rpc;
    await cache.get({ key: 'k' });
    return Promise.all(Array.from({ length: 50 }, () => cache.increment({ key: 'n', delta: 1n })));
  });
  await Promise.all(calls);
  const exit = await service.stop('SIGTERM');
  expect(exit).toEqual({ code: 0, signal: null });
  expect(workerPids(service).some(isAlive)).toBe(false);
});

test('Ctrl-C to the whole group drains too', async () => {
  const service = await startServiceProcess({ WORKERS: '2', EMBEDDED_REDIS: '1' }, { ownGroup: true });
  service.signalGroup('SIGINT');
  expect(await service.exited).toEqual({ code: 0, signal: null });
});

describe('calls that a frozen Redis holds are answered, though', () => {
  async function held(): Promise<{ service: ServiceProcess; redis: RedisServer; calls: Promise<unknown[]> }> {
    const redis = await startRedis();
    redises.push(redis);
    const service = await startServiceProcess({ REDIS_URL: redis.url, WORKERS: '2' }, { ownGroup: true });
    const callers = Array.from({ length: 6 }, () => client(service.address));
    await Promise.all(callers.map(({ rpc }) => rpc.cache.get({ key: 'k' })));
    redis.signal('SIGSTOP');
    const calls = Promise.all(callers.map(({ rpc }) => rpc.cache.increment({ key: 'n' }, { timeoutMs: 10_000 })));
    // on its way to a worker before anything else
    await Promise.all(callers.map(({ rpc }) => rpc.rateLimits.listPolicies({})));
    return { service, redis, calls };
  }

  test('SIGTERM goes to the whole process group', async () => {
    const { service, redis, calls } = await held();
    service.signalGroup('SIGTERM');
    await service.log(({ msg, worker }) => msg === 'draining' && worker === 2);
    redis.signal('SIGCONT');
    expect(await calls).toHaveLength(6);
    expect(await service.exited).toEqual({ code: 0, signal: null });
    expect(await service.log(({ msg, worker }) => msg === 'stopped' && worker === undefined)).toMatchObject({
      finished: true,
    });
  });

  test('a terminal that closes sends SIGHUP to the whole process group', async () => {
    const { service, redis, calls } = await held();
    service.signalGroup('SIGHUP');
    redis.signal('SIGCONT');
    expect(await calls).toHaveLength(6);
    await service.log('workers replaced');
    expect(workerPids(service).filter(isAlive)).toHaveLength(2);
  });
});

describe('there are as many workers as there should be', () => {
  test('after one died while its successor started', async () => {
    const service = await startServiceProcess({ REDIS_URL: sharedRedisUrl('standalone'), WORKERS: '2' });
    const [first = 0] = workerPids(service);
    service.signal('SIGHUP');
    await until(() => workerPids(service).length === 3);
    process.kill(first, 'SIGKILL');
    await service.log('workers replaced');
    await until(() => workerPids(service).filter(isAlive).length === 2);
    service.signal('SIGHUP');
    await until(() => service.logs.filter(({ msg }) => msg === 'workers replaced').length === 2);
    await until(() => workerPids(service).filter(isAlive).length === 2);
    expect(service.running).toBe(true);
  });

  test('after successors died before they served', async () => {
    const service = await startServiceProcess({ REDIS_URL: sharedRedisUrl('standalone'), WORKERS: '2' });
    service.signal('SIGHUP');
    await until(() => workerPids(service).length === 3);
    process.kill(workerPids(service).at(-1) ?? 0, 'SIGKILL');
    await until(() => workerPids(service).length === 4);
    await service.log('workers replaced');
    await until(() => workerPids(service).filter(isAlive).length === 2);
    expect(service.running).toBe(true);
  });
});

test('a worker that hangs is killed when its time is over, and the rest has drained', async () => {
  const service = await startServiceProcess({
    ...{ REDIS_URL: sharedRedisUrl('standalone'), WORKERS: '2', DRAIN_TIMEOUT_MS: '1000' },
  });
  const [first = 0, second = 0] = workerPids(service);
  process.kill(first, 'SIGSTOP');
  service.signal('SIGTERM');
  expect((await service.exited).code).toBe(0);
  expect(await service.log(({ msg, worker }) => msg === 'stopped' && worker === undefined)).toMatchObject({
    finished: false,
  });
  expect([first, second].some(isAlive)).toBe(false);
});

test('the second signal leaves no worker behind', async () => {
  const service = await startServiceProcess({ REDIS_URL: sharedRedisUrl('standalone'), WORKERS: '2' });
  const pids = workerPids(service);
  process.kill(pids[0] ?? 0, 'SIGSTOP');
  service.signal('SIGTERM');
  await service.log('draining');
  service.signal('SIGTERM');
  expect((await service.exited).code).toBe(1);
  await until(() => !pids.some(isAlive));
});

test('one process alone takes no notice of SIGHUP', async () => {
  const service = await startServiceProcess({ REDIS_URL: sharedRedisUrl('standalone') });
  service.signal('SIGHUP');
  await service.log(({ level }) => level === 40);
  expect(await client(service.address).rpc.cache.get({ key: 'k' })).toEqual({ entry: undefined });
});

test.each(['1', '2'])('nobody who reads the log keeps nothing alive: WORKERS=%s', async (workers) => {
  const service = await startServiceProcess({ REDIS_URL: sharedRedisUrl('standalone'), WORKERS: workers });
  const pids = [service.pid, ...workerPids(service)];
  const { address } = service;
  service.closeOutput();
  await client(address).rpc.cache.get({ key: 'k' });
  service.signal('SIGTERM');
  await service.exited;
  await until(() => !pids.some(isAlive));
  expect(pids.some(isAlive)).toBe(false);
});

test('no worker outlives a supervisor that is killed', async () => {
  const service = await startServiceProcess({ REDIS_URL: sharedRedisUrl('standalone'), WORKERS: '2' });
  const pids = workerPids(service);
  expect(pids.every(isAlive)).toBe(true);
  await service.stop('SIGKILL');
  await until(() => !pids.some(isAlive));
});

test('a Redis of another topology ends the whole service with the status of a wrong setting', async () => {
  const url = sharedRedisUrl('cluster').replace(/^redis\+cluster:\/\/([^,]+).*$/, 'redis://$1');
  const service = await startServiceProcess({ REDIS_URL: url, WORKERS: '2' }, { until: 'nothing' });
  expect((await service.exited).code).toBe(78);
});

test('an address that is in use ends the whole service', async () => {
  const other = createServer().listen(0, '127.0.0.1');
  await once(other, 'listening');
  const address = other.address();
  const port = typeof address === 'object' && address !== null ? address.port : 0;
  const listen = `127.0.0.1:${String(port)}`;
  const service = await startServiceProcess(
    { REDIS_URL: sharedRedisUrl('standalone'), WORKERS: '2', GRPC_LISTEN: listen },
    { until: 'nothing' },
  );
  expect((await service.exited).code).not.toBe(0);
  other.close();
});
