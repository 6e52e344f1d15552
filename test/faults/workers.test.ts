import { createServer } from 'node:net';
import { once } from 'node:events';
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import { connect, type ShardkeepClient } from '../../src/client/index.js';
import { startRedis, until, type RedisServer } from '../support/redis-server.js';
import { killServiceProcesses, startServiceProcess, type ServiceProcess } from '../support/service-process.js';
import { sharedRedisUrl } from '../support/service.js';

/** Several processes behind one listener. */

const clients: ShardkeepClient[] = [];
const redises: RedisServer[] = [];

async function cleanUp(): Promise<void> {
  await killServiceProcesses();
  await Promise.all(clients.splice(0).map((client) => client.close()));
  await Promise.all(redises.splice(0).map((redis) => redis.remove()));
}

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

/** What one service goes through, in this order: a start takes each worker a second of a processor. */
describe('a service that goes on', () => {
  let service: ServiceProcess;
  beforeAll(async () => {
    service = await startServiceProcess({ REDIS_URL: sharedRedisUrl('standalone'), WORKERS: '2' });
  });
  afterAll(cleanUp);
  const timesReplaced = (): number => service.logs.filter(({ msg }) => msg === 'workers replaced').length;

  test('SIGHUP replaces the workers one by one, and no call fails', async () => {
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

  test('has as many workers as it should after one died while its successor started', async () => {
    const before = workerPids(service);
    const [first = 0] = before.filter(isAlive);
    const times = timesReplaced();
    service.signal('SIGHUP');
    await until(() => workerPids(service).length > before.length);
    process.kill(first, 'SIGKILL');
    await until(() => timesReplaced() > times);
    await until(() => workerPids(service).filter(isAlive).length === 2);
    expect(service.running).toBe(true);
  });

  test('and after a successor died before it served', async () => {
    const before = workerPids(service);
    const times = timesReplaced();
    service.signal('SIGHUP');
    await until(() => workerPids(service).length > before.length);
    process.kill(workerPids(service).at(-1) ?? 0, 'SIGKILL');
    await until(() => workerPids(service).length > before.length + 1);
    await until(() => timesReplaced() > times);
    await until(() => workerPids(service).filter(isAlive).length === 2);
    expect(service.running).toBe(true);
  });

  test('ends every worker at SIGTERM, and exits 0', async () => {
    const calls = Array.from({ length: 12 }, async () => {
      const { cache } = client(service.address).rpc;
      await cache.get({ key: 'k' });
      return Promise.all(Array.from({ length: 50 }, () => cache.increment({ key: 'm', delta: 1n })));
    });
    await Promise.all(calls);
    const exit = await service.stop('SIGTERM');
    expect(exit).toEqual({ code: 0, signal: null });
    expect(workerPids(service).some(isAlive)).toBe(false);
  });
});

describe('with a Redis of its own', () => {
  let service: ServiceProcess;
  beforeAll(async () => {
    service = await startServiceProcess({ WORKERS: '2', EMBEDDED_REDIS: '1' }, { ownGroup: true });
  });
  afterAll(cleanUp);

  test('a worker that is killed is replaced, the others serve on, and embedded Redis keeps what it has', async () => {
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

  test('Ctrl-C to the whole group drains too', async () => {
    service.signalGroup('SIGINT');
    expect(await service.exited).toEqual({ code: 0, signal: null });
  });
});

describe('calls that a frozen Redis holds are answered, though', () => {
  let redis: RedisServer;
  let service: ServiceProcess;
  beforeAll(async () => {
    redis = await startRedis();
    redises.push(redis);
    service = await startServiceProcess({ REDIS_URL: redis.url, WORKERS: '2' }, { ownGroup: true });
  });
  afterAll(cleanUp);

  /** On its way to a worker before anything else. */
  async function held(): Promise<{ answers: Promise<unknown[]> }> {
    const callers = Array.from({ length: 6 }, () => client(service.address));
    await Promise.all(callers.map(({ rpc }) => rpc.cache.get({ key: 'k' })));
    redis.signal('SIGSTOP');
    const answers = Promise.all(callers.map(({ rpc }) => rpc.cache.increment({ key: 'n' }, { timeoutMs: 10_000 })));
    await Promise.all(callers.map(({ rpc }) => rpc.rateLimits.listPolicies({})));
    return { answers };
  }

  test('a terminal that closes sends SIGHUP to the whole process group', async () => {
    const { answers } = await held();
    service.signalGroup('SIGHUP');
    redis.signal('SIGCONT');
    expect(await answers).toHaveLength(6);
    await service.log('workers replaced');
    expect(workerPids(service).filter(isAlive)).toHaveLength(2);
  });

  test('SIGTERM goes to the whole process group', async () => {
    const { answers } = await held();
    service.signalGroup('SIGTERM');
    await service.log(({ msg, worker }) => msg === 'draining' && worker === 4);
    redis.signal('SIGCONT');
    expect(await answers).toHaveLength(6);
    expect(await service.exited).toEqual({ code: 0, signal: null });
    expect(await service.log(({ msg, worker }) => msg === 'stopped' && worker === undefined)).toMatchObject({
      finished: true,
    });
  });
});

describe('at its end', () => {
  afterEach(cleanUp);

  test('a worker that hangs is killed when its time is over, and the rest has drained', async () => {
    const service = await startServiceProcess({
      ...{ REDIS_URL: sharedRedisUrl('standalone'), WORKERS: '2', DRAIN_TIMEOUT_MS: '300' },
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

  test('SIGHUP while the workers start waits for them', async () => {
    const service = await startServiceProcess(
      { REDIS_URL: sharedRedisUrl('standalone'), WORKERS: '2', REDIS_ENABLE_OFFLINE_QUEUE: 'true' },
      { until: 'nothing' },
    );
    // about a setting that is ignored, long before anybody listens
    await service.log(({ level }) => level === 40);
    service.signal('SIGHUP');
    await service.log('workers replaced');
    expect(await client(service.address).rpc.cache.get({ key: 'k' })).toEqual({ entry: undefined });
  });

  test('one process alone takes no notice of SIGHUP, and nobody who reads its log keeps nothing alive', async () => {
    const service = await startServiceProcess({ REDIS_URL: sharedRedisUrl('standalone') });
    service.signal('SIGHUP');
    await service.log(({ level }) => level === 40);
    expect(await leftUnread(service)).toEqual([]);
  });

  test('nobody who reads the log of workers keeps nothing alive', async () => {
    const service = await startServiceProcess({ REDIS_URL: sharedRedisUrl('standalone'), WORKERS: '2' });
    expect(await leftUnread(service)).toEqual([]);
  });

  /** The processes that are there after it was told to end, with nobody to read its output. */
  async function leftUnread(service: ServiceProcess): Promise<readonly number[]> {
    const pids = [service.pid, ...workerPids(service)];
    const { address } = service;
    service.closeOutput();
    expect(await client(address).rpc.cache.get({ key: 'k' })).toEqual({ entry: undefined });
    service.signal('SIGTERM');
    await service.exited;
    await until(() => !pids.some(isAlive));
    return pids.filter(isAlive);
  }

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
});
