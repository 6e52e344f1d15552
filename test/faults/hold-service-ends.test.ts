import { status as Code } from '@grpc/grpc-js';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { AcquireLockStatus, LockServiceService } from '../../src/gen/shardkeep/lock/v1/lock.js';
import { Hold } from '../lock/hold-support.js';
import type { PromiseClient } from '../support/client.js';
import { until } from '../support/redis-server.js';
import { killServiceProcesses, startServiceProcess, type ServiceProcess } from '../support/service-process.js';
import { randomNamespace, sharedRedisUrl, TOPOLOGIES } from '../support/service.js';

/** What becomes of the locks of streams when the service that keeps them goes, or is gone. */

const { GRANTED, IN_DELAY } = AcquireLockStatus;
const LEASE_MS = 60_000n;
const WAIT_MS = 9_000n;

describe.each(TOPOLOGIES)('on %s', (topology) => {
  const env = { REDIS_URL: sharedRedisUrl(topology), NAMESPACE: randomNamespace() };
  let living: ServiceProcess;
  let locks: PromiseClient<typeof LockServiceService>;
  beforeAll(async () => {
    living = await startServiceProcess(env);
    locks = living.channel().of(LockServiceService);
  });
  afterAll(killServiceProcesses);

  test('a service that is killed leaves its locks to their leases, then to their delay, then to who waits', async () => {
    const dying = await startServiceProcess(env);
    const hold = new Hold(dying.channel());
    const requestId = 'a-request-of-the-one-who-comes-back';
    await Promise.all([
      hold.take('door', { ttlMs: 2_000n, delayMs: 500, graceMs: 60_000 }),
      hold.take('gate', { ttlMs: 30_000n, requestId }),
    ]);
    const next = locks.acquireLock(
      { resources: ['door'], ttlMs: LEASE_MS, waitMs: WAIT_MS },
      { deadline: Date.now() + 30_000 },
    );
    await until(async () => (await locks.getLock({ resource: 'door' })).waitingCount === 1n);
    await dying.stop('SIGKILL');
    const [holder] = (await locks.getLock({ resource: 'door' })).holders;
    const { status, expiresAtMs } = await next;
    expect(status).toBe(GRANTED);
    expect(holder?.ttlMs).toBeLessThanOrEqual(2_000n);
    expect(expiresAtMs - LEASE_MS).toBeGreaterThanOrEqual((holder?.expiresAtMs ?? 0n) + 500n);

    const gate = (await locks.getLock({ resource: 'gate' })).holders;
    const again = await new Hold(living.channel()).take('gate', { ttlMs: 30_000n, requestId });
    expect(again.grants[0]?.fencingToken).toBe(gate[0]?.fencingToken);
  });

  test('a service that drains ends its streams, whose locks are kept for their grace and taken up elsewhere', async () => {
    const leaving = await startServiceProcess(env);
    const hold = new Hold(leaving.channel());
    const request = { graceMs: 30_000, ttlMs: LEASE_MS, requestId: 'a-request-of-the-one-who-goes-on' };
    const [kept] = await Promise.all([hold.take('window', request), hold.take('hatch', { delayMs: 60_000 })]);
    leaving.signal('SIGTERM');
    expect(await hold.stream.code()).toBe(Code.UNAVAILABLE);
    expect((await leaving.exited).code).toBe(0);
    const [holder] = (await locks.getLock({ resource: 'window' })).holders;
    expect(holder?.fencingToken).toBe(kept.grants[0]?.fencingToken);
    expect(holder?.ttlMs).toBeLessThanOrEqual(30_000n);
    expect(await locks.acquireLock({ resources: ['hatch'] })).toMatchObject({ status: IN_DELAY });
    const again = await new Hold(living.channel()).take('window', request);
    expect(again).toMatchObject({ lockToken: kept.lockToken, grants: kept.grants });
    expect((await locks.getLock({ resource: 'window' })).holders[0]?.ttlMs).toBeGreaterThan(30_000n);
  });
});
