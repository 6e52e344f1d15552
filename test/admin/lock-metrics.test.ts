import { afterEach, expect, test } from '@jest/globals';
import { LockServiceService } from '../../src/gen/shardkeep/lock/v1/lock.js';
import { hold, queueUp } from '../lock/operations-support.js';
import { scrape } from '../support/metrics.js';
import { until } from '../support/redis-server.js';
import { killServiceProcesses, startServiceProcess } from '../support/service-process.js';
import { randomNamespace, sharedRedisUrl } from '../support/service.js';
import { openStream } from '../support/stream-client.js';

/** Locks as Prometheus sees them. */

afterEach(killServiceProcesses);

test('what is counted of locks is there by namespace and outcome, from 0 on, and no label has a resource', async () => {
  const service = await startServiceProcess({ REDIS_URL: sharedRedisUrl('standalone'), ADMIN_LISTEN: '127.0.0.1:0' });
  const address = String((await service.log('admin port listening')).address);
  const channel = service.channel();
  const locks = channel.of(LockServiceService);
  const resource = 'boss-4711';
  const sample = (name: string, labels = ''): string =>
    `shardkeep_lock_${name}{namespace="${service.namespace}"${labels}}`;
  const counters = async (): Promise<object> =>
    Object.fromEntries(
      [...(await scrape(address))].filter(([name]) => /^shardkeep_lock_\w+(?:_total|_count|ing)/.test(name)),
    );
  const expected = {
    [sample('acquire_total', ',result="granted"')]: 3,
    [sample('acquire_total', ',result="held"')]: 2,
    [sample('acquire_total', ',result="queued"')]: 0,
    [sample('acquire_total', ',result="in_delay"')]: 0,
    [sample('granted_after_waiting_total')]: 1,
    [sample('released_total')]: 1,
    [sample('lost_total')]: 1,
    [sample('force_released_total')]: 1,
    [sample('waiting')]: 1,
    [sample('wait_seconds_count')]: 1,
    [sample('hold_seconds_count')]: 1,
  };
  expect(await counters()).toEqual(Object.fromEntries(Object.keys(expected).map((name) => [name, 0])));

  await hold(locks, resource, { ttlMs: 1n });
  await until(async () => (await locks.getLock({ resource })).holders.length === 0);
  const { lockToken } = await hold(locks, resource, { permits: 1 });
  await locks.acquireLock({ resources: [resource] });
  const waiting = await queueUp(locks, resource);
  await locks.acquireLock({ resources: [resource] });
  await locks.releaseLock({ resources: [resource], lockToken });
  await waiting.granted;
  await queueUp(locks, resource);
  await queueUp(locks, resource);
  const watching = openStream(channel, LockServiceService.watchLocks, { resources: [resource] });
  watching.result.catch(() => undefined);
  await watching.untilMessages(1);
  await locks.forceReleaseLock({ resource, reason: 'stuck' });
  await until(async () => (await scrape(address)).get(sample('waiting')) === 1);
  const told = await scrape(address);
  expect(told.get('shardkeep_lock_watchers')).toBe(1);
  expect(told.get(sample('wait_seconds_bucket', ',le="+Inf"'))).toBeGreaterThan(0);
  expect(told.get(sample('hold_seconds_sum'))).toBeGreaterThan(0);
  // one of those who waited was granted by the force
  expect(await counters()).toEqual({
    ...expected,
    [sample('acquire_total', ',result="granted"')]: 4,
    [sample('granted_after_waiting_total')]: 2,
    [sample('wait_seconds_count')]: 2,
  });
  expect([...told.keys()].filter((name) => name.includes(resource))).toEqual([]);
});

test('locks on masters of their own are counted as far as those tell', async () => {
  const service = await startServiceProcess({
    REDIS_URL: sharedRedisUrl('standalone'),
    LOCK_COMPATIBLE: 'redlock',
    ADMIN_LISTEN: '127.0.0.1:0',
  });
  const address = String((await service.log('admin port listening')).address);
  const locks = service.channel().of(LockServiceService);
  const resources = [`{${randomNamespace()}}`];
  const { lockToken } = await locks.acquireLock({ resources });
  await locks.acquireLock({ resources });
  await locks.releaseLock({ resources, lockToken });
  await locks.releaseLock({ resources, lockToken });
  const told = await scrape(address);
  const labels = `namespace="${service.namespace}"`;
  expect(told.get(`shardkeep_lock_acquire_total{${labels},result="granted"}`)).toBe(1);
  expect(told.get(`shardkeep_lock_acquire_total{${labels},result="held"}`)).toBe(1);
  expect(told.get(`shardkeep_lock_released_total{${labels}}`)).toBe(1);
});
