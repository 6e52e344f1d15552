import { status as Code } from '@grpc/grpc-js';
import dns from 'node:dns';
import { once } from 'node:events';
import { connect, createServer, type LookupFunction, type Socket } from 'node:net';
import { afterAll, afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals';
import { MountedFiles } from '../support/mounted-files.js';
import { failureOf } from '../support/client.js';
import { checkHealth } from '../support/health-client.js';
import { KeptLog } from '../support/kept-log.js';
import { startRedis, until, type RedisServer } from '../support/redis-server.js';
import { SERVICE_PASSWORD, SERVICE_USER, serviceRules } from '../support/redis-user.js';
import { startTestService, type TestService } from '../support/service.js';

const CACHE = 'shardkeep.cache.v1.CacheService';
const SESSIONS = 'shardkeep.session.v1.SessionService';
const NEW_PASSWORD = 'open-sesame';

let redis: RedisServer;
let service: TestService;
let log: KeptLog;
const files = new MountedFiles();

beforeEach(async () => {
  redis = await startRedis();
  log = new KeptLog();
});

afterEach(async () => {
  await service.stop();
  await redis.remove();
});

afterAll(() => {
  files.remove();
});

async function serve(env: Readonly<Record<string, string>>): Promise<void> {
  service = await startTestService(env, { logger: log.logger });
  await service.cache.set({ key: 'k', value: Buffer.from('kept') });
}

async function untilHealth(status: 'SERVING' | 'NOT_SERVING'): Promise<void> {
  for (const name of [CACHE, SESSIONS]) await until(async () => (await checkHealth(service.channel, name)) === status);
}

/** Its user gets other rules, and has to log in again. */
async function changeUser(...rules: string[]): Promise<void> {
  await redis.command('ACL', 'SETUSER', SERVICE_USER, ...rules);
  await redis.command('CLIENT', 'KILL', 'USER', SERVICE_USER);
}

async function expectRefused(): Promise<void> {
  const failure = await failureOf(service.cache.get({ key: 'k' }));
  expect(failure).toMatchObject({ code: Code.UNAVAILABLE, reason: 'REDIS_UNAVAILABLE' });
  expect(failure.retryAfterMs).toBeGreaterThan(0);
}

/** Waits until it serves, and answers what it reads of what it has written before. */
async function served(): Promise<string | undefined> {
  await untilHealth('SERVING');
  return (await service.cache.get({ key: 'k' })).entry?.value.toString();
}

describe('a password that was changed', () => {
  test('is found in its file without a restart, and neither one is logged', async () => {
    const REDIS_PASSWORD_FILE = files.write('password', `${SERVICE_PASSWORD}\n`);
    const REDIS_URL = `redis://127.0.0.1:${String(redis.port)}`;
    await serve({ REDIS_URL, REDIS_USERNAME: SERVICE_USER, REDIS_PASSWORD_FILE });
    await changeUser('resetpass', `>${NEW_PASSWORD}`);
    await untilHealth('NOT_SERVING');
    await expectRefused();
    expect(await log.untilCode('WRONGPASS')).toMatchObject({
      level: 50,
      mend: expect.stringMatching(/PASSWORD_FILE/) as unknown,
    });
    files.write('password', `${NEW_PASSWORD}\n`);
    expect(await served()).toBe('kept');
    // a mounted file that is gone for a moment, and one that is empty
    files.delete('password');
    await redis.command('CLIENT', 'KILL', 'USER', SERVICE_USER);
    expect(await log.untilCode('ENOENT')).toMatchObject({ level: 50 });
    files.write('password', '');
    await untilHealth('NOT_SERVING');
    files.write('password', NEW_PASSWORD);
    expect(await served()).toBe('kept');
    expect(log.text).not.toMatch(new RegExp(`${NEW_PASSWORD}|${SERVICE_PASSWORD}`));
  });
});

test('a user that was removed is told, and serves again when it is back', async () => {
  await serve({ REDIS_URL: redis.url });
  await redis.command('ACL', 'DELUSER', SERVICE_USER);
  await untilHealth('NOT_SERVING');
  await expectRefused();
  await log.untilCode('WRONGPASS');
  await redis.command('ACL', 'SETUSER', SERVICE_USER, ...serviceRules());
  expect(await served()).toBe('kept');
  expect(log.text).not.toContain(SERVICE_PASSWORD);
});

describe('a right that is dropped while the service is connected', () => {
  test.each([
    ['a command', ['-get', '-mget'], ['+get', '+mget']],
    ['the keys', ['resetkeys'], ['~t-*:*']],
  ])('%s: calls are UNAVAILABLE, health says so, the log names it, and it comes back', async (_, drop, grant) => {
    await serve({ REDIS_URL: redis.url });
    await redis.command('ACL', 'SETUSER', SERVICE_USER, ...drop);
    await expectRefused();
    await untilHealth('NOT_SERVING');
    const lacks = log.lines.filter(({ code, reason }) => code === 'NOPERM' && typeof reason === 'string');
    const [right = ''] = grant;
    expect(lacks[0]?.reason).toContain(right.startsWith('~') ? `~${service.namespace}:*` : right);
    await redis.command('ACL', 'SETUSER', SERVICE_USER, ...grant);
    expect(await served()).toBe('kept');
  });

  test('in the middle of a script: the fate of the write is unknown', async () => {
    await serve({ REDIS_URL: redis.url });
    await redis.command('ACL', 'SETUSER', SERVICE_USER, '-hset');
    const failure = await failureOf(service.locks.acquireLock({ resources: ['r'], ttlMs: 1_000n }));
    expect(failure).toMatchObject({ code: Code.UNAVAILABLE, reason: 'OUTCOME_UNKNOWN' });
    await untilHealth('NOT_SERVING');
  });

  test('one that was never granted keeps the service from serving, and its name is told', async () => {
    await serve({ REDIS_URL: redis.url });
    await changeUser('-client|tracking', 'resetchannels');
    await untilHealth('NOT_SERVING');
    await until(() => log.lines.some(({ reason }) => String(reason).includes('+client|tracking &')));
    await changeUser('+client|tracking', '&t-*:*');
    expect(await served()).toBe('kept');
  });
});

/** Passes everything on from another address of this machine, at the same port. */
async function startDoor(port: number) {
  const sockets = new Set<Socket>();
  const listener = createServer((client) => {
    const server = connect(port, '127.0.0.1');
    sockets.add(client).add(server);
    client.pipe(server).pipe(client);
    for (const socket of [client, server]) socket.on('error', () => undefined);
  });
  listener.listen(port, '127.0.0.2');
  await once(listener, 'listening');
  return {
    get used() {
      return sockets.size > 0;
    },
    close: async () => {
      for (const socket of sockets) socket.destroy();
      listener.close();
      await once(listener, 'close');
    },
  };
}

test('the name of Redis is looked up at each connection, so that it may move', async () => {
  let place = '127.0.0.2';
  const door = await startDoor(redis.port);
  const { lookup } = dns;
  const changed = jest.spyOn(dns, 'lookup').mockImplementation(((...asked: Parameters<LookupFunction>) => {
    const [name, options, done] = asked;
    // whatever else this process looks up meanwhile
    if (name !== 'redis.test') (lookup as (...same: unknown[]) => void)(...asked);
    else if (options.all === true) done(null, [{ address: place, family: 4 }]);
    else done(null, place, 4);
  }) as typeof dns.lookup);
  try {
    // the same port at another address: whoever kept the first one would find nobody there
    await serve({ REDIS_URL: redis.url.replace('127.0.0.1', 'redis.test') });
    expect(door.used).toBe(true);
    place = '127.0.0.1';
    await door.close();
    expect(await served()).toBe('kept');
  } finally {
    changed.mockRestore();
  }
});
