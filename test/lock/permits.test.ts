import { status as Code } from '@grpc/grpc-js';
import { beforeAll, describe, expect, test } from '@jest/globals';
import { AcquireLockStatus, LockOwnershipStatus } from '../../src/gen/shardkeep/lock/v1/lock.js';
import { failureOf } from '../support/client.js';
import { until } from '../support/redis-server.js';
import { onEachTopology } from '../support/service.js';
import { fenceOf, LockUser, LONG_MS } from './lock-support.js';

const { HELD, QUEUED } = AcquireLockStatus;
const { DONE } = LockOwnershipStatus;
const SHARED = { permits: 1 };

onEachTopology('permits', (service) => {
  let user: LockUser;
  beforeAll(() => {
    user = new LockUser(service());
  });
  const refused = async (...args: Parameters<LockUser['acquire']>): Promise<AcquireLockStatus> => {
    const answer = await user.acquire(...args);
    expect(answer).toMatchObject({ lockToken: '', grants: [], expiresAtMs: 0n, blockingResource: args[0] });
    return answer.status;
  };

  describe('shared', () => {
    test('readers are beside each other, a writer is alone', async () => {
      const readers = await Promise.all(Array.from({ length: 20 }, () => user.granted('rw', SHARED)));
      expect(await refused('rw')).toBe(HELD);
      const { holders, holderCount, fencingToken } = await user.look('rw');
      expect([holderCount, holders.length]).toEqual([20n, 20]);
      expect(holders.every(({ permits }) => permits === 1)).toBe(true);
      for (const reader of readers) await user.release('rw', reader);
      const writer = await user.granted('rw');
      expect(fenceOf(writer)).toBeGreaterThan(fencingToken);
      expect(await refused('rw', SHARED)).toBe(HELD);
    });

    test('readers carry the fencing token of the last writer', async () => {
      const first = await user.granted('carry', SHARED);
      expect(fenceOf(first)).toBeGreaterThan(0n);
      await user.release('carry', first);
      const writer = await user.granted('carry');
      await user.release('carry', writer);
      const [one, other] = await Promise.all([user.granted('carry', SHARED), user.granted('carry', SHARED)]);
      expect([fenceOf(one), fenceOf(other)]).toEqual([fenceOf(writer), fenceOf(writer)]);
      expect(fenceOf(writer)).toBeGreaterThan(fenceOf(first));
      const check = await service().locks.checkFencingToken({ resource: 'carry', fencingToken: fenceOf(one) });
      expect(check).toEqual({ valid: true, fencingToken: fenceOf(writer) });
      const old = await service().locks.checkFencingToken({ resource: 'carry', fencingToken: fenceOf(writer) - 1n });
      expect(old.valid).toBe(false);
    });

    test('a writer that waits blocks the readers behind it; they are granted together after it', async () => {
      const first = await user.granted('order', SHARED);
      const writer = user.granted('order', { waitMs: LONG_MS });
      await user.untilWaiting('order', 1);
      expect(await refused('order', SHARED)).toBe(HELD);
      const readers = [1, 2, 3].map(() => user.granted('order', { ...SHARED, waitMs: LONG_MS }));
      await user.untilWaiting('order', 4);
      await user.release('order', first);
      const written = await writer;
      expect(await user.look('order')).toMatchObject({ holderCount: 1n, waitingCount: 3n });
      await user.release('order', written);
      const read = await Promise.all(readers);
      expect(read.map(fenceOf)).toEqual(read.map(() => fenceOf(written)));
      expect(await user.look('order')).toMatchObject({ holderCount: 3n, waitingCount: 0n });
    });

    test('readers behind a writer that gives up are granted', async () => {
      await user.granted('leaves', SHARED);
      const writer = user.acquire('leaves', { waitMs: 300n });
      await user.untilWaiting('leaves', 1);
      const reader = user.granted('leaves', { ...SHARED, waitMs: LONG_MS });
      await user.untilWaiting('leaves', 2);
      expect((await writer).status).toBe(HELD);
      await reader;
    });

    test('the last one is released after another’s lease ran out', async () => {
      await user.granted('lapsed', { ...SHARED, ttlMs: 1n });
      const last = await user.granted('lapsed', SHARED);
      await until(async () => (await user.look('lapsed')).holderCount === 1n);
      await user.release('lapsed', last);
      expect(fenceOf(await user.granted('lapsed'))).toBeGreaterThan(fenceOf(last));
    });

    test('each lease ends by itself', async () => {
      await user.granted('leases', { ...SHARED, ttlMs: 1n });
      const long = await user.granted('leases', SHARED);
      await until(async () => (await user.look('leases')).holderCount === 1n);
      expect(await refused('leases')).toBe(HELD);
      await user.release('leases', long);
      await user.granted('leases');
    });
  });

  describe('a semaphore', () => {
    const of = (permits: number, capacity = 5): { permits: number; capacity: number } => ({ permits, capacity });

    test('grants as many permits as there are, of which one can take several', async () => {
      const two = await user.granted('pool', of(2));
      const three = await user.granted('pool', of(3));
      expect(await refused('pool', of(1))).toBe(HELD);
      await user.release('pool', two);
      await user.granted('pool', of(1));
      expect(await refused('pool', of(2))).toBe(HELD);
      await user.granted('pool', of(1));
      await user.release('pool', three);
      expect(await refused('pool', of(4))).toBe(HELD);
      expect(await refused('pool')).toBe(HELD);
    });

    test('who waits for many is not overtaken by who needs few', async () => {
      const held = await user.granted('large', of(3));
      const large = user.granted('large', { ...of(4), waitMs: LONG_MS });
      await user.untilWaiting('large', 1);
      // there is room, but not for the one in front
      expect(await refused('large', of(1))).toBe(HELD);
      const small = user.granted('large', { ...of(1), waitMs: LONG_MS });
      await user.untilWaiting('large', 2);
      await user.release('large', held);
      await Promise.all([large, small]);
    });

    test('each is admitted by the capacity it says itself', async () => {
      await user.granted('resized', of(5));
      expect(await refused('resized', of(1))).toBe(HELD);
      await user.granted('resized', of(1, 6));
      expect(await refused('resized', of(1, 3))).toBe(HELD);
    });

    test('100 callers of 8 permits: never more than 8 at once, all get one', async () => {
      let held = 0;
      let most = 0;
      const caller = async (): Promise<void> => {
        const answer = await user.granted('busy', { ...of(1, 8), waitMs: LONG_MS });
        most = Math.max(most, ++held);
        await user.look('busy');
        held--;
        await user.release('busy', answer);
      };
      await Promise.all(Array.from({ length: 100 }, caller));
      expect(most).toBeLessThanOrEqual(8);
      expect(await user.look('busy')).toMatchObject({ holderCount: 0n, waitingCount: 0n });
    });
  });

  test('where there is room and others wait in front, the answer is that', async () => {
    const held = await user.granted('front', SHARED);
    const front = user.granted('front', { waitMs: LONG_MS });
    await user.untilWaiting('front', 1);
    const answer = await user.acquire('front', SHARED);
    expect([HELD, QUEUED]).toContain(answer.status);
    expect(answer.waitingCount).toBe(1n);
    await user.release('front', held);
    await front;
  });

  describe('reentrant', () => {
    const ada = { owner: 'ada', reentrant: true };

    test('an owner takes what it holds once more, with a token of its own; the last release frees it', async () => {
      const outer = await user.granted('twice', ada);
      const inner = await user.granted('twice', ada);
      expect(inner.lockToken).not.toBe(outer.lockToken);
      expect([outer, inner].map(({ grants }) => grants[0]?.holdCount)).toEqual([1, 2]);
      expect(fenceOf(inner)).toBe(fenceOf(outer));
      expect(await refused('twice', { owner: 'bob', reentrant: true })).toBe(HELD);
      expect(await refused('twice', { owner: 'ada' })).toBe(HELD);
      expect(await user.release('twice', inner)).toMatchObject({ status: DONE });
      expect(await refused('twice', { owner: 'bob' })).toBe(HELD);
      await user.granted('twice', ada).then((again) => user.release('twice', again));
      await user.release('twice', outer);
      expect(fenceOf(await user.granted('twice', { owner: 'bob' }))).toBeGreaterThan(fenceOf(outer));
    });

    test('also past others who wait, and whichever is released first', async () => {
      const outer = await user.granted('past', ada);
      const bob = user.granted('past', { owner: 'bob', waitMs: LONG_MS });
      await user.untilWaiting('past', 1);
      const inner = await user.granted('past', ada);
      await user.release('past', outer);
      expect(await user.look('past')).toMatchObject({ holderCount: 1n, waitingCount: 1n });
      await user.release('past', inner);
      expect(fenceOf(await bob)).toBeGreaterThan(fenceOf(inner));
    });

    test('what was granted as not reentrant stays so', async () => {
      await user.granted('plain', { owner: 'ada' });
      expect(await refused('plain', ada)).toBe(HELD);
    });

    test('an owner that holds fewer permits than it asks for is told, instead of waiting for itself', async () => {
      const shared = await user.granted('upgrade', { ...ada, ...SHARED });
      const failure = await failureOf(user.acquire('upgrade', { ...ada, waitMs: LONG_MS }));
      expect(failure).toMatchObject({ code: Code.FAILED_PRECONDITION, reason: 'LOCK_UPGRADE' });
      expect(await user.look('upgrade')).toMatchObject({ holderCount: 1n, waitingCount: 0n });
      await user.release('upgrade', shared);
      await user.granted('upgrade', ada);
      // all of it is enough for a part
      expect((await user.granted('upgrade', { ...ada, ...SHARED })).grants[0]?.holdCount).toBe(2);
    });

    test('takes no permits a second time, and gives them back with the last', async () => {
      const request = { ...ada, permits: 2, capacity: 3 };
      const grants = [await user.granted('permits', request), await user.granted('permits', request)];
      const one = await user.granted('permits', { permits: 1, capacity: 3 });
      expect(await refused('permits', { permits: 1, capacity: 3 })).toBe(HELD);
      await user.release('permits', one);
      for (const grant of grants) {
        expect(await refused('permits', { permits: 2, capacity: 3 })).toBe(HELD);
        await user.release('permits', grant);
      }
      await user.granted('permits', { permits: 3, capacity: 3 });
    });

    test('a lease that runs out ends one of the grants', async () => {
      await user.granted('inner', { ...ada, ttlMs: 1n });
      const outer = await user.granted('inner', ada);
      await until(async () => (await user.look('inner')).holderCount === 1n);
      const again = await user.granted('inner', ada);
      await user.release('inner', again);
      expect(await refused('inner')).toBe(HELD);
      await user.release('inner', outer);
      await user.granted('inner');
    });

    test('two waiting calls of one owner are granted together', async () => {
      const held = await user.granted('both');
      const calls = [
        user.granted('both', { ...ada, waitMs: LONG_MS }),
        user.granted('both', { ...ada, waitMs: LONG_MS }),
      ];
      await user.untilWaiting('both', 2);
      await user.release('both', held);
      const [one, other] = await Promise.all(calls);
      expect(one?.grants[0]?.fencingToken).toBe(other?.grants[0]?.fencingToken);
      expect((await user.look('both')).holderCount).toBe(2n);
    });
  });

  test.each([
    ['more permits than there are', { permits: 6, capacity: 5 }, 'permits'],
    ['all permits of a number of them', { permits: 0, capacity: 5 }, 'capacity'],
    ['reentrant for nobody', { reentrant: true }, 'owner'],
  ])('%s: a wrong field', async (_, request, field) => {
    const failure = await failureOf(user.acquire('wrong', request));
    expect(failure).toMatchObject({ code: Code.INVALID_ARGUMENT, fields: [field] });
  });
});
