import { afterEach, expect, test } from '@jest/globals';
import { connect } from '../../src/client/index.js';
import { errorOf } from '../support/client-error.js';
import { scrape } from '../support/metrics.js';
import { until } from '../support/redis-server.js';
import { killServiceProcesses, startServiceProcess } from '../support/service-process.js';
import { sharedRedisUrl } from '../support/service.js';

/** Calls as Prometheus sees them. */

afterEach(killServiceProcesses);

const GET = 'shardkeep.cache.v1.CacheService/Get';

test.each([1, 2])(
  'calls are counted by RPC and status, over every transport and connection, by %i workers',
  async (workers) => {
    const service = await startServiceProcess({
      REDIS_URL: sharedRedisUrl('standalone'),
      WORKERS: String(workers),
      ADMIN_LISTEN: '127.0.0.1:0',
    });
    const { address } = await service.log('admin port listening');
    const clients = Array.from({ length: 8 }, (_, index) =>
      connect(service.address, { timeoutMs: 30_000, transport: index % 2 === 0 ? 'pipeline' : 'unary' }),
    );
    for (const { cache } of clients.map(({ rpc }) => rpc)) {
      await Promise.all(Array.from({ length: 25 }, () => cache.get({ key: 'k' })));
      await errorOf(cache.get({ key: '' }));
    }
    await Promise.all(clients.map((client) => client.close()));

    const metrics = await scrape(String(address));
    expect(metrics.get(`shardkeep_rpc_handled_total{rpc="${GET}",code="OK"}`)).toBe(200);
    expect(metrics.get(`shardkeep_rpc_handled_total{rpc="${GET}",code="INVALID_ARGUMENT"}`)).toBe(8);
    expect(metrics.get(`shardkeep_rpc_duration_seconds_count{rpc="${GET}"}`)).toBe(208);
    expect(metrics.get(`shardkeep_rpc_duration_seconds_bucket{rpc="${GET}",le="+Inf"}`)).toBe(208);
    expect(metrics.get(`shardkeep_rpc_duration_seconds_sum{rpc="${GET}"}`)).toBeGreaterThan(0);
    // what nobody called is not there
    expect([...metrics.keys()].filter((name) => name.includes('Increment') && name.includes('handled'))).toEqual([]);
  },
);

test('counters never fall when workers are replaced or killed, and a scrape meanwhile is answered', async () => {
  const service = await startServiceProcess({
    REDIS_URL: sharedRedisUrl('standalone'),
    WORKERS: '2',
    ADMIN_LISTEN: '127.0.0.1:0',
  });
  const address = String((await service.log('admin port listening')).address);
  const ok = async (): Promise<number> =>
    (await scrape(address)).get(`shardkeep_rpc_handled_total{rpc="${GET}",code="OK"}`) ?? 0;
  let called = 0;
  const callAll = async (): Promise<void> => {
    const clients = Array.from({ length: 8 }, () => connect(service.address, { timeoutMs: 30_000 }));
    await Promise.all(clients.map(({ rpc }) => rpc.cache.get({ key: 'k' })));
    await Promise.all(clients.map((client) => client.close()));
    called += clients.length;
  };
  await callAll();

  const seen: number[] = [];
  service.signal('SIGHUP');
  const replaced = service.log('workers replaced').then(() => true);
  do seen.push(await ok());
  while (!(await Promise.race([replaced, Promise.resolve(false)])));
  // what the old workers counted, also after their last scrape, is in the sum
  expect(new Set(seen)).toEqual(new Set([called]));
  await callAll();
  expect(await ok()).toBe(called);

  const pids = service.logs.filter(({ msg }) => msg === 'worker started').map(({ pid }) => Number(pid));
  process.kill(pids.at(-1) ?? 0, 'SIGKILL');
  await service.log('worker died');
  // one that is killed is counted by its last scrape
  expect(await ok()).toBe(called);
  await until(() => service.logs.filter(({ msg }) => msg === 'worker ready').length === 5);
  await callAll();
  expect(await ok()).toBe(called);
});
