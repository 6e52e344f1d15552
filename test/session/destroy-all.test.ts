import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import {
  CreateSessionStatus,
  SessionEndCause,
  SessionServiceService,
  ValidateSessionStatus,
} from '../../src/gen/shardkeep/session/v1/session.js';
import { keys, partitionOfUser } from '../../src/redis/keys.js';
import { rawRedis } from '../support/raw-redis.js';
import { startRedis, until, type RedisServer } from '../support/redis-server.js';
import { killServiceProcesses, startServiceProcess } from '../support/service-process.js';
import { randomNamespace, sharedRedisUrl, startTestService, TOPOLOGIES } from '../support/service.js';
import { openStream } from '../support/stream-client.js';
import { SessionsInRedis } from './sweep-support.js';

/** DestroyAllSessions ends what was there, once, and goes on without its caller and without its process. */

const HOUR_MS = 3_600_000;
const WORDS = { reason: 'leak', message: 'Please log in again' };
const { destroyAllSessions } = SessionServiceService;

describe.each(TOPOLOGIES)('on %s', (topology) => {
  test('every session ends, with one event; logins proved before are refused, new ones stay', async () => {
    const namespace = randomNamespace();
    const place = await SessionsInRedis.open(sharedRedisUrl(topology), namespace);
    const service = await startTestService({ REDIS_URL: sharedRedisUrl(topology), NAMESPACE: namespace });
    const { sessions } = service;
    const userId = 'user 0';
    const { session, sessionToken } = await sessions.createSession({ userId });
    // more than a script ends in one partition, and some in all the others
    const old = await place.create(450, { idleTtlMs: HOUR_MS, users: 1 });
    old.push(...(await place.create(1_000, { idleTtlMs: HOUR_MS, users: 500 })), session?.sessionId ?? '');

    const stream = openStream(service.channel, destroyAllSessions, WORDS);
    await stream.untilMessages(1);
    const fresh = await sessions.createSession({ userId: 'newcomer' });
    const messages = await stream.result;
    expect(messages.map(({ done }) => done)).toEqual([...messages.slice(1).map(() => false), true]);
    expect(messages[0]?.destroyedCount).toBe(0n);
    expect(messages.at(-1)?.destroyedCount).toBe(BigInt(old.length));
    const [revokedAtMs = 0n, ...others] = new Set(messages.map((message) => message.revokedAtMs));
    expect(others).toEqual([]);

    const told = await place.eventsOf('destroyed');
    expect(told.map((event) => event.session).toSorted()).toEqual(old.toSorted());
    expect(told.every(({ reason, message }) => reason === WORDS.reason && message === WORDS.message)).toBe(true);
    const { status, end } = await sessions.validateSession({ sessionToken });
    expect(status).toBe(ValidateSessionStatus.REVOKED);
    expect(end).toMatchObject({ cause: SessionEndCause.DESTROYED, ...WORDS });
    const { status: freshStatus } = await sessions.validateSession({ sessionToken: fresh.sessionToken });
    expect(freshStatus).toBe(ValidateSessionStatus.VALID);
    // no mark is left in any index
    expect([...(await place.deadlines()).keys()]).toEqual([fresh.session?.sessionId]);

    const login = (authenticatedAtMs: bigint): Promise<CreateSessionStatus> =>
      sessions.createSession({ userId, authenticatedAtMs }).then((answer) => answer.status);
    expect(await login(revokedAtMs - 1n)).toBe(CreateSessionStatus.AUTHENTICATION_REVOKED);
    expect(await login(fresh.session?.createdAtMs ?? 0n)).toBe(CreateSessionStatus.CREATED);

    // a second one ends the new ones, and nothing twice
    const again = await openStream(service.channel, destroyAllSessions, {}).result;
    expect(again.at(-1)).toMatchObject({ destroyedCount: 2n, done: true });
    expect(await place.eventsOf('destroyed')).toHaveLength(old.length + 2);
    expect(await place.counter('active')).toBe(0);
    expect(await place.counter('users')).toBe(0);
    await service.stop();
    await place.close();
  });
});

