import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, expect, test } from '@jest/globals';
import { LockServiceService } from '../../src/gen/shardkeep/lock/v1/lock.js';
import { SessionServiceService } from '../../src/gen/shardkeep/session/v1/session.js';
import { connect } from '../../src/client/index.js';
import { errorOf } from '../support/client-error.js';
import { scrape } from '../support/metrics.js';
import { startRedis, until } from '../support/redis-server.js';
import { killServiceProcesses, startServiceProcess } from '../support/service-process.js';
import { sharedRedisUrl } from '../support/service.js';
import { openStream } from '../support/stream-client.js';

/** What goes on in a process, and what it takes of its machine. */

afterEach(killServiceProcesses);

test('calls, streams and their limits are there while they last', async () => {
  const service = await startServiceProcess({
    REDIS_URL: sharedRedisUrl('standalone'),
    ADMIN_LISTEN: '127.0.0.1:0',
    MAX_PARKED: '7',
  });
  const address = String((await service.log('admin port listening')).address);
  const sample = async (name: string): Promise<number | undefined> => (await scrape(address)).get(`shardkeep_${name}`);
  const channel = service.channel();
  const locks = channel.of(LockServiceService);
  const client = connect(service.address);
  await client.rpc.cache.get({ key: 'k' });
  expect(await sample('pipeline_streams')).toBe(1);
  await client.close();
  await until(async () => (await sample('pipeline_streams')) === 0);

  const { lockToken } = await locks.acquireLock({ resources: ['gate'], ttlMs: 60_000n });
  const waiting = locks.acquireLock({ resources: ['gate'], ttlMs: 60_000n, waitMs: 50_000n });
  await until(async () => (await sample('rpc_parked')) === 1);
  expect(await sample('rpc_parked_max')).toBe(7);
  expect(await sample('rpc_in_flight')).toBe(0);
  await locks.releaseLock({ resources: ['gate'], lockToken });
  await waiting;
  expect(await sample('rpc_parked')).toBe(0);

  const watching = openStream(channel, SessionServiceService.watchSessions, { all: true });
  watching.result.catch(() => undefined);
  await watching.untilMessages(1);
  expect(await sample('rpc_streams')).toBe(1);
});

test('failures are counted by reason from 0 on, and health as it is answered', async () => {
  const redis = await startRedis();
  const service = await startServiceProcess({
    REDIS_URL: redis.url,
    ADMIN_LISTEN: '127.0.0.1:0',
  });
  const address = String((await service.log('admin port listening')).address);
  const { cache } = connect(service.address, { transport: 'unary' }).rpc;
  const reason = (name: string): string => `shardkeep_rpc_errors_total{reason="${name}"}`;
  const serving = (name: string): string => `shardkeep_health_serving{service="${name}"}`;
  const before = await scrape(address);
  for (const name of ['INVALID_FIELD', 'REDIS_UNAVAILABLE', 'INTERNAL']) expect(before.get(reason(name))).toBe(0);
  for (const name of ['liveness', 'readiness', 'policies']) expect(before.get(serving(name))).toBe(1);
  expect(before.get('shardkeep_draining')).toBe(0);

  await errorOf(cache.get({ key: '' }));
  await redis.remove();
  await until(async () => (await scrape(address)).get(serving('readiness')) === 0);
  await errorOf(cache.get({ key: 'k' }));
  const told = await scrape(address);
  expect(told.get(reason('INVALID_FIELD'))).toBe(1);
  expect(told.get(reason('REDIS_UNAVAILABLE'))).toBeGreaterThan(0);
  expect(told.get(serving('liveness'))).toBe(1);
  expect(told.get(serving('shardkeep.cache.v1.CacheService'))).toBe(0);
});

test('a process tells what it takes of its machine, and an event loop that hung', async () => {
  const service = await startServiceProcess({ REDIS_URL: sharedRedisUrl('standalone'), ADMIN_LISTEN: '127.0.0.1:0' });
  const address = String((await service.log('admin port listening')).address);
  const told = await scrape(address);
  const sample = (name: string): number => told.get(`shardkeep_process_${name}`) ?? Number.NaN;
  expect([...told.keys()].filter((name) => name.startsWith('shardkeep_build_info{version="'))).toHaveLength(1);
  expect(sample('cpu_seconds_total')).toBeGreaterThan(0);
  expect(sample('resident_memory_bytes')).toBeGreaterThan(sample('heap_used_bytes'));
  expect(sample('heap_limit_bytes')).toBeGreaterThan(sample('heap_used_bytes'));
  expect(Math.abs(sample('start_time_seconds') - Date.now() / 1_000)).toBeLessThan(600);
  expect(sample('event_loop_utilization')).toBeGreaterThan(0);
  if (process.platform === 'linux') {
    expect(sample('open_fds')).toBeGreaterThan(3);
    expect(sample('max_fds')).toBeGreaterThan(sample('open_fds'));
  }

  const delays = async (): Promise<readonly number[]> => {
    const after = await scrape(address);
    return ['p99', 'max'].map((which) => after.get(`shardkeep_process_event_loop_delay_${which}_seconds`) ?? 0);
  };
  // a look may come before the timer that tells; one that comes a second later has 100 timers that were not late
  await until(async () => {
    service.signal('SIGSTOP');
    await sleep(300);
    service.signal('SIGCONT');
    const [p99, max] = [await delays(), await delays()].reduce((one, other) =>
      one.map((of, at) => Math.max(of, other[at] ?? 0)),
    );
    return (p99 ?? 0) > 0.25 && (max ?? 0) > 0.25;
  });
});
