import { randomUUID } from 'node:crypto';
import { rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Server, ServerCredentials, status as Code } from '@grpc/grpc-js';
import { afterEach, expect, test } from '@jest/globals';
import { connect, type ConnectOptions, type ShardkeepClient } from '../../src/client/index.js';
import { CacheServiceService } from '../../src/gen/shardkeep/cache/v1/cache.js';
import { errorOf } from '../support/client-error.js';
import { startRedis, until, type RedisServer } from '../support/redis-server.js';
import { killServiceProcesses, startServiceProcess } from '../support/service-process.js';
import { randomNamespace, sharedRedisUrl } from '../support/service.js';

/** The client while services and Redis come and go, as processes that are really killed. */

const clients: ShardkeepClient[] = [];
const redises: RedisServer[] = [];
const sockets: string[] = [];

function client(address: string, options: ConnectOptions = {}): ShardkeepClient {
  const connected = connect(address, { logger: false, retry: { maxAttempts: 1 }, ...options });
  clients.push(connected);
  return connected;
}

/** A path for a service that is started more than once at the same address. */
function socketPath(): string {
  const path = join(tmpdir(), `sk-${randomUUID().slice(0, 8)}.sock`);
  sockets.push(path);
  return path;
}

afterEach(async () => {
  await killServiceProcesses();
  await Promise.all(clients.splice(0).map((connected) => connected.close()));
  await Promise.all(redises.splice(0).map((redis) => redis.remove()));
  for (const path of sockets.splice(0)) rmSync(path, { force: true });
});

async function ownRedis(): Promise<RedisServer> {
  const redis = await startRedis();
  redises.push(redis);
  return redis;
}

test('after a kill -9 of the service calls in flight have an unknown outcome, later ones fail at once, and it heals', async () => {
  const redis = await ownRedis();
  const env = { REDIS_URL: redis.url, GRPC_LISTEN: `unix:${socketPath()}`, NAMESPACE: randomNamespace() };
  const first = await startServiceProcess(env);
  const { cache } = client(env.GRPC_LISTEN).rpc;
  await cache.increment({ key: 'n', delta: 1n });

  redis.signal('SIGSTOP');
  const inFlight = Array.from({ length: 50 }, () => errorOf(cache.increment({ key: 'n', delta: 1n })));
  // a Redis that says nothing holds them; the frame has left when a call behind it has failed
  await errorOf(cache.get({ key: 'n' }, { timeoutMs: 100 }));
  await first.stop('SIGKILL');
  redis.signal('SIGCONT');
  for (const error of await Promise.all(inFlight)) {
    expect(error).toMatchObject({ code: Code.UNAVAILABLE, reason: 'OUTCOME_UNKNOWN' });
  }

  await until(async () => (await errorOf(cache.get({ key: 'n' }))).code === Code.UNAVAILABLE);
  await startServiceProcess(env);
  await until(async () => (await cache.get({ key: 'other' })).entry === undefined);
});

test('a unary call that was in flight at a kill -9 has an unknown outcome, and one that finds no service has not', async () => {
  const redis = await ownRedis();
  const listen = `unix:${socketPath()}`;
  const service = await startServiceProcess({ REDIS_URL: redis.url, GRPC_LISTEN: listen });
  const unary = client(listen, { transport: 'unary' }).rpc.cache;
  const pipeline = client(listen).rpc.cache;
  const value = Buffer.alloc(300_000);
  await unary.increment({ key: 'n', delta: 1n });
  await pipeline.set({ key: 'large', value });

  redis.signal('SIGSTOP');
  const inFlight = [errorOf(unary.increment({ key: 'n', delta: 1n })), errorOf(pipeline.set({ key: 'large', value }))];
  // both have left when calls behind them have failed
  await Promise.all([unary, pipeline].map((cache) => errorOf(cache.touch({ keys: ['n'] }, { timeoutMs: 200 }))));
  await service.stop('SIGKILL');
  redis.signal('SIGCONT');
  for (const error of await Promise.all(inFlight)) {
    expect(error).toMatchObject({ code: Code.UNAVAILABLE, reason: 'OUTCOME_UNKNOWN' });
  }
  const refused = await errorOf(unary.increment({ key: 'n', delta: 1n }));
  expect(refused).toMatchObject({ code: Code.UNAVAILABLE, reason: '' });
});

test('a client may be there before its service', async () => {
  const listen = `unix:${socketPath()}`;
  const { cache } = client(listen).rpc;
  expect((await errorOf(cache.get({ key: 'x' }))).code).toBe(Code.UNAVAILABLE);
  await startServiceProcess({ REDIS_URL: sharedRedisUrl('standalone'), GRPC_LISTEN: listen });
  await until(async () => (await cache.get({ key: 'x' })).entry === undefined);
});

