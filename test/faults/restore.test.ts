import { execFile } from 'node:child_process';
import { cpSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterEach, expect, test } from '@jest/globals';
import type { ShardkeepClient } from '../../src/client/index.js';
import { SERVICE_USER, serviceRules, shippedRules } from '../support/redis-user.js';
import { startRedis, type RedisServer, until } from '../support/redis-server.js';
import { sdkClient } from '../support/sdk-client.js';
import { startTestService, type TestService } from '../support/service.js';

/** The copy job of docs/operations/disaster-recovery.md, while Redis works, and what comes back from a copy. */

const COPY = fileURLToPath(new URL('../../k8s/components/redis-backup/copy-aof.sh', import.meta.url));
const AOF = ['--appendonly', 'yes', '--appendfsync', 'everysec', '--aof-use-rdb-preamble', 'yes'];
const NAMESPACE = 't-restored';
const run = promisify(execFile);

const folders: string[] = [];
const redises: RedisServer[] = [];
const services: TestService[] = [];
afterEach(async () => {
  await Promise.all(services.splice(0).map((service) => service.stop()));
  await Promise.all(redises.splice(0).map((redis) => redis.remove()));
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true, force: true });
});

function folder(): string {
  const made = mkdtempSync(join(tmpdir(), 'shardkeep-test-restore-'));
  folders.push(made);
  return made;
}

async function redisOn(dir: string, users: readonly string[] = []): Promise<RedisServer> {
  const redis = await startRedis([...AOF, '--dir', dir, ...users]);
  redises.push(redis);
  return redis;
}

async function clientOn(redis: RedisServer): Promise<ShardkeepClient> {
  const service = await startTestService({ STATE_REDIS_URL: redis.url, CACHE_REDIS_URL: redis.url, NAMESPACE });
  services.push(service);
  return sdkClient(service.address);
}

async function logIn({ sessions }: ShardkeepClient, userId: string): Promise<string> {
  const answer = await sessions.createSession({ userId });
  if (answer.status !== 'created') throw new Error(answer.status);
  return answer.sessionToken;
}

test('a copy that was made while players log in and Redis rewrites its file has every session from before it', async () => {
  const dir = folder();
  const copies = folder();
  const redis = await redisOn(dir);
  const client = await clientOn(redis);
  const before = await Promise.all(Array.from({ length: 200 }, (_, index) => logIn(client, `early-${String(index)}`)));
  const lock = await client.locks.acquireLock('boss', { ttlMs: 3_600_000 });
  if (lock.status !== 'granted') throw new Error(lock.status);

  const end = new AbortController();
  const loggingIn = (async () => {
    for (let index = 0; !end.signal.aborted; index++) await logIn(client, `late-${String(index)}`);
  })();
  await redis.command('BGREWRITEAOF');
  const made = await Promise.all(
    [1, 2, 3].map((each) => run(COPY, [join(dir, 'appendonlydir'), join(copies, String(each))])),
  );
  // another one is refused while one runs
  await until(async () => String(await redis.command('INFO', 'persistence')).includes('aof_rewrite_in_progress:0'));
  await redis.command('BGREWRITEAOF');
  end.abort();
  await loggingIn;
  await redis.stop('SIGKILL');

  for (const { stdout } of made) {
    const restored = folder();
    cpSync(stdout.trim(), join(restored, 'appendonlydir'), { recursive: true });
    const { sessions, locks } = await clientOn(await redisOn(restored));
    const found = await Promise.all(before.map((token) => sessions.validateSession(token)));
    expect(found.filter(({ status }) => status !== 'valid')).toEqual([]);
    // what it handed out before stays below what it hands out now
    await locks.forceReleaseLock('boss', 'restored');
    const next = await locks.acquireLock('boss');
    expect(next.status === 'granted' && next.lock.fencingToken > lock.lock.fencingToken).toBe(true);
  }
});

test('what scripts wrote is there after a restart under the users that ship, and nobody is the default user', async () => {
  // on, only so that the fixture can ask and turn it off; Redis checks its rights as it replays what scripts wrote
  const may = shippedRules('default').filter((rule) => !['off', 'resetpass'].includes(rule));
  const redis = await redisOn(folder(), [
    ...['--user', 'default', 'on', 'nopass', ...may, '+ping', '+acl|setuser'],
    ...['--user', SERVICE_USER, ...serviceRules()],
  ]);
  const client = await clientOn(redis);
  const { locks, cache, rateLimits } = client;
  const users = Array.from({ length: 20 }, (_, index) => `kept-${String(index)}`);
  const tokens = await Promise.all(users.map((user) => logIn(client, user)));
  expect((await locks.acquireLock('boss', { ttlMs: 3_600_000 })).status).toBe('granted');
  await cache.set('motd', 'welcome', { ttlMs: 3_600_000 });
  const before = await rateLimits.check('user:kept', 'auth');
  await redis.stop();
  await redis.restart();

  const after = await clientOn(redis);
  const found = await Promise.all(tokens.map((token) => after.sessions.validateSession(token)));
  expect(found.map((each) => (each.status === 'valid' ? each.session.userId : each.status))).toEqual(users);
  expect((await after.locks.acquireLock('boss')).status).toBe('held');
  expect(await after.cache.get('motd')).toBe('welcome');
  expect((await after.rateLimits.check('user:kept', 'auth')).remaining).toBe(before.remaining - 1);

  await redis.command('ACL', 'SETUSER', 'default', ...shippedRules('default'));
  await expect(redis.command('PING')).rejects.toThrow(/^NOAUTH /);
});

test('the newest copies are kept, and only whole ones count', async () => {
  const dir = folder();
  const copies = folder();
  const redis = await redisOn(dir);
  await redis.command('SET', 'key', 'value');
  const names: string[] = [];
  for (const keep of ['2', '2', '2']) {
    const { stdout } = await run(COPY, [join(dir, 'appendonlydir'), copies, keep]);
    names.push(basename(stdout.trim()));
  }
  expect(new Set(names).size).toBe(3);
  expect(readdirSync(copies)).toEqual(names.slice(1));
  await expect(run(COPY, [folder(), copies])).rejects.toMatchObject({ code: 1 });
  expect(readdirSync(copies)).toHaveLength(2);
});
