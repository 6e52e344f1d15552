import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { pino } from 'pino';
import { parseRedisUrl } from '../../src/config/redis-url.js';
import { AcquireLockStatus, LockOwnershipStatus } from '../../src/gen/shardkeep/lock/v1/lock.js';
import { acquireLockScript, lockScripts } from '../../src/lock/scripts.js';
import { keys } from '../../src/redis/keys.js';
import { Redis } from '../../src/redis/redis.js';
import { ShardChannels } from '../../src/redis/shard-channels.js';
import { ChannelEar } from '../support/channel-ear.js';
import { startRedis, until } from '../support/redis-server.js';
import { onEachTopology, sharedRedisUrl, startTestService, type TestService } from '../support/service.js';
import { lockKey } from './lock-key.js';
import { fenceOf, hold, HOUR_MS, queueUp } from './operations-support.js';

const { GRANTED } = AcquireLockStatus;
const { DONE, NOT_HOLDER } = LockOwnershipStatus;
const reason = 'stuck';
const LONG_MS = 60_000n;

onEachTopology('ForceReleaseLock', (service, topology) => {
  const others: TestService[] = [];
  beforeAll(async () => {
    others.push(await startTestService({ REDIS_URL: sharedRedisUrl(topology), NAMESPACE: service().namespace }));
  });
  afterAll(async () => {
    await Promise.all(others.map((other) => other.stop()));
  });
  const other = (): TestService => others[0] ?? service();

  test('takes a lock from who holds it, and refuses what that one does afterwards', async () => {
    const { locks } = service();
    const resource = 'taken';
    const granted = await hold(locks, resource);
    const forced = await locks.forceReleaseLock({ resource, reason });
    expect(forced).toMatchObject({ released: true, holders: [{ owner: 'holder', fencingToken: fenceOf(granted) }] });
    expect(forced.fencingToken).toBeGreaterThan(fenceOf(granted));
    expect(await locks.checkFencingToken({ resource, fencingToken: fenceOf(granted) })).toEqual({
      valid: false,
      fencingToken: forced.fencingToken,
    });
    const { lockToken } = granted;
    expect((await locks.extendLock({ resources: [resource], lockToken })).status).toBe(NOT_HOLDER);
    expect((await locks.releaseLock({ resources: [resource], lockToken })).status).toBe(NOT_HOLDER);
    expect(await locks.getLock({ resource })).toMatchObject({ holders: [], fencingToken: forced.fencingToken });
    expect(fenceOf(await hold(locks, resource))).toBeGreaterThan(forced.fencingToken);
  });

  test('takes it from all who share it, also from owners who hold it more than once', async () => {
    const { locks } = service();
    const resource = 'shared';
    const shared = { permits: 1 };
    const readers = await Promise.all(['a', 'b', 'c'].map((owner) => hold(locks, resource, { owner, ...shared })));
    for (let again = 0; again < 2; again++) await hold(locks, resource, { owner: 'twice', reentrant: true, ...shared });
    const forced = await locks.forceReleaseLock({ resource, reason });
    expect(forced.holders.map(({ owner }) => owner).toSorted()).toEqual(['a', 'b', 'c', 'twice', 'twice']);
    for (const { lockToken } of readers) {
      expect((await locks.releaseLock({ resources: [resource], lockToken })).status).toBe(NOT_HOLDER);
    }
    // nothing is left of what an owner held: it is granted once, and by a later fencing token
    const anew = await hold(locks, resource, { owner: 'twice', reentrant: true });
    expect(anew.grants).toMatchObject([{ holdCount: 1 }]);
    expect(fenceOf(anew)).toBeGreaterThan(forced.fencingToken);
    await locks.releaseLock({ resources: [resource], lockToken: anew.lockToken });
    await hold(locks, resource);
    expect((await lockKey(service(), topology, resource).command('HKEYS')) as string[]).toHaveLength(5);
  });

  test('leaves nothing of an owner who held it more than once beside a lease that had run out', async () => {
    const { locks } = service();
    const resource = 'beside';
    const twice = { owner: 'twice', reentrant: true, permits: 1 };
    for (let again = 0; again < 2; again++) await hold(locks, resource, twice);
    await hold(locks, resource, { permits: 1, ttlMs: 1n });
    await until(async () => (await locks.getLock({ resource })).holderCount === 2n);
    expect((await locks.forceReleaseLock({ resource, reason })).holders).toHaveLength(2);
    expect((await hold(locks, resource, twice)).grants).toMatchObject([{ holdCount: 1 }]);
  });

  test('hands it to those who wait, in their order and over all services', async () => {
    const { locks } = service();
    const resource = 'queue';
    await hold(locks, resource);
    const waiters: Awaited<ReturnType<typeof queueUp>>[] = [];
    for (const from of [service(), other(), service(), other()]) waiters.push(await queueUp(from.locks, resource));
    let fence = 0n;
    for (const [index, waiter] of waiters.entries()) {
      const forced = await locks.forceReleaseLock({ resource, reason });
      expect(forced.holders).toHaveLength(1);
      const granted = await waiter.granted;
      expect(granted.status).toBe(GRANTED);
      expect(fenceOf(granted)).toBeGreaterThan(fence);
      // what is answered is the fencing token of who holds it now
      expect(fenceOf(granted)).toBe(forced.fencingToken);
      fence = fenceOf(granted);
      const { holders, waitingCount } = await locks.getLock({ resource });
      expect(holders).toMatchObject([{ fencingToken: fence }]);
      expect(waitingCount).toBe(BigInt(waiters.length - 1 - index));
    }
  });

  test('changes nothing where another fencing token is the highest', async () => {
    const { locks } = service();
    const resource = 'expected';
    const granted = await hold(locks, resource);
    const fence = fenceOf(granted);
    for (const expectedFencingToken of [fence - 1n, fence + 1n, 2n ** 63n - 1n]) {
      const refused = await locks.forceReleaseLock({ resource, reason, expectedFencingToken });
      expect(refused).toEqual({ holders: [], fencingToken: fence, released: false });
    }
    expect((await locks.extendLock({ resources: [resource], lockToken: granted.lockToken })).status).toBe(DONE);
    const forced = await locks.forceReleaseLock({ resource, reason, expectedFencingToken: fence });
    expect(forced).toMatchObject({ released: true, holders: [{ fencingToken: fence }] });
    // a retry finds its token gone, and takes nothing from the next
    const next = await hold(locks, resource);
    const retried = await locks.forceReleaseLock({ resource, reason, expectedFencingToken: fence });
    expect(retried).toEqual({ holders: [], fencingToken: fenceOf(next), released: false });
  });

  test('after the leases grants it to nobody before the last of them would have ended, then to who waits', async () => {
    const { locks } = service();
    const resource = 'after leases';
    const ends = await Promise.all(
      [900n, 2_000n].map(async (ttlMs) => (await hold(locks, resource, { ttlMs, permits: 1 })).expiresAtMs),
    );
    const { granted } = await queueUp(other().locks, resource);
    const forced = await locks.forceReleaseLock({ resource, reason, afterLeases: true });
    expect(forced.holders).toHaveLength(2);
    const state = await locks.getLock({ resource });
    expect(state).toMatchObject({ holders: [], waitingCount: 1n, fencingToken: forced.fencingToken });
    expect(state.delayLeftMs).toBeGreaterThan(0n);
    // both by Redis's clock
    const next = await granted;
    expect(next.expiresAtMs - HOUR_MS).toBeGreaterThanOrEqual(ends[1] ?? 0n);
    expect(fenceOf(next)).toBeGreaterThan(forced.fencingToken);
  });

  test('after the leases ends no delay, and one without does', async () => {
    const { locks } = service();
    const resource = 'closed already';
    await hold(locks, resource);
    await locks.forceReleaseLock({ resource, reason, afterLeases: true });
    const { released } = await locks.forceReleaseLock({ resource, reason, afterLeases: true });
    expect(released).toBe(true);
    const refused = await locks.acquireLock({ resources: [resource] });
    expect(refused.status).toBe(AcquireLockStatus.IN_DELAY);
    expect(refused.delayLeftMs).toBeGreaterThan(HOUR_MS - LONG_MS);
    const { granted } = await queueUp(other().locks, resource);
    await locks.forceReleaseLock({ resource, reason });
    expect((await granted).status).toBe(GRANTED);
    // nobody holds it: nothing to wait for
    await locks.forceReleaseLock({ resource: 'free', reason, afterLeases: true });
    await hold(locks, 'free');
  });

  test('of a resource that nobody holds refuses those who held it before', async () => {
    const { locks } = service();
    const resource = 'ran out';
    const granted = await hold(locks, resource, { ttlMs: 1n });
    await until(async () => (await locks.getLock({ resource })).holders.length === 0);
    const forced = await locks.forceReleaseLock({ resource, reason });
    expect(forced).toMatchObject({ released: true, holders: [] });
    expect(await locks.checkFencingToken({ resource, fencingToken: fenceOf(granted) })).toMatchObject({ valid: false });
    expect((await locks.forceReleaseLock({ resource: 'never heard of', reason })).released).toBe(true);
  });

  test('names 100 holders at most, and takes it from all', async () => {
    const { locks } = service();
    const resource = 'crowd';
    await Promise.all(Array.from({ length: 130 }, () => hold(locks, resource, { permits: 1 })));
    expect((await locks.forceReleaseLock({ resource, reason })).holders).toHaveLength(100);
    expect((await locks.getLock({ resource })).holderCount).toBe(0n);
  });

  test('races a release: one of both ends the hold, and who waits gets the lock once', async () => {
    const { locks } = service();
    let byRelease = 0;
    for (let round = 0; round < 40; round++) {
      const resource = `release ${String(round)}`;
      const { lockToken } = await hold(locks, resource);
      const { granted } = await queueUp(other().locks, resource, { owner: 'next' });
      const release = (): ReturnType<typeof locks.releaseLock> =>
        other().locks.releaseLock({ resources: [resource], lockToken });
      const force = (): ReturnType<typeof locks.forceReleaseLock> => locks.forceReleaseLock({ resource, reason });
      // whoever is sent first comes first, mostly
      const [released, forced] = await (round % 2 === 0
        ? Promise.all([release(), force()])
        : Promise.all([force(), release()]).then(([one, two]) => [two, one] as const));
      const owners = forced.holders.map(({ owner }) => owner);
      if (released.status === DONE) {
        byRelease++;
        // the release had handed it over, and the next lost it to the force: it asks again
        expect(owners).toEqual(['next']);
      } else expect(owners).toEqual(['holder']);
      const next = await granted;
      expect(next.status).toBe(GRANTED);
      const { holders, waitingCount } = await locks.getLock({ resource });
      // it may have taken the lock up before it lost it
      const isLost = fenceOf(next) < forced.fencingToken;
      expect(holders.map(({ fencingToken }) => fencingToken)).toEqual(isLost ? [] : [fenceOf(next)]);
      expect(waitingCount).toBe(0n);
    }
    expect(byRelease).toBeGreaterThan(0);
  });

  test('races extensions: who is told DONE held it then, and nobody does afterwards', async () => {
    const { locks } = service();
    for (let round = 0; round < 40; round++) {
      const resource = `extend ${String(round)}`;
      const { lockToken, grants } = await hold(locks, resource);
      const extend = (): Promise<LockOwnershipStatus> =>
        other()
          .locks.extendLock({ resources: [resource], lockToken, ttlMs: HOUR_MS })
          .then(({ status }) => status);
      const [one, forced, two] = await Promise.all([extend(), locks.forceReleaseLock({ resource, reason }), extend()]);
      expect(forced.holders).toMatchObject([{ fencingToken: grants[0]?.fencingToken }]);
      for (const status of [one, two]) expect([DONE, NOT_HOLDER]).toContain(status);
      expect(await extend()).toBe(NOT_HOLDER);
      expect((await locks.getLock({ resource })).holderCount).toBe(0n);
    }
  });

  describe('tells', () => {
    let redis: Redis;
    let channels: ShardChannels;
    beforeAll(async () => {
      const target = parseRedisUrl(sharedRedisUrl(topology));
      const logger = pino({ level: 'silent' });
      redis = new Redis({ target, scripts: lockScripts, logger });
      redis.connect();
      channels = new ShardChannels(target, logger);
      await until(() => redis.isReady);
    });
    afterAll(async () => {
      channels.close();
      await redis.close();
    });

    test('each holder that is kept where it listens, by its token and with the reason', async () => {
      const { locks, namespace } = service();
      const resource = '{kept} ü';
      const lock = keys.lock(namespace, resource);
      const ears = ['one', 'two'].map((instance) => ({
        channel: keys.lockWake(lock, instance),
        lockToken: instance.padEnd(32, 'x'),
        ear: new ChannelEar(),
      }));
      for (const { channel, lockToken, ear } of ears) {
        channels.listen(channel, ear);
        await ear.until('subscribed');
        const args = {
          ...{ lockToken, ttlMs: '3600000', owner: '', permits: '1', capacity: '2', reentrant: '0', hasRequest: '0' },
          ...{
            waitMs: '0',
            channel,
            call: '1',
            stream: 's',
            delayMs: '60000',
            takesOver: '1',
            fenceRetentionMs: '60000',
          },
        };
        const call = { namespace, deadlineAt: Number.POSITIVE_INFINITY, ended: false };
        expect((await redis.run(acquireLockScript.bind({ lock }, args), call)).status).toBe('granted');
      }
      await locks.forceReleaseLock({ resource, reason: 'ünstuck' });
      for (const { lockToken, ear } of ears) {
        await ear.until(`message L${lockToken}ünstuck`);
        expect(ear.told.filter((what) => what.startsWith('message'))).toHaveLength(1);
      }
      // the delay is for holders that got lost by themselves
      expect((await locks.getLock({ resource })).delayLeftMs).toBe(0n);
      await hold(locks, resource);
    });
  });
});

test('works on a full Redis', async () => {
  const redis = await startRedis(['--maxmemory-policy', 'noeviction']);
  const service = await startTestService({ REDIS_URL: redis.url });
  const { locks } = service;
  const granted = await hold(locks, 'full');
  await redis.command('CONFIG', 'SET', 'maxmemory', '1');
  const forced = await locks.forceReleaseLock({ resource: 'full', reason });
  expect(forced).toMatchObject({ released: true, holders: [{ fencingToken: fenceOf(granted) }] });
  expect((await locks.cleanupExpiredLocks({})).scannedCount).toBe(1n);
  await service.stop();
  await redis.remove();
});
