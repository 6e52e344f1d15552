import { describe, expect, test } from '@jest/globals';
import {
  AcquireLockStatus,
  LockOwnershipStatus,
  type AcquireLockResponse,
} from '../../src/gen/shardkeep/lock/v1/lock.js';
import { until } from '../support/redis-server.js';
import { onEachTopology, type TestService } from '../support/service.js';
import { lockKey } from './lock-key.js';

const { GRANTED, HELD } = AcquireLockStatus;
const { DONE, NOT_HOLDER } = LockOwnershipStatus;
const RETENTION_MS = 24 * 3_600_000;
const HOUR_MS = 3_600_000n;
/** A lock that nobody took, as far as is remembered. */
const FREE = { holders: [], fencingToken: 0n, waiters: [], holderCount: 0n, waitingCount: 0n, delayLeftMs: 0n };
const STRANGER = 'A-stranger_s-token-of-32-letters';

function fenceOf({ grants }: AcquireLockResponse): bigint {
  return grants[0]?.fencingToken ?? 0n;
}

async function acquire({ locks }: TestService, resource: string, ttlMs = HOUR_MS): Promise<AcquireLockResponse> {
  const reply = await locks.acquireLock({ resources: [resource], ttlMs, owner: 'shard-1' });
  expect(reply.status).toBe(GRANTED);
  return reply;
}

async function untilFree({ locks }: TestService, resource: string): Promise<void> {
  await until(async () => (await locks.getLock({ resource })).holders.length === 0);
}

