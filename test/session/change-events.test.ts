import { status as Code } from '@grpc/grpc-js';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import type { Session } from '../../src/gen/shardkeep/session/v1/session.js';
import { keys, partitionOfUser } from '../../src/redis/keys.js';
import { failureOf } from '../support/client.js';
import { rawRedis, type RawRedis } from '../support/raw-redis.js';
import { startRedis, until } from '../support/redis-server.js';
import {
  onEachTopology,
  policiesFile,
  randomNamespace,
  startTestService,
  type TestService,
} from '../support/service.js';
import { SessionBooks } from '../support/session-books.js';

/** The events that tell of changes: every change that landed is told and counted, and nothing else is. */

const POLICIES_FILE = policiesFile({ rpc_limits: [] });
const MINUTE_MS = 60_000n;
const incrementMetadata = new Map([['hits', 1n]]);

async function login({ sessions }: TestService): Promise<Session> {
  const { session } = await sessions.createSession({ userId: randomNamespace() });
  if (session === undefined) throw new Error('not created');
  return session;
}

onEachTopology(
  'the event of a change',
  (service, topology) => {
    let redis: RawRedis;
    let books: SessionBooks;
    beforeAll(async () => {
      redis = await rawRedis(topology);
      books = new SessionBooks(redis, service().namespace);
    });
    afterAll(() => redis.close());

    test('follows each update, touch or not', async () => {
      const { sessionId, userId } = await login(service());
      const counted = await books.counter(userId, 'updated');
      for (const noTouch of [false, true]) {
        await service().sessions.updateSession({ sessionId, noTouch });
        await until(async () => (await books.typesOf(userId, sessionId)).length === (noTouch ? 3 : 2));
      }
      expect(await books.eventsOf(userId, sessionId)).toEqual([
        { type: 'created', session: sessionId, user: userId },
        { type: 'updated', session: sessionId, user: userId },
        { type: 'updated', session: sessionId, user: userId },
      ]);
      expect(await books.counter(userId, 'updated')).toBe(counted + 2);
    });

    test('does not follow what changed nothing', async () => {
      const { sessionId, userId } = await login(service());
      const { sessions } = service();
      await sessions.validateSession({ sessionToken: `${sessionId}.${'A'.repeat(43)}` });
      await sessions.getSession({ sessionId });
      const other = { sessionId, expectedVersion: 1n };
      expect((await failureOf(sessions.updateSession(other))).code).toBe(Code.ABORTED);
      await sessions.destroySession({ sessionId });
      expect((await failureOf(sessions.updateSession({ sessionId }))).code).toBe(Code.NOT_FOUND);
      expect((await failureOf(sessions.extendSession({ sessionId, ttlMs: 1n }))).code).toBe(Code.NOT_FOUND);
      // it would be told over the connection that this is told over, and before it
      const { sessionId: last } = await login(service());
      await sessions.destroySession({ sessionId: last });
      expect(await books.typesOf(userId, sessionId)).toEqual(['created', 'destroyed']);
    });

    test('comes behind the last of 40 that race, each of which is counted once', async () => {
      const { sessionId, userId } = await login(service());
      const { sessions } = service();
      const counted = {
        updated: await books.counter(userId, 'updated'),
        extended: await books.counter(userId, 'extended'),
      };
      await Promise.all(
        Array.from({ length: 20 }, async (_, index) => {
          await sessions.updateSession({ sessionId, incrementMetadata });
          await sessions.extendSession({ sessionId, ttlMs: 600n * MINUTE_MS + BigInt(index) });
        }),
      );
      await until(async () => (await books.counter(userId, 'updated')) === counted.updated + 20);
      // what two have moved to the same moment, one of them has not moved
      expect(await books.counter(userId, 'extended')).toBeGreaterThan(counted.extended);
      const types = (await books.typesOf(userId, sessionId)).slice(1);
      expect(new Set(types)).toEqual(new Set(['updated']));
      expect(types.length).toBeLessThanOrEqual(40);
    });

    test('also tells of changes behind which the service died', async () => {
      const { sessionId, userId } = await login(service());
      const counted = {
        updated: await books.counter(userId, 'updated'),
        extended: await books.counter(userId, 'extended'),
      };
      // as update-session and extend-session leave the record before anything is told
      const record = keys.session(service().namespace, partitionOfUser(userId), sessionId);
      await redis.command('SETRANGE', record, '12', Buffer.from([0, 0, 0, 2, 0, 0, 0, 3]));
      await service().sessions.updateSession({ sessionId });
      await until(async () => (await books.counter(userId, 'updated')) === counted.updated + 3);
      expect(await books.counter(userId, 'extended')).toBe(counted.extended + 3);
      expect(await books.typesOf(userId, sessionId)).toEqual(['created', 'updated']);
    });
  },
  { POLICIES_FILE },
);

test('a full Redis extends and announces, and tells of the extension when it has room', async () => {
  const redis = await startRedis(['--maxmemory-policy', 'noeviction']);
  const service = await startTestService({ REDIS_URL: redis.url, POLICIES_FILE });
  const { sessions } = service;
  const { sessionId, userId, expiresAtMs } = await login(service);
  const { counters } = keys.sessions(service.namespace, partitionOfUser(userId));

  await redis.command('CONFIG', 'SET', 'maxmemory', '1');
  const refused = await failureOf(sessions.updateSession({ sessionId, incrementMetadata }));
  expect(refused.code).toBe(Code.RESOURCE_EXHAUSTED);
  const { session } = await sessions.extendSession({ sessionId, ttlMs: 600n * MINUTE_MS });
  expect(session?.expiresAtMs).toBeGreaterThan(expiresAtMs);
  expect(await sessions.destroySession({ sessionId, effectiveInMs: MINUTE_MS })).toEqual({ destroyed: true });
  expect((await sessions.destroyUserSessions({ userId, effectiveInMs: MINUTE_MS / 2n })).destroyedCount).toBe(1n);
  expect(await redis.command('HGET', counters, 'extended')).toBeNull();

  await redis.command('CONFIG', 'SET', 'maxmemory', '0');
  await sessions.updateSession({ sessionId, incrementMetadata });
  await until(async () => String(await redis.command('HMGET', counters, 'updated', 'extended')) === '1,1');
  await service.stop();
  await redis.remove();
});
