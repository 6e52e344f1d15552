import { status as Code } from '@grpc/grpc-js';
import { afterEach, describe, expect, test } from '@jest/globals';
import { AcquireLockStatus, LockOwnershipStatus, LockServiceService } from '../../../src/gen/shardkeep/lock/v1/lock.js';
import { keys } from '../../../src/redis/keys.js';
import { failureOf } from '../../support/client.js';
import { checkHealth } from '../../support/health-client.js';
import { scrape } from '../../support/metrics.js';
import { describeWithRedisClock, startClockedRedis } from '../../support/redis-clock.js';
import { startRedis, until, type RedisServer } from '../../support/redis-server.js';
import { killServiceProcesses, startServiceProcess } from '../../support/service-process.js';
import { sharedRedisUrl, startTestService, type Environment, type TestService } from '../../support/service.js';
import { admitNow, startMasters } from './quorum-support.js';

/** Masters of a quorum that hang, restart, forget or have another time; services that are killed or set wrongly. */

const { GRANTED, HELD } = AcquireLockStatus;
const { DONE } = LockOwnershipStatus;
const SERVICE = 'shardkeep.lock.v1.LockService';
const EXIT_CONFIG = 78;

let masters: RedisServer[] = [];
let services: TestService[] = [];

afterEach(async () => {
  await killServiceProcesses();
  await Promise.all(services.map((service) => service.stop()));
  await Promise.all(masters.map((master) => master.remove()));
  [masters, services] = [[], []];
});

function environment(namespace: string, env: Environment = {}): Environment {
  const urls = masters.map(({ url }) => url).join(',');
  return { REDIS_URL: sharedRedisUrl('standalone'), NAMESPACE: namespace, LOCK_REDIS_URLS: urls, ...env };
}

/** A service on three masters that vote. */
async function startQuorum(env: Environment = {}, flags: readonly string[] = []): Promise<TestService> {
  masters = await Promise.all([0, 1, 2].map(() => startRedis(flags)));
  const service = await startTestService(environment(await admitNow(masters), env));
  services.push(service);
  return service;
}

function masterAt(index: number): RedisServer {
  const master = masters[index];
  if (master === undefined) throw new RangeError('no master');
  return master;
}

function ask(index: number, ...command: readonly string[]): Promise<unknown> {
  return masterAt(index).command(...command);
}

describe('with one of three masters stopped', () => {
  test('every RPC is done within the deadline of its caller', async () => {
    const { locks } = await startQuorum();
    masterAt(1).signal('SIGSTOP');
    const soon = (): { readonly deadline: number } => ({ deadline: Date.now() + 1_000 });
    for (let round = 0; round < 5; round++) {
      const { status, lockToken } = await locks.acquireLock({ resources: ['r'] }, soon());
      expect(status).toBe(GRANTED);
      expect((await locks.getLock({ resource: 'r' }, soon())).holderCount).toBe(1n);
      expect((await locks.acquireLock({ resources: ['r'] }, soon())).status).toBe(HELD);
      expect((await locks.extendLock({ resources: ['r'], lockToken }, soon())).status).toBe(DONE);
      expect((await locks.releaseLock({ resources: ['r'], lockToken }, soon())).status).toBe(DONE);
    }
  });

  test('what it grants later to a try that has failed is given back', async () => {
    const { locks, namespace } = await startQuorum({ LOCK_QUORUM_MAX_CLOCK_SKEW_MS: '60000' });
    const key = keys.lock(namespace, 'late');
    await locks.acquireLock({ resources: ['late'], owner: 'first' });
    await ask(2, 'DEL', key);
    masterAt(2).signal('SIGSTOP');
    expect(await locks.acquireLock({ resources: ['late'], owner: 'second' })).toMatchObject({
      status: HELD,
      holder: { owner: 'first' },
    });
    masterAt(2).signal('SIGCONT');
    await until(async () => (await ask(2, 'HGET', key, 'fence')) !== null);
    await until(async () => (await ask(2, 'HGET', key, 'vote')) === null);
    expect((await locks.getLock({ resource: 'late' })).holders).toMatchObject([{ owner: 'first' }]);
  });
});

