import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import {
  CreateSessionStatus,
  SessionEndCause,
  ValidateSessionStatus,
  type CreateSessionRequest,
  type CreateSessionResponse,
  type Session,
} from '../../src/gen/shardkeep/session/v1/session.js';
import { keys, partitionOfUser } from '../../src/redis/keys.js';
import { rawRedis, type RawRedis } from '../support/raw-redis.js';
import { onEachTopology, policiesFile, randomNamespace } from '../support/service.js';
import { eventsOf, recordOf } from './raw-sessions.js';

const profile = { idle_ttl_ms: 3_600_000, absolute_ttl_ms: 0, touch_granularity_ms: 0, at_limit: 'evict_oldest' };
const POLICIES_FILE = policiesFile({
  rpc_limits: [],
  session_profiles: {
    many: { ...profile, max_sessions: 0 },
    two: { ...profile, max_sessions: 2 },
    refuse2: { ...profile, max_sessions: 2, at_limit: 'refuse' },
  },
});

const { CREATED, SESSION_LIMIT, REQUEST_SPENT, USER_BLOCKED } = CreateSessionStatus;
const { VALID, REVOKED } = ValidateSessionStatus;

const requestId = (): string => randomBytes(24).toString('base64url');

/** Another user whose sessions lie in the same partition. */
function neighbourOf(userId: string): string {
  for (let count = 0; ; count++) {
    const candidate = `${userId}-${String(count)}`;
    if (partitionOfUser(candidate) === partitionOfUser(userId)) return candidate;
  }
}

