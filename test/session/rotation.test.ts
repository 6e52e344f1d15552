import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import {
  RotateSessionStatus,
  SessionEndCause,
  ValidateSessionStatus,
  type CreateSessionRequest,
  type Session,
} from '../../src/gen/shardkeep/session/v1/session.js';
import { keys, partitionOfUser } from '../../src/redis/keys.js';
import { rawRedis, type RawRedis } from '../support/raw-redis.js';
import { startRedis, until } from '../support/redis-server.js';
import { onEachTopology, policiesFile, randomNamespace, startTestService, sharedRedisUrl } from '../support/service.js';
import { eventsOf, recordOf } from './raw-sessions.js';

const MINUTE_MS = 60_000;

const profile = { idle_ttl_ms: 60 * MINUTE_MS, absolute_ttl_ms: 0, max_sessions: 0, at_limit: 'evict_oldest' };
const fine = { ...profile, touch_granularity_ms: 0 };
const coarse = { ...profile, touch_granularity_ms: 3 * MINUTE_MS };
const POLICIES_FILE = policiesFile({
  rpc_limits: [],
  session_profiles: {
    lasting: { ...fine, rotation_grace_ms: 10 * MINUTE_MS },
    lasting_coarse: { ...coarse, rotation_grace_ms: 10 * MINUTE_MS },
    // the grace is over when the rotation is
    graceless: { ...fine, rotation_grace_ms: 0 },
    graceless_coarse: { ...coarse, rotation_grace_ms: 0 },
    brief: { ...fine, rotation_grace_ms: 150 },
    renewed: { ...fine, renewal_ttl_ms: 10 * MINUTE_MS },
    soon_renewed: { ...fine, renewal_ttl_ms: 200 },
  },
});

const { VALID, STEP_UP, UNKNOWN, REVOKED, EXPIRED } = ValidateSessionStatus;
const { ROTATED } = RotateSessionStatus;

