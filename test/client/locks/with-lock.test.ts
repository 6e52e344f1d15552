import { status as Code } from '@grpc/grpc-js';
import { describe, expect, test } from '@jest/globals';
import {
  LockLostError,
  LockNotAcquiredError,
  type HeldLock,
  type HoldLockOptions,
  type ShardkeepClient,
} from '../../../src/client/index.js';
import { errorOf } from '../../support/client-error.js';
import { until } from '../../support/redis-server.js';
import { onEachTopology } from '../../support/service.js';
import { aborted, client, gate, newName, untilFree, untilWaiting } from './locks-support.js';

/** Longer than any test: what has to be free before must have been released. */
const LONG: HoldLockOptions = { leaseMs: 60_000, waitMs: 50_000 };

onEachTopology('withLock', (service) => {
  const connected = (): ShardkeepClient => client(service().address);

  test('runs the body under the lock, answers what it answers, and releases', async () => {
    const { locks } = connected();
    const name = newName();
    const result = await locks.withLock(name, { ...LONG, owner: 'shard-1' }, async (lock) => {
      const grant = { resource: name, fencingToken: lock.fencingToken, holdCount: 1 };
      expect([lock.resources, lock.grants]).toEqual([[name], [grant]]);
      expect(lock.signal.aborted).toBe(false);
      const { holders } = await locks.getLock(name);
      expect(holders).toMatchObject([{ owner: 'shard-1', fencingToken: lock.fencingToken, permits: 0 }]);
      return 'done';
    });
    expect(result).toBe('done');
    expect((await locks.getLock(name)).holders).toEqual([]);
  });

  test('takes its options or none', async () => {
    const { locks } = connected();
    const name = newName();
    const length: number = await locks.withLock([name], ({ resources }) => Promise.resolve(resources.length));
    expect(length).toBe(1);
    expect(await locks.withLock(name, undefined, () => Promise.resolve('done'))).toBe('done');
  });

  test('whose body fails throws that, and the next one has the lock at once', async () => {
    const shardkeep = connected();
    const { locks } = shardkeep;
    const name = newName();
    const failure = new Error('of the body');
    const { opened, open } = gate();
    const failing = locks.withLock(name, LONG, async () => {
      await opened;
      throw failure;
    });
    await until(async () => (await locks.getLock(name)).holderCount === 1);
    const next = locks.withLock(name, LONG, () => Promise.resolve('next'));
    await untilWaiting(shardkeep, name);
    open();
    await expect(failing).rejects.toBe(failure);
    expect(await next).toBe('next');
    const thrower = (): Promise<never> => {
      throw failure;
    };
    await expect(locks.withLock(name, LONG, thrower)).rejects.toBe(failure);
    expect((await locks.getLock(name)).holderCount).toBe(0);
  });

  test('that is not granted says who has the lock, and has not begun', async () => {
    const { locks } = connected();
    const name = newName();
    const holder = await locks.holdLock(name, { ...LONG, owner: 'shard-1' });
    let hasBegun = false;
    const body = (): Promise<void> => {
      hasBegun = true;
      return Promise.resolve();
    };
    const error = await errorOf(locks.withLock([newName(), name], { waitMs: 0 }, body));
    expect(error).toBeInstanceOf(LockNotAcquiredError);
    expect(error).toMatchObject({
      code: Code.FAILED_PRECONDITION,
      status: 'held',
      blockingResource: name,
      holder: { owner: 'shard-1', fencingToken: holder.fencingToken },
      waitingCount: 0,
    });
    expect(error.retryAfterMs).toBeGreaterThan(0);
    expect((await errorOf(locks.withLock(name, { waitMs: 300 }, body))).code).toBe(Code.FAILED_PRECONDITION);
    expect(hasBegun).toBe(false);
    await holder.release();
  });

  test('keeps the lock over many leases', async () => {
    const { locks } = connected();
    const name = newName();
    await locks.withLock(name, { leaseMs: 1_500 }, async (lock) => {
      const end = ((await locks.getLock(name)).holders[0]?.expiresAtMs ?? 0) + 3_000;
      await until(async () => ((await locks.getLock(name)).holders[0]?.expiresAtMs ?? 0) > end);
      expect(lock.signal.aborted).toBe(false);
      expect((await locks.getLock(name)).holders[0]?.fencingToken).toBe(lock.fencingToken);
    });
  });

  test('of a lock that came only after its lease would have been over begins with most of it', async () => {
    const shardkeep = connected();
    const { locks } = shardkeep;
    const name = newName();
    const holder = await locks.holdLock(name, LONG);
    const waiting = locks.withLock(name, { leaseMs: 1_500, waitMs: 50_000 }, async (lock) => {
      expect(lock.signal.aborted).toBe(false);
      await Promise.resolve();
      return (await locks.getLock(name)).holders[0]?.ttlMs ?? 0;
    });
    await untilWaiting(shardkeep, name);
    const waitedFrom = performance.now();
    await until(() => performance.now() > waitedFrom + 1_600);
    await holder.release();
    expect(await waiting).toBeGreaterThan(0);
  });

  test('that is given up leaves the queue, and the other locks are kept', async () => {
    const shardkeep = connected();
    const { locks } = shardkeep;
    const [name, other] = [newName(), newName()];
    const holder = await locks.holdLock([name, other], LONG);
    const controller = new AbortController();
    const { signal } = controller;
    const waiting = errorOf(locks.withLock(name, { ...LONG, signal }, () => Promise.resolve()));
    const behind = locks.withLock(name, LONG, () => Promise.resolve('behind'));
    await untilWaiting(shardkeep, name, 2);
    controller.abort();
    expect((await waiting).code).toBe(Code.CANCELLED);
    await untilWaiting(shardkeep, name, 1);
    expect((await errorOf(locks.withLock(name, { ...LONG, signal }, () => Promise.resolve()))).code).toBe(
      Code.CANCELLED,
    );
    expect(holder.signal.aborted).toBe(false);
    await holder.release();
    expect(await behind).toBe('behind');
  });

  test('whose time to wait is over has left the queue', async () => {
    const shardkeep = connected();
    const { locks } = shardkeep;
    const name = newName();
    const holder = await locks.holdLock(name, LONG);
    const error = await errorOf(locks.withLock(name, { waitMs: 400 }, () => Promise.resolve()));
    expect(error).toBeInstanceOf(LockNotAcquiredError);
    expect((await locks.getLock(name)).waitingCount).toBe(0);
    await holder.release();
  });

  test('of two resources in opposite orders, many times at once, comes to an end', async () => {
    const [one, two] = [newName(), newName()];
    let inside = 0;
    const tradeIn = (order: readonly string[], { locks }: ShardkeepClient): Promise<void> =>
      locks.withLock(order, LONG, async (lock) => {
        expect(++inside).toBe(1);
        expect(lock.resources).toEqual(order);
        await new Promise((resolve) => setImmediate(resolve));
        inside--;
      });
    const [here, there] = [connected(), connected()];
    const trades = Array.from({ length: 15 }, () => [tradeIn([one, two], here), tradeIn([two, one], there)]);
    await Promise.all(trades.flat());
    expect(inside).toBe(0);
  });

  test('inside another one holds both', async () => {
    const { locks } = connected();
    const [outer, inner] = [newName(), newName()];
    await locks.withLock(outer, LONG, () =>
      locks.withLock(inner, LONG, async () => {
        expect((await locks.getLock(outer)).holderCount).toBe(1);
        expect((await locks.getLock(inner)).holderCount).toBe(1);
      }),
    );
    expect((await locks.getLock(outer)).holderCount).toBe(0);
  });

  test('of permits lets so many in at once, and no more', async () => {
    const name = newName();
    let inside = 0;
    let most = 0;
    const enter = ({ locks }: ShardkeepClient): Promise<void> =>
      locks.withLock(name, { ...LONG, permits: 1, capacity: 3 }, async () => {
        inside++;
        most = Math.max(most, inside);
        await until(() => most >= 3);
        inside--;
      });
    const clients = [connected(), connected()];
    await Promise.all(Array.from({ length: 12 }, () => clients.map(enter)).flat());
    expect(most).toBe(3);
  });

  describe('a lock that is taken by force', () => {
    test('aborts the signal with the reason, and the result of the body is not answered', async () => {
      const { locks } = connected();
      const name = newName();
      let reason: unknown;
      const losing = locks.withLock(name, LONG, async (lock) => {
        // on Cluster its channel is heard soon
        await until(async () => {
          await locks.forceReleaseLock(name, 'maintenance');
          return lock.signal.aborted;
        });
        reason = await aborted(lock.signal);
        expect(() => {
          lock.signal.throwIfAborted();
        }).toThrow(LockLostError);
        return 'worthless';
      });
      const error = await errorOf(losing);
      expect(error).toBe(reason);
      expect(error).toMatchObject({
        code: Code.ABORTED,
        resources: [name],
        loss: 'force_released',
        detail: 'maintenance',
      });
      expect(error.cause).toBeUndefined();
    });

    test('makes what the body throws the cause, unless it is the reason itself', async () => {
      const { locks } = connected();
      const failure = new Error('of the body');
      for (const thrown of ['reason', 'failure'] as const) {
        const name = newName();
        const losing = locks.withLock(name, LONG, async (lock) => {
          await until(async () => {
            await locks.forceReleaseLock(name, 'maintenance');
            return lock.signal.aborted;
          });
          throw thrown === 'reason' ? lock.signal.reason : failure;
        });
        const error = await errorOf(losing);
        expect(error).toBeInstanceOf(LockLostError);
        expect(error.cause).toBe(thrown === 'reason' ? undefined : failure);
      }
    });

    test('of several resources gives the others back when the body has ended', async () => {
      const shardkeep = connected();
      const { locks } = shardkeep;
      const [taken, left] = [newName(), newName()];
      const error = await errorOf(
        locks.withLock([taken, left], LONG, async (lock) => {
          await until(async () => {
            await locks.forceReleaseLock(taken, 'maintenance');
            return lock.signal.aborted;
          });
          expect((await locks.getLock(left)).holders).toMatchObject([{ fencingToken: lock.grants[1]?.fencingToken }]);
        }),
      );
      expect(error).toBeInstanceOf(LockLostError);
      await untilFree(shardkeep, left);
    });
  });

  test('is lost with its client, and free for others without waiting for a lease', async () => {
    const [closing, other] = [connected(), connected()];
    const name = newName();
    const events: string[] = [];
    const { opened, open } = gate();
    const lost = errorOf(
      closing.locks.withLock(name, LONG, async (lock) => {
        lock.signal.addEventListener('abort', () => events.push('aborted'));
        open();
        await aborted(lock.signal);
      }),
    );
    await opened;
    const next = other.locks.withLock(name, LONG, () => {
      events.push('next');
      return Promise.resolve();
    });
    await untilWaiting(other, name);
    const waiting = errorOf(closing.locks.withLock(name, LONG, () => Promise.resolve()));
    await untilWaiting(other, name, 2);
    await closing.close();
    await next;
    expect(await lost).toMatchObject({ code: Code.ABORTED, loss: 'closed' });
    expect((await waiting).code).toBe(Code.UNAVAILABLE);
    expect(events).toEqual(['aborted', 'next']);
    expect((await errorOf(closing.locks.holdLock(name))).code).toBe(Code.UNAVAILABLE);
  });
});

onEachTopology('holdLock', (service) => {
  test('holds until it is released, which may be said twice', async () => {
    const { locks } = client(service().address);
    const name = newName();
    const held: HeldLock = await locks.holdLock(name, LONG);
    expect((await locks.getLock(name)).holders[0]?.fencingToken).toBe(held.fencingToken);
    await Promise.all([held.release(), held.release()]);
    expect((await locks.getLock(name)).holderCount).toBe(0);
    await held.release();
    expect(held.signal.aborted).toBe(false);
  });

  test('holds more at once than one stream can, and releases them at once', async () => {
    const { locks } = client(service().address);
    const name = newName();
    const terms = { ...LONG, permits: 1 };
    const held = await Promise.all(Array.from({ length: 1_200 }, () => locks.holdLock(name, terms)));
    expect((await locks.getLock(name)).holderCount).toBe(1_200);
    await Promise.all(held.map((lock) => lock.release()));
    expect((await locks.getLock(name)).holderCount).toBe(0);
    expect(held.some(({ signal }) => signal.aborted)).toBe(false);
  });
});
