import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { AcquireLockStatus, LockLostReason, LockOwnershipStatus } from '../../src/gen/shardkeep/lock/v1/lock.js';
import { failureOf } from '../support/client.js';
import { startRedis, until, type RedisServer } from '../support/redis-server.js';
import { startTestService, type TestService } from '../support/service.js';
import { Hold } from './hold-support.js';

/** Locks of streams while Redis is away, stands still, forgets or is full. */

const { GRANTED } = AcquireLockStatus;
const { EXPIRED } = LockLostReason;
const LONG_MS = 60_000n;

let redis: RedisServer;
let service: TestService;

beforeAll(async () => {
  redis = await startRedis(['--maxmemory-policy', 'noeviction']);
  service = await startTestService({ REDIS_URL: redis.url });
});
afterAll(async () => {
  await service.stop();
  await redis.remove();
});

const open = (): Hold => new Hold(service.channel);
const holderOf = async (resource: string) => (await service.locks.getLock({ resource })).holders[0];
const untilFree = (resource: string): Promise<void> => until(async () => (await holderOf(resource)) === undefined);
/** Waits until the lease was renewed after what it is now. */
async function untilRenewed(resource: string): Promise<void> {
  let end: bigint | undefined;
  await until(async () => {
    const now = (await holderOf(resource))?.expiresAtMs ?? 0n;
    end ??= now;
    return now > end;
  });
}

test('a lease is renewed over many connections that break', async () => {
  const hold = open();
  const { grants } = await hold.take('shaky', { ttlMs: 1_500n });
  for (let count = 0; count < 5; count++) {
    await redis.command('CLIENT', 'KILL', 'TYPE', 'normal');
    await untilRenewed('shaky');
  }
  expect((await holderOf('shaky'))?.fencingToken).toBe(grants[0]?.fencingToken);
  expect(hold.losses).toEqual([]);
  hold.stream.cancel();
});

test('a lease that runs out while Redis stands still is told to be lost meanwhile, and is free afterwards', async () => {
  const hold = open();
  const { lockToken } = await hold.take('still', { ttlMs: 600n });
  redis.signal('SIGSTOP');
  const lost = await hold.loss();
  redis.signal('SIGCONT');
  expect(lost).toEqual({ lockToken, resources: ['still'], reason: EXPIRED, message: '' });
  await untilFree('still');
  expect((await service.locks.acquireLock({ resources: ['still'] })).status).toBe(GRANTED);
  hold.stream.cancel();
});

test('every lock of a Redis that was emptied is told to be lost, and can be taken again', async () => {
  const hold = open();
  const names = ['emptied-0', 'emptied-1', 'emptied-2'];
  const grants = await Promise.all(names.map((name) => hold.take(name, { ttlMs: 2_400n })));
  await redis.command('FLUSHALL');
  await hold.loss(3);
  expect(new Set(hold.losses.map(({ lockToken }) => lockToken))).toEqual(
    new Set(grants.map(({ lockToken }) => lockToken)),
  );
  expect(hold.losses.map(({ reason }) => reason)).toEqual([EXPIRED, EXPIRED, EXPIRED]);
  const again = await hold.take('emptied-0');
  expect(again.grants[0]?.fencingToken).toBeGreaterThan(grants[0]?.grants[0]?.fencingToken ?? 0n);
  hold.stream.cancel();
});

test('what is granted after the stream broke is given back', async () => {
  const hold = open();
  await hold.take('before');
  redis.signal('SIGSTOP');
  hold.ask({ resources: ['ghost'], ttlMs: LONG_MS });
  // on the same connection, and needs no Redis: when it is answered the service has asked for the lock
  await failureOf(service.locks.getLock({ resource: '' }));
  hold.stream.cancel();
  await hold.stream.code();
  redis.signal('SIGCONT');
  // the fencing token tells that there was a grant
  await until(async () => (await service.locks.getLock({ resource: 'ghost' })).fencingToken > 0n);
  await Promise.all([untilFree('ghost'), untilFree('before')]);
  expect((await service.locks.acquireLock({ resources: ['ghost', 'before'] })).status).toBe(GRANTED);
});

test('an acquire is tried again while Redis is away, and the stream goes on', async () => {
  const hold = open();
  await redis.stop();
  const asked = hold.ask({ resources: ['later'] });
  await redis.restart();
  expect((await hold.answer(asked)).event).toMatchObject({ value: { status: GRANTED } });
  expect((await hold.take('after-it')).status).toBe(GRANTED);
  hold.stream.cancel();
});

test('a full Redis renews, releases and lets go', async () => {
  const [hold, other] = [open(), open()];
  const { lockToken } = await hold.take('full', { ttlMs: 900n });
  await other.take('filled', { delayMs: 60_000 });
  await redis.command('CONFIG', 'SET', 'maxmemory', '1');
  try {
    await untilRenewed('full');
    const { event } = await hold.answer(hold.ask({ resources: ['more'] }));
    expect(event).toMatchObject({ $case: 'failed', value: { reason: 'REDIS_OUT_OF_MEMORY' } });
    expect(await hold.release(['full'], lockToken)).toMatchObject({ status: LockOwnershipStatus.DONE });
    other.stream.cancel();
    await untilFree('filled');
  } finally {
    await redis.command('CONFIG', 'SET', 'maxmemory', '0');
    hold.stream.cancel();
  }
});

test('a delay outlasts the memory of the fence', async () => {
  const forgetful = await startTestService({ REDIS_URL: redis.url, LOCK_FENCE_RETENTION_MS: '1' });
  try {
    for (const [resource, graceMs] of [
      ['short', 50],
      ['shorter', 0],
    ] as const) {
      const hold = new Hold(forgetful.channel);
      const { expiresAtMs } = await hold.take(resource, { ttlMs: 500n, graceMs, delayMs: 60_000 });
      hold.stream.cancel();
      // of the same machine, Redis's clock
      await until(() => Date.now() > Number(expiresAtMs) + 50);
      expect((await forgetful.locks.acquireLock({ resources: [resource] })).status).toBe(AcquireLockStatus.IN_DELAY);
    }
  } finally {
    await forgetful.stop();
  }
});
