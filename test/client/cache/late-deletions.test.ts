import { afterEach, expect, test } from '@jest/globals';
import { Code, UnavailableError, type ConnectOptions, type ShardkeepClient } from '../../../src/client/index.js';
import { errorOf } from '../../support/client-error.js';
import { until } from '../../support/redis-server.js';
import { sdkClient } from '../../support/sdk-client.js';
import { killServiceProcesses, startServiceProcess, type ServiceProcess } from '../../support/service-process.js';
import { randomNamespace, sharedRedisUrl } from '../../support/service.js';

/** What was to end while the service was away ends when it is back. */

afterEach(killServiceProcesses);

interface Game {
  /** The client whose service is killed, and one beside it that has another. */
  readonly client: ShardkeepClient;
  readonly beside: ShardkeepClient;
  readonly service: ServiceProcess;
  readonly lines: string[];
  readonly restart: () => Promise<ServiceProcess>;
}

async function start(cache: ConnectOptions['cache'] = {}): Promise<Game> {
  const env = { REDIS_URL: sharedRedisUrl('standalone'), NAMESPACE: randomNamespace() };
  const [service, other] = await Promise.all([startServiceProcess(env), startServiceProcess(env)]);
  const lines: string[] = [];
  const client = sdkClient(service.address, {
    retry: { maxAttempts: 1 },
    cache,
    logger: { debug: () => undefined, warn: () => undefined, error: (_, message) => lines.push(message) },
  });
  return {
    client,
    beside: sdkClient(other.address),
    service,
    lines,
    restart: () => startServiceProcess({ ...env, GRPC_LISTEN: service.address }),
  };
}

/** Until the client knows that its service is away, and its circuit is open. */
async function lose({ client, service }: Game): Promise<void> {
  await service.stop('SIGKILL');
  await until(async () => {
    await client.cache.get('any');
    return client.cache.circuitState !== 'closed';
  });
}

test('deletions and invalidations are made up for, and what was written meanwhile by others is a miss at most', async () => {
  // a circuit that would not ask again by itself while this test runs
  const game = await start({ circuit: { openMs: 3_600_000, maxOpenMs: 3_600_000 } });
  const { client, beside, lines } = game;
  await beside.cache.setMany([
    { key: 'deleted', value: 1 },
    { key: 'tagged', value: 1, tags: ['board'] },
    { key: 'soft', value: 1, tags: ['rank'], ttlMs: 3_600_000, staleMs: 3_600_000 },
    { key: 'other', value: 1, tags: ['chat'] },
  ]);
  await lose(game);
  expect(await client.cache.delete('deleted')).toBe(false);
  await client.cache.invalidateByTag('board');
  await client.cache.invalidateByTag('rank', { soft: true });
  expect(lines.length).toBeGreaterThan(0);
  expect(await beside.cache.get('deleted')).toBe(1);
  await game.restart();
  await until(async () => (await beside.cache.get('deleted')) === undefined);
  await until(async () => (await beside.cache.get('tagged')) === undefined);
  await until(async () => (await beside.cache.getEntry('soft'))?.stale === true);
  expect(await beside.cache.get('other')).toBe(1);
  expect(client.cache.circuitState).toBe('closed');
});

test('what is written or loaded behind a late deletion stays', async () => {
  const game = await start();
  const { client, beside } = game;
  const keys = Array.from({ length: 40 }, (_, index) => `key-${String(index)}`);
  await Promise.all(keys.map((key) => beside.cache.set(key, 'old')));
  await lose(game);
  await client.cache.deleteMany(keys);
  await game.restart();
  const use = async (key: string, index: number): Promise<unknown> => {
    if (index % 3 === 0) return client.cache.cacheAside(key, () => 'new');
    if (index % 3 === 1) return client.cache.writeThrough(key, 'new', () => undefined);
    await until(async () => (await client.cache.set(key, 'new')).stored);
    return undefined;
  };
  // the service comes back in the middle of them
  await Promise.all(keys.map(use));
  await until(async () => client.cache.circuitState === 'closed' && (await client.cache.set('probe', 1)).stored);
  const first = await Promise.all(keys.map((key) => beside.cache.get(key)));
  expect(first.filter((value) => value === 'old')).toEqual([]);
  // each that the service took was behind the deletion of its key
  await until(async () => (await Promise.all(keys.map((key) => client.cache.set(key, 'last')))).every((s) => s.stored));
  expect(await beside.cache.getMany(keys)).toEqual(keys.map(() => 'last'));
  await client.close();
  expect(await beside.cache.getMany(keys)).toEqual(keys.map(() => 'last'));
});

test('whoever wants to know of a lost deletion is told, and nothing is made up for', async () => {
  const game = await start({ onWriteError: 'throw' });
  const { client, beside } = game;
  await beside.cache.set('kept', 1);
  await lose(game);
  expect(await errorOf(client.cache.delete('kept'))).toBeInstanceOf(UnavailableError);
  const guard = { resource: 'door', fencingToken: 1 };
  expect((await errorOf(client.cache.delete('kept', { guard }))).code).toBe(Code.UNAVAILABLE);
  await game.restart();
  await until(() =>
    client.cache
      .set('probe', 1)
      .then(({ stored }) => stored)
      .catch(() => false),
  );
  expect(await beside.cache.get('kept')).toBe(1);
});

test('more than one RPC takes are made up for too, and come before what is written to them', async () => {
  const game = await start();
  const { client, beside } = game;
  const keys = Array.from({ length: 600 }, (_, index) => `key-${String(index)}`);
  await beside.cache.setMany(keys.map((key) => ({ key, value: 'old' })));
  await lose(game);
  await client.cache.deleteMany(keys);
  await game.restart();
  const entries = keys.map((key) => ({ key, value: 'new' }));
  await until(async () => (await client.cache.setMany(entries)).every(({ stored }) => stored));
  await client.close();
  expect(new Set(await beside.cache.getMany(keys))).toEqual(new Set(['new']));
});
