import { spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, expect, test } from '@jest/globals';
import { CacheServiceService } from '../../../src/gen/shardkeep/cache/v1/cache.js';
import { startRedis, until } from '../../support/redis-server.js';
import { killServiceProcesses, startServiceProcess, type ServiceProcess } from '../../support/service-process.js';
import { randomNamespace, sharedRedisUrl } from '../../support/service.js';
import { bytes, lasting, NearClient } from './near-support.js';

/** A near cache while the service that tells it of changes is killed, frozen and replaced, as a process. */

const sockets: string[] = [];
let reader: NearClient | undefined;
afterEach(async () => {
  await killServiceProcesses();
  await reader?.close();
  for (const path of sockets.splice(0)) rmSync(path, { force: true });
});

interface World {
  readonly env: { readonly REDIS_URL: string; readonly GRPC_LISTEN: string; readonly NAMESPACE: string };
  readonly service: ServiceProcess;
  readonly reader: NearClient;
  /** Writes through another process of the service. */
  readonly write: (value: string) => Promise<unknown>;
}

/** A client that remembers `k` as `old`. */
async function world(): Promise<World> {
  const path = join(tmpdir(), `sk-${randomUUID().slice(0, 8)}.sock`);
  sockets.push(path);
  const env = {
    REDIS_URL: sharedRedisUrl('standalone'),
    GRPC_LISTEN: `unix:${path}`,
    NAMESPACE: randomNamespace(),
  };
  const [service, another] = await Promise.all([
    startServiceProcess(env),
    startServiceProcess({ ...env, GRPC_LISTEN: '127.0.0.1:0' }),
  ]);
  const cache = another.channel().of(CacheServiceService);
  const write = (value: string): Promise<unknown> => cache.set({ key: 'k', value: bytes(value), expiry: lasting });
  await write('old');
  const connected = new NearClient(env.GRPC_LISTEN);
  reader = connected;
  expect(await connected.remember('k')).toBe('old');
  return { env, service, reader: connected, write };
}

/** Reads until the answer is right, and answers all that came before; a read that fails is none. */
async function answersUntil(reader: NearClient, value: string): Promise<string[]> {
  const answers: string[] = [];
  await until(async () => {
    const answer = await reader.get('k', 500).catch(() => 'failed');
    answers.push(answer);
    return answer === value;
  });
  return answers;
}

test('a service that is killed takes with it what its clients keep, and its successor fills them anew', async () => {
  const { env, service, reader, write } = await world();
  await service.stop('SIGKILL');
  await until(() => !reader.near.stats.live);
  expect(reader.near.stats.entries).toBe(0);
  await write('new');
  expect(await reader.get('k', 500).catch(() => 'failed')).toBe('failed');
  await startServiceProcess(env);
  expect(await answersUntil(reader, 'new')).not.toContain('old');
  expect(await reader.remember('k')).toBe('new');
  await write('newer');
  await reader.untilReads('k', 'newer');
});

test('a service that drains is left for its successor', async () => {
  const { env, service, reader, write } = await world();
  await service.stop('SIGTERM');
  await until(() => !reader.near.stats.live);
  await write('new');
  await startServiceProcess(env);
  expect(await answersUntil(reader, 'new')).not.toContain('old');
  expect(await reader.remember('k')).toBe('new');
});

test('a service that is frozen vouches for nothing, and when it goes on nothing is answered from before', async () => {
  const { service, reader, write } = await world();
  service.signal('SIGSTOP');
  await write('new');
  // it takes 3 seconds at most; the connection says nothing
  await until(() => !reader.near.stats.live);
  const answers = await Promise.all(Array.from({ length: 20 }, () => reader.get('k', 300).catch(() => 'failed')));
  expect(new Set(answers)).toEqual(new Set(['failed']));
  service.signal('SIGCONT');
  expect(await answersUntil(reader, 'new')).not.toContain('old');
  expect(await reader.remember('k')).toBe('new');
});

test('a Redis that is killed takes with it what clients keep', async () => {
  const redis = await startRedis();
  const service = await startServiceProcess({ REDIS_URL: redis.url });
  const connected = new NearClient(service.address);
  reader = connected;
  const { cache } = connected.client.rpc;
  await cache.set({ key: 'k', value: bytes('old'), expiry: lasting });
  await connected.remember('k');
  await redis.stop('SIGKILL');
  await until(() => !connected.near.stats.live);
  await redis.restart();
  expect(await answersUntil(connected, 'miss')).not.toContain('old');
  expect(await connected.remember('k')).toBe('miss');
  await cache.set({ key: 'k', value: bytes('new'), expiry: lasting });
  await connected.untilReads('k', 'new');
  await service.stop();
  await redis.remove();
});

const DIST = fileURLToPath(new URL('../../../dist/client', import.meta.url));

test.each(['a service', 'no service'])(
  'a process with a near cache of %s ends by itself when it is closed',
  async (what) => {
    const address =
      what === 'a service'
        ? (await startServiceProcess({ REDIS_URL: sharedRedisUrl('standalone') })).address
        : `unix:${tmpdir()}/sk-nobody.sock`;
    const program = `
    import { connect } from '${DIST}/index.js';
    import { SILENT } from '${DIST}/logger.js';
    import { NearCache } from '${DIST}/cache/near/near-cache.js';
    const client = connect(${JSON.stringify(address)});
    const near = new NearCache(client.rpc.cache, {}, SILENT);
    const read = () => near.get('k', async (key) => (await client.rpc.cache.get({ key })).entry);
    for (let reads = 0; reads < 20; reads++) await read().catch(() => undefined);
    near.close();
    await client.close();
    await read().catch(() => undefined);
  `;
    const child = spawn(process.execPath, ['--input-type=module', '--eval', program], { stdio: 'inherit' });
    expect(await once(child, 'exit')).toEqual([0, null]);
  },
);
