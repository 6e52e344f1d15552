import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import { AcquireLockStatus, LockServiceService } from '../../src/gen/shardkeep/lock/v1/lock.js';
import { GameServer, killGameServers } from '../lock/game-server-process.js';
import type { PromiseClient } from '../support/client.js';
import { until } from '../support/redis-server.js';
import { killServiceProcesses, startServiceProcess, type ServiceProcess } from '../support/service-process.js';
import { randomNamespace, sharedRedisUrl, TOPOLOGIES } from '../support/service.js';

/** kill -9 of who holds a lock by a stream, and of who waits for it: clients, and on one Redis whole services. */

type Locks = PromiseClient<typeof LockServiceService>;

const { GRANTED, IN_DELAY } = AcquireLockStatus;
/** Far beyond every wait here: who gets the lock was handed it. */
const LEASE_MS = 60_000n;
/** Half of what ten waiters that are gone would cost if each cost its claim. */
const WAIT_MS = 9_000n;

const waitFor = (locks: Locks, resource: string, waitMs = WAIT_MS) =>
  locks.acquireLock({ resources: [resource], ttlMs: LEASE_MS, waitMs }, { deadline: Date.now() + 30_000 });
const untilWaiting = (locks: Locks, resource: string, count: number): Promise<void> =>
  until(async () => (await locks.getLock({ resource })).waitingCount === BigInt(count));

describe.each(TOPOLOGIES)('on %s', (topology) => {
  const env = { REDIS_URL: sharedRedisUrl(topology), NAMESPACE: randomNamespace() };
  let service: ServiceProcess;
  let here: Locks;
  let there: Locks;
  beforeAll(async () => {
    const both = await Promise.all([startServiceProcess(env), startServiceProcess(env)]);
    [service] = both;
    [here, there] = both.map((each) => each.channel().of(LockServiceService)) as [Locks, Locks];
  });
  afterEach(killGameServers);
  afterAll(killServiceProcesses);

  const startGameServers = (count: number): Promise<readonly GameServer[]> =>
    Promise.all(Array.from({ length: count }, () => GameServer.start(service.address)));

  test('a holder that is killed is followed by who waits, through the same service and another', async () => {
    const holders = await startGameServers(2);
    for (const [index, holder] of holders.entries()) {
      const resource = `door-${String(index)}`;
      expect((await holder.hold({ resources: [resource], ttlMs: LEASE_MS })).status).toBe(GRANTED);
      const next = waitFor(index === 0 ? here : there, resource);
      await untilWaiting(here, resource, 1);
      await holder.kill();
      expect((await next).status).toBe(GRANTED);
    }
  });

  test('holders that are killed have not released: their delay counts', async () => {
    const holders = await startGameServers(2);
    const names = holders.map((_, index) => `delayed-${String(index)}`);
    for (const [index, holder] of holders.entries()) {
      await holder.hold({ resources: names.slice(index, index + 1), ttlMs: LEASE_MS }, { delayMs: 60_000 });
    }
    for (const holder of holders) holder.signal('SIGKILL');
    for (const resource of names) {
      await until(async () => (await here.getLock({ resource })).holders.length === 0);
      expect(await here.acquireLock({ resources: [resource] })).toMatchObject({ status: IN_DELAY });
    }
  });

  test('ten who wait and are killed as the lock is released hold up nobody behind them', async () => {
    const waiters = await startGameServers(topology === 'standalone' ? 10 : 3);
    const { lockToken } = await here.acquireLock({ resources: ['rush'], ttlMs: LEASE_MS });
    for (const [index, waiter] of waiters.entries()) {
      void waiter.hold({ resources: ['rush'], ttlMs: LEASE_MS, waitMs: 60_000n });
      await untilWaiting(here, 'rush', index + 1);
    }
    const last = waitFor(there, 'rush');
    await untilWaiting(here, 'rush', waiters.length + 1);
    for (const waiter of waiters) waiter.signal('SIGKILL');
    await here.releaseLock({ resources: ['rush'], lockToken });
    expect((await last).status).toBe(GRANTED);
  });
});

test('services that are killed with ten who wait hold up nobody behind them', async () => {
  const env = { REDIS_URL: sharedRedisUrl('standalone'), NAMESPACE: randomNamespace() };
  const [survivor, ...dying] = await Promise.all(Array.from({ length: 3 }, () => startServiceProcess(env)));
  if (survivor === undefined) throw new Error('no service');
  const locks = survivor.channel().of(LockServiceService);
  const { lockToken } = await locks.acquireLock({ resources: ['door'], ttlMs: LEASE_MS });
  const channels = dying.map((service) => service.channel().of(LockServiceService));
  for (let index = 0; index < 10; index++) {
    for (const each of channels.slice(index % 2, (index % 2) + 1)) {
      void waitFor(each, 'door', 30_000n).catch(() => undefined);
    }
    await untilWaiting(locks, 'door', index + 1);
  }
  const last = waitFor(locks, 'door');
  await untilWaiting(locks, 'door', 11);
  await Promise.all(dying.map((service) => service.stop('SIGKILL')));
  await locks.releaseLock({ resources: ['door'], lockToken });
  expect((await last).status).toBe(GRANTED);
  await killServiceProcesses();
});
