import { status as Code } from '@grpc/grpc-js';
import { describe, expect, test } from '@jest/globals';
import { AcquireLockStatus, LockLostReason, LockOwnershipStatus } from '../../src/gen/shardkeep/lock/v1/lock.js';
import { forceReleaseLockScript } from '../../src/lock/scripts.js';
import { failureOf } from '../support/client.js';
import { until } from '../support/redis-server.js';
import { onEachTopology } from '../support/service.js';
import { Hold } from './hold-support.js';
import { lockKey } from './lock-key.js';

const { GRANTED, HELD, IN_DELAY } = AcquireLockStatus;
const { DONE, NOT_HOLDER } = LockOwnershipStatus;
const LONG_MS = 60_000n;
const WAIT_MS = 20_000n;

onEachTopology('HoldLocks', (service, topology) => {
  const open = (): Hold => new Hold(service().channel);
  let names = 0;
  const newName = (): string => `held-${String(++names)}`;
  const holdersOf = async (resource: string) => (await service().locks.getLock({ resource })).holders;
  const fenceOf = async (resource: string) => (await service().locks.getLock({ resource })).fencingToken;
  /** In the queue until it is granted, by the service that the stream is of. */
  const waitFor = (resource: string, request = {}) =>
    service().locks.acquireLock(
      { resources: [resource], ttlMs: LONG_MS, waitMs: WAIT_MS, ...request },
      { deadline: Date.now() + 30_000 },
    );
  const untilWaiting = (resource: string, count = 1n): Promise<void> =>
    until(async () => (await service().locks.getLock({ resource })).waitingCount === count);

  describe('acquire and release', () => {
    test('are answered with what AcquireLock and ReleaseLock answer, and the id', async () => {
      const [hold, name] = [open(), newName()];
      const granted = await hold.take(name, { owner: 'shard-1' });
      expect(granted.grants).toMatchObject([{ resource: name, holdCount: 1 }]);
      expect(await holdersOf(name)).toMatchObject([
        { owner: 'shard-1', fencingToken: granted.grants[0]?.fencingToken },
      ]);
      expect(await hold.acquire({ resources: [name] })).toMatchObject({
        status: HELD,
        blockingResource: name,
        holder: { owner: 'shard-1' },
      });
      expect(await hold.release([name], 'A'.repeat(32))).toMatchObject({ status: NOT_HOLDER });
      expect(await hold.release([name], granted.lockToken)).toEqual({ status: DONE, notHeldResources: [] });
      expect(await holdersOf(name)).toEqual([]);
      hold.stream.halfClose();
      expect(await hold.stream.code()).toBe(Code.OK);
      expect(hold.losses).toEqual([]);
    });

    test('of several resources hold all or none', async () => {
      const [hold, one, two] = [open(), newName(), newName()];
      const both = await hold.acquire({ resources: [two, one] });
      expect(both.grants.map(({ resource }) => resource)).toEqual([two, one]);
      const third = newName();
      expect(await hold.acquire({ resources: [third, two] })).toMatchObject({ status: HELD, blockingResource: two });
      await until(async () => (await holdersOf(third)).length === 0);
      expect(await hold.release([one], both.lockToken)).toMatchObject({ status: DONE });
      expect([await holdersOf(one), await holdersOf(two)]).toMatchObject([[], [{}]]);
      hold.stream.halfClose();
      expect(await hold.stream.code()).toBe(Code.OK);
      expect(await holdersOf(two)).toEqual([]);
    });

    test('that wait do not hold up the others', async () => {
      const [hold, taken, free] = [open(), newName(), newName()];
      const { lockToken } = await service().locks.acquireLock({ resources: [taken], ttlMs: LONG_MS });
      const waiting = hold.ask({ resources: [taken], waitMs: WAIT_MS });
      await untilWaiting(taken);
      expect((await hold.take(free)).status).toBe(GRANTED);
      await service().locks.releaseLock({ resources: [taken], lockToken });
      expect((await hold.answer(waiting)).event).toMatchObject({ value: { status: GRANTED } });
      hold.stream.halfClose();
      await hold.stream.result;
    });
  });

  describe('the end of the stream', () => {
    test('by its caller releases all locks, first to who waits, and stops waiting', async () => {
      const [hold, mine, wanted, others] = [open(), newName(), newName(), newName()];
      await Promise.all([hold.take(mine, { delayMs: 60_000, graceMs: 60_000 }), hold.take(wanted)]);
      await service().locks.acquireLock({ resources: [others], ttlMs: LONG_MS });
      const unanswered = hold.ask({ resources: [others], waitMs: WAIT_MS });
      const next = waitFor(wanted);
      await Promise.all([untilWaiting(wanted), untilWaiting(others)]);
      hold.stream.halfClose();
      expect(await hold.stream.code()).toBe(Code.OK);
      expect((await next).status).toBe(GRANTED);
      expect(await holdersOf(mine)).toEqual([]);
      expect(await service().locks.getLock({ resource: mine })).toMatchObject({ delayLeftMs: 0n });
      expect(await service().locks.getLock({ resource: others })).toMatchObject({ waitingCount: 0n });
      expect(hold.stream.messages.find(({ id }) => id === unanswered)?.event).toMatchObject({
        value: { status: HELD },
      });
    });

    test('behind an acquire answers it, and releases it', async () => {
      const [hold, name] = [open(), newName()];
      const id = hold.ask({ resources: [name] });
      hold.stream.halfClose();
      expect(await hold.stream.result).toMatchObject([{ id, event: { value: { status: GRANTED } } }]);
      expect(await holdersOf(name)).toEqual([]);
    });

    test('by cancel gives a lock without grace to the next at once, and takes its waiters out', async () => {
      const [hold, name, others] = [open(), newName(), newName()];
      await hold.take(name);
      await service().locks.acquireLock({ resources: [others], ttlMs: LONG_MS });
      hold.ask({ resources: [others], waitMs: WAIT_MS });
      const next = waitFor(name);
      await Promise.all([untilWaiting(name), untilWaiting(others)]);
      hold.stream.cancel();
      expect((await next).status).toBe(GRANTED);
      await untilWaiting(others, 0n);
    });

    test('by cancel keeps a lock for its grace, then closes it for its delay, then grants it', async () => {
      const [hold, name] = [open(), newName()];
      const { grants } = await hold.take(name, { graceMs: 700, delayMs: 400 });
      const next = waitFor(name);
      await untilWaiting(name);
      const before = (await holdersOf(name))[0]?.expiresAtMs ?? 0n;
      hold.stream.cancel();
      await until(async () => ((await holdersOf(name))[0]?.expiresAtMs ?? 0n) !== before);
      const kept = (await holdersOf(name))[0];
      expect(kept?.fencingToken).toBe(grants[0]?.fencingToken);
      expect(kept?.ttlMs).toBeLessThanOrEqual(700n);
      const seen = new Set<AcquireLockStatus>();
      await until(async () => {
        const { status } = await service().locks.acquireLock({ resources: [name] });
        seen.add(status);
        return status === IN_DELAY;
      });
      expect([...seen]).toEqual([HELD, IN_DELAY]);
      const { status, expiresAtMs } = await next;
      expect(status).toBe(GRANTED);
      expect(expiresAtMs - LONG_MS).toBeGreaterThanOrEqual((kept?.expiresAtMs ?? 0n) + 400n);
    });

    test.each([
      { graceMs: 200, delayMs: 0 },
      { graceMs: 0, delayMs: 200 },
      { graceMs: 200, delayMs: 200 },
    ])('by cancel makes who waits look again, with %p', async (ways) => {
      const [hold, name] = [open(), newName()];
      await hold.take(name, ways);
      // less than it takes to look without a reason
      const next = waitFor(name, { waitMs: 8_000n });
      await untilWaiting(name);
      hold.stream.cancel();
      expect((await next).status).toBe(GRANTED);
    });

    test('by cancel with a delay and no grace closes the lock from now on', async () => {
      const [hold, name] = [open(), newName()];
      await hold.take(name, { delayMs: 60_000 });
      hold.stream.cancel();
      await until(async () => (await holdersOf(name)).length === 0);
      const refused = await service().locks.acquireLock({ resources: [name] });
      expect(refused.status).toBe(IN_DELAY);
      expect(refused.delayLeftMs).toBeGreaterThan(50_000n);
      expect(refused.delayLeftMs).toBeLessThanOrEqual(60_000n);
    });
  });

  describe('a lock that is kept', () => {
    test('outlives its lease many times', async () => {
      const [hold, name] = [open(), newName()];
      const granted = await hold.take(name, { ttlMs: 500n });
      await until(async () => {
        const [holder] = await holdersOf(name);
        expect(holder?.fencingToken).toBe(granted.grants[0]?.fencingToken);
        return (holder?.expiresAtMs ?? 0n) > granted.expiresAtMs + 2_500n;
      });
      expect(hold.losses).toEqual([]);
      expect(await hold.release([name], granted.lockToken)).toMatchObject({ status: DONE });
      hold.stream.cancel();
    });

    test('and released by ReleaseLock is told to be, though a renewal was far away', async () => {
      const [hold, name] = [open(), newName()];
      const { lockToken } = await hold.take(name, { ttlMs: 3_600_000n });
      expect(await service().locks.releaseLock({ resources: [name], lockToken })).toMatchObject({ status: DONE });
      expect(await hold.loss()).toEqual({ lockToken, resources: [name], reason: LockLostReason.RELEASED, message: '' });
      hold.stream.cancel();
    });

    test('with others by one token is lost alone', async () => {
      const [hold, one, two] = [open(), newName(), newName()];
      const { lockToken } = await hold.acquire({ resources: [one, two], ttlMs: 500n });
      const end = (await holdersOf(two))[0]?.expiresAtMs ?? 0n;
      await service().locks.releaseLock({ resources: [one], lockToken });
      expect((await hold.loss()).resources).toEqual([one]);
      // of the other one the lease goes on
      await until(async () => ((await holdersOf(two))[0]?.expiresAtMs ?? 0n) > end + 500n);
      expect(hold.losses).toHaveLength(1);
      hold.stream.cancel();
    });

    /** What a script does that takes a lock away: removes the holder, and tells where its stream listens. */
    const TAKE = `
      local holder = cmsgpack.unpack(redis.call('HGET', KEYS[1], 'h:' .. ARGV[1]))
      if ARGV[3] == 'taken' then redis.call('HDEL', KEYS[1], 'h:' .. ARGV[1]) end
      return redis.call('SPUBLISH', holder[9], 'L' .. ARGV[1] .. ARGV[2])`;

    test('and taken away is told to be at once, with the reason', async () => {
      const [hold, name] = [open(), newName()];
      const { lockToken } = await hold.take(name, { ttlMs: 3_600_000n });
      const key = lockKey(service(), topology, name);
      // on Cluster its channel is heard soon
      await until(async () => (await key.run(TAKE, lockToken, 'nothing happened', 'kept')) === 1);
      await key.run(TAKE, lockToken, 'für die Wartung', 'taken');
      const reason = LockLostReason.FORCE_RELEASED;
      expect(await hold.loss()).toEqual({ lockToken, resources: [name], reason, message: 'für die Wartung' });
      expect(hold.losses).toHaveLength(1);
      hold.stream.cancel();
    });

    test('and taken by force while its stream is not heard is told with the reason when it is looked at', async () => {
      const [hold, name] = [open(), newName()];
      const { lockToken } = await hold.take(name, { ttlMs: 900n });
      const unheard = forceReleaseLockScript.source.replaceAll("redis.call('SPUBLISH', channel,", 'tostring(');
      expect(unheard).not.toBe(forceReleaseLockScript.source);
      const key = lockKey(service(), topology, name);
      await key.run(unheard, 'für die\nWartung', '0', '0', '0', '60000');
      const reason = LockLostReason.FORCE_RELEASED;
      expect(await hold.loss()).toEqual({ lockToken, resources: [name], reason, message: 'für die\nWartung' });
      // what comes after it goes by its own fence
      const next = await hold.take(name, { ttlMs: 900n });
      await key.command('HDEL', `h:${next.lockToken}`);
      expect(await hold.loss(2)).toMatchObject({ lockToken: next.lockToken, reason: LockLostReason.RELEASED });
      hold.stream.cancel();
    });

    test('and gone from Redis is told to be lost', async () => {
      const [hold, name] = [open(), newName()];
      const { lockToken } = await hold.take(name, { ttlMs: 900n });
      await lockKey(service(), topology, name).command('DEL');
      expect(await hold.loss()).toEqual({ lockToken, resources: [name], reason: LockLostReason.EXPIRED, message: '' });
      hold.stream.cancel();
    });
  });

  describe('who comes back', () => {
    const requestId = (): string => `request-of-${newName()}-random`;

    test('within the grace has the same lock, for a whole lease, until its own end', async () => {
      const [first, second, name] = [open(), open(), newName()];
      const request = { requestId: requestId(), graceMs: 20_000, ttlMs: LONG_MS };
      const before = await first.take(name, request);
      first.stream.cancel();
      await until(async () => ((await holdersOf(name))[0]?.ttlMs ?? LONG_MS) <= 20_000n);
      const after = await second.take(name, request);
      expect(after).toMatchObject({ lockToken: before.lockToken, grants: before.grants });
      expect((await holdersOf(name))[0]?.ttlMs).toBeGreaterThan(50_000n);
      const next = waitFor(name);
      await untilWaiting(name);
      second.stream.halfClose();
      expect((await next).status).toBe(GRANTED);
    });

    test.each(['cancel', 'halfClose'] as const)('loses nothing when the old stream ends late, by %s', async (end) => {
      const [first, second, name] = [open(), open(), newName()];
      const request = { requestId: requestId(), ttlMs: 600n };
      const before = await first.take(name, request);
      const after = await second.take(name, request);
      expect(after.lockToken).toBe(before.lockToken);
      first.stream[end]();
      await first.stream.code();
      await until(async () => ((await holdersOf(name))[0]?.expiresAtMs ?? 0n) > after.expiresAtMs + 1_200n);
      expect((await holdersOf(name))[0]?.fencingToken).toBe(before.grants[0]?.fencingToken);
      expect([...first.losses, ...second.losses]).toEqual([]);
      second.stream.cancel();
      await until(async () => (await holdersOf(name)).length === 0);
    });

    test('has the lock to itself: an old stream that is open yet does not lengthen it', async () => {
      const [first, second, name] = [open(), open(), newName()];
      const request = { requestId: requestId(), ttlMs: 900n, graceMs: 1_000 };
      await first.take(name, request);
      await second.take(name, request);
      const next = waitFor(name);
      await untilWaiting(name);
      second.stream.cancel();
      expect((await next).status).toBe(GRANTED);
      expect(first.losses).toEqual([]);
      first.stream.halfClose();
      expect(await first.stream.code()).toBe(Code.OK);
      expect((await holdersOf(name))[0]?.ttlMs).toBeGreaterThan(50_000n);
    });

    test('after the grace is granted anew', async () => {
      const [first, second, name] = [open(), open(), newName()];
      const request = { requestId: requestId() };
      const before = await first.take(name, request);
      first.stream.cancel();
      await until(async () => (await holdersOf(name)).length === 0);
      const after = await second.take(name, request);
      expect(after.grants[0]?.fencingToken).toBeGreaterThan(before.grants[0]?.fencingToken ?? 0n);
      expect(await fenceOf(name)).toBe(after.grants[0]?.fencingToken);
      second.stream.cancel();
    });
  });

  describe('a stream ends with an error, and its locks like those of one that broke,', () => {
    test('for an id that is under way', async () => {
      const [hold, taken, mine] = [open(), newName(), newName()];
      await service().locks.acquireLock({ resources: [taken], ttlMs: LONG_MS });
      await hold.take(mine);
      const id = hold.ask({ resources: [taken], waitMs: WAIT_MS });
      hold.ask({ resources: [newName()] }, id);
      expect(await failureOf(hold.stream.result)).toMatchObject({ code: Code.INVALID_ARGUMENT, fields: ['id'] });
      await untilWaiting(taken, 0n);
      await until(async () => (await holdersOf(mine)).length === 0);
    });

    test('for a wrong request', async () => {
      const [hold, mine] = [open(), newName()];
      await hold.take(mine, { delayMs: 60_000 });
      hold.ask({ resources: [newName()], permits: 2, capacity: 1 });
      const failure = await failureOf(hold.stream.result);
      expect(failure).toMatchObject({ code: Code.INVALID_ARGUMENT, fields: ['acquire.lock.permits'] });
      await until(async () => (await service().locks.getLock({ resource: mine })).delayLeftMs > 0n);
    });

    test('for more requests at once than a stream may have', async () => {
      const [hold, taken] = [open(), newName()];
      await service().locks.acquireLock({ resources: [taken], ttlMs: LONG_MS });
      for (let count = 0; count <= 1_024; count++) hold.ask({ resources: [taken], waitMs: WAIT_MS });
      expect(await failureOf(hold.stream.result)).toMatchObject({
        code: Code.RESOURCE_EXHAUSTED,
        reason: 'OVERLOADED',
      });
      await untilWaiting(taken, 0n);
    });
  });

  test('a request that fails is answered so, and the other locks are kept', async () => {
    const [hold, name] = [open(), newName()];
    const owner = { owner: 'ada', reentrant: true };
    const { lockToken } = await hold.take(name, { ...owner, permits: 1, capacity: 5 });
    const { event } = await hold.answer(hold.ask({ ...owner, resources: [name], permits: 2, capacity: 5 }));
    expect(event).toEqual({
      $case: 'failed',
      value: { code: Code.FAILED_PRECONDITION, reason: 'LOCK_UPGRADE', retryAfterMs: 0n },
    });
    expect((await hold.release([name], lockToken)).status).toBe(LockOwnershipStatus.DONE);
    hold.stream.cancel();
  });
});
