import { status as Code } from '@grpc/grpc-js';
import { describe, expect, test } from '@jest/globals';
import { AcquireLockStatus, LockLostReason, LockOwnershipStatus } from '../../src/gen/shardkeep/lock/v1/lock.js';
import { until } from '../support/redis-server.js';
import { onEachTopology } from '../support/service.js';
import { Hold } from './hold-support.js';
import { lockKey } from './lock-key.js';

/** Locks of a stream whose caller renews the leases itself, and acquires that it gives up. */

const { GRANTED } = AcquireLockStatus;
const { DONE, NOT_HOLDER } = LockOwnershipStatus;
const LONG_MS = 60_000n;
const WAIT_MS = 20_000n;

onEachTopology('HoldLocks', (service, topology) => {
  const open = (): Hold => new Hold(service().channel);
  let names = 0;
  const newName = (): string => `renewed-${String(++names)}`;
  const stateOf = (resource: string) => service().locks.getLock({ resource });
  const endOf = async (resource: string) => (await stateOf(resource)).holders[0]?.expiresAtMs ?? 0n;
  const untilFree = (resource: string): Promise<void> => until(async () => (await endOf(resource)) === 0n);

  describe('with a caller that renews', () => {
    test('a lease runs out by itself, and that is told', async () => {
      const [hold, name] = [open(), newName()];
      const { lockToken } = await hold.take(name, { ttlMs: 500n, callerRenews: true });
      expect(await hold.loss()).toMatchObject({ lockToken, resources: [name], reason: LockLostReason.EXPIRED });
      expect(await hold.renew(lockToken)).toEqual({ status: NOT_HOLDER });
      expect((await service().locks.acquireLock({ resources: [name] })).status).toBe(GRANTED);
      hold.stream.cancel();
    });

    test('a lease is whole again by each renewal, of all resources, and of no other lock', async () => {
      const [hold, one, two, other] = [open(), newName(), newName(), newName()];
      const { lockToken, expiresAtMs } = await hold.acquire({
        resources: [one, two],
        ttlMs: 2_000n,
        callerRenews: true,
      });
      await hold.take(other, { ttlMs: 2_000n, callerRenews: true });
      const otherEnd = await endOf(other);
      let end = expiresAtMs;
      while (end < expiresAtMs + 3_000n) {
        expect(await hold.renew(lockToken)).toEqual({ status: DONE });
        end = await endOf(one);
      }
      expect(await endOf(two)).toBeGreaterThan(expiresAtMs);
      expect((await hold.loss()).resources).toEqual([other]);
      expect([0n, otherEnd]).toContain(await endOf(other));
      expect(hold.losses).toHaveLength(1);
      hold.stream.halfClose();
      expect(await hold.stream.code()).toBe(Code.OK);
      expect([await endOf(one), await endOf(two)]).toEqual([0n, 0n]);
    });

    test('a renewal of a lock that Redis has lost, of which one resource is lost, or of another stream says so', async () => {
      const [hold, one, two, gone] = [open(), newName(), newName(), newName()];
      const both = await hold.acquire({ resources: [one, two], ttlMs: LONG_MS, callerRenews: true });
      const lost = await hold.take(gone, { callerRenews: true });
      await lockKey(service(), topology, one).command('DEL');
      await lockKey(service(), topology, gone).command('DEL');
      expect(await hold.renew(both.lockToken)).toEqual({ status: NOT_HOLDER });
      expect(hold.losses).toMatchObject([{ lockToken: both.lockToken, resources: [one] }]);
      expect(await hold.renew(lost.lockToken)).toEqual({ status: NOT_HOLDER });
      const stranger = open();
      expect(await stranger.renew(both.lockToken)).toEqual({ status: NOT_HOLDER });
      // the one that is left is kept
      expect(await endOf(two)).toBeGreaterThan(0n);
      expect(await hold.renew(both.lockToken)).toEqual({ status: DONE });
      for (const each of [hold, stranger]) each.stream.cancel();
    });

    test('a lock that is taken away is told to be at once', async () => {
      const [hold, name] = [open(), newName()];
      const { lockToken } = await hold.take(name, { callerRenews: true });
      // on Cluster its channel is heard soon
      await until(async () => {
        await service().locks.forceReleaseLock({ resource: name, reason: 'stuck' });
        return hold.losses.length > 0;
      });
      expect(hold.losses).toMatchObject([{ lockToken, resources: [name], reason: LockLostReason.FORCE_RELEASED }]);
      hold.stream.cancel();
    });

    test('a stream that breaks keeps the lock for its grace', async () => {
      const [hold, name] = [open(), newName()];
      const before = await hold.take(name, { ttlMs: 1_000n, graceMs: 30_000, callerRenews: true });
      hold.stream.cancel();
      await until(async () => (await endOf(name)) > before.expiresAtMs + 10_000n);
      expect((await stateOf(name)).holders[0]?.fencingToken).toBe(before.grants[0]?.fencingToken);
    });
  });

  describe('an acquire that is given up', () => {
    test('leaves the queue, and is answered so', async () => {
      const [hold, name] = [open(), newName()];
      const { lockToken } = await service().locks.acquireLock({ resources: [name], ttlMs: LONG_MS });
      const id = hold.ask({ resources: [name], waitMs: WAIT_MS });
      await until(async () => (await stateOf(name)).waitingCount === 1n);
      hold.cancel(id);
      expect((await hold.answer(id)).event).toEqual({
        $case: 'failed',
        value: { code: Code.CANCELLED, reason: '', retryAfterMs: 0n },
      });
      expect((await stateOf(name)).waitingCount).toBe(0n);
      await service().locks.releaseLock({ resources: [name], lockToken });
      expect((await hold.take(name)).status).toBe(GRANTED);
      hold.stream.cancel();
    });

    test('among several waits for none, and keeps none', async () => {
      const [hold, free, taken] = [open(), newName(), `${newName()}-z`];
      await service().locks.acquireLock({ resources: [taken], ttlMs: LONG_MS });
      const id = hold.ask({ resources: [free, taken], waitMs: WAIT_MS });
      await until(async () => (await stateOf(taken)).waitingCount === 1n);
      hold.cancel(id);
      expect((await hold.answer(id)).event).toMatchObject({ value: { code: Code.CANCELLED } });
      await untilFree(free);
      hold.stream.cancel();
    });

    test('in the moment when it is granted is either kept or given back, as it is answered', async () => {
      const hold = open();
      const answers = new Set<string | undefined>();
      for (let round = 0; round < 60; round++) {
        const name = newName();
        const { lockToken } = await service().locks.acquireLock({ resources: [name], ttlMs: LONG_MS });
        const id = hold.ask({ resources: [name], waitMs: WAIT_MS });
        await until(async () => (await stateOf(name)).waitingCount === 1n);
        const released = service().locks.releaseLock({ resources: [name], lockToken });
        if (round % 3 > 0) await new Promise((resolve) => setImmediate(resolve));
        if (round % 3 > 1) await released;
        hold.cancel(id);
        const { event } = await hold.answer(id);
        answers.add(event?.$case);
        if (event?.$case === 'acquired') {
          expect(event.value.status).toBe(GRANTED);
          expect(await hold.release([name], event.value.lockToken)).toMatchObject({ status: DONE });
        }
        await released;
        await untilFree(name);
      }
      expect(answers).toContain('failed');
      expect(hold.losses).toEqual([]);
      hold.stream.cancel();
    });

    test('after it was answered, or that never was, is none', async () => {
      const [hold, name] = [open(), newName()];
      const id = hold.ask({ resources: [name] });
      expect((await hold.answer(id)).event).toMatchObject({ value: { status: GRANTED } });
      hold.cancel(id);
      hold.cancel(4_711n);
      expect((await hold.take(newName())).status).toBe(GRANTED);
      expect(await endOf(name)).toBeGreaterThan(0n);
      hold.stream.cancel();
    });
  });
});
