import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { LockLostError, LockNotAcquiredError } from '../../../src/client/index.js';
import { BARE_LOCKS } from '../../support/redis-user.js';
import { admitNow, startMasters } from '../../lock/quorum/quorum-support.js';
import { errorOf } from '../../support/client-error.js';
import { until, type RedisServer } from '../../support/redis-server.js';
import { sharedRedisUrl, startTestService, type TestService } from '../../support/service.js';
import { aborted, client, gate, newName, untilFree } from './locks-support.js';

/** withLock where the service has no HoldLocks: on a quorum of masters, and with the locks of npm redlock. */

const LEASE_MS = 1_500;
const WAIT_MS = 50_000;

describe.each([
  ['on a quorum', 3, {}, undefined],
  ['with the locks of redlock', 1, { LOCK_COMPATIBLE: 'redlock' }, BARE_LOCKS],
])('withLock %s', (mode, masterCount, env, flags) => {
  let masters: readonly RedisServer[];
  let service: TestService;

  beforeAll(async () => {
    masters = await startMasters(masterCount, flags);
    service = await startTestService({
      REDIS_URL: sharedRedisUrl('standalone'),
      NAMESPACE: await admitNow(masters),
      LOCK_REDIS_URLS: masters.map(({ url }) => url).join(','),
      // nothing here is about slow masters, and the machine may be busy
      LOCK_QUORUM_NODE_TIMEOUT_MS: '1000',
      ...env,
    });
  });
  afterAll(async () => {
    await service.stop();
    await Promise.all(masters.map((master) => master.remove()));
  });

  test('keeps the lock over many leases, excludes others, and releases', async () => {
    const shardkeep = client(service.address);
    const { locks } = shardkeep;
    const name = newName();
    await locks.withLock(name, { leaseMs: LEASE_MS }, async (lock) => {
      const first = (await locks.getLock(name)).holders[0]?.expiresAtMs ?? 0;
      expect(first).toBeGreaterThan(0);
      await until(async () => ((await locks.getLock(name)).holders[0]?.expiresAtMs ?? 0) > first + 2 * LEASE_MS);
      const other = client(service.address).locks.withLock(name, { waitMs: 0 }, () => Promise.resolve());
      expect(await errorOf(other)).toBeInstanceOf(LockNotAcquiredError);
      expect(lock.signal.aborted).toBe(false);
      // redlock has none
      expect(lock.fencingToken > 0).toBe(mode === 'on a quorum');
    });
    await untilFree(shardkeep, name);
  });

  test('has one inside at a time', async () => {
    const name = newName();
    const clients = [client(service.address), client(service.address)];
    let inside = 0;
    const all = Array.from({ length: 5 }, () =>
      clients.map(({ locks }) =>
        locks.withLock(name, { waitMs: WAIT_MS }, async () => {
          expect(++inside).toBe(1);
          await new Promise((resolve) => setImmediate(resolve));
          inside--;
        }),
      ),
    );
    await Promise.all(all.flat());
    expect(inside).toBe(0);
  });

  test('aborts before the lease is over when the masters stand still', async () => {
    const { locks } = client(service.address, { timeoutMs: 500 });
    const name = newName();
    const losing = locks.withLock(name, { leaseMs: LEASE_MS }, async (lock) => {
      for (const master of masters) master.signal('SIGSTOP');
      await aborted(lock.signal);
      for (const master of masters) master.signal('SIGCONT');
    });
    expect(await errorOf(losing)).toBeInstanceOf(LockLostError);
    await until(async () => (await locks.acquireLock(name)).status === 'granted');
  });

  test('gives the lock back when its client is closed', async () => {
    const [closing, other] = [client(service.address), client(service.address)];
    const name = newName();
    const { opened, open } = gate();
    const losing = errorOf(
      closing.locks.withLock(name, { leaseMs: 60_000 }, async (lock) => {
        open();
        await aborted(lock.signal);
      }),
    );
    await opened;
    await closing.close();
    expect(await losing).toMatchObject({ loss: 'closed' });
    await other.locks.withLock(name, { waitMs: WAIT_MS }, () => Promise.resolve());
  });
});
