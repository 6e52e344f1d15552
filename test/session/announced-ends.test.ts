import { status as Code } from '@grpc/grpc-js';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import {
  CreateSessionStatus,
  SessionEndCause,
  ValidateSessionStatus,
  type CreateSessionRequest,
  type Session,
} from '../../src/gen/shardkeep/session/v1/session.js';
import { keys } from '../../src/redis/keys.js';
import { failureOf } from '../support/client.js';
import { rawRedis, type RawRedis } from '../support/raw-redis.js';
import { until } from '../support/redis-server.js';
import { onEachTopology, policiesFile, randomNamespace, sharedRedisUrl, startTestService } from '../support/service.js';
import { SessionBooks } from '../support/session-books.js';

/** Warn, then revoke: an end that is told before it comes. */

const MINUTE_MS = 60_000;
const profile = { idle_ttl_ms: 10 * MINUTE_MS, absolute_ttl_ms: 0, touch_granularity_ms: 0, at_limit: 'refuse' };
const POLICIES_FILE = policiesFile({
  rpc_limits: [],
  session_profiles: { many: { ...profile, max_sessions: 0 }, one: { ...profile, max_sessions: 1 } },
});
const words = { reason: 'maintenance', message: 'Zurück um 6 Uhr' };
const SOON_MS = 40n;

interface Login {
  readonly session: Session;
  readonly sessionId: string;
  readonly sessionToken: string;
  readonly userId: string;
}