onEachTopology('locks', (service, topology) => {
  describe('AcquireLock', () => {
    test('grants a free resource with token, fencing token and the end of the lease', async () => {
      const { locks } = service();
      const before = BigInt(Date.now());
      const reply = await locks.acquireLock({ resources: ['free'], ttlMs: 60_000n, owner: 'shard-1' });
      expect(reply).toMatchObject({ status: GRANTED, blockingResource: '', holder: undefined });
      expect(reply.lockToken).toMatch(/^[A-Za-z0-9_-]{32}$/);
      expect(reply.grants).toEqual([{ resource: 'free', fencingToken: fenceOf(reply), holdCount: 1 }]);
      expect(fenceOf(reply)).toBeGreaterThan(0n);
      // the same host's clock; the service answers Redis's
      expect(reply.expiresAtMs).toBeGreaterThanOrEqual(before + 60_000n);
      expect(reply.expiresAtMs).toBeLessThanOrEqual(BigInt(Date.now()) + 60_000n);
    });

    test('a resource held by another is an answer that names the holder and changes nothing', async () => {
      const { locks } = service();
      const granted = await acquire(service(), 'held');
      const reply = await locks.acquireLock({ resources: ['held'], ttlMs: 1n, owner: 'shard-2' });
      expect(reply).toMatchObject({
        status: HELD,
        lockToken: '',
        grants: [],
        expiresAtMs: 0n,
        blockingResource: 'held',
        holder: {
          owner: 'shard-1',
          fencingToken: fenceOf(granted),
          acquiredAtMs: granted.expiresAtMs - HOUR_MS,
          expiresAtMs: granted.expiresAtMs,
        },
      });
      expect(reply.holder?.ttlMs).toBeGreaterThan(0n);
      expect(reply.holder?.ttlMs).toBeLessThanOrEqual(HOUR_MS);
      expect(await locks.releaseLock({ resources: ['held'], lockToken: granted.lockToken })).toMatchObject({
        status: DONE,
        notHeldResources: [],
      });
    });

    test('without ttl_ms the lease lasts 10 seconds', async () => {
      const { locks } = service();
      await locks.acquireLock({ resources: ['default'] });
      const [holder] = (await locks.getLock({ resource: 'default' })).holders;
      expect((holder?.expiresAtMs ?? 0n) - (holder?.acquiredAtMs ?? 0n)).toBe(10_000n);
      expect(holder?.owner).toBe('');
    });

    test('a lease that is over is free for the next, who gets a higher fencing token', async () => {
      const first = await acquire(service(), 'lapse', 1n);
      await untilFree(service(), 'lapse');
      const second = await acquire(service(), 'lapse');
      expect(fenceOf(second)).toBeGreaterThan(fenceOf(first));
      expect(second.lockToken).not.toBe(first.lockToken);
    });

    test('the same request_id is answered the same grant, unchanged, while it lives', async () => {
      const { locks } = service();
      const request = { resources: ['retry'], ttlMs: 60_000n, owner: 'first', requestId: 'r'.repeat(16) };
      const granted = await locks.acquireLock(request);
      expect(granted.status).toBe(GRANTED);
      expect(await locks.acquireLock(request)).toEqual(granted);
      expect(await locks.acquireLock({ ...request, ttlMs: HOUR_MS, owner: 'second' })).toEqual(granted);
      const { holders } = await locks.getLock({ resource: 'retry' });
      expect(holders).toMatchObject([{ owner: 'first', expiresAtMs: granted.expiresAtMs }]);
      expect((await locks.acquireLock({ ...request, requestId: 's'.repeat(128) })).status).toBe(HELD);
      expect((await locks.acquireLock({ ...request, requestId: '' })).status).toBe(HELD);
    });

    test('a retried grant is released by one ReleaseLock, and the request_id then asks anew', async () => {
      const { locks } = service();
      const request = { resources: ['anew'], requestId: 'x'.repeat(16) };
      const granted = await locks.acquireLock(request);
      await locks.acquireLock(request);
      expect(await locks.releaseLock({ resources: ['anew'], lockToken: granted.lockToken })).toMatchObject({
        status: DONE,
        notHeldResources: [],
      });
      const again = await locks.acquireLock(request);
      expect(again.status).toBe(GRANTED);
      expect(fenceOf(again)).toBeGreaterThan(fenceOf(granted));
    });

    test('resources do not get in each other’s way, whatever they are called', async () => {
      const { locks } = service();
      const resources = [
        'a',
        'a ',
        'A',
        '{a}',
        '%7Ba%7D',
        'a:b',
        '}:lock:{a',
        'ä',
        '🔒',
        'x'.repeat(512),
        'x'.repeat(511),
      ];
      const ownerOf = (resource: string): string => resource.slice(0, 100) + String(resource.length);
      const replies = await Promise.all(
        resources.map((name) => locks.acquireLock({ resources: [name], owner: ownerOf(name) })),
      );
      expect(replies.map(({ status }) => status)).toEqual(resources.map(() => GRANTED));
      const states = await Promise.all(resources.map((resource) => locks.getLock({ resource })));
      expect(states.map(({ holders }) => holders[0]?.owner)).toEqual(resources.map(ownerOf));
    });
  });

  describe('fencing tokens', () => {
    test('grow when the lock’s key was lost', async () => {
      const first = await acquire(service(), 'lost');
      await lockKey(service(), topology, 'lost').command('DEL');
      expect(fenceOf(await acquire(service(), 'lost'))).toBeGreaterThan(fenceOf(first));
    });

    test('grow from the last one, to the digit, when the clock is behind it', async () => {
      const ahead = 2n ** 52n + 1n;
      await lockKey(service(), topology, 'ahead').command('HSET', 'fence', String(ahead));
      expect((await service().locks.getLock({ resource: 'ahead' })).fencingToken).toBe(ahead);
      expect(fenceOf(await acquire(service(), 'ahead'))).toBe(ahead + 1n);
    });
  });

  describe('ReleaseLock', () => {
    test('frees the resource, once', async () => {
      const { locks } = service();
      const { lockToken } = await acquire(service(), 'release');
      expect(await locks.releaseLock({ resources: ['release'], lockToken })).toMatchObject({
        status: DONE,
        notHeldResources: [],
      });
      expect(await locks.releaseLock({ resources: ['release'], lockToken })).toEqual({
        status: NOT_HOLDER,
        notHeldResources: ['release'],
      });
      expect((await locks.getLock({ resource: 'release' })).holders).toEqual([]);
      await acquire(service(), 'release');
    });

    test('by any other token is NOT_HOLDER and changes nothing', async () => {
      const { locks } = service();
      const other = await acquire(service(), 'elsewhere');
      const granted = await acquire(service(), 'mine');
      for (const lockToken of [STRANGER, other.lockToken]) {
        expect(await locks.releaseLock({ resources: ['mine'], lockToken })).toMatchObject({ status: NOT_HOLDER });
      }
      expect((await locks.getLock({ resource: 'mine' })).holders).toMatchObject([{ fencingToken: fenceOf(granted) }]);
    });

    test('after the lease is NOT_HOLDER and does not free the next holder', async () => {
      const { locks } = service();
      const late = await acquire(service(), 'late', 1n);
      await untilFree(service(), 'late');
      expect(await locks.releaseLock({ resources: ['late'], lockToken: late.lockToken })).toMatchObject({
        status: NOT_HOLDER,
      });
      const next = await acquire(service(), 'late');
      expect(await locks.releaseLock({ resources: ['late'], lockToken: late.lockToken })).toMatchObject({
        status: NOT_HOLDER,
      });
      expect((await locks.getLock({ resource: 'late' })).holders).toMatchObject([{ fencingToken: fenceOf(next) }]);
    });
  });

  describe('ExtendLock', () => {
    test('sets the end of the lease later or earlier; the fencing token stays', async () => {
      const { locks } = service();
      const { lockToken, ...granted } = await acquire(service(), 'extend', 60_000n);
      for (const ttlMs of [HOUR_MS, 30_000n, undefined]) {
        const before = BigInt(Date.now());
        const reply = await locks.extendLock({ resources: ['extend'], lockToken, ttlMs });
        expect(reply.status).toBe(DONE);
        expect(reply.expiresAtMs).toBeGreaterThanOrEqual(before + (ttlMs ?? 10_000n));
        expect(reply.expiresAtMs).toBeLessThanOrEqual(BigInt(Date.now()) + (ttlMs ?? 10_000n));
        expect(await locks.getLock({ resource: 'extend' })).toMatchObject({
          holders: [{ owner: 'shard-1', expiresAtMs: reply.expiresAtMs, acquiredAtMs: granted.expiresAtMs - 60_000n }],
          fencingToken: granted.grants[0]?.fencingToken,
        });
      }
    });

    test('a lease shortened to 1 ms ends', async () => {
      const { lockToken } = await acquire(service(), 'shorten');
      await service().locks.extendLock({ resources: ['shorten'], lockToken, ttlMs: 1n });
      await untilFree(service(), 'shorten');
      expect((await service().locks.extendLock({ resources: ['shorten'], lockToken })).status).toBe(NOT_HOLDER);
      await acquire(service(), 'shorten');
    });

    test('an extended grant is still the one of its request_id', async () => {
      const { locks } = service();
      const request = { resources: ['both'], requestId: 'q'.repeat(20) };
      const { lockToken } = await locks.acquireLock(request);
      const { expiresAtMs } = await locks.extendLock({ resources: ['both'], lockToken, ttlMs: 60_000n });
      expect(await locks.acquireLock(request)).toMatchObject({ status: GRANTED, lockToken, expiresAtMs });
    });

    test('by another token, on a free resource or after the lease is NOT_HOLDER and changes nothing', async () => {
      const { locks } = service();
      const notHolder = { status: NOT_HOLDER, expiresAtMs: 0n };
      const { lockToken } = await acquire(service(), 'over', 1n);
      await untilFree(service(), 'over');
      expect(await locks.extendLock({ resources: ['over'], lockToken })).toMatchObject(notHolder);
      expect(await locks.extendLock({ resources: ['never'], lockToken: STRANGER })).toMatchObject(notHolder);
      expect((await locks.getLock({ resource: 'over' })).holders).toEqual([]);
      const next = await acquire(service(), 'over');
      expect(await locks.extendLock({ resources: ['over'], lockToken, ttlMs: 1n })).toMatchObject(notHolder);
      expect((await locks.getLock({ resource: 'over' })).holders).toMatchObject([{ expiresAtMs: next.expiresAtMs }]);
    });
  });

  describe('GetLock', () => {
    test('a resource never locked has no holder and no fencing token', async () => {
      expect(await service().locks.getLock({ resource: 'unknown' })).toEqual(FREE);
    });

    test('tells the holder, and the fencing token also after the lock', async () => {
      const { locks } = service();
      const granted = await acquire(service(), 'look');
      const { holders, fencingToken } = await locks.getLock({ resource: 'look' });
      expect(holders).toEqual([
        {
          owner: 'shard-1',
          fencingToken: fenceOf(granted),
          acquiredAtMs: granted.expiresAtMs - HOUR_MS,
          expiresAtMs: granted.expiresAtMs,
          ttlMs: holders[0]?.ttlMs,
          permits: 0,
        },
      ]);
      expect(fencingToken).toBe(fenceOf(granted));
      await locks.releaseLock({ resources: ['look'], lockToken: granted.lockToken });
      expect(await locks.getLock({ resource: 'look' })).toEqual({ ...FREE, fencingToken });
    });

    test('fields that a later version may add are ignored', async () => {
      const { locks } = service();
      await lockKey(service(), topology, 'later').command('HSET', 'z', '5', 'x:1', 'y');
      expect((await locks.getLock({ resource: 'later' })).holders).toEqual([]);
      await acquire(service(), 'later');
      expect((await locks.getLock({ resource: 'later' })).holders).toHaveLength(1);
    });
  });

  describe('memory', () => {
    test('the key outlives the longest lease by the fence retention, and its life is never shortened', async () => {
      const { locks } = service();
      const key = lockKey(service(), topology, 'memory');
      const expiry = (): Promise<unknown> => key.command('PEXPIRETIME');
      const { lockToken, expiresAtMs } = await acquire(service(), 'memory', 60_000n);
      expect(await expiry()).toBe(Number(expiresAtMs) + RETENTION_MS);
      const longer = await locks.extendLock({ resources: ['memory'], lockToken, ttlMs: HOUR_MS });
      const longest = Number(longer.expiresAtMs) + RETENTION_MS;
      expect(await expiry()).toBe(longest);
      await locks.extendLock({ resources: ['memory'], lockToken, ttlMs: 1_000n });
      expect(await expiry()).toBe(longest);
      await locks.releaseLock({ resources: ['memory'], lockToken });
      expect(await expiry()).toBe(longest);
      await acquire(service(), 'memory', 1n);
      expect(await expiry()).toBe(longest);
    });

    test('dead holders are left alone by reads and removed with the next grant', async () => {
      const key = lockKey(service(), topology, 'dead');
      await acquire(service(), 'dead', 1n);
      await untilFree(service(), 'dead');
      expect(await key.command('HLEN')).toBe(5);
      await acquire(service(), 'dead');
      expect(await key.command('HLEN')).toBe(5);
    });
  });
});

onEachTopology(
  'locks with a short fence retention',
  (service, topology) => {
    test('a forgotten fence leaves no key behind, and tokens go on growing', async () => {
      const { locks } = service();
      const key = lockKey(service(), topology, 'forget');
      const first = await acquire(service(), 'forget', 1n);
      await until(async () => (await key.command('EXISTS')) === 0);
      expect(await locks.getLock({ resource: 'forget' })).toEqual(FREE);
      expect(fenceOf(await acquire(service(), 'forget'))).toBeGreaterThan(fenceOf(first));
    });
  },
  { LOCK_FENCE_RETENTION_MS: '100' },
);
