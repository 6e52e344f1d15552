import { status as Code } from '@grpc/grpc-js';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import type { Session } from '../../src/gen/shardkeep/session/v1/session.js';
import { failureOf } from '../support/client.js';
import { rawRedis, type RawRedis } from '../support/raw-redis.js';
import { until } from '../support/redis-server.js';
import { onEachTopology, policiesFile, randomNamespace } from '../support/service.js';
import { SessionBooks } from '../support/session-books.js';

/** What ExtendSession answers and tells; what its deadlines are worth is shown by deadlines.test.ts and its properties. */

const MINUTE_MS = 60_000;
const profile = { idle_ttl_ms: 10 * MINUTE_MS, touch_granularity_ms: MINUTE_MS, max_sessions: 0, at_limit: 'refuse' };
const POLICIES_FILE = policiesFile({
  rpc_limits: [],
  session_profiles: {
    long: { ...profile, absolute_ttl_ms: 0 },
    absolute: { ...profile, absolute_ttl_ms: 30 * MINUTE_MS },
    renewed: { ...profile, absolute_ttl_ms: 0, renewal_ttl_ms: 20 * MINUTE_MS },
  },
});

onEachTopology(
  'ExtendSession',
  (service, topology) => {
    let redis: RawRedis;
    let books: SessionBooks;
    beforeAll(async () => {
      redis = await rawRedis(topology);
      books = new SessionBooks(redis, service().namespace);
    });
    afterAll(() => redis.close());

    async function login(profileName: string): Promise<Session> {
      const { session } = await service().sessions.createSession({ userId: randomNamespace(), profile: profileName });
      if (session === undefined) throw new Error('not created');
      return session;
    }

    async function extend(sessionId: string, ttlMs: number): Promise<Session> {
      const { session } = await service().sessions.extendSession({ sessionId, ttlMs: BigInt(ttlMs) });
      if (session === undefined) throw new Error('no session');
      return session;
    }

    test('moves the deadline to exactly ttl_ms from the call, and counts as activity', async () => {
      const before = await login('long');
      const session = await extend(before.sessionId, 60 * MINUTE_MS);
      expect(session.expiresAtMs).toBe(session.lastActiveMs + BigInt(60 * MINUTE_MS));
      expect(session.lastActiveMs).toBeGreaterThanOrEqual(before.lastActiveMs);
      expect({ ...session, expiresAtMs: 0n, lastActiveMs: 0n }).toEqual({
        ...before,
        expiresAtMs: 0n,
        lastActiveMs: 0n,
      });
      expect((await service().sessions.getSession({ sessionId: session.sessionId })).session).toEqual(session);
    });

    test('never makes a deadline earlier, and gives at least what any activity gives', async () => {
      const { sessionId } = await login('long');
      const far = await extend(sessionId, 60 * MINUTE_MS);
      expect((await extend(sessionId, MINUTE_MS)).expiresAtMs).toBe(far.expiresAtMs);
      const other = await login('long');
      const touched = await extend(other.sessionId, 1);
      // padded by what the profile's granularity is for this idle TTL
      expect(touched.expiresAtMs - touched.lastActiveMs).toBe(BigInt(10 * MINUTE_MS + (10 * MINUTE_MS) / 20));
    });

    test('stops at the absolute lifetime, the renewal TTL and an announced end', async () => {
      const absolute = await login('absolute');
      expect((await extend(absolute.sessionId, 31_536_000_000)).expiresAtMs).toBe(absolute.absoluteExpiresAtMs);
      const renewed = await login('renewed');
      expect((await extend(renewed.sessionId, 31_536_000_000)).expiresAtMs).toBe(renewed.renewByMs);
      const { sessionId } = await login('long');
      await service().sessions.destroySession({ sessionId, effectiveInMs: BigInt(MINUTE_MS) });
      const announced = await extend(sessionId, 60 * MINUTE_MS);
      expect(announced.expiresAtMs).toBe(announced.announcedEnd?.endedAtMs);
    });

    test('a touch behind it does not take back what it gave', async () => {
      const { sessionId } = await login('long');
      const extended = await extend(sessionId, 60 * MINUTE_MS);
      const { session } = await service().sessions.updateSession({ sessionId });
      expect(session?.expiresAtMs).toBe(extended.expiresAtMs);
    });

    test('a session that is not there, or has ended, is NOT_FOUND', async () => {
      const { sessionId } = await login('long');
      await service().sessions.destroySession({ sessionId });
      const never = `${sessionId.slice(0, 4)}${'A'.repeat(20)}`;
      for (const gone of [sessionId, never]) {
        const failure = await failureOf(service().sessions.extendSession({ sessionId: gone, ttlMs: 1_000n }));
        expect(failure).toMatchObject({ code: Code.NOT_FOUND, reason: 'SESSION_NOT_FOUND' });
      }
    });

    test('watchers are told of each move, and each is counted; one that moves nothing is neither', async () => {
      const { sessionId, userId } = await login('absolute');
      const countedBefore = await books.counter(userId, 'extended');
      for (let count = 1; count <= 3; count++) {
        await extend(sessionId, (11 + count) * MINUTE_MS);
        await until(async () => (await books.typesOf(userId, sessionId)).length === 1 + count);
      }
      await extend(sessionId, 31_536_000_000);
      await until(async () => (await books.typesOf(userId, sessionId)).length === 5);
      await extend(sessionId, 31_536_000_000);
      // told behind it, so nothing was told of the one before
      await service().sessions.destroySession({ sessionId });
      expect(await books.typesOf(userId, sessionId)).toEqual([
        ...['created', 'updated', 'updated', 'updated', 'updated', 'destroyed'],
      ]);
      expect(await books.counter(userId, 'extended')).toBe(countedBefore + 4);
    });

    test('one that gives no more than a touch is one: it is not told, nor counted', async () => {
      const before = await login('long');
      const { sessionId, userId } = before;
      const countedBefore = await books.counter(userId, 'extended');
      let touched = before;
      // until the clock has moved
      while (touched.expiresAtMs === before.expiresAtMs) touched = await extend(sessionId, 1);
      await service().sessions.destroySession({ sessionId });
      expect(await books.typesOf(userId, sessionId)).toEqual(['created', 'destroyed']);
      expect(await books.counter(userId, 'extended')).toBe(countedBefore);
    });
  },
  { POLICIES_FILE },
);
