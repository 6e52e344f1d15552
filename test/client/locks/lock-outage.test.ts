import { randomUUID } from 'node:crypto';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { status as Code } from '@grpc/grpc-js';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import {
  LockLostError,
  UnavailableError,
  type HoldLockOptions,
  type ShardkeepClient,
} from '../../../src/client/index.js';
import { errorOf } from '../../support/client-error.js';
import { startRedis, until, type RedisServer } from '../../support/redis-server.js';
import { killServiceProcesses, startServiceProcess, type ServiceProcess } from '../../support/service-process.js';
import { randomNamespace, startTestService, type TestService } from '../../support/service.js';
import { startSilentProxy } from '../../support/silent-proxy.js';
import { aborted, afterwards, client, gate, newName, untilFree, untilWaiting } from './locks-support.js';

const LONG: HoldLockOptions = { leaseMs: 60_000, waitMs: 50_000 };
const nothing = (): Promise<string> => Promise.resolve('done');

let redis: RedisServer;
/** One that is always there. */
let steady: TestService;
let namespace: string;

beforeAll(async () => {
  redis = await startRedis();
  namespace = randomNamespace();
  steady = await startTestService({ REDIS_URL: redis.url, NAMESPACE: namespace });
});
afterAll(async () => {
  await killServiceProcesses();
  await steady.stop();
  await redis.remove();
});

/** A service that is started more than once at the same address. */
function socketPath(): string {
  return `unix:${join(tmpdir(), `sk-${randomUUID().slice(0, 8)}.sock`)}`;
}

const startAt = (listen: string): Promise<ServiceProcess> =>
  startServiceProcess({ REDIS_URL: redis.url, NAMESPACE: namespace, GRPC_LISTEN: listen });

/** Until the client has found its service again. */
function untilBack({ locks }: ShardkeepClient): Promise<void> {
  return until(() =>
    locks.withLock(newName(), LONG, nothing).then(
      () => true,
      () => false,
    ),
  );
}

describe('a service that is away', () => {
  test('is said to be, by every call, and is back by itself; what was held is given back when the body has ended', async () => {
    const listen = socketPath();
    const shardkeep = client(listen);
    const { locks } = shardkeep;
    const other = client(steady.address);
    expect(await errorOf(locks.withLock(newName(), LONG, nothing))).toBeInstanceOf(UnavailableError);
    const service = await startAt(listen);
    await untilBack(shardkeep);

    const [name, begun, bodyMayEnd] = [newName(), gate(), gate()];
    const losing = errorOf(
      locks.withLock(name, LONG, async (lock) => {
        begun.open();
        await aborted(lock.signal);
        await bodyMayEnd.opened;
      }),
    );
    await begun.opened;
    await service.stop('SIGKILL');
    await until(async () => (await errorOf(locks.getLock(name))) instanceof UnavailableError);
    expect(await errorOf(locks.withLock(newName(), LONG, nothing))).toBeInstanceOf(UnavailableError);
    expect(await errorOf(locks.acquireLock(newName()))).toBeInstanceOf(UnavailableError);
    expect((await other.locks.getLock(name)).holderCount).toBe(1);
    bodyMayEnd.open();
    expect(await losing).toMatchObject({ name: 'LockLostError', loss: 'disconnected' });

    await startAt(listen);
    await untilBack(shardkeep);
    // its lease is long
    await untilFree(other, name);
  });

  test('since it drains has lost the locks of its streams, and those who wait get no lock of it', async () => {
    const listen = socketPath();
    const service = await startAt(listen);
    const shardkeep = client(listen);
    const { locks } = shardkeep;
    const other = client(steady.address);
    const [mine, wanted] = [newName(), newName()];
    const holder = await other.locks.holdLock(wanted, LONG);
    const held = await locks.holdLock(mine, LONG);
    const waiting = errorOf(locks.withLock(wanted, LONG, nothing));
    await untilWaiting(other, wanted);
    const ended = service.stop('SIGTERM');
    expect(await aborted(held.signal)).toBeInstanceOf(LockLostError);
    expect(await waiting).toBeInstanceOf(UnavailableError);
    await ended;
    await held.release();
    await untilWaiting(other, wanted, 0);
    await holder.release();
    await startAt(listen);
    await untilBack(shardkeep);
    await untilFree(other, mine);
    expect(await other.locks.withLock([mine, wanted], LONG, nothing)).toBe('done');
  });
});

test('who waits while the connection breaks waits on, on the next stream', async () => {
  const proxy = await startSilentProxy(Number(steady.address.split(':')[1]));
  const through = client(`127.0.0.1:${String(proxy.port)}`);
  afterwards(() => proxy.close());
  const other = client(steady.address);
  const name = newName();
  const holder = await other.locks.holdLock(name, LONG);
  const waiting = through.locks.withLock(name, LONG, nothing);
  await untilWaiting(other, name);
  const before = (await other.locks.getLock(name)).waiters[0]?.waitingSinceMs ?? 0;
  proxy.breakAll();
  await until(async () => ((await other.locks.getLock(name)).waiters[0]?.waitingSinceMs ?? 0) > before);
  await holder.release();
  expect(await waiting).toBe('done');
});

test('a call that gets no answer in time fails, and what is granted after it is given back', async () => {
  const proxy = await startSilentProxy(Number(steady.address.split(':')[1]));
  const through = client(`127.0.0.1:${String(proxy.port)}`, { timeoutMs: 400 });
  afterwards(() => proxy.close());
  const other = client(steady.address);
  const [name, held] = [newName(), newName()];
  await through.locks.holdLock(held, LONG);
  proxy.pause();
  const late = await errorOf(through.locks.withLock(name, { leaseMs: 60_000, waitMs: 0 }, nothing));
  expect(late.code).toBe(Code.DEADLINE_EXCEEDED);
  proxy.resume();
  // the fencing token tells that there was a grant
  await until(async () => (await other.locks.getLock(name)).fencingToken !== undefined);
  await untilFree(other, name);
  expect((await other.locks.getLock(held)).holderCount).toBe(1);
});

test('a Redis that is away for a moment costs no lock', async () => {
  const { locks } = client(steady.address);
  const name = newName();
  await locks.withLock(name, { leaseMs: 4_000 }, async (lock) => {
    redis.signal('SIGSTOP');
    // longer than to the first renewal
    await new Promise((resolve) => setTimeout(resolve, 1_500));
    redis.signal('SIGCONT');
    const [before] = (await locks.getLock(name)).holders;
    await until(async () => ((await locks.getLock(name)).holders[0]?.expiresAtMs ?? 0) > (before?.expiresAtMs ?? 0));
    expect(lock.signal.aborted).toBe(false);
  });
});

test('a Redis that lost everything costs the lock at the next renewal', async () => {
  const { locks } = client(steady.address);
  const error = await errorOf(
    locks.withLock(newName(), { leaseMs: 1_500 }, async (lock) => {
      await redis.command('FLUSHALL');
      await aborted(lock.signal);
    }),
  );
  expect(error).toMatchObject({ loss: 'expired' });
});
