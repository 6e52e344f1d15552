import { performance } from 'node:perf_hooks';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import { pino } from 'pino';
import { keys } from '../../src/redis/keys.js';
import { SessionAudit } from '../../src/session/audit.js';
import { Sweeper } from '../../src/session/sweeper.js';
import { partitionOfSession } from '../../src/session/token.js';
import { rawRedis } from '../support/raw-redis.js';
import { startRedis, until } from '../support/redis-server.js';
import { killServiceProcesses, startServiceProcess, type LogLine } from '../support/service-process.js';
import { randomNamespace, sharedRedisUrl, startTestService, TOPOLOGIES } from '../support/service.js';
import { SessionsInRedis } from './sweep-support.js';

/** Sessions that ran out are ended once, by whichever process, soon, and at little cost. */

const HOUR_MS = 3_600_000;
const counts = new SessionAudit(undefined);
const logger = pino({ level: 'silent' });

describe.each(TOPOLOGIES)('ten sweepers without a lease on %s', (topology) => {
  const namespace = randomNamespace();
  const places: SessionsInRedis[] = [];
  beforeAll(async () => {
    const opened = Array.from({ length: 10 }, () => SessionsInRedis.open(sharedRedisUrl(topology), namespace));
    places.push(...(await Promise.all(opened)));
  });
  afterAll(async () => {
    await Promise.all(places.map((place) => place.close()));
  });

  // what races is the same on both; the Cluster has more nodes to race on, and not more time
  const many = topology === 'standalone' ? 10_000 : 2_000;

  test(`end ${String(many)} sessions once each, no live one, and move what was touched to its deadline`, async () => {
    const [place] = places;
    if (place === undefined) throw new Error('no Redis');
    const expired = await place.create(many, { idleTtlMs: 1, users: many / 5 });
    const live = await place.create(300, { idleTtlMs: HOUR_MS, users: 300 });
    const deadlines = await place.deadlines();
    // a touch writes the record only: the index is behind by then
    const touched = live.slice(0, 150);
    const raw = await rawRedis(topology);
    for (const id of touched) {
      const index = keys.sessions(namespace, partitionOfSession(id) ?? 0).deadlines;
      const members = (await raw.command('ZRANGE', index, '0', '-1')) as Buffer[];
      const member = members.map(String).find((each) => each.startsWith(id));
      await raw.command('ZADD', index, 'XX', '1', member ?? '');
    }
    await raw.close();

    const sweepers = places.map(
      ({ redis, sweeps }) =>
        new Sweeper({ store: sweeps, redis, namespace, lease: undefined, audit: counts, logger, roundMs: 2_000 }),
    );
    for (const sweeper of sweepers) sweeper.start();
    const endedCount = (): number => sweepers.reduce((sum, sweeper) => sum + sweeper.endedCount, 0);
    await until(() => endedCount() >= expired.length);
    await until(async () => [...(await place.deadlines()).values()].every((score) => score > 1));
    await Promise.all(sweepers.map((sweeper) => sweeper.close()));

    const ended = await place.eventsOf('expired');
    expect(ended).toHaveLength(expired.length);
    expect(ended.map(({ session }) => session).toSorted()).toEqual(expired.toSorted());
    expect(new Set(ended.map(({ cause }) => cause))).toEqual(new Set(['3']));
    expect(endedCount()).toBe(expired.length);
    // more than one took part, or nothing raced
    expect(sweepers.filter((sweeper) => sweeper.endedCount > 0).length).toBeGreaterThan(1);
    expect(await place.deadlines()).toEqual(new Map([...deadlines].filter(([id]) => live.includes(id))));
    expect(await place.counter('active')).toBe(live.length);
    expect(await place.counter('users')).toBe(300);
    expect(await place.counter('expired_idle')).toBe(expired.length);
  });
});

