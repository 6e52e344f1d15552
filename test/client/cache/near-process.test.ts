import { spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, afterEach, beforeAll, expect, test } from '@jest/globals';
import { startRedis, until } from '../../support/redis-server.js';
import { killServiceProcesses, startServiceProcess, type ServiceProcess } from '../../support/service-process.js';
import { randomNamespace, sharedRedisUrl, startTestService, type TestService } from '../../support/service.js';
import { bytes, lasting, NearClient } from './near-support.js';

/** A near cache while the service that tells it of changes is killed, frozen and replaced, as a process. */

const env = { REDIS_URL: sharedRedisUrl('standalone'), NAMESPACE: randomNamespace() };
const sockets: string[] = [];
let reader: NearClient | undefined;
/** The same data through another service. */
let another: TestService;
beforeAll(async () => {
  another = await startTestService(env);
});
afterAll(async () => {
  await another.stop();
});
afterEach(async () => {
  await killServiceProcesses();
  await reader?.close();
  for (const path of sockets.splice(0)) rmSync(path, { force: true });
});

interface World {
  readonly service: ServiceProcess;
  readonly startSuccessor: () => Promise<unknown>;
  readonly reader: NearClient;
  readonly key: string;
  /** Through the other service. */
  readonly write: (value: string) => Promise<unknown>;
}

/** A client that remembers a key as `old`. */
async function world(): Promise<World> {
  const path = join(tmpdir(), `sk-${randomUUID().slice(0, 8)}.sock`);
  sockets.push(path);
  const key = `k:${randomUUID()}`;
  const listening = { ...env, GRPC_LISTEN: `unix:${path}` };
  const service = await startServiceProcess(listening);
  const write = (value: string): Promise<unknown> => another.cache.set({ key, value: bytes(value), expiry: lasting });
  await write('old');
  const connected = new NearClient(listening.GRPC_LISTEN);
  reader = connected;
  expect(await connected.remember(key)).toBe('old');
  return { service, startSuccessor: () => startServiceProcess(listening), reader: connected, key, write };
}

/** Reads until the answer is right, and answers all that came before; a read that fails is none. */
async function answersUntil(reader: NearClient, key: string, value: string): Promise<string[]> {
  const answers: string[] = [];
  await until(async () => {
    const answer = await reader.get(key, 500).catch(() => 'failed');
    answers.push(answer);
    return answer === value;
  });
  return answers;
}

test('a service that is killed takes with it what its clients keep, and its successor fills them anew', async () => {
  const { service, startSuccessor, reader, key, write } = await world();
  await service.stop('SIGKILL');
  await until(() => !reader.near.stats.live);
  expect(reader.near.stats.entries).toBe(0);
  await write('new');
  expect(await reader.get(key, 500).catch(() => 'failed')).toBe('failed');
  await startSuccessor();
  expect(await answersUntil(reader, key, 'new')).not.toContain('old');
  expect(await reader.remember(key)).toBe('new');
  await write('newer');
  await reader.untilReads(key, 'newer');
});

test('a service that drains is left for its successor', async () => {
  const { service, startSuccessor, reader, key, write } = await world();
  await service.stop('SIGTERM');
  await until(() => !reader.near.stats.live);
  await write('new');
  await startSuccessor();
  expect(await answersUntil(reader, key, 'new')).not.toContain('old');
  expect(await reader.remember(key)).toBe('new');
});

test('a service that is frozen vouches for nothing, and when it goes on nothing is answered from before', async () => {
  const { service, reader, key, write } = await world();
  service.signal('SIGSTOP');
  await write('new');
  // it takes 3 seconds at most; the connection says nothing
  await until(() => !reader.near.stats.live);
  const answers = await Promise.all(Array.from({ length: 20 }, () => reader.get(key, 300).catch(() => 'failed')));
  expect(new Set(answers)).toEqual(new Set(['failed']));
  service.signal('SIGCONT');
  expect(await answersUntil(reader, key, 'new')).not.toContain('old');
  expect(await reader.remember(key)).toBe('new');
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
  expect(await answersUntil(connected, 'k', 'miss')).not.toContain('old');
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
