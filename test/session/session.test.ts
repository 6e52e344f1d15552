import { status as Code } from '@grpc/grpc-js';
import { describe, expect, test } from '@jest/globals';
import {
  CreateSessionStatus,
  SessionEndCause,
  ValidateSessionStatus,
  type CreateSessionRequest,
  type CreateSessionResponse,
  type Session,
} from '../../src/gen/shardkeep/session/v1/session.js';
import { failureOf } from '../support/client.js';
import { until } from '../support/redis-server.js';
import { onEachTopology, policiesFile, randomNamespace, type TestService } from '../support/service.js';

const MINUTE_MS = 60_000;

const roomy = { idle_ttl_ms: 10 * MINUTE_MS, absolute_ttl_ms: 60 * MINUTE_MS, touch_granularity_ms: 0 };
const POLICIES_FILE = policiesFile({
  rpc_limits: [],
  session_profiles: {
    many: { ...roomy, max_sessions: 0, at_limit: 'evict_oldest' },
    oldest3: { ...roomy, max_sessions: 3, at_limit: 'evict_oldest' },
    idlest2: { ...roomy, max_sessions: 2, at_limit: 'evict_least_recently_active' },
    refuse3: { ...roomy, max_sessions: 3, at_limit: 'refuse' },
    short_absolute: { ...roomy, absolute_ttl_ms: 150, max_sessions: 3, at_limit: 'refuse' },
    coarse: { ...roomy, touch_granularity_ms: 30_000, max_sessions: 3, at_limit: 'refuse' },
  },
});

interface Created {
  readonly session: Session;
  readonly token: string;
  readonly reply: CreateSessionResponse;
}

async function create({ sessions }: TestService, request: Partial<CreateSessionRequest>): Promise<Created> {
  const reply = await sessions.createSession({ profile: 'many', ...request });
  if (reply.session === undefined) throw new Error(`not created: ${String(reply.status)}`);
  return { session: reply.session, token: reply.sessionToken, reply };
}

const user = (): string => `user ${randomNamespace()}`;

