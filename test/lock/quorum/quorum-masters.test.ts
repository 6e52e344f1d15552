import { status as Code } from '@grpc/grpc-js';
import { afterEach, describe, expect, test } from '@jest/globals';
import { pino } from 'pino';
import { AcquireLockStatus, LockServiceService } from '../../../src/gen/shardkeep/lock/v1/lock.js';
import { keys } from '../../../src/redis/keys.js';
import { admitMasterScript, quorumScripts } from '../../../src/lock/quorum/scripts.js';
import { Redis } from '../../../src/redis/redis.js';
import { failureOf } from '../../support/client.js';
import { scrape } from '../../support/metrics.js';
import { describeWithRedisClock, startClockedRedis } from '../../support/redis-clock.js';
import { serviceUrl, until, type RedisServer } from '../../support/redis-server.js';
import { startServiceProcess } from '../../support/service-process.js';
import { sharedRedisUrl } from '../../support/service.js';
import { admitNow, callOf, QuorumBed, startMasters } from './quorum-support.js';

/** Masters of a quorum that may not vote: they have forgotten, are too few or the same, or have another time. */

const { GRANTED } = AcquireLockStatus;
const EXIT_CONFIG = 78;

const bed = new QuorumBed();
afterEach(bed.clear);

const SHORT = { LOCK_QUORUM_MAX_TTL_MS: '1000', LOCK_QUORUM_MAX_CLOCK_SKEW_MS: '250' };
const QUARANTINE_MS = 1_500;

describe('a master that may have forgotten does not vote before the longest lease is over', () => {
  test.each<[string, readonly string[], (master: RedisServer) => Promise<void>]>([
    [
      'restarted',
      [],
      async (master) => {
        await master.stop('SIGKILL');
        await master.restart();
      },
    ],
    [
      'restarted with what it had on its disk',
      ['--appendonly', 'yes', '--appendfsync', 'always'],
      async (master) => {
        await master.stop('SIGKILL');
        await master.restart();
      },
    ],
    [
      'flushed',
      [],
      async (master) => {
        await master.command('FLUSHALL');
      },
    ],
  ])('%s', async (_, flags, forget) => {
    const { locks, namespace } = await bed.start(SHORT, flags);
    const forgottenAt = performance.now();
    await forget(bed.masterAt(0));
    let tries = 0;
    await until(async () => {
      const resource = `r-${String(tries++)}`;
      const { status } = await locks.acquireLock({ resources: [resource], ttlMs: 1_000n });
      expect(status).toBe(GRANTED);
      return (await bed.ask(0, 'HGET', keys.lock(namespace, resource), 'vote')) !== null;
    });
    expect(performance.now() - forgottenAt).toBeGreaterThan(QUARANTINE_MS);
    expect(tries).toBeGreaterThan(1);
  });

  test('new, with all of its fleet', async () => {
    bed.masters = [...(await startMasters(3))];
    const startedAt = performance.now();
    const service = await startServiceProcess(bed.environment('t-new-fleet', SHORT), { until: 'listening' });
    const locks = service.channel().of(LockServiceService);
    await until(async () => {
      await expect(bed.ask(0, 'HGET', keys.quorumMarker('t-new-fleet'), 'since')).resolves.not.toBeNull();
      return true;
    });
    expect((await failureOf(locks.acquireLock({ resources: ['r'], ttlMs: 500n }))).code).toBe(Code.UNAVAILABLE);
    await service.log('ready');
    expect(performance.now() - startedAt).toBeGreaterThan(QUARANTINE_MS);
    await until(async () => (await locks.acquireLock({ resources: ['r'], ttlMs: 500n })).status === GRANTED);
  });
});

