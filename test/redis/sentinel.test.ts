import { Writable } from 'node:stream';
import { afterAll, beforeAll, beforeEach, expect, test } from '@jest/globals';
import { pino } from 'pino';
import { createClient } from 'redis';
import { AcquireLockStatus, LockOwnershipStatus } from '../../src/gen/shardkeep/lock/v1/lock.js';
import { ValidateSessionStatus } from '../../src/gen/shardkeep/session/v1/session.js';
import { loadConfig } from '../../src/config/config.js';
import { startService } from '../../src/service.js';
import { TestChannel } from '../support/client.js';
import { checkHealth } from '../support/health-client.js';
import { startSentinel, type SentinelSetup } from '../support/redis-sentinel.js';
import { until } from '../support/redis-server.js';
import { startTestService } from '../support/service.js';

let setup: SentinelSetup;
let lines: { readonly msg: string; readonly reason?: string }[] = [];
const logger = pino(
  { level: 'warn' },
  new Writable({
    write(chunk: Buffer, _encoding, done) {
      lines.push(JSON.parse(chunk.toString()) as (typeof lines)[number]);
      done();
    },
  }),
);

beforeAll(async () => {
  setup = await startSentinel();
});
afterAll(async () => {
  await setup.remove();
});
beforeEach(() => {
  lines = [];
});

test('with one of three sentinels every service works', async () => {
  const [away, alsoAway] = setup.sentinels;
  await Promise.all([away?.stop(), alsoAway?.stop()]);
  const service = await startTestService({ REDIS_URL: setup.url });
  try {
    const { cache, sessions, locks, rateLimits } = service;
    await cache.set({ key: 'a', value: Buffer.from('b') });
    expect((await cache.get({ key: 'a' })).entry?.value).toEqual(Buffer.from('b'));
    const { sessionToken } = await sessions.createSession({ userId: 'ada' });
    expect((await sessions.validateSession({ sessionToken })).status).toBe(ValidateSessionStatus.VALID);
    const { status, lockToken } = await locks.acquireLock({ resources: ['house'] });
    expect(status).toBe(AcquireLockStatus.GRANTED);
    const waiting = locks.acquireLock({ resources: ['house'], waitMs: 10_000n }, { deadline: Date.now() + 20_000 });
    await until(async () => (await locks.getLock({ resource: 'house' })).waitingCount === 1n);
    const released = await locks.releaseLock({ resources: ['house'], lockToken });
    expect(released.status).toBe(LockOwnershipStatus.DONE);
    expect((await waiting).status).toBe(AcquireLockStatus.GRANTED);
    const limits = [{ subject: 'user:ada', policy: { $case: 'policyName' as const, value: 'chat' } }];
    expect((await rateLimits.checkRateLimit({ limits })).allowed).toBe(true);
  } finally {
    await service.stop();
    await Promise.all([away?.restart(), alsoAway?.restart()]);
  }
});

/** Starts a service that cannot find its Redis; answers what it logs as the reason, once `repair` has made it ready. */
async function untilRepaired(url: string, msg: string, repair: () => Promise<unknown>): Promise<string | undefined> {
  const service = await startService({
    config: loadConfig({ NODE_ENV: 'test', GRPC_LISTEN: '127.0.0.1:0', REDIS_URL: url }),
    logger,
    onUnusable: (error) => {
      throw error;
    },
  });
  const channel = new TestChannel(service.address);
  try {
    await until(() => lines.some((line) => line.msg === msg));
    expect(await checkHealth(channel, 'shardkeep.cache.v1.CacheService')).toBe('NOT_SERVING');
    await repair();
    await service.ready;
    expect(await checkHealth(channel, 'shardkeep.cache.v1.CacheService')).toBe('SERVING');
  } finally {
    channel.close();
    await service.drain();
  }
  return lines.find((line) => line.msg === msg)?.reason;
}

test('a name that no sentinel knows is told, and found when they do', async () => {
  const url = setup.url.replace(/[^/]+$/, 'other');
  const reason = await untilRepaired(url, 'sentinels do not tell the master', () =>
    Promise.all(
      setup.sentinels.map((sentinel) =>
        sentinel.command('SENTINEL', 'MONITOR', 'other', '127.0.0.1', String(setup.servers[0]?.port), '2'),
      ),
    ),
  );
  expect(reason).toContain('No such master');
});

test('a wrong password of the master is told, and not its text', async () => {
  const [master] = setup.servers;
  await master?.command('CONFIG', 'SET', 'requirepass', 'right');
  // the replica stays connected; the sentinels know the password neither, and do not act so soon
  const url = setup.url.replace('://', '://:wrong-one@');
  const reason = await untilRepaired(url, 'redis connection error', async () => {
    const client = createClient({ url: `redis://:right@127.0.0.1:${String(master?.port)}` });
    await client.connect();
    await client.sendCommand(['CONFIG', 'SET', 'requirepass', 'wrong-one']);
    client.destroy();
  });
  expect(reason).toContain('WRONGPASS');
  expect(JSON.stringify(lines)).not.toContain('wrong-one');
});
