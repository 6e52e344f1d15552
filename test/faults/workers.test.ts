import { createServer } from 'node:net';
import { once } from 'node:events';
import { afterEach, expect, test } from '@jest/globals';
import { connect, type ShardkeepClient } from '../../src/client/index.js';
import { until } from '../support/redis-server.js';
import { killServiceProcesses, startServiceProcess, type ServiceProcess } from '../support/service-process.js';
import { sharedRedisUrl } from '../support/service.js';

/** Several processes behind one listener. */

const clients: ShardkeepClient[] = [];

afterEach(async () => {
  await killServiceProcesses();
  await Promise.all(clients.splice(0).map((client) => client.close()));
});

function client(address: string): ShardkeepClient {
  const connected = connect(address);
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
    const { cache } = client(service.address);
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
  expect(Number((await client(service.address).cache.increment({ key: 'n', delta: 0n })).value)).toBe(answered);
  expect(workerPids(service)).toHaveLength(4);
  await until(() => !before.some(isAlive));
});

test('a worker that is killed is replaced, the others serve on, and embedded Redis keeps what it has', async () => {
  const service = await startServiceProcess({ WORKERS: '2', EMBEDDED_REDIS: '1' });
  const { sessionToken } = await client(service.address).sessions.createSession({ userId: 'ada' });
  const [first = 0] = workerPids(service);
  process.kill(first, 'SIGKILL');
  await service.log('worker died');
  await until(() => workerPids(service).length === 3);
  // a new connection goes to whichever worker takes it
  for (let round = 0; round < 4; round++) {
    const { sessions } = client(service.address);
    await until(async () => (await sessions.validateSession({ sessionToken })).session?.userId === 'ada');
    expect((await sessions.listUserSessions({ userId: 'ada' })).sessions).toHaveLength(1);
  }
});

test('SIGTERM answers what is in flight, ends every worker and exits 0', async () => {
  const service = await startServiceProcess({ REDIS_URL: sharedRedisUrl('standalone'), WORKERS: '3' });
  const calls = Array.from({ length: 12 }, async () => {
    const { cache } = client(service.address);
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
