import { existsSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { Client, credentials, status as Code, type ServiceError } from '@grpc/grpc-js';
import { afterEach, expect, test } from '@jest/globals';
import { service as healthDefinition } from 'grpc-health-check';
import { createClient } from 'redis';
import { CacheServiceService } from '../../src/gen/shardkeep/cache/v1/cache.js';
import { RateLimitServiceService } from '../../src/gen/shardkeep/ratelimit/v1/ratelimit.js';
import { SessionServiceService, ValidateSessionStatus } from '../../src/gen/shardkeep/session/v1/session.js';
import { failureOf } from '../support/client.js';
import { startRedis, until } from '../support/redis-server.js';
import { killServiceProcesses, startServiceProcess, type ServiceProcess } from '../support/service-process.js';

/** How the built service ends, and what it leaves behind: nothing. */

/** What the README promises for an embedded Redis whose service was killed. */
const ORPHAN_LIMIT_MS = 5_000;

afterEach(killServiceProcesses);

/** Every status that health reports, as it comes. */
function watchHealth(address: string): { readonly statuses: string[]; readonly close: () => void } {
  const watch = healthDefinition.Watch;
  if (watch === undefined) throw new Error('health has no Watch');
  const client = new Client(address, credentials.createInsecure());
  const statuses: string[] = [];
  const stream = client.makeServerStreamRequest<object, { status: string }>(
    watch.path,
    watch.requestSerialize as (request: object) => Buffer,
    watch.responseDeserialize as (bytes: Buffer) => { status: string },
    { service: '' },
  );
  stream.on('data', ({ status }: { status: string }) => statuses.push(status));
  stream.on('error', (error: ServiceError) => statuses.push(Code[error.code]));
  return {
    statuses,
    close: () => {
      client.close();
    },
  };
}

test('SIGTERM under load: NOT_SERVING first, calls in flight finish, exit 0', async () => {
  const redis = await startRedis();
  const service = await startServiceProcess({ REDIS_URL: redis.url, DEFAULT_DEADLINE_MS: '10000' });
  const channel = service.channel();
  const cache = channel.of(CacheServiceService);
  const health = watchHealth(service.address);
  await until(() => health.statuses.includes('SERVING'));
  await cache.set({ key: 'k', value: Buffer.from('v') });

  // a frozen Redis keeps these in flight; the answer of the last call tells that all have arrived
  redis.signal('SIGSTOP');
  const inFlight = Array.from({ length: 100 }, () => cache.get({ key: 'k' }));
  await channel.of(RateLimitServiceService).listPolicies({});
  let finished = 0;
  for (const call of inFlight) void call.finally(() => finished++).catch(() => undefined);

  service.signal('SIGTERM');
  await until(() => health.statuses.includes('NOT_SERVING'));
  expect(finished).toBe(0);
  redis.signal('SIGCONT');

  const answers = await Promise.all(inFlight);
  expect(answers.every(({ entry }) => entry?.value.toString() === 'v')).toBe(true);
  expect(await service.exited).toEqual({ code: 0, signal: null });
  expect((await failureOf(cache.get({ key: 'k' }))).code).toBe(Code.UNAVAILABLE);
  health.close();
  await redis.remove();
});

test('SIGTERM while Redis is silent: the drain ends all the same', async () => {
  const redis = await startRedis();
  const service = await startServiceProcess({ REDIS_URL: redis.url, DEFAULT_DEADLINE_MS: '300' });
  const channel = service.channel();
  redis.signal('SIGSTOP');
  const stuck = failureOf(channel.of(CacheServiceService).get({ key: 'k' }));
  await channel.of(RateLimitServiceService).listPolicies({});
  service.signal('SIGTERM');
  expect((await stuck).code).toBe(Code.DEADLINE_EXCEEDED);
  expect(await service.exited).toEqual({ code: 0, signal: null });
  await redis.remove();
});

test('a second signal ends at once', async () => {
  const redis = await startRedis();
  const service = await startServiceProcess({ REDIS_URL: redis.url, DEFAULT_DEADLINE_MS: '30000' });
  const channel = service.channel();
  redis.signal('SIGSTOP');
  const stuck = failureOf(channel.of(CacheServiceService).get({ key: 'k' }));
  await channel.of(RateLimitServiceService).listPolicies({});
  service.signal('SIGTERM');
  await service.log('draining');
  service.signal('SIGTERM');
  expect((await service.exited).code).not.toBe(0);
  // the call ends with the process; by which status depends on how its connection broke
  await stuck;
  await redis.remove();
});

interface Embedded {
  readonly service: ServiceProcess;
  readonly runDirs: readonly string[];
  readonly pids: readonly number[];
}

/** A service with its own Redis children, and where they are. */
async function startEmbedded(options: { ownGroup?: boolean } = {}): Promise<Embedded> {
  const service = await startServiceProcess({}, options);
  const sockets = service.logs
    .filter(({ msg }) => msg === 'redis connected')
    .map(({ address }) => String(address).replace(/^unix:/, ''));
  const pids = await Promise.all(
    sockets.map(async (path) => {
      const client = createClient({ socket: { path, tls: false } });
      await client.connect();
      const info = await client.info('server');
      client.destroy();
      return Number(/process_id:(\d+)/.exec(info)?.[1]);
    }),
  );
  return { service, runDirs: sockets.map((path) => dirname(path)), pids };
}

function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

function nothingLeft({ runDirs, pids }: Embedded): boolean {
  return !pids.some(isRunning) && !runDirs.some((dir) => existsSync(dir));
}

test('with an embedded Redis, SIGTERM leaves no process and no file', async () => {
  const embedded = await startEmbedded();
  expect(embedded.pids).toHaveLength(2);
  expect(await embedded.service.stop('SIGTERM')).toEqual({ code: 0, signal: null });
  expect(nothingLeft(embedded)).toBe(true);
});

test('Ctrl-C reaches the whole terminal group, and still the calls in flight are answered from Redis', async () => {
  const embedded = await startEmbedded({ ownGroup: true });
  const channel = embedded.service.channel();
  const cache = channel.of(CacheServiceService);
  await cache.set({ key: 'k', value: Buffer.from('v') });
  for (const pid of embedded.pids) process.kill(pid, 'SIGSTOP');
  const inFlight = Array.from({ length: 20 }, () => cache.get({ key: 'k' }, { deadline: Date.now() + 10_000 }));
  await channel.of(RateLimitServiceService).listPolicies({});
  embedded.service.signalGroup('SIGINT');
  await embedded.service.log('draining');
  for (const pid of embedded.pids) process.kill(pid, 'SIGCONT');
  const answers = await Promise.all(inFlight);
  expect(answers.every(({ entry }) => entry?.value.toString() === 'v')).toBe(true);
  expect((await embedded.service.exited).code).toBe(0);
  expect(nothingLeft(embedded)).toBe(true);
});

test('kill -9 of the service leaves no orphan Redis for longer than 5 s', async () => {
  const embedded = await startEmbedded();
  const killedAt = performance.now();
  await embedded.service.stop('SIGKILL');
  await until(() => nothingLeft(embedded));
  expect(performance.now() - killedAt).toBeLessThan(ORPHAN_LIMIT_MS);
});

test('an embedded Redis that dies comes back by itself', async () => {
  const embedded = await startEmbedded();
  const cache = embedded.service.channel().of(CacheServiceService);
  for (const pid of embedded.pids) process.kill(pid, 'SIGKILL');
  await until(async () => (await cache.set({ key: 'k', value: Buffer.from('v') })).stored);
  expect(await embedded.service.stop('SIGTERM')).toEqual({ code: 0, signal: null });
  expect(embedded.runDirs.some((dir) => existsSync(dir))).toBe(false);
});

test('with DATA_DIR sessions outlive a kill -9 of the service, and the folder never has two owners', async () => {
  const dataDir = await mkdtemp(join(tmpdir(), 'shardkeep-test-data-'));
  const settings = { DATA_DIR: dataDir, NAMESPACE: 'kept' };
  const first = await startServiceProcess(settings);
  const login = await first.channel().of(SessionServiceService).createSession({ userId: 'ada' });
  // its Redis writes the append-only file once a second
  const rival = await startServiceProcess(settings, { until: 'nothing' });
  const refused = await rival.log('data folder is in use by another redis, trying again');
  expect(refused).toMatchObject({ role: 'state' });
  await rival.stop('SIGKILL');
  await first.stop('SIGKILL');

  const next = await startServiceProcess(settings);
  const { sessionToken } = login;
  const answer = await next.channel().of(SessionServiceService).validateSession({ sessionToken });
  expect(answer.status).toBe(ValidateSessionStatus.VALID);
  await next.stop('SIGTERM');
  await rm(dataDir, { recursive: true });
});