describe.each(TOPOLOGIES)('CleanupExpiredSessions on %s', (topology) => {
  test('ends at once what has run out, also where Redis has dropped the record, and counts it', async () => {
    const namespace = randomNamespace();
    const place = await SessionsInRedis.open(sharedRedisUrl(topology), namespace);
    const raw = await rawRedis(topology);
    // nobody else sweeps meanwhile
    await raw.command('SET', keys.sweeper(namespace), 'somebody', 'PX', String(HOUR_MS));
    const service = await startTestService({ REDIS_URL: sharedRedisUrl(topology), NAMESPACE: namespace });

    // of one partition more than one script ends, and some of others
    const expired = await place.create(250, { idleTtlMs: 1, users: 1 });
    expired.push(...(await place.create(50, { idleTtlMs: 1, users: 50 })));
    const [live = ''] = await place.create(1, { idleTtlMs: HOUR_MS, users: 1 });
    const [dropped = ''] = expired;
    await raw.command('DEL', keys.session(namespace, partitionOfSession(dropped) ?? 0, dropped));
    expect(await service.sessions.cleanupExpiredSessions({})).toEqual({ expiredCount: 300n });
    expect((await place.eventsOf('expired')).map(({ session }) => session).toSorted()).toEqual(expired.toSorted());
    expect([...(await place.deadlines()).keys()]).toEqual([live]);
    expect(await place.counter('active')).toBe(1);
    expect(await place.counter('users')).toBe(1);
    expect(await service.sessions.cleanupExpiredSessions({})).toEqual({ expiredCount: 0n });

    await service.stop();
    await raw.close();
    await place.close();
  });
});

describe('processes', () => {
  afterEach(killServiceProcesses);

  test('one that is killed while it sweeps is replaced by another', async () => {
    const env = { REDIS_URL: sharedRedisUrl('standalone'), NAMESPACE: randomNamespace() };
    const services = await Promise.all([startServiceProcess(env), startServiceProcess(env)]);
    const place = await SessionsInRedis.open(env.REDIS_URL, env.NAMESPACE);
    // in so many partitions that one of them is looked at soon
    const sweptBy = async (): Promise<number> => {
      const ids = await place.create(50, { idleTtlMs: 1, users: 50 });
      const isOurs = (line: LogLine): boolean =>
        line.event === 'swept' && ids.some((id) => String(line.sessionIds).includes(id));
      const lines = services.map((service, index) => service.log(isOurs).then(() => index));
      return Promise.any(lines);
    };
    const first = await sweptBy();
    await services[first]?.stop('SIGKILL');
    expect(await sweptBy()).toBe(1 - first);
    await place.close();
  });
});

describe('twenty idle services on a Redis of their own', () => {
  const SERVICES = 20;
  const WINDOW_MS = 5_000;

  test('cost it less than 200 commands a second in all, tell of an end soon, and outlive its restart', async () => {
    const redis = await startRedis(['--appendonly', 'yes', '--appendfsync', 'always']);
    const env = { REDIS_URL: redis.url, NAMESPACE: randomNamespace() };
    const services = await Promise.all(Array.from({ length: SERVICES }, () => startTestService(env)));
    const place = await SessionsInRedis.open(redis.url, env.NAMESPACE);
    await place.create(1, { idleTtlMs: 1, users: 1 });
    await place.close();

    const processed = async (): Promise<number> =>
      Number(/^total_commands_processed:(\d+)/m.exec(String(await redis.command('INFO', 'stats')))?.[1]);
    const before = await processed();
    const from = performance.now();
    await sleep(WINDOW_MS);
    const commands = (await processed()) - before;
    const aSecond = commands / ((performance.now() - from) / 1_000);
    expect(aSecond).toBeLessThan(200);
    // they do run
    expect(aSecond).toBeGreaterThan(SERVICES);

    const late = await SessionsInRedis.open(redis.url, env.NAMESPACE);
    await until(async () => (await late.eventsOf('expired')).length === 1);
    await late.create(1, { idleTtlMs: 1, users: 1 });
    await redis.stop();
    await redis.restart();
    await until(() => late.redis.isReady);
    await until(async () => (await late.eventsOf('expired')).length === 2);
    await late.close();
    await Promise.all(services.map((service) => service.stop()));
    await redis.remove();
  });
});