onEachTopology(
  'the rotation of tokens',
  (service, topology) => {
    let redis: RawRedis;
    beforeAll(async () => {
      redis = await rawRedis(topology);
    });
    afterAll(async () => {
      await redis.close();
    });

    async function create(request: Partial<CreateSessionRequest> = {}): Promise<{ session: Session; token: string }> {
      const userId = randomNamespace();
      const reply = await service().sessions.createSession({ userId, profile: 'lasting', ...request });
      if (reply.session === undefined) throw new Error('not created');
      return { session: reply.session, token: reply.sessionToken };
    }

    /** Rotates, which must succeed; answers the new token. */
    async function rotated(sessionToken: string): Promise<string> {
      const reply = await service().sessions.rotateSession({ sessionToken });
      expect(reply.status).toBe(ROTATED);
      return reply.sessionToken;
    }

    async function statusOf(sessionToken: string): Promise<ValidateSessionStatus> {
      return (await service().sessions.validateSession({ sessionToken })).status;
    }

    async function typesOf({ userId }: Session): Promise<string[]> {
      return (await eventsOf(redis, service().namespace, userId)).map(({ type }) => type);
    }

    test('a rotated session has a new token and is the same otherwise', async () => {
      const { session, token } = await create({ username: 'ada', metadata: new Map([['ip', '192.0.2.1']]) });
      const reply = await service().sessions.rotateSession({ sessionToken: token });
      expect(reply.status).toBe(ROTATED);
      expect(reply.sessionToken).not.toBe(token);
      expect(reply.sessionToken.slice(0, 25)).toBe(`${session.sessionId}.`);
      const { lastActiveMs = 0n } = reply.session ?? {};
      expect(lastActiveMs).toBeGreaterThanOrEqual(session.lastActiveMs);
      expect(reply.session).toEqual({ ...session, lastActiveMs, expiresAtMs: lastActiveMs + 60n * 60_000n });
      expect((await service().sessions.getSession({ sessionId: session.sessionId })).session).toEqual(reply.session);
      expect(await statusOf(reply.sessionToken)).toBe(VALID);
      expect(await typesOf(session)).toEqual(['created', 'rotated']);
    });

    test('of 20 callers at once all get one successor, told and counted once', async () => {
      const { session, token } = await create();
      const { counters } = keys.sessions(service().namespace, partitionOfUser(session.userId));
      const count = async (): Promise<number> => {
        const counted = await redis.command('HGET', counters, 'rotated');
        return Buffer.isBuffer(counted) ? Number(counted.toString()) : 0;
      };
      const before = await count();
      const replies = await Promise.all(
        Array.from({ length: 20 }, () => service().sessions.rotateSession({ sessionToken: token })),
      );
      expect(new Set(replies.map(({ status }) => status))).toEqual(new Set([ROTATED]));
      const successors = [...new Set(replies.map(({ sessionToken }) => sessionToken))];
      expect(successors).toHaveLength(1);
      expect(await statusOf(successors[0] ?? '')).toBe(VALID);
      expect((await typesOf(session)).filter((type) => type === 'rotated')).toHaveLength(1);
      expect((await count()) - before).toBe(1);
    });

    test('a retry after a lost answer gets the same token, from whichever process', async () => {
      const { token } = await create();
      const lost = await rotated(token);
      const { namespace } = service();
      const other = await startTestService({
        REDIS_URL: sharedRedisUrl(topology),
        NAMESPACE: namespace,
        POLICIES_FILE,
      });
      try {
        const retried = await other.sessions.rotateSession({ sessionToken: token });
        expect(retried.sessionToken).toBe(lost);
        expect((await other.sessions.validateSession({ sessionToken: lost })).status).toBe(VALID);
      } finally {
        await other.stop();
      }
    });

    test('what lies in Redis holds no secret, old or new', async () => {
      const { session, token } = await create();
      const tokens = [token, await rotated(token)];
      const record = await recordOf(redis, service().namespace, session);
      for (const each of tokens) {
        const secret = each.slice(25);
        expect(record.includes(Buffer.from(secret, 'base64url'))).toBe(false);
        expect(record.includes(secret)).toBe(false);
      }
    });

    test.each(['lasting', 'lasting_coarse'])(
      'under %s the old token opens the session within the grace',
      async (name) => {
        const { session, token } = await create({ profile: name });
        const successor = await rotated(token);
        for (const each of [token, successor, token]) {
          const reply = await service().sessions.validateSession({ sessionToken: each });
          expect(reply.status).toBe(VALID);
          expect(reply.session?.sessionId).toBe(session.sessionId);
        }
        expect(await typesOf(session)).toEqual(['created', 'rotated']);
      },
    );

    describe('a token presented after its grace', () => {
      test.each([
        ['ValidateSession', 'graceless'],
        ['ValidateSession', 'graceless_coarse'],
        ['RotateSession', 'graceless'],
      ] as const)('ends the session by %s under %s, once', async (rpc, name) => {
        const { sessions } = service();
        const { session, token } = await create({ profile: name });
        const successor = await rotated(token);
        const present = () =>
          rpc === 'RotateSession'
            ? sessions.rotateSession({ sessionToken: token })
            : sessions.validateSession({ sessionToken: token });
        const replies = await Promise.all(Array.from({ length: 10 }, present));
        for (const reply of [...replies, await present()]) {
          // the same number in both
          expect(reply.status).toBe(REVOKED);
          expect(reply.end).toMatchObject({ cause: SessionEndCause.THEFT, reason: 'previous' });
        }
        const holder = await sessions.validateSession({ sessionToken: successor });
        expect(holder.status).toBe(REVOKED);
        expect(holder.end).toEqual(replies[0]?.end);
        expect(await sessions.rotateSession({ sessionToken: successor })).toMatchObject({
          status: RotateSessionStatus.REVOKED,
          sessionToken: '',
        });
        const events = await eventsOf(redis, service().namespace, session.userId);
        expect(events.map(({ type }) => type)).toEqual(['created', 'rotated', 'theft']);
        expect(events.at(-1)).toMatchObject({ session: session.sessionId, cause: '6', reason: 'previous' });
        expect((await sessions.listUserSessions({ userId: session.userId })).totalCount).toBe(0);
      });

      test('is the same thing once a grace that was there is over', async () => {
        const { session, token } = await create({ profile: 'brief' });
        await rotated(token);
        await until(async () => (await statusOf(token)) !== VALID);
        expect(await statusOf(token)).toBe(REVOKED);
        expect(await typesOf(session)).toEqual(['created', 'rotated', 'theft']);
      });

      test('is of class older when it was replaced twice, also within the grace', async () => {
        const { session, token } = await create();
        const last = await rotated(await rotated(token));
        const reply = await service().sessions.validateSession({ sessionToken: token });
        expect(reply.status).toBe(REVOKED);
        expect(reply.end).toMatchObject({ cause: SessionEndCause.THEFT, reason: 'older' });
        expect(await statusOf(last)).toBe(REVOKED);
        expect((await typesOf(session)).at(-1)).toBe('theft');
      });

      test('is known for 32 tokens before the previous one, and then changes nothing', async () => {
        const { session, token } = await create();
        const tokens = [token];
        for (let count = 0; count < 34; count++) tokens.push(await rotated(tokens.at(-1) ?? ''));
        const [forgotten = '', oldest = ''] = tokens;
        expect(await statusOf(forgotten)).toBe(UNKNOWN);
        expect(await statusOf(tokens.at(-1) ?? '')).toBe(VALID);
        expect((await recordOf(redis, service().namespace, session)).length).toBeLessThan(600);
        expect(await statusOf(oldest)).toBe(REVOKED);
      });
    });

    test('who knows only the id changes nothing', async () => {
      const { session } = await create({ profile: 'lasting_coarse' });
      const { sessionId } = session;
      const { sessions, namespace } = service();
      await rotated((await create()).token);
      const before = await recordOf(redis, namespace, session);
      const forged = `${sessionId}.${'A'.repeat(43)}`;
      expect((await sessions.rotateSession({ sessionToken: forged })).status).toBe(RotateSessionStatus.UNKNOWN);
      expect((await sessions.rotateSession({ sessionToken: forged, reauthenticated: true })).status).toBe(
        RotateSessionStatus.UNKNOWN,
      );
      expect(await statusOf(forged)).toBe(UNKNOWN);
      const replacing = await create({ userId: session.userId, replacesSessionToken: forged });
      expect((await sessions.destroySession({ sessionId: replacing.session.sessionId })).destroyed).toBe(true);
      expect(await recordOf(redis, namespace, session)).toEqual(before);
      expect((await sessions.getSession({ sessionId })).session).toEqual(session);
    });

    describe('the proof of who the user is', () => {
      test.each(['lasting', 'lasting_coarse'])(
        'under %s: older than asked for is STEP_UP, and a new one VALID',
        async (name) => {
          const { sessions } = service();
          const { session, token } = await create({ profile: name, authenticatedAtMs: 1_000n });
          expect(session.authenticatedAtMs).toBe(1_000n);
          const ask = (sessionToken: string) => sessions.validateSession({ sessionToken, maxAuthAgeMs: 300_000n });
          const asked = await ask(token);
          expect(asked.status).toBe(STEP_UP);
          expect(asked.session?.sessionId).toBe(session.sessionId);
          expect(await statusOf(token)).toBe(VALID);

          const kept = await sessions.rotateSession({ sessionToken: token });
          expect(kept.session?.authenticatedAtMs).toBe(1_000n);
          expect((await ask(kept.sessionToken)).status).toBe(STEP_UP);

          // by the one before, within the grace: the same token, and the proof counts
          const proved = await sessions.rotateSession({ sessionToken: token, reauthenticated: true });
          expect(proved.sessionToken).toBe(kept.sessionToken);
          expect(proved.session?.authenticatedAtMs).toBeGreaterThanOrEqual(session.createdAtMs);
          expect((await ask(kept.sessionToken)).status).toBe(VALID);

          const again = await sessions.rotateSession({ sessionToken: kept.sessionToken, reauthenticated: true });
          expect(again.session?.authenticatedAtMs).toBeGreaterThanOrEqual(proved.session?.authenticatedAtMs ?? 0n);
        },
      );

      test('STEP_UP touches the session', async () => {
        const { session, token } = await create({ authenticatedAtMs: 1_000n });
        let touched: Session | undefined;
        await until(async () => {
          touched = (await service().sessions.validateSession({ sessionToken: token, maxAuthAgeMs: 1n })).session;
          return touched !== undefined && touched.lastActiveMs > session.lastActiveMs;
        });
        const { session: read } = await service().sessions.getSession({ sessionId: session.sessionId });
        expect(read).toEqual(touched);
      });
    });

    describe('a renewal TTL', () => {
      test('is a deadline that activity does not move, and a rotation does', async () => {
        const { sessions } = service();
        const { session, token } = await create({ profile: 'renewed' });
        expect(session.renewByMs).toBe(session.createdAtMs + 10n * 60_000n);
        expect(session.expiresAtMs).toBe(session.renewByMs);
        await until(async () => {
          const { session: seen } = await sessions.validateSession({ sessionToken: token });
          expect(seen?.renewByMs).toBe(session.renewByMs);
          expect(seen?.expiresAtMs).toBe(session.renewByMs);
          return seen !== undefined && seen.lastActiveMs > session.lastActiveMs;
        });
        const first = await sessions.rotateSession({ sessionToken: token });
        const { lastActiveMs = 0n, renewByMs = 0n, expiresAtMs } = first.session ?? {};
        expect(renewByMs).toBe(lastActiveMs + 10n * 60_000n);
        expect(renewByMs).toBeGreaterThan(session.renewByMs);
        expect(expiresAtMs).toBe(renewByMs);
        // the token that this answers is as old as before
        const replayed = await sessions.rotateSession({ sessionToken: token });
        expect(replayed.session?.renewByMs).toBe(renewByMs);
        expect((await sessions.listUserSessions({ userId: session.userId })).sessions).toEqual([replayed.session]);
      });

      test('that is over ends the session, however active it is', async () => {
        const { session, token } = await create({ profile: 'soon_renewed' });
        await until(async () => (await statusOf(token)) !== VALID);
        const reply = await service().sessions.validateSession({ sessionToken: token });
        expect(reply.status).toBe(EXPIRED);
        expect(reply.end).toMatchObject({ cause: SessionEndCause.EXPIRED_RENEWAL, endedAtMs: session.renewByMs });
        const rotation = await service().sessions.rotateSession({ sessionToken: token });
        expect(rotation.status).toBe(RotateSessionStatus.EXPIRED);
        expect(rotation.end).toEqual(reply.end);
        expect(await typesOf(session)).not.toContain('rotated');
      });
    });

    test('a session that was destroyed stays so, however many rotations were in flight', async () => {
      const { sessions } = service();
      for (let round = 0; round < 15; round++) {
        const { session, token } = await create();
        const { sessionId, userId } = session;
        const rotate = () => sessions.rotateSession({ sessionToken: token, reauthenticated: round % 2 === 0 });
        const before = Array.from({ length: 10 }, rotate);
        const destroyed = sessions.destroySession({ sessionId, reason: 'kick' });
        const behind = Array.from({ length: 10 }, rotate);
        expect((await destroyed).destroyed).toBe(true);
        const replies = await Promise.all([...before, ...behind]);
        const successors = new Set(replies.filter(({ status }) => status === ROTATED).map((each) => each.sessionToken));
        expect(successors.size).toBeLessThanOrEqual(1);
        for (const each of [token, ...successors]) {
          const reply = await sessions.validateSession({ sessionToken: each });
          expect(reply.status).toBe(REVOKED);
          expect(reply.end).toMatchObject({ cause: SessionEndCause.DESTROYED, reason: 'kick' });
        }
        expect((await sessions.listUserSessions({ userId })).totalCount).toBe(0);
        const types = await typesOf(session);
        expect(types.filter((type) => !['created', 'rotated'].includes(type))).toEqual(['destroyed']);
        expect(types.at(-1)).toBe('destroyed');
      }
    });
  },
  { POLICIES_FILE },
);

test('a full Redis rotates, answers retries with the same token, and ends what a replaced one was stolen from', async () => {
  const redis = await startRedis(['--maxmemory-policy', 'noeviction']);
  const service = await startTestService({ REDIS_URL: redis.url, POLICIES_FILE });
  const { sessions } = service;
  const login = async (profileName: string) =>
    (await sessions.createSession({ userId: randomNamespace(), profile: profileName })).sessionToken;
  const kept = await login('lasting');
  const stolen = await login('graceless');
  await sessions.rotateSession({ sessionToken: stolen });

  await redis.command('CONFIG', 'SET', 'maxmemory', '1');
  const first = await sessions.rotateSession({ sessionToken: kept });
  expect(first.status).toBe(ROTATED);
  expect(await sessions.rotateSession({ sessionToken: kept })).toMatchObject({ sessionToken: first.sessionToken });
  expect(await sessions.rotateSession({ sessionToken: stolen })).toMatchObject({
    status: RotateSessionStatus.REVOKED,
    end: { cause: SessionEndCause.THEFT },
  });
  await service.stop();
  await redis.remove();
});
