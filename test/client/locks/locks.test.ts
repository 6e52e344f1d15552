import { status as Code } from '@grpc/grpc-js';
import { describe, expect, test } from '@jest/globals';
import { InvalidArgumentError, type Lock, type LockSummary, type ShardkeepClient } from '../../../src/client/index.js';
import { errorOf } from '../../support/client-error.js';
import { until } from '../../support/redis-server.js';
import { onEachTopology } from '../../support/service.js';
import { client, newName, untilFree, untilWaiting } from './locks-support.js';

const UNKNOWN_TOKEN = 'A'.repeat(32);

async function granted({ locks }: ShardkeepClient, ...args: Parameters<typeof locks.acquireLock>): Promise<Lock> {
  const result = await locks.acquireLock(...args);
  if (result.status !== 'granted') throw new Error(`not granted but ${result.status}`);
  return result.lock;
}

onEachTopology('locks of the client', (service) => {
  const connected = (): ShardkeepClient => client(service().address);

  test('are acquired, extended and released by their token', async () => {
    const shardkeep = connected();
    const { locks } = shardkeep;
    const name = newName();
    const lock = await granted(shardkeep, name, { ttlMs: 60_000, owner: 'shard-1' });
    expect(lock).toMatchObject({ resources: [name], grants: [{ resource: name, holdCount: 1 }] });
    expect(lock.fencingToken).toBe(lock.grants[0]?.fencingToken);
    expect(lock.fencingToken).toBeGreaterThan(0);
    const extended = await locks.extendLock(lock, 120_000);
    if (extended.status !== 'done') throw new Error(extended.status);
    expect(extended.expiresAtMs).toBeGreaterThan(lock.expiresAtMs);
    expect(await locks.releaseLock({ resources: [name], lockToken: UNKNOWN_TOKEN })).toEqual({
      status: 'not_holder',
      notHeldResources: [name],
    });
    expect(await locks.releaseLock(lock)).toEqual({ status: 'done' });
    expect(await locks.extendLock(lock, 1_000)).toEqual({ status: 'not_holder', notHeldResources: [name] });
  });

  test('that another holds are an answer that says who', async () => {
    const shardkeep = connected();
    const name = newName();
    const lock = await granted(shardkeep, name, { ttlMs: 60_000, owner: 'shard-1', permits: 2, capacity: 3 });
    const result = await shardkeep.locks.acquireLock([newName(), name], { permits: 2, capacity: 3 });
    expect(result).toMatchObject({
      status: 'held',
      blockingResource: name,
      holder: { owner: 'shard-1', fencingToken: lock.fencingToken, expiresAtMs: lock.expiresAtMs, permits: 2 },
      waitingCount: 0,
    });
    if (result.status === 'granted') return;
    expect(result.retryAfterMs).toBe(result.holder?.ttlMs);
    expect(result.retryAfterMs).toBeLessThanOrEqual(60_000);
  });

  test('are waited for beyond the timeout of the client', async () => {
    const shardkeep = connected();
    const name = newName();
    const lock = await granted(shardkeep, name, { ttlMs: 60_000 });
    const waiting = granted(client(service().address, { timeoutMs: 1_500 }), name, { waitMs: 50_000 });
    await untilWaiting(shardkeep, name);
    const waitedFrom = performance.now();
    await until(() => performance.now() > waitedFrom + 2_000);
    expect(await shardkeep.locks.acquireLock(name, { permits: 1 })).toMatchObject({ status: 'held', waitingCount: 1 });
    await shardkeep.locks.releaseLock(lock);
    expect((await waiting).fencingToken).toBeGreaterThan(lock.fencingToken);
  });

  test('of one request id are one grant, and of none each its own', async () => {
    const shardkeep = connected();
    const [name, requestId] = [newName(), 'only-this-test-knows-it'];
    const one = await granted(shardkeep, name, { requestId });
    expect((await granted(shardkeep, name, { requestId })).lockToken).toBe(one.lockToken);
    const shared = newName();
    const tokens = await Promise.all([1, 2].map(() => granted(shardkeep, shared, { permits: 1 })));
    expect(new Set(tokens.map(({ lockToken }) => lockToken)).size).toBe(2);
  });

  test('are taken once more by their reentrant owner', async () => {
    const shardkeep = connected();
    const name = newName();
    const terms = { owner: 'ada', reentrant: true };
    const once = await granted(shardkeep, name, terms);
    const twice = await granted(shardkeep, name, terms);
    expect(twice.grants).toEqual([{ resource: name, fencingToken: once.fencingToken, holdCount: 2 }]);
    const more = { ...terms, permits: 2, capacity: 5 };
    const shared = newName();
    await granted(shardkeep, shared, { ...more, permits: 1 });
    expect(await errorOf(shardkeep.locks.acquireLock(shared, more))).toMatchObject({
      code: Code.FAILED_PRECONDITION,
      reason: 'LOCK_UPGRADE',
    });
  });

  test('leave the queue when their call is given up', async () => {
    const shardkeep = connected();
    const name = newName();
    const lock = await granted(shardkeep, name, { ttlMs: 60_000 });
    const controller = new AbortController();
    const waiting = errorOf(shardkeep.locks.acquireLock(name, { waitMs: 50_000, signal: controller.signal }));
    await untilWaiting(shardkeep, name);
    controller.abort();
    expect((await waiting).code).toBe(Code.CANCELLED);
    await untilWaiting(shardkeep, name, 0);
    await shardkeep.locks.releaseLock(lock);
    await granted(shardkeep, name);
  });

  test('have a fencing token that can be checked', async () => {
    const shardkeep = connected();
    const { locks } = shardkeep;
    const name = newName();
    expect(await locks.checkFencingToken(name, 1)).toEqual({ valid: true, fencingToken: undefined });
    const first = await granted(shardkeep, name);
    await locks.releaseLock(first);
    expect(await locks.checkFencingToken(name, first.fencingToken)).toEqual({
      valid: true,
      fencingToken: first.fencingToken,
    });
    const second = await granted(shardkeep, name);
    expect(await locks.checkFencingToken(name, first.fencingToken)).toEqual({
      valid: false,
      fencingToken: second.fencingToken,
    });
  });

  test('can be looked at, one and all', async () => {
    const shardkeep = connected();
    const { locks } = shardkeep;
    const name = newName();
    expect(await locks.getLock(name)).toEqual({
      resource: name,
      holders: [],
      holderCount: 0,
      waiters: [],
      waitingCount: 0,
      fencingToken: undefined,
      delayLeftMs: 0,
    });
    const held = await Promise.all(
      Array.from({ length: 12 }, (_, index) => granted(shardkeep, `list:${name}:${String(index)}`, { owner: 'x' })),
    );
    const waiting = locks.acquireLock(`list:${name}:0`, { waitMs: 50_000, owner: 'y', permits: 3 });
    await untilWaiting(shardkeep, `list:${name}:0`);
    const state = await locks.getLock(`list:${name}:0`);
    expect(state).toMatchObject({
      holders: [{ owner: 'x', permits: 0, fencingToken: held[0]?.fencingToken }],
      holderCount: 1,
      waiters: [{ owner: 'y', permits: 3 }],
      waitingCount: 1,
      fencingToken: held[0]?.fencingToken,
    });
    const [waiter] = state.waiters;
    expect((waiter?.givesUpAtMs ?? 0) - (waiter?.waitingSinceMs ?? 0)).toBeGreaterThan(45_000);

    const listed = new Map<string, LockSummary>();
    for await (const summary of locks.listLocks({ prefix: `list:${name}:`, pageSize: 3 }))
      listed.set(summary.resource, summary);
    expect([...listed.keys()].toSorted()).toEqual(held.flatMap(({ resources }) => resources).toSorted());
    expect(listed.get(`list:${name}:0`)).toMatchObject({ holder: { owner: 'x' }, holderCount: 1, waitingCount: 1 });
    await Promise.all(held.map((lock) => locks.releaseLock(lock)));
    expect((await waiting).status).toBe('granted');
  });

  test('can be watched, and are no more when the loop is left', async () => {
    const shardkeep = connected();
    const name = newName();
    const seen: (string | undefined)[] = [];
    let lock: Lock | undefined;
    for await (const { locks, resync } of shardkeep.locks.watchLocks({ resources: [name] })) {
      expect(resync).toBe(false);
      const [summary] = locks;
      expect(summary?.resource).toBe(name);
      seen.push(summary?.holder?.owner);
      if (seen.length === 1) lock = await granted(shardkeep, name, { owner: 'ada' });
      else if (summary?.holderCount === 1) await shardkeep.locks.releaseLock(lock ?? { resources: [], lockToken: '' });
      else break;
    }
    expect(seen).toEqual([undefined, 'ada', undefined]);
    const watch = shardkeep.locks.watchLocks({ prefix: name, signal: AbortSignal.abort() });
    expect((await errorOf(watch.next())).code).toBe(Code.CANCELLED);
  });

  describe('forced to be released', () => {
    test('are taken from their holder, and its token is refused', async () => {
      const shardkeep = connected();
      const { locks } = shardkeep;
      const name = newName();
      const lock = await granted(shardkeep, name, { owner: 'hangs', ttlMs: 60_000 });
      const other = lock.fencingToken - 1;
      expect(await locks.forceReleaseLock(name, 'stuck', { expectedFencingToken: other })).toEqual({
        status: 'other_token',
        fencingToken: lock.fencingToken,
      });
      const forced = await locks.forceReleaseLock(name, 'stuck', { expectedFencingToken: lock.fencingToken });
      expect(forced).toMatchObject({ status: 'released', holders: [{ owner: 'hangs' }] });
      expect(forced.fencingToken).toBeGreaterThan(lock.fencingToken);
      expect(await locks.releaseLock(lock)).toMatchObject({ status: 'not_holder' });
      expect((await locks.checkFencingToken(name, lock.fencingToken)).valid).toBe(false);
    });

    test('can be kept from others until the leases are over', async () => {
      const shardkeep = connected();
      const { locks } = shardkeep;
      const name = newName();
      const lock = await granted(shardkeep, name, { ttlMs: 1_500 });
      const waiting = granted(shardkeep, name, { waitMs: 50_000, ttlMs: 60_000 });
      await untilWaiting(shardkeep, name);
      const forced = await locks.forceReleaseLock(name, 'stuck', { afterLeases: true });
      expect(forced).toMatchObject({ status: 'released', holders: [{ fencingToken: lock.fencingToken }] });
      expect(await locks.releaseLock(lock)).toMatchObject({ status: 'not_holder' });
      // both by Redis's clock
      expect((await waiting).expiresAtMs - 60_000).toBeGreaterThanOrEqual(lock.expiresAtMs);
    });
  });

  test('are counted, and cleared', async () => {
    const shardkeep = connected();
    const { locks } = shardkeep;
    const name = newName();
    await granted(shardkeep, name, { ttlMs: 60_000 });
    await locks.acquireLock(name);
    await until(async () => {
      const stats = await locks.getLockStats({ hottestCount: 100 });
      expect(stats.heldCount).toBeGreaterThan(0);
      expect(stats.complete).toBe(true);
      return stats.granted > 0 && stats.refused > 0 && stats.hottest.some(({ resource }) => resource === name);
    });
    const over = newName();
    await granted(shardkeep, over, { ttlMs: 1 });
    await untilFree(shardkeep, over);
    const cleared = await locks.cleanupExpiredLocks();
    expect(cleared.scannedCount).toBeGreaterThan(1);
    expect(cleared.expiredHolders).toBeGreaterThan(0);
  });

  test('with wrong fields are refused by the fields’ names', async () => {
    const { locks } = connected();
    const error = await errorOf(locks.acquireLock([''], { ttlMs: 0 }));
    expect(error).toBeInstanceOf(InvalidArgumentError);
    expect(error.fields).toEqual(['resources[0]', 'ttl_ms']);
    expect((await errorOf(locks.acquireLock('a', { ttlMs: 0.5 }))).fields).toEqual(['ttlMs']);
    expect((await errorOf(locks.acquireLock('a', { waitMs: Number.NaN }))).fields).toEqual(['waitMs']);
    expect((await errorOf(locks.checkFencingToken('a', Number.POSITIVE_INFINITY))).fields).toEqual(['fencingToken']);
    expect((await errorOf(locks.forceReleaseLock('a', ''))).fields).toEqual(['reason']);
  });
});