describe('refused at boot', () => {
  test.each([1, 2, 4, 7])('%i masters', async (count) => {
    const urls = Array.from({ length: count }, (_, index) => serviceUrl(7_000 + index)).join(',');
    const service = await startServiceProcess({ LOCK_REDIS_URLS: urls }, { until: 'nothing' });
    expect(await service.exited).toEqual({ code: EXIT_CONFIG, signal: null });
    expect(service.output.join('\n')).toMatch(/LOCK_REDIS_URLS: .*3 or 5/);
  });

  test('one master by two names', async () => {
    bed.masters = [...(await startMasters(2))];
    const [first, second] = bed.masters.map(({ port }) => port);
    const urls = [
      serviceUrl(first ?? 0),
      serviceUrl(first ?? 0).replace('127.0.0.1', 'localhost'),
      serviceUrl(second ?? 0),
    ].join(',');
    const service = await startServiceProcess(
      { REDIS_URL: sharedRedisUrl('standalone'), LOCK_REDIS_URLS: urls },
      { until: 'nothing' },
    );
    expect(await service.exited).toEqual({ code: EXIT_CONFIG, signal: null });
    const [fatal] = service.logs.filter(({ level }) => level === 60);
    expect(JSON.stringify(fatal)).toContain('is the same Redis as');
  });
});

describeWithRedisClock('a master with another time', () => {
  test.each([-10_000, 10_000])('by %i ms raises the alarm, does not vote, and the others grant', async (offsetMs) => {
    const clocked = await startClockedRedis();
    const { server, clock } = clocked;
    try {
      clock.runAt(offsetMs);
      bed.masters = [...(await startMasters(2))];
      const namespace = await admitNow([...bed.masters, server]);
      const service = await startServiceProcess({
        ...bed.environment(namespace),
        LOCK_REDIS_URLS: [...bed.masters, server].map((master) => master.url).join(','),
        ADMIN_LISTEN: '127.0.0.1:0',
      });
      const locks = service.channel().of(LockServiceService);
      expect((await locks.acquireLock({ resources: ['r'] })).status).toBe(GRANTED);
      const alarm = await service.log(({ msg }) => msg?.startsWith('clock skew') === true);
      expect(alarm).toMatchObject({ level: 50, address: `127.0.0.1:${String(server.port)}` });
      expect(Math.sign(Number(alarm.aheadMs))).toBe(-Math.sign(offsetMs));
      const { address } = await service.log('admin port listening');
      const count = `shardkeep_lock_quorum_answers_total{master="127.0.0.1:${String(server.port)}",answer="clock_skew"}`;
      await until(async () => (await scrape(String(address))).get(count) === 1);
      expect(await server.command('EXISTS', keys.lock(namespace, 'r'))).toBe(0);

      // its time is put right
      clock.runAt(0);
      await locks.acquireLock({ resources: ['later'] });
      await until(async () => (await server.command('EXISTS', keys.lock(namespace, 'later'))) === 1);
    } finally {
      await clocked.remove();
    }
  });
});

describeWithRedisClock('the time out of a master', () => {
  test('is counted by its own clock, begins anew with each process and flush, and is the longest asked for', async () => {
    const clocked = await startClockedRedis();
    const { server, clock } = clocked;
    const namespace = 'admitted';
    const redis = new Redis({
      target: { topology: 'standalone', tls: false, host: '127.0.0.1', port: server.port, database: 0 },
      scripts: quorumScripts,
      logger: pino({ level: 'silent' }),
    });
    const leftMs = (runId: string, quarantineMs = 1_000): Promise<number> =>
      redis.run(
        admitMasterScript.bind({ marker: keys.quorumMarker(namespace) }, { runId, quarantineMs: String(quarantineMs) }),
        callOf(namespace),
      );
    try {
      redis.connect();
      await until(() => redis.isReady);
      expect(await leftMs('first')).toBe(1_000);
      clock.step(999);
      expect(await leftMs('first')).toBe(1);
      expect(await leftMs('first', 1_500)).toBe(501);
      clock.step(500);
      expect(await leftMs('first')).toBe(1);
      clock.step(1);
      expect(await leftMs('first')).toBe(0);
      clock.step(-5_000);
      expect(await leftMs('first')).toBe(0);
      expect(await leftMs('second')).toBe(1_000);
      clock.step(-1);
      expect(await leftMs('second')).toBe(1_000);
      clock.step(1_000);
      expect(await leftMs('second')).toBe(0);
      await server.command('FLUSHALL');
      expect(await leftMs('second')).toBe(1_000);
    } finally {
      redis.destroy();
      await clocked.remove();
    }
  });
});