onEachTopology(
  'sessions',
  (service) => {
    describe('CreateSession and GetSession', () => {
      test('a session comes back with every field it was given', async () => {
        const userId = user();
        const given = {
          userId,
          username: 'Ämilie {zero}',
          roles: ['player', 'guild-master'],
          permissions: ['trade', 'chat'],
          organizationId: 'org-7',
          characterId: 'char-1',
          metadata: new Map([
            ['ip', '203.0.113.9'],
            ['__proto__', 'kept'],
          ]),
        };
        const { session, token } = await create(service(), given);
        expect(session).toMatchObject({ ...given, profile: 'many' });
        expect(token.startsWith(`${session.sessionId}.`)).toBe(true);
        expect(session.createdAtMs).toBe(session.authenticatedAtMs);
        expect(session.expiresAtMs).toBe(session.createdAtMs + BigInt(10 * MINUTE_MS));
        expect(session.absoluteExpiresAtMs).toBe(session.createdAtMs + BigInt(60 * MINUTE_MS));
        expect((await service().sessions.getSession({ sessionId: session.sessionId })).session).toEqual(session);
      });

      test('the idle TTL of the request goes before the profile', async () => {
        const { session } = await create(service(), { userId: user(), idleTtlMs: 5_000n });
        expect(session.expiresAtMs).toBe(session.createdAtMs + 5_000n);
      });

      test('a session that never was is NOT_FOUND', async () => {
        const { session } = await create(service(), { userId: user() });
        const other = `${session.sessionId.slice(0, 4)}${'A'.repeat(20)}`;
        expect(await failureOf(service().sessions.getSession({ sessionId: other }))).toMatchObject({
          code: Code.NOT_FOUND,
          reason: 'SESSION_NOT_FOUND',
        });
      });

      test('an unknown profile is INVALID_ARGUMENT', async () => {
        const failure = await failureOf(service().sessions.createSession({ userId: user(), profile: 'nobodys' }));
        expect(failure).toMatchObject({ code: Code.INVALID_ARGUMENT, fields: ['profile'] });
      });
    });

    describe('the limit of sessions a user', () => {
      test('evict_oldest ends the first one and tells its holder', async () => {
        const userId = user();
        const first = await create(service(), { userId, profile: 'oldest3' });
        for (let count = 0; count < 2; count++) await create(service(), { userId, profile: 'oldest3' });
        const { reply } = await create(service(), { userId, profile: 'oldest3' });
        expect(reply.evictedSessionIds).toEqual([first.session.sessionId]);
        const answer = await service().sessions.validateSession({ sessionToken: first.token });
        expect(answer.status).toBe(ValidateSessionStatus.REVOKED);
        expect(answer.end?.cause).toBe(SessionEndCause.EVICTED);
        expect((await service().sessions.listUserSessions({ userId })).totalCount).toBe(3);
      });

      test('evict_least_recently_active spares the one that was touched', async () => {
        const userId = user();
        const first = await create(service(), { userId, profile: 'idlest2' });
        const second = await create(service(), { userId, profile: 'idlest2' });
        await until(async () => {
          const { session } = await service().sessions.validateSession({ sessionToken: first.token });
          return session !== undefined && session.lastActiveMs > second.session.lastActiveMs;
        });
        const { reply } = await create(service(), { userId, profile: 'idlest2' });
        expect(reply.evictedSessionIds).toEqual([second.session.sessionId]);
      });

      test('refuse answers SESSION_LIMIT with the live sessions, oldest first, and changes nothing', async () => {
        const userId = user();
        const made: Session[] = [];
        for (let count = 0; count < 3; count++) {
          made.push((await create(service(), { userId, profile: 'refuse3' })).session);
        }
        const refused = await service().sessions.createSession({ userId, profile: 'refuse3' });
        expect(refused.status).toBe(CreateSessionStatus.SESSION_LIMIT);
        expect(refused.liveSessions).toEqual(made);
        expect(refused.sessionToken).toBe('');
        expect((await service().sessions.listUserSessions({ userId })).sessions).toEqual(made);
      });

      test.each(['refuse3', 'oldest3'])('40 parallel logins under %s leave exactly 3 live', async (profile) => {
        const userId = user();
        const replies = await Promise.all(
          Array.from({ length: 40 }, () => service().sessions.createSession({ userId, profile })),
        );
        const created = replies.filter(({ status }) => status === CreateSessionStatus.CREATED);
        const validations = await Promise.all(
          created.map(({ sessionToken }) => service().sessions.validateSession({ sessionToken })),
        );
        const live = validations.filter(({ status }) => status === ValidateSessionStatus.VALID);
        expect(live).toHaveLength(3);
        expect((await service().sessions.listUserSessions({ userId })).totalCount).toBe(3);
        expect(created).toHaveLength(profile === 'refuse3' ? 3 : 40);
      });

      test('sessions that ran out make room', async () => {
        const userId = user();
        for (let count = 0; count < 3; count++) {
          await create(service(), { userId, profile: 'refuse3', idleTtlMs: 1n });
        }
        await until(async () => (await service().sessions.listUserSessions({ userId })).totalCount === 0);
        const { reply } = await create(service(), { userId, profile: 'refuse3' });
        expect(reply.evictedSessionIds).toEqual([]);
        expect((await service().sessions.listUserSessions({ userId })).totalCount).toBe(1);
      });
    });

    describe('ValidateSession', () => {
      test('answers the session and moves its deadline', async () => {
        const { session, token } = await create(service(), { userId: user() });
        let touched: Session | undefined;
        await until(async () => {
          touched = (await service().sessions.validateSession({ sessionToken: token })).session;
          return touched !== undefined && touched.lastActiveMs > session.lastActiveMs;
        });
        expect(touched?.expiresAtMs).toBe((touched?.lastActiveMs ?? 0n) + BigInt(10 * MINUTE_MS));
        expect(touched?.version).toBe(session.version);
        expect((await service().sessions.getSession({ sessionId: session.sessionId })).session).toEqual(touched);
      });

      test('writes no touch younger than the granularity, and pads the deadline by it', async () => {
        const { session, token } = await create(service(), { userId: user(), profile: 'coarse' });
        expect(session.expiresAtMs).toBe(session.createdAtMs + BigInt(10 * MINUTE_MS + 30_000));
        const answer = await service().sessions.validateSession({ sessionToken: token });
        expect(answer.session).toEqual(session);
      });

      test('another secret with the right id is UNKNOWN, before and after the end', async () => {
        const { session, token } = await create(service(), { userId: user() });
        const forged = `${session.sessionId}.${'A'.repeat(43)}`;
        const ask = async (): Promise<ValidateSessionStatus> =>
          (await service().sessions.validateSession({ sessionToken: forged })).status;
        expect(await ask()).toBe(ValidateSessionStatus.UNKNOWN);
        await service().sessions.destroySession({ sessionId: session.sessionId });
        expect(await ask()).toBe(ValidateSessionStatus.UNKNOWN);
        const holder = await service().sessions.validateSession({ sessionToken: token });
        expect(holder.status).toBe(ValidateSessionStatus.REVOKED);
      });

      test('a session past its idle deadline is EXPIRED and no longer read', async () => {
        const { session, token } = await create(service(), { userId: user(), idleTtlMs: 1n });
        const { sessions } = service();
        // reading does not touch, so it cannot keep the session alive
        await until(async () => (await sessions.listUserSessions({ userId: session.userId })).totalCount === 0);
        const answer = await sessions.validateSession({ sessionToken: token });
        expect(answer.status).toBe(ValidateSessionStatus.EXPIRED);
        expect(answer.end).toMatchObject({ cause: SessionEndCause.EXPIRED_IDLE, endedAtMs: session.expiresAtMs });
        expect((await failureOf(sessions.getSession({ sessionId: session.sessionId }))).code).toBe(Code.NOT_FOUND);
      });

      test('no activity carries a session past its absolute lifetime', async () => {
        const { session, token } = await create(service(), { userId: user(), profile: 'short_absolute' });
        let answer = await service().sessions.validateSession({ sessionToken: token });
        await until(async () => {
          answer = await service().sessions.validateSession({ sessionToken: token });
          return answer.status !== ValidateSessionStatus.VALID;
        });
        expect(answer.end).toMatchObject({
          cause: SessionEndCause.EXPIRED_ABSOLUTE,
          endedAtMs: session.absoluteExpiresAtMs,
        });
      });
    });

    describe('DestroySession', () => {
      test('ends a session once and tells its holder why', async () => {
        const { session, token } = await create(service(), { userId: user() });
        const { sessions } = service();
        const ending = { sessionId: session.sessionId, reason: 'kick', message: 'See the rules.' };
        expect((await sessions.destroySession(ending)).destroyed).toBe(true);
        expect((await sessions.destroySession(ending)).destroyed).toBe(false);
        const answer = await sessions.validateSession({ sessionToken: token });
        expect(answer.status).toBe(ValidateSessionStatus.REVOKED);
        expect(answer.end).toMatchObject({
          cause: SessionEndCause.DESTROYED,
          reason: 'kick',
          message: 'See the rules.',
        });
        expect((await sessions.listUserSessions({ userId: session.userId })).totalCount).toBe(0);
      });

      test('a session stays gone however many validates and updates were in flight', async () => {
        const { sessions } = service();
        for (let round = 0; round < 20; round++) {
          const { session, token } = await create(service(), { userId: user() });
          const { sessionId } = session;
          const inFlight = Array.from({ length: 30 }, (_, index) =>
            index % 2 === 0
              ? sessions.validateSession({ sessionToken: token })
              : sessions
                  .updateSession({ sessionId, incrementMetadata: new Map([['hits', 1n]]) })
                  .catch(() => undefined),
          );
          const destroyed = sessions.destroySession({ sessionId });
          const later = Array.from({ length: 10 }, () => sessions.validateSession({ sessionToken: token }));
          expect((await destroyed).destroyed).toBe(true);
          await Promise.all([...inFlight, ...later]);
          const answer = await sessions.validateSession({ sessionToken: token });
          expect(answer.status).toBe(ValidateSessionStatus.REVOKED);
          expect((await sessions.listUserSessions({ userId: session.userId })).totalCount).toBe(0);
        }
      });
    });

    describe('DestroyUserSessions', () => {
      test('ends every session of the user, more than one step can, and keeps the one named', async () => {
        const userId = user();
        const made = await Promise.all(Array.from({ length: 450 }, () => create(service(), { userId })));
        const stranger = await create(service(), { userId: user() });
        const kept = made[200]?.session.sessionId ?? '';
        const { sessions } = service();
        const reply = await sessions.destroyUserSessions({ userId, reason: 'ban', keepSessionId: kept });
        expect(reply.destroyedCount).toBe(449n);
        const left = await sessions.listUserSessions({ userId });
        expect(left.sessions.map(({ sessionId }) => sessionId)).toEqual([kept]);
        const other = await sessions.validateSession({ sessionToken: stranger.token });
        expect(other.status).toBe(ValidateSessionStatus.VALID);
      });

      test('refuses logins that were proved before it, and lets new ones in', async () => {
        const userId = user();
        const { sessions } = service();
        const { revokedAtMs } = await sessions.destroyUserSessions({ userId });
        const stale = await sessions.createSession({ userId, authenticatedAtMs: revokedAtMs - 1n });
        expect(stale.status).toBe(CreateSessionStatus.AUTHENTICATION_REVOKED);
        const fresh = await sessions.createSession({ userId });
        expect(fresh.status).toBe(CreateSessionStatus.CREATED);
      });

      test('keeps a blocked user out until the block ends or is replaced', async () => {
        const userId = user();
        const { sessions } = service();
        const block = await sessions.destroyUserSessions({ userId, blockForMs: 60_000n });
        const blocked = await sessions.createSession({ userId });
        expect(blocked.status).toBe(CreateSessionStatus.USER_BLOCKED);
        expect(blocked.blockedUntilMs).toBe(block.blockedUntilMs);
        expect((await sessions.destroyUserSessions({ userId })).blockedUntilMs).toBe(block.blockedUntilMs);
        await sessions.destroyUserSessions({ userId, blockForMs: 1n });
        await until(async () => (await sessions.createSession({ userId })).status === CreateSessionStatus.CREATED);
      });
    });

    test('ListUserSessions counts all and answers as many as asked', async () => {
      const userId = user();
      const made: Session[] = [];
      for (let count = 0; count < 4; count++) made.push((await create(service(), { userId })).session);
      const reply = await service().sessions.listUserSessions({ userId, limit: 2 });
      expect(reply).toEqual({ sessions: made.slice(0, 2), totalCount: 4 });
    });
  },
  { POLICIES_FILE },
);