onEachTopology(
  'an announced end',
  (service, topology) => {
    let redis: RawRedis;
    let books: SessionBooks;
    beforeAll(async () => {
      redis = await rawRedis(topology);
      books = new SessionBooks(redis, service().namespace);
    });
    afterAll(() => redis.close());

    async function login(request: Partial<CreateSessionRequest> = {}): Promise<Login> {
      const userId = request.userId ?? randomNamespace();
      const reply = await service().sessions.createSession({ profile: 'many', ...request, userId });
      const { session, sessionToken } = reply;
      if (session === undefined) throw new Error(`not created: ${String(reply.status)}`);
      return { session, sessionId: session.sessionId, sessionToken, userId };
    }

    test('is told of when it comes, by the process that announced it, whoever sweeps', async () => {
      const namespace = randomNamespace();
      // somebody holds the lease, and sweeps nothing
      await redis.command('SET', keys.sweeper(namespace), 'somebody else', 'PX', '600000');
      const alone = await startTestService({
        REDIS_URL: sharedRedisUrl(topology),
        NAMESPACE: namespace,
        POLICIES_FILE,
      });
      const aloneBooks = new SessionBooks(redis, namespace);
      const userId = randomNamespace();
      const create = async (): Promise<string> => {
        const { session } = await alone.sessions.createSession({ userId, profile: 'many' });
        return session?.sessionId ?? '';
      };
      const [kicked, other] = [await create(), await create()];
      const isOver = async (sessionId: string): Promise<boolean> =>
        (await aloneBooks.typesOf(userId, sessionId)).includes('destroyed');
      await alone.sessions.destroySession({ sessionId: kicked, ...words, effectiveInMs: SOON_MS });
      await until(() => isOver(kicked));
      expect(await isOver(other)).toBe(false);
      await alone.sessions.destroyUserSessions({ userId, ...words, effectiveInMs: SOON_MS });
      await until(() => isOver(other));
      await alone.stop();
    });

    /** Waits until the token opens nothing, and answers how it ended. */
    async function untilEnded(sessionToken: string) {
      let answer = await service().sessions.validateSession({ sessionToken });
      await until(async () => {
        answer = await service().sessions.validateSession({ sessionToken });
        return answer.status !== ValidateSessionStatus.VALID;
      });
      return answer;
    }

    test('every answer that has the session has it, and the session lives on', async () => {
      const { session, sessionId, sessionToken, userId } = await login({ profile: 'one' });
      const { sessions } = service();
      const { destroyed } = await sessions.destroySession({ sessionId, ...words, effectiveInMs: BigInt(MINUTE_MS) });
      expect(destroyed).toBe(true);
      const read = (await sessions.getSession({ sessionId })).session;
      const announcedEnd = read?.announcedEnd;
      expect(announcedEnd).toMatchObject({ cause: SessionEndCause.DESTROYED, ...words });
      expect(announcedEnd?.endedAtMs).toBeGreaterThanOrEqual(session.createdAtMs + BigInt(MINUTE_MS));
      expect(read).toEqual({ ...session, expiresAtMs: announcedEnd?.endedAtMs, announcedEnd });

      const answers = [
        (await sessions.validateSession({ sessionToken })).session,
        (await sessions.updateSession({ sessionId })).session,
        (await sessions.extendSession({ sessionId, ttlMs: 31_536_000_000n })).session,
        ...(await sessions.listUserSessions({ userId })).sessions,
        ...(await sessions.createSession({ userId, profile: 'one' })).liveSessions,
      ];
      expect(answers).toHaveLength(5);
      // none of them moved it
      for (const answer of answers)
        expect(answer).toMatchObject({ announcedEnd, expiresAtMs: announcedEnd?.endedAtMs });
    });

    test('is told as a warning, and the sweeper comes in time', async () => {
      const { sessionId, userId } = await login();
      await service().sessions.destroySession({ sessionId, ...words, effectiveInMs: BigInt(MINUTE_MS) });
      const { session } = await service().sessions.getSession({ sessionId });
      const effectiveAt = String(session?.announcedEnd?.endedAtMs);
      expect(await books.eventsOf(userId, sessionId)).toEqual([
        { type: 'created', session: sessionId, user: userId },
        { type: 'warned', session: sessionId, user: userId, ...words, effective_at: effectiveAt },
      ]);
      expect(await books.dueAtMs(userId, sessionId)).toBe(Number(effectiveAt));
    });

    test('of two the earlier one counts, and one that changes nothing is not told', async () => {
      const { sessionId, userId } = await login();
      const { sessions } = service();
      const announce = async (reason: string, inMs: number): Promise<boolean> =>
        (await sessions.destroySession({ sessionId, reason, effectiveInMs: BigInt(inMs) })).destroyed;
      expect(await announce('first', 2 * MINUTE_MS)).toBe(true);
      expect(await announce('later', 3 * MINUTE_MS)).toBe(false);
      const first = (await sessions.getSession({ sessionId })).session;
      expect(first?.announcedEnd?.reason).toBe('first');
      expect(await announce('earlier', MINUTE_MS)).toBe(true);
      const earlier = (await sessions.getSession({ sessionId })).session;
      expect(earlier?.announcedEnd?.reason).toBe('earlier');
      expect(earlier?.expiresAtMs).toBe(earlier?.announcedEnd?.endedAtMs);
      expect(await books.typesOf(userId, sessionId)).toEqual(['created', 'warned', 'warned']);
    });

    test('without effective_in_ms it ends at once, with the words of that call', async () => {
      const { sessionId, sessionToken, userId } = await login();
      const { sessions } = service();
      await sessions.destroySession({ sessionId, ...words, effectiveInMs: BigInt(MINUTE_MS) });
      expect((await sessions.destroySession({ sessionId, reason: 'now' })).destroyed).toBe(true);
      const { status, end } = await sessions.validateSession({ sessionToken });
      expect(status).toBe(ValidateSessionStatus.REVOKED);
      expect(end).toMatchObject({ cause: SessionEndCause.DESTROYED, reason: 'now', message: '' });
      const events = await books.eventsOf(userId, sessionId);
      expect(events.map(({ type, reason }) => [type, reason])).toEqual([
        ['created', undefined],
        ['warned', 'maintenance'],
        ['destroyed', 'now'],
      ]);
    });

    test('a session that is gone has none', async () => {
      const { sessionId, userId } = await login();
      const { sessions } = service();
      await sessions.destroySession({ sessionId });
      expect(await sessions.destroySession({ sessionId, effectiveInMs: 1n })).toEqual({ destroyed: false });
      expect(await books.typesOf(userId, sessionId)).toEqual(['created', 'destroyed']);
    });

    test('a session that falls silent before it has run out, and nobody destroyed it', async () => {
      const { sessionId, sessionToken, userId } = await login({ idleTtlMs: 60n });
      const { sessions } = service();
      await sessions.destroySession({ sessionId, ...words, effectiveInMs: BigInt(MINUTE_MS) });
      await until(async () => (await sessions.listUserSessions({ userId })).totalCount === 0);
      const { status, end } = await sessions.validateSession({ sessionToken });
      expect(status).toBe(ValidateSessionStatus.EXPIRED);
      expect(end).toMatchObject({ cause: SessionEndCause.EXPIRED_IDLE, reason: '', message: '' });
    });

    describe('once it has come, the session was destroyed then and for that reason, whoever notices:', () => {
      const { reason, message } = words;
      test.each([
        ['DestroySession', async ({ sessionId }: Login) => service().sessions.destroySession({ sessionId })],
        ['DestroyUserSessions', async ({ userId }: Login) => service().sessions.destroyUserSessions({ userId })],
        ['CreateSession', async ({ userId }: Login) => service().sessions.createSession({ userId, profile: 'one' })],
      ])('%s', async (_, notice) => {
        const player = await login({ profile: 'one' });
        const { sessionId, sessionToken, userId } = player;
        const { sessions } = service();
        const before = await books.counter(userId, 'destroyed');
        await sessions.destroySession({ sessionId, ...words, effectiveInMs: SOON_MS });
        const [, warned] = await books.eventsOf(userId, sessionId);
        const answered = await untilEnded(sessionToken);
        expect(answered.status).toBe(ValidateSessionStatus.REVOKED);
        const endedAtMs = BigInt(warned?.effective_at ?? 0);
        expect(answered.end).toEqual({ cause: SessionEndCause.DESTROYED, ...words, endedAtMs });
        const calls = [
          sessions.getSession({ sessionId }),
          sessions.updateSession({ sessionId }),
          sessions.extendSession({ sessionId, ttlMs: 1_000n }),
        ];
        const failures = await Promise.all(calls.map((call) => failureOf(call)));
        expect(failures.map(({ code }) => code)).toEqual(calls.map(() => Code.NOT_FOUND));
        expect(await notice(player)).not.toMatchObject({ destroyed: true, destroyedCount: 1n });
        expect(await sessions.validateSession({ sessionToken })).toEqual(answered);
        expect(await books.counter(userId, 'destroyed')).toBe(before + 1);
        expect((await books.eventsOf(userId, sessionId)).slice(2)).toEqual([
          { type: 'destroyed', session: sessionId, user: userId, cause: '1', reason, message },
        ]);
      });
    });

    describe('of all sessions of a user', () => {
      test('is one moment for all but the one that stays, and no login proved before it gets in', async () => {
        const userId = randomNamespace();
        const COUNT = 405;
        const { session: kept } = await login({ userId });
        const others = await Promise.all(Array.from({ length: COUNT - 1 }, () => login({ userId })));
        const { sessions } = service();
        const request = { userId, ...words, keepSessionId: kept.sessionId };
        const first = await sessions.destroyUserSessions({ ...request, effectiveInMs: BigInt(MINUTE_MS) });
        expect(first.destroyedCount).toBe(BigInt(COUNT - 1));
        const refused = await sessions.createSession({ userId, authenticatedAtMs: first.revokedAtMs - 1n });
        expect(refused.status).toBe(CreateSessionStatus.AUTHENTICATION_REVOKED);
        const { session: newcomer } = await login({ userId });

        const listed = (await sessions.listUserSessions({ userId, limit: 1_000 })).sessions;
        expect(listed).toHaveLength(COUNT + 1);
        const announced = listed.filter(({ announcedEnd }) => announcedEnd !== undefined);
        expect(announced.map(({ sessionId }) => sessionId).toSorted()).toEqual(
          others.map(({ sessionId }) => sessionId).toSorted(),
        );
        expect(new Set(announced.map(({ announcedEnd }) => announcedEnd?.endedAtMs)).size).toBe(1);
        expect(await books.indexed(userId)).toHaveLength(COUNT + 1);

        // again, the newcomer being new to it; then an earlier end, for all
        const again = await sessions.destroyUserSessions({ ...request, effectiveInMs: BigInt(MINUTE_MS) });
        expect(again.destroyedCount).toBe(1n);
        const sooner = await sessions.destroyUserSessions({ ...request, effectiveInMs: BigInt(MINUTE_MS / 2) });
        expect(sooner.destroyedCount).toBe(BigInt(COUNT));
        const now = await sessions.destroyUserSessions(request);
        expect(now.destroyedCount).toBe(BigInt(COUNT));
        expect(await books.indexed(userId)).toEqual([kept.sessionId]);
        expect(await books.typesOf(userId, newcomer.sessionId)).toEqual(['created', 'warned', 'warned', 'destroyed']);
      });

      test('blocks at once where it is asked to, and comes to all', async () => {
        const { sessionToken, userId } = await login();
        const { sessions } = service();
        const request = { userId, ...words, blockForMs: BigInt(MINUTE_MS), effectiveInMs: SOON_MS };
        const { destroyedCount, blockedUntilMs } = await sessions.destroyUserSessions(request);
        expect(destroyedCount).toBe(1n);
        const refused = await sessions.createSession({ userId });
        expect(refused).toMatchObject({ status: CreateSessionStatus.USER_BLOCKED, blockedUntilMs });
        const { status, end } = await untilEnded(sessionToken);
        expect(status).toBe(ValidateSessionStatus.REVOKED);
        expect(end).toMatchObject({ cause: SessionEndCause.DESTROYED, ...words });
      });
    });
  },
  { POLICIES_FILE },
);