onEachTopology(
  'a login',
  (service, topology) => {
    let redis: RawRedis;
    beforeAll(async () => {
      redis = await rawRedis(topology);
    });
    afterAll(async () => {
      await redis.close();
    });

    const create = (request: Partial<CreateSessionRequest>): Promise<CreateSessionResponse> =>
      service().sessions.createSession({ profile: 'many', ...request });

    async function created(request: Partial<CreateSessionRequest>): Promise<{
      readonly session: Session;
      readonly id: string;
      readonly token: string;
      readonly reply: CreateSessionResponse;
    }> {
      const reply = await create(request);
      if (reply.session === undefined) throw new Error(`not created: ${String(reply.status)}`);
      return { session: reply.session, id: reply.session.sessionId, token: reply.sessionToken, reply };
    }

    async function endOf(sessionToken: string) {
      const { end } = await service().sessions.validateSession({ sessionToken });
      return { cause: end?.cause, reason: end?.reason };
    }

    const listed = (userId: string) => service().sessions.listUserSessions({ userId });

    describe('with a request id', () => {
      test('answers the same session and token to 50 retries at once, and one event is told', async () => {
        const userId = randomNamespace();
        const request = { userId, username: 'ada', requestId: requestId() };
        const replies = await Promise.all(Array.from({ length: 50 }, () => create(request)));
        expect(new Set(replies.map(({ status }) => status))).toEqual(new Set([CREATED]));
        expect(new Set(replies.map(({ sessionToken }) => sessionToken)).size).toBe(1);
        for (const { session } of replies) expect(session).toEqual(replies[0]?.session);
        const [{ sessionToken } = { sessionToken: '' }] = replies;
        expect((await service().sessions.validateSession({ sessionToken })).status).toBe(VALID);
        expect((await listed(userId)).totalCount).toBe(1);
        expect(await eventsOf(redis, service().namespace, userId)).toHaveLength(1);
      });

      test('is the request of one user, and another id is another session', async () => {
        const [one, other] = [randomNamespace(), randomNamespace()];
        const id = requestId();
        const first = await created({ userId: one, requestId: id });
        const ids = [
          first.id,
          (await created({ userId: other, requestId: id })).id,
          (await created({ userId: one, requestId: requestId() })).id,
          (await created({ userId: one })).id,
          (await created({ userId: one })).id,
        ];
        expect(new Set(ids).size).toBe(5);
        expect((await created({ userId: one, requestId: id })).token).toBe(first.token);
      });

      test('a retry at the limit evicts nobody, and neither does one of a blocked user make a session', async () => {
        const userId = randomNamespace();
        const request = { userId, profile: 'two', requestId: requestId() };
        const first = await created(request);
        const second = await created({ userId, profile: 'two' });
        const retried = await created(request);
        expect(retried.token).toBe(first.token);
        expect(retried.reply.evictedSessionIds).toEqual([]);
        expect((await listed(userId)).sessions.map(({ sessionId }) => sessionId)).toEqual([first.id, second.id]);
        await service().sessions.destroyUserSessions({ userId, keepSessionId: first.id, blockForMs: 600_000n });
        expect((await created(request)).token).toBe(first.token);
        expect((await create({ userId, requestId: requestId() })).status).toBe(USER_BLOCKED);
      });

      test('is spent when its session ended, or was rotated', async () => {
        const { sessions } = service();
        const userId = randomNamespace();
        const ended = { userId, requestId: requestId() };
        await sessions.destroySession({ sessionId: (await created(ended)).id });
        const rotated = { userId, requestId: requestId() };
        const { token } = await created(rotated);
        await sessions.rotateSession({ sessionToken: token });
        for (const request of [ended, rotated]) {
          const reply = await create(request);
          expect(reply).toMatchObject({ status: REQUEST_SPENT, session: undefined, sessionToken: '' });
        }
        expect((await listed(userId)).totalCount).toBe(1);
      });

      test('leaves nothing in Redis that opens the session, and what it leaves goes by itself', async () => {
        const userId = randomNamespace();
        const id = requestId();
        const { token, session } = await created({ userId, requestId: id });
        const { namespace } = service();
        const login = keys.login(namespace, partitionOfUser(userId), userId, id);
        const kept = await redis.command('GET', login);
        const secret = Buffer.from(token.slice(25), 'base64url');
        for (const stored of [kept, await recordOf(redis, namespace, session)]) {
          expect(Buffer.isBuffer(stored) && !stored.includes(secret) && !stored.includes(id)).toBe(true);
        }
        const ttlMs = Number(await redis.command('PTTL', login));
        expect(ttlMs > 0 && ttlMs <= 600_000).toBe(true);
      });
    });

    describe('in the place of another session', () => {
      test('of the same user: in one step, and the limit does not count it', async () => {
        const userId = randomNamespace();
        const [first, second] = [await created({ userId, profile: 'two' }), await created({ userId, profile: 'two' })];
        const { id, reply } = await created({ userId, profile: 'two', replacesSessionToken: second.token });
        expect(reply).toMatchObject({ replacedSessionId: second.id, evictedSessionIds: [] });
        expect(await endOf(second.token)).toEqual({ cause: SessionEndCause.DESTROYED, reason: 'replaced' });
        expect((await listed(userId)).sessions.map(({ sessionId }) => sessionId)).toEqual([first.id, id]);
        const events = await eventsOf(redis, service().namespace, userId);
        expect(events.filter(({ session }) => session === second.id).map(({ type }) => type)).toEqual([
          'created',
          'destroyed',
        ]);
      });

      test('a refused login replaces nothing', async () => {
        const userId = randomNamespace();
        const first = await created({ userId, profile: 'refuse2' });
        for (let count = 0; count < 2; count++) await created({ userId, profile: 'many' });
        const reply = await create({ userId, profile: 'refuse2', replacesSessionToken: first.token });
        expect(reply).toMatchObject({ status: SESSION_LIMIT, replacedSessionId: '' });
        expect(reply.liveSessions).toHaveLength(3);
        expect((await service().sessions.validateSession({ sessionToken: first.token })).status).toBe(VALID);
      });

      test('of another user, in the same partition or another: right behind it', async () => {
        const guest = await created({ userId: randomNamespace() });
        const { id, reply } = await created({ userId: randomNamespace(), replacesSessionToken: guest.token });
        expect(reply.replacedSessionId).toBe(guest.id);
        expect(await endOf(guest.token)).toEqual({ cause: SessionEndCause.DESTROYED, reason: 'replaced' });
        expect((await listed(guest.session.userId)).totalCount).toBe(0);

        const userId = reply.session?.userId ?? '';
        const neighbour = neighbourOf(userId);
        const next = await created({ userId: neighbour, replacesSessionToken: reply.sessionToken });
        expect(next.reply.replacedSessionId).toBe(id);
        expect(await endOf(reply.sessionToken)).toEqual({ cause: SessionEndCause.DESTROYED, reason: 'replaced' });
        const { userPrefix } = keys.sessions(service().namespace, partitionOfUser(userId));
        expect(await redis.command('EXISTS', userPrefix + userId)).toBe(0);
      });

      test('by the token before a rotation within the grace, and by no token that opens nothing', async () => {
        const { sessions } = service();
        const request = { userId: randomNamespace(), profile: 'two' };
        const first = await created(request);
        await created(request);
        const current = (await sessions.rotateSession({ sessionToken: first.token })).sessionToken;
        const second = await created({ ...request, replacesSessionToken: first.token });
        expect(second.reply).toMatchObject({ replacedSessionId: first.id, evictedSessionIds: [] });
        expect((await sessions.validateSession({ sessionToken: current })).status).toBe(REVOKED);

        const later = (await sessions.rotateSession({ sessionToken: second.token })).sessionToken;
        const last = (await sessions.rotateSession({ sessionToken: later })).sessionToken;
        for (const opensNothing of [current, `${second.id}.${'A'.repeat(43)}`, second.token]) {
          const { reply } = await created({ userId: request.userId, replacesSessionToken: opensNothing });
          expect(reply.replacedSessionId).toBe('');
        }
        expect((await sessions.validateSession({ sessionToken: last })).status).toBe(VALID);
      });

      test('also when the try that ended it was lost, or never came to it; never in its own place', async () => {
        const userId = randomNamespace();
        const request = { userId, requestId: requestId() };
        const first = await created(request);
        const guest = await created({ userId: randomNamespace() });
        for (const replacesSessionToken of [guest.token, first.token, guest.token]) {
          const { reply } = await created({ ...request, replacesSessionToken });
          expect(reply).toMatchObject({ sessionToken: first.token, replacedSessionId: '' });
        }
        expect(await endOf(guest.token)).toMatchObject({ reason: 'replaced' });
        expect((await service().sessions.validateSession({ sessionToken: first.token })).status).toBe(VALID);
      });
    });

    describe('that names whom to evict', () => {
      test('is let in by it, and ends those of this user that live', async () => {
        const userId = randomNamespace();
        const stranger = await created({ userId: neighbourOf(userId) });
        const [first, second] = [await created({ userId }), await created({ userId })];
        expect((await create({ userId, profile: 'refuse2' })).status).toBe(SESSION_LIMIT);
        const ids = [stranger.id, second.id, 'A'.repeat(24)];
        const { reply, id } = await created({ userId, profile: 'refuse2', evictSessionIds: ids });
        expect(reply.evictedSessionIds).toEqual([second.id]);
        expect(await endOf(second.token)).toEqual({ cause: SessionEndCause.EVICTED, reason: '' });
        expect((await listed(userId)).sessions.map(({ sessionId }) => sessionId)).toEqual([first.id, id]);
        expect((await service().sessions.validateSession({ sessionToken: stranger.token })).status).toBe(VALID);
      });

      test('ends nobody when it is refused all the same', async () => {
        const userId = randomNamespace();
        const ids = [];
        for (let count = 0; count < 4; count++) ids.push((await created({ userId })).id);
        const refused = await create({ userId, profile: 'refuse2', evictSessionIds: ids.slice(0, 2) });
        expect(refused.status).toBe(SESSION_LIMIT);
        expect(refused.liveSessions.map(({ sessionId }) => sessionId)).toEqual(ids);
        expect((await listed(userId)).totalCount).toBe(4);
      });

      test('tells those first, then whom the profile ends; one that it replaces is not evicted as well', async () => {
        const userId = randomNamespace();
        const [a, b, c, d] = [
          await created({ userId }),
          await created({ userId }),
          await created({ userId }),
          await created({ userId }),
        ];
        const { reply } = await created({
          ...{ userId, profile: 'two', evictSessionIds: [c.id, d.id] },
          replacesSessionToken: d.token,
        });
        expect(reply).toMatchObject({ evictedSessionIds: [c.id, a.id], replacedSessionId: d.id });
        expect((await listed(userId)).totalCount).toBe(2);
        expect(await endOf(b.token)).toEqual({ cause: undefined, reason: undefined });
      });
    });
  },
  { POLICIES_FILE },
);