test('a service that is restarted under load counts each call that it answered, once', async () => {
  const env = {
    REDIS_URL: sharedRedisUrl('standalone'),
    GRPC_LISTEN: `unix:${socketPath()}`,
    NAMESPACE: randomNamespace(),
  };
  const first = await startServiceProcess(env);
  const { cache } = client(env.GRPC_LISTEN).rpc;
  await cache.increment({ key: 'n', delta: 0n });

  let stopping = false;
  let answered = 0;
  let unknown = 0;
  const load = Array.from({ length: 32 }, async () => {
    while (!stopping) {
      try {
        await cache.increment({ key: 'n', delta: 1n });
        answered++;
      } catch (error) {
        if ((error as { reason?: string }).reason === 'OUTCOME_UNKNOWN') unknown++;
        // refused for want of a service: it says so at once, and would spin
        await new Promise((resolve) => setTimeout(resolve, 5));
      }
    }
  });
  await until(() => answered > 1_000);
  const exit = await first.stop('SIGTERM');
  expect(exit.code).toBe(0);
  await startServiceProcess(env);
  const answeredBefore = answered;
  await until(() => answered > answeredBefore + 1_000);
  stopping = true;
  await Promise.all(load);

  // a drain answers what it has started
  expect(unknown).toBe(0);
  expect(Number((await cache.increment({ key: 'n', delta: 0n })).value)).toBe(answered);
});

test('a client that is closed while its service drains tells what was not sent', async () => {
  const redis = await ownRedis();
  const service = await startServiceProcess({ REDIS_URL: redis.url, MAX_STREAM_CALLS: '16' });
  const connected = client(service.address);
  const { cache } = connected.rpc;
  await cache.increment({ key: 'n', delta: 1n });

  redis.signal('SIGSTOP');
  const calls = Promise.allSettled(Array.from({ length: 64 }, () => cache.increment({ key: 'n', delta: 1n })));
  await errorOf(cache.get({ key: 'n' }, { timeoutMs: 100 }));
  const closed = connected.close();
  service.signal('SIGTERM');
  await service.log('draining');
  redis.signal('SIGCONT');
  const outcomes = await calls;
  await closed;
  await service.exited;

  const failures = outcomes.flatMap((outcome) => (outcome.status === 'rejected' ? [outcome.reason as unknown] : []));
  expect(failures.length).toBeGreaterThan(0);
  for (const failure of failures) {
    expect(failure).toMatchObject({ code: Code.UNAVAILABLE });
    expect((failure as { reason: string }).reason).not.toBe('OUTCOME_UNKNOWN');
    expect((failure as Error).message).not.toContain('OK');
  }
  const next = await startServiceProcess({ REDIS_URL: redis.url, NAMESPACE: service.namespace });
  const { value } = await client(next.address).rpc.cache.increment({ key: 'n', delta: 0n });
  expect(Number(value)).toBe(1 + outcomes.length - failures.length);
});

test('a service that is frozen lets no call wait longer than its timeout', async () => {
  const service = await startServiceProcess({ REDIS_URL: sharedRedisUrl('standalone') });
  const { cache } = client(service.address).rpc;
  await cache.get({ key: 'x' });
  service.signal('SIGSTOP');
  const calls = Array.from({ length: 20 }, () => errorOf(cache.get({ key: 'x' }, { timeoutMs: 150 })));
  for (const { code } of await Promise.all(calls)) expect(code).toBe(Code.DEADLINE_EXCEEDED);
  service.signal('SIGCONT');
  expect(await cache.get({ key: 'x' })).toEqual({ entry: undefined });
});

test('a service without the pipeline gets unary calls', async () => {
  const server = new Server();
  const { get } = CacheServiceService;
  server.addService(
    { get },
    {
      get: (_: unknown, callback: (error: null, response: unknown) => void) => {
        callback(null, {
          entry: { value: Buffer.from('old'), createdAtMs: 1n, version: 2n, ttlMs: undefined, tags: [] },
        });
      },
    },
  );
  const port = await new Promise<number>((resolve, reject) => {
    server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (error, bound) => {
      if (error) reject(error);
      else resolve(bound);
    });
  });
  const { cache } = client(`127.0.0.1:${String(port)}`).rpc;
  // the calls that waited for the stream, and those after it
  for (let round = 0; round < 2; round++) {
    const answers = await Promise.all([cache.get({ key: 'a' }), cache.get({ key: 'b' })]);
    expect(answers.map(({ entry }) => entry?.value.toString())).toEqual(['old', 'old']);
  }
  server.forceShutdown();
});

test('an answer that came while the event loop stood still is an answer, however late it is read', async () => {
  const service = await startServiceProcess({ REDIS_URL: sharedRedisUrl('standalone') });
  const { cache } = client(service.address).rpc;
  await cache.get({ key: 'k' }, { timeoutMs: 30_000 });
  const answers = Promise.all(Array.from({ length: 10 }, () => cache.get({ key: 'k' }, { timeoutMs: 500 })));
  // until they have left
  for (let turn = 0; turn < 5; turn++) await new Promise(setImmediate);
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 2_000);
  expect(await answers).toHaveLength(10);
});
