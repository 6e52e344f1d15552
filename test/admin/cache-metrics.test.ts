import { readFileSync } from 'node:fs';
import { afterEach, expect, test } from '@jest/globals';
import { connect } from '../../src/client/index.js';
import { Consistency } from '../../src/gen/shardkeep/cache/v1/cache.js';
import { admitNow, startMasters } from '../lock/quorum/quorum-support.js';
import { scrape } from '../support/metrics.js';
import { until } from '../support/redis-server.js';
import { killServiceProcesses, startServiceProcess, type ServiceProcess } from '../support/service-process.js';
import { sharedRedisUrl, type Environment } from '../support/service.js';

/** The cache as Prometheus sees it. */

afterEach(killServiceProcesses);

const MAX_BYTES = 1_000_000;
const KEY = 'user:4711:profile';
const entry = { value: Buffer.from('v'), tags: ['guild'] };

async function start(workers: number, env: Environment = {}): Promise<{ service: ServiceProcess; address: string }> {
  const service = await startServiceProcess({
    REDIS_URL: sharedRedisUrl('standalone'),
    WORKERS: String(workers),
    ADMIN_LISTEN: '127.0.0.1:0',
    NEAR_CACHE_MAX_BYTES: String(MAX_BYTES),
    ...env,
  });
  return { service, address: String((await service.log('admin port listening')).address) };
}

/** Does every kind of thing that is counted over a connection of its own. */
async function useCache(address: string): Promise<void> {
  const client = connect(address, { timeoutMs: 30_000 });
  const { cache } = client.rpc;
  await cache.set({ key: KEY, ...entry });
  await cache.set({ key: KEY, ...entry, condition: { $case: 'ifAbsent', value: true } });
  await cache.getMany({ keys: [KEY, KEY, 'no such'] });
  for (let round = 0; round < 2; round++) await cache.get({ key: 'near', consistency: Consistency.NEAR });
  const { leaseToken } = await cache.getOrLease({ key: 'load', leaseMs: 60_000n });
  for (let round = 0; round < 2; round++) {
    await cache.fill({ key: 'load', leaseToken, result: { $case: 'absent', value: true } });
  }
  await cache.getOrLease({ key: 'load', leaseMs: 60_000n });
  await cache.increment({ key: 'n', delta: 1n });
  await cache.invalidateTags({ tags: ['guild', 'other'] });
  await cache.delete({ keys: [KEY, 'load', 'n'] });
  await client.close();
}

test('what is counted is there by namespace and outcome, from 0 on, and no label has a key', async () => {
  const { service, address } = await start(1);
  const { namespace } = service;
  const ofNamespace = (metric: string, labels = ''): string => `${metric}{namespace="${namespace}"${labels}}`;
  const lookups = (result: string, from: string): string =>
    ofNamespace('shardkeep_cache_lookups_total', `,result="${result}",from="${from}"`);
  const leases = (outcome: string): string => ofNamespace('shardkeep_cache_leases_total', `,outcome="${outcome}"`);
  const writes = (outcome: string): string => ofNamespace('shardkeep_cache_writes_total', `,outcome="${outcome}"`);
  const expected = {
    [lookups('hit', 'master')]: 2,
    [lookups('stale', 'master')]: 0,
    [lookups('absent', 'master')]: 1,
    // one of GetMany, the first NEAR read, and the one that was leased
    [lookups('miss', 'master')]: 3,
    [lookups('hit', 'near')]: 0,
    [lookups('stale', 'near')]: 0,
    [lookups('miss', 'near')]: 1,
    [ofNamespace('shardkeep_cache_near_misses_total')]: 1,
    [leases('granted')]: 1,
    [leases('filled')]: 1,
    [leases('lost')]: 1,
    [leases('failed')]: 0,
    [ofNamespace('shardkeep_cache_lease_waits_total')]: 0,
    [writes('stored')]: 1,
    [writes('condition_not_met')]: 1,
    [writes('deleted')]: 2,
    [writes('incremented')]: 1,
    [writes('tag_invalidated')]: 2,
  };
  const cacheCounters = async (): Promise<object> =>
    Object.fromEntries(
      [...(await scrape(address))].filter(([name]) => /^shardkeep_cache_.*_total/.test(name)).toSorted(),
    );
  const zeros = Object.fromEntries(Object.keys(expected).map((name) => [name, 0]));
  expect(await cacheCounters()).toEqual(zeros);
  await useCache(service.address);
  expect(await cacheCounters()).toEqual(expected);
  for (let round = 0; round < 40; round++) await useCache(service.address);
  const text = await (await fetch(`http://${address}/metrics`)).text();
  for (const key of [KEY, '4711', 'no such', 'guild']) expect(text).not.toContain(key);
});

test('workers are added up, and of one that is gone its counters stay and its memory does not', async () => {
  const { service, address } = await start(2);
  const sample = async (name: string): Promise<number | undefined> => (await scrape(address)).get(name);
  expect(await sample('shardkeep_cache_near_max_bytes')).toBe(2 * MAX_BYTES);
  expect(await sample('shardkeep_cache_near_bytes')).toBe(0);
  const clients = Array.from({ length: 8 }, () => connect(service.address, { timeoutMs: 30_000 }));
  for (const { cache } of clients.map(({ rpc }) => rpc))
    await cache.get({ key: 'near', consistency: Consistency.NEAR });
  await Promise.all(clients.map((client) => client.close()));
  // each worker keeps its own
  expect(await sample('shardkeep_cache_near_entries')).toBe(2);
  const bytes = (await sample('shardkeep_cache_near_bytes')) ?? 0;
  expect(bytes).toBeGreaterThan(0);
  const misses = `{namespace="${service.namespace}",result="miss",from="master"}`;
  expect(await sample(`shardkeep_cache_lookups_total${misses}`)).toBe(2);

  const pids = service.logs.filter(({ msg }) => msg === 'worker started').map(({ pid }) => Number(pid));
  process.kill(pids.at(-1) ?? 0, 'SIGKILL');
  await until(() => service.logs.filter(({ msg }) => msg === 'worker ready').length === 3);
  expect(await sample('shardkeep_cache_near_entries')).toBe(1);
  expect(await sample('shardkeep_cache_near_bytes')).toBe(bytes / 2);
  expect(await sample('shardkeep_cache_near_max_bytes')).toBe(2 * MAX_BYTES);
  expect(await sample(`shardkeep_cache_lookups_total${misses}`)).toBe(2);
});

test('docs/metrics.md names every metric and no other', async () => {
  const servers = await startMasters(3);
  await admitNow(servers, 't-metrics');
  const urls = servers.map(({ url }) => url).join(',');
  const { address } = await start(1, { LOCK_REDIS_URLS: urls, NAMESPACE: 't-metrics' });
  const text = await (await fetch(`http://${address}/metrics`)).text();
  const served = [...text.matchAll(/^# TYPE (\S+) (\S+)$/gm)].map(([, name, type]) => `${name ?? ''} ${type ?? ''}`);
  await Promise.all(servers.map((server) => server.remove()));
  const docs = readFileSync('docs/metrics.md', 'utf8');
  const named = [...docs.matchAll(/^\| `(\w+)` \| (\w+) \|/gm)].map(([, name, type]) => `${name ?? ''} ${type ?? ''}`);
  expect(named.toSorted()).toEqual(served.toSorted());
});