test('sessions whose clock was ahead end too, and new ones are numbered behind', async () => {
  const namespace = randomNamespace();
  const place = await SessionsInRedis.open(sharedRedisUrl('standalone'), namespace);
  const raw = await rawRedis('standalone');
  const service = await startTestService({ REDIS_URL: sharedRedisUrl('standalone'), NAMESPACE: namespace });
  // as if the clock had been set back by an hour since the last login
  const ahead = String((Date.now() + HOUR_MS) * 1_000);
  const { counters } = keys.sessions(namespace, partitionOfUser('ada'));
  await raw.command('HSET', counters, 'last_created', ahead);
  const { session } = await service.sessions.createSession({ userId: 'ada' });
  expect(session?.version).toBeGreaterThan(BigInt(ahead));
  const messages = await openStream(service.channel, destroyAllSessions, {}).result;
  expect(messages.at(-1)).toMatchObject({ destroyedCount: 1n, done: true });
  const next = await service.sessions.createSession({ userId: 'ada' });
  expect(next.session?.version).toBeGreaterThan(session?.version ?? 0n);
  expect((await service.sessions.listUserSessions({ userId: 'ada' })).totalCount).toBe(1);
  await service.stop();
  await raw.close();
  await place.close();
});

describe('with a Redis of its own', () => {
  let redis: RedisServer;
  beforeEach(async () => {
    redis = await startRedis(['--maxmemory-policy', 'noeviction']);
  });
  afterEach(async () => {
    await killServiceProcesses();
    await redis.remove();
  });

  test('it works while Redis is out of memory', async () => {
    const service = await startTestService({ REDIS_URL: redis.url });
    const place = await SessionsInRedis.open(redis.url, service.namespace);
    await place.create(100, { idleTtlMs: HOUR_MS, users: 50 });
    await place.create(10, { idleTtlMs: 1, users: 10 });
    await redis.command('CONFIG', 'SET', 'maxmemory', '1');
    await service.sessions.cleanupExpiredSessions({});
    expect(await place.eventsOf('expired')).toHaveLength(10);
    const messages = await openStream(service.channel, destroyAllSessions, WORDS).result;
    expect(messages.at(-1)).toMatchObject({ destroyedCount: 100n, done: true });
    expect((await place.deadlines()).size).toBe(0);
    await service.stop();
    await place.close();
  });

  test('when the service is killed in the middle, the sweeper of another one ends the rest', async () => {
    const first = await startServiceProcess({ REDIS_URL: redis.url });
    const { namespace } = first;
    const second = await startServiceProcess({ REDIS_URL: redis.url, NAMESPACE: namespace });
    const place = await SessionsInRedis.open(redis.url, namespace);
    const old = await place.create(1_500, { idleTtlMs: HOUR_MS, users: 500 });
    const stream = openStream(first.channel(), destroyAllSessions, WORDS);
    await stream.untilMessages(1);
    // what the service has sent by now is still done, and nothing else
    redis.signal('SIGSTOP');
    await first.stop('SIGKILL');
    await expect(stream.result).rejects.toThrow();
    redis.signal('SIGCONT');
    const [fresh = ''] = await place.create(1, { idleTtlMs: HOUR_MS, users: 1 });
    const left = (await place.deadlines()).size;
    expect(left).toBeGreaterThan(1);

    await until(async () => (await place.deadlines()).size === 1);
    expect([...(await place.deadlines()).keys()]).toEqual([fresh]);
    const told = await place.eventsOf('destroyed');
    expect(told.map((event) => event.session).toSorted()).toEqual(old.toSorted());
    expect(told.every(({ reason, message }) => reason === WORDS.reason && message === WORDS.message)).toBe(true);
    expect(second.logs.some(({ event, destroyed }) => event === 'swept' && Number(destroyed) > 0)).toBe(true);
    await place.close();
  });
});