test('with two of three masters stopped calls fail long before their deadline', async () => {
  const { locks, channel } = await startQuorum();
  masterAt(0).signal('SIGSTOP');
  masterAt(2).signal('SIGSTOP');
  const lockToken = 'A'.repeat(32);
  const options = { deadline: Date.now() + 10_000 };
  const startedAt = performance.now();
  const calls: readonly (() => Promise<unknown>)[] = [
    () => locks.acquireLock({ resources: ['r'] }, options),
    () => locks.releaseLock({ resources: ['r'], lockToken }, options),
    () => locks.extendLock({ resources: ['r'], lockToken }, options),
    () => locks.getLock({ resource: 'r' }, options),
  ];
  for (const call of calls) expect((await failureOf(call())).code).toBe(Code.UNAVAILABLE);
  // four tries of 50 ms and the pauses between, and one of the others each
  expect(performance.now() - startedAt).toBeLessThan(3_000);
  await until(async () => (await checkHealth(channel, SERVICE)) === 'NOT_SERVING');
  masterAt(2).signal('SIGCONT');
  await until(async () => (await checkHealth(channel, SERVICE)) === 'SERVING');
  expect((await locks.acquireLock({ resources: ['r'] })).status).toBe(GRANTED);
});

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
    const { locks, namespace } = await startQuorum(SHORT, flags);
    const forgottenAt = performance.now();
    await forget(masterAt(0));
    let tries = 0;
    await until(async () => {
      const resource = `r-${String(tries++)}`;
      const { status } = await locks.acquireLock({ resources: [resource], ttlMs: 1_000n });
      expect(status).toBe(GRANTED);
      return (await ask(0, 'HGET', keys.lock(namespace, resource), 'vote')) !== null;
    });
    expect(performance.now() - forgottenAt).toBeGreaterThan(QUARANTINE_MS);
    expect(tries).toBeGreaterThan(1);
  });

  test('new, with all of its fleet', async () => {
    masters = [...(await startMasters(3))];
    const startedAt = performance.now();
    const service = await startServiceProcess(environment('new-fleet', SHORT), { until: 'listening' });
    const locks = service.channel().of(LockServiceService);
    await until(async () => {
      await expect(ask(0, 'HGET', keys.quorumMarker('new-fleet'), 'since')).resolves.not.toBeNull();
      return true;
    });
    expect((await failureOf(locks.acquireLock({ resources: ['r'], ttlMs: 500n }))).code).toBe(Code.UNAVAILABLE);
    await service.log('ready');
    expect(performance.now() - startedAt).toBeGreaterThan(QUARANTINE_MS);
    await until(async () => (await locks.acquireLock({ resources: ['r'], ttlMs: 500n })).status === GRANTED);
  });
});

test('a service that is killed leaves no vote that lasts longer than its lease', async () => {
  const { locks, namespace } = await startQuorum();
  const TTL_MS = 2_000;
  const killed = await startServiceProcess(environment(namespace));
  const theirs = killed.channel().of(LockServiceService);
  const held = await theirs.acquireLock({ resources: ['held'], ttlMs: BigInt(TTL_MS) });
  expect(held.status).toBe(GRANTED);
  // it dies in the middle of all kinds of steps
  const dying = Array.from({ length: 200 }, (_, index) =>
    theirs.acquireLock({ resources: [`busy-${String(index % 20)}`], ttlMs: BigInt(TTL_MS) }).catch(() => undefined),
  );
  await Promise.race(dying);
  killed.signal('SIGKILL');
  await Promise.all(dying);
  for (const index of [0, 1, 2]) {
    const [, found] = (await ask(index, 'SCAN', '0', 'MATCH', `${namespace}:lock:*`, 'COUNT', '1000')) as [
      string,
      string[],
    ];
    expect(found.length).toBeGreaterThan(0);
    for (const key of found) {
      const [end, since] = (await ask(index, 'HMGET', key, 'vote_until', 'vote_since')) as (string | null)[];
      expect(Number(end) - Number(since)).toBeLessThanOrEqual(TTL_MS);
      expect(Number(await ask(index, 'PTTL', key))).toBeGreaterThan(0);
    }
  }
  const next = await locks.acquireLock({ resources: ['held'], waitMs: 10_000n }, { deadline: Date.now() + 10_000 });
  expect(next.status).toBe(GRANTED);
  expect(next.grants[0]?.fencingToken).toBeGreaterThan(held.grants[0]?.fencingToken ?? 0n);
});

describe('refused at boot', () => {
  const url = (port: number): string => `redis://127.0.0.1:${String(port)}`;
  test.each([1, 2, 4, 7])('%i masters', async (count) => {
    const urls = Array.from({ length: count }, (_, index) => url(7_000 + index)).join(',');
    const service = await startServiceProcess({ LOCK_REDIS_URLS: urls }, { until: 'nothing' });
    expect(await service.exited).toEqual({ code: EXIT_CONFIG, signal: null });
    expect(service.output.join('\n')).toMatch(/LOCK_REDIS_URLS: .*3 or 5/);
  });

  test('one master by two names', async () => {
    masters = [...(await startMasters(2))];
    const [first, second] = masters.map(({ port }) => port);
    const urls = [url(first ?? 0), `redis://localhost:${String(first)}`, url(second ?? 0)].join(',');
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
      masters = [...(await startMasters(2))];
      const namespace = await admitNow([...masters, server]);
      const service = await startServiceProcess({
        ...environment(namespace),
        LOCK_REDIS_URLS: [...masters, server].map((master) => master.url).join(','),
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
