import { createHash } from 'node:crypto';
import { describe, expect, test } from '@jest/globals';
import { createClient, RESP_TYPES } from 'redis';
import {
  CreateSessionStatus,
  RotateSessionStatus,
  ValidateSessionStatus,
  type CreateSessionRequest,
  type Session,
} from '../../src/gen/shardkeep/session/v1/session.js';
import { failureOf } from '../support/client.js';
import { until } from '../support/redis-server.js';
import {
  onEachTopology,
  policiesFile,
  randomNamespace,
  sharedRedisUrl,
  startTestService,
  type TestService,
} from '../support/service.js';
import { asOurselves } from '../support/redis-user.js';

/**
 * The requirements of the OWASP Application Security Verification Standard that a session service can meet, by their
 * numbers in 5.0.0 (V7) and 4.0.3 (V3). docs/sessions.md names those that are the caller's.
 */

const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;
const DAY_MS = 24 * HOUR_MS;
const TOKENS = 256;
const SECRET_BITS = 256;

const roomy = { idle_ttl_ms: 10 * MINUTE_MS, absolute_ttl_ms: HOUR_MS, touch_granularity_ms: 0 };
const POLICIES_FILE = policiesFile({
  rpc_limits: [],
  session_profiles: {
    two: { ...roomy, max_sessions: 2, at_limit: 'refuse' },
    two_newest: { ...roomy, max_sessions: 2, at_limit: 'evict_oldest' },
    idle: { ...roomy, idle_ttl_ms: 150, max_sessions: 5, at_limit: 'refuse' },
    absolute: { ...roomy, absolute_ttl_ms: 150, max_sessions: 5, at_limit: 'refuse' },
    no_grace: { ...roomy, max_sessions: 5, at_limit: 'refuse', rotation_grace_ms: 0 },
  },
});

const user = (): string => `user ${randomNamespace()}`;

interface Login {
  readonly session: Session;
  readonly sessionToken: string;
}

async function login({ sessions }: TestService, request: Partial<CreateSessionRequest> = {}): Promise<Login> {
  const { session, sessionToken } = await sessions.createSession({ userId: user(), profile: 'game', ...request });
  if (session === undefined) throw new Error('not created');
  return { session, sessionToken };
}

async function statusOf({ sessions }: TestService, sessionToken: string): Promise<ValidateSessionStatus> {
  return (await sessions.validateSession({ sessionToken })).status;
}

function secretOf(sessionToken: string): Buffer {
  return Buffer.from(sessionToken.split('.')[1] ?? '', 'base64url');
}

onEachTopology(
  'ASVS',
  (service) => {
    describe('5.0', () => {
      test('7.1.2 how many sessions a user may have at once, and what happens then, is what the profile says', async () => {
        const userId = user();
        for (let count = 0; count < 2; count++) await login(service(), { userId, profile: 'two' });
        const refused = await service().sessions.createSession({ userId, profile: 'two' });
        expect(refused.status).toBe(CreateSessionStatus.SESSION_LIMIT);
        const evicting = await service().sessions.createSession({ userId, profile: 'two_newest' });
        expect(evicting.evictedSessionIds).toEqual([refused.liveSessions[0]?.sessionId]);
        expect((await service().sessions.listUserSessions({ userId })).totalCount).toBe(2);
      });

      test('7.2.1 a token is verified by the service: none that it did not give opens a session', async () => {
        const { sessionToken } = await login(service());
        const other = await login(service());
        const forged = [
          `${sessionToken.slice(0, 24)}.${other.sessionToken.slice(25)}`,
          `${sessionToken.slice(0, 25)}${'A'.repeat(43)}`,
        ];
        for (const token of forged) expect(await statusOf(service(), token)).toBe(ValidateSessionStatus.UNKNOWN);
        expect(await statusOf(service(), sessionToken)).toBe(ValidateSessionStatus.VALID);
      });

      test('7.2.2 tokens are made for each session, and are no fixed keys', async () => {
        const request = { userId: user(), profile: 'two', username: 'ada' };
        const first = await login(service(), request);
        const second = await login(service(), request);
        expect(second.sessionToken).not.toBe(first.sessionToken);
        await service().sessions.destroySession({ sessionId: first.session.sessionId });
        expect(await statusOf(service(), second.sessionToken)).toBe(ValidateSessionStatus.VALID);
      });

      test('7.2.3 a token has a secret of 256 random bits that no other has', async () => {
        const secrets = await Promise.all(
          Array.from({ length: TOKENS }, async () => secretOf((await login(service())).sessionToken)),
        );
        expect(new Set(secrets.map((secret) => secret.toString('hex'))).size).toBe(TOKENS);
        const setBits = Array.from({ length: SECRET_BITS }, (_, bit) =>
          secrets.reduce((sum, secret) => sum + (((secret[bit >> 3] ?? 0) >> (bit & 7)) & 1), 0),
        );
        // a bit that is fixed, or nearly so: eight standard deviations
        for (const count of setBits) expect(count > TOKENS / 4 && count < (TOKENS * 3) / 4).toBe(true);
      });

      test('7.2.4 a login or a new proof makes a new token, and the old one ends', async () => {
        const guest = await login(service());
        const player = await login(service(), { replacesSessionToken: guest.sessionToken });
        expect(await statusOf(service(), guest.sessionToken)).toBe(ValidateSessionStatus.REVOKED);
        expect(await statusOf(service(), player.sessionToken)).toBe(ValidateSessionStatus.VALID);

        const { sessionToken } = await login(service(), { profile: 'no_grace' });
        const rotated = await service().sessions.rotateSession({ sessionToken, reauthenticated: true });
        expect(await statusOf(service(), rotated.sessionToken)).toBe(ValidateSessionStatus.VALID);
        expect(await statusOf(service(), sessionToken)).toBe(ValidateSessionStatus.REVOKED);
      });

      test('7.3.1 a session ends when it is not used', async () => {
        const { sessionToken } = await login(service(), { profile: 'idle' });
        const { session } = await login(service(), { profile: 'idle' });
        await until(
          async () => (await failureOf(service().sessions.getSession(session)).catch(() => undefined)) !== undefined,
        );
        expect(await statusOf(service(), sessionToken)).toBe(ValidateSessionStatus.EXPIRED);
      });

      test('7.3.2 a session ends at its age, however much it is used', async () => {
        const { session, sessionToken } = await login(service(), { profile: 'absolute' });
        await until(async () => (await statusOf(service(), sessionToken)) === ValidateSessionStatus.EXPIRED);
        const { end } = await service().sessions.validateSession({ sessionToken });
        expect(end?.endedAtMs).toBe(session.absoluteExpiresAtMs);
      });

      test('7.4.1 what has ended cannot be used', async () => {
        const { session, sessionToken } = await login(service());
        const { sessionId } = session;
        await service().sessions.destroySession({ sessionId });
        expect(await statusOf(service(), sessionToken)).toBe(ValidateSessionStatus.REVOKED);
        const rotation = await service().sessions.rotateSession({ sessionToken });
        expect(rotation.status).toBe(RotateSessionStatus.REVOKED);
        const uses = [
          () => service().sessions.getSession({ sessionId }),
          () => service().sessions.updateSession({ sessionId }),
          () => service().sessions.extendSession({ sessionId, ttlMs: 1_000n }),
        ];
        for (const use of uses) expect(await failureOf(use())).toMatchObject({ reason: 'SESSION_NOT_FOUND' });
      });

      test('7.4.2 when an account is disabled all its sessions end and none begins', async () => {
        const userId = user();
        const logins = [await login(service(), { userId }), await login(service(), { userId })];
        await service().sessions.destroyUserSessions({ userId, reason: 'disabled', blockForMs: BigInt(DAY_MS) });
        for (const { sessionToken } of logins) {
          expect(await statusOf(service(), sessionToken)).toBe(ValidateSessionStatus.REVOKED);
        }
        const { status } = await service().sessions.createSession({ userId });
        expect(status).toBe(CreateSessionStatus.USER_BLOCKED);
      });

      test('7.4.3 after a change of password all other sessions can be ended', async () => {
        const userId = user();
        const here = await login(service(), { userId });
        const elsewhere = await login(service(), { userId });
        await service().sessions.destroyUserSessions({ userId, keepSessionId: here.session.sessionId });
        expect(await statusOf(service(), here.sessionToken)).toBe(ValidateSessionStatus.VALID);
        expect(await statusOf(service(), elsewhere.sessionToken)).toBe(ValidateSessionStatus.REVOKED);
      });

      test('7.5.1 before something sensitive the proof can be asked to be recent', async () => {
        const { sessionToken } = await login(service(), { authenticatedAtMs: BigInt(Date.now() - HOUR_MS) });
        const maxAuthAgeMs = BigInt(5 * MINUTE_MS);
        const before = await service().sessions.validateSession({ sessionToken, maxAuthAgeMs });
        expect(before.status).toBe(ValidateSessionStatus.STEP_UP);
        const rotated = await service().sessions.rotateSession({ sessionToken, reauthenticated: true });
        const after = await service().sessions.validateSession({ sessionToken: rotated.sessionToken, maxAuthAgeMs });
        expect(after.status).toBe(ValidateSessionStatus.VALID);
      });

      test('7.5.2 users can see their sessions and end any of them', async () => {
        const userId = user();
        const phone = await login(service(), { userId, metadata: new Map([['platform', 'ios']]) });
        const web = await login(service(), { userId, metadata: new Map([['platform', 'web']]) });
        const { sessions: seen } = await service().sessions.listUserSessions({ userId });
        expect(seen.map(({ metadata }) => metadata.get('platform'))).toEqual(['ios', 'web']);
        await service().sessions.destroySession({ sessionId: phone.session.sessionId });
        const { sessions: left } = await service().sessions.listUserSessions({ userId });
        expect(left.map(({ sessionId }) => sessionId)).toEqual([web.session.sessionId]);
      });

      test('7.5.3 for a highly sensitive transaction a proof of before it is not enough', async () => {
        const { session, sessionToken } = await login(service());
        await until(async () => {
          const { status } = await service().sessions.validateSession({ sessionToken, maxAuthAgeMs: 0n });
          return status === ValidateSessionStatus.STEP_UP;
        });
        const rotated = await service().sessions.rotateSession({ sessionToken, reauthenticated: true });
        expect(rotated.session?.authenticatedAtMs).toBeGreaterThan(session.authenticatedAtMs);
      });
    });

    describe('4.0.3', () => {
      test('3.2.1 a login makes a new token', async () => {
        const before = await login(service());
        const after = await login(service(), {
          userId: before.session.userId,
          replacesSessionToken: before.sessionToken,
        });
        expect(after.sessionToken).not.toBe(before.sessionToken);
        expect(await statusOf(service(), before.sessionToken)).toBe(ValidateSessionStatus.REVOKED);
      });

      test('3.2.2 a token has at least 64 bits of entropy', async () => {
        const { sessionToken } = await login(service());
        expect(secretOf(sessionToken)).toHaveLength(SECRET_BITS / 8);
      });

      test('3.3.1 neither after logout nor after the end of its time does a token work', async () => {
        const left = await login(service());
        await service().sessions.destroySession({ sessionId: left.session.sessionId });
        const ranOut = await login(service(), { profile: 'absolute' });
        await until(async () => (await statusOf(service(), ranOut.sessionToken)) !== ValidateSessionStatus.VALID);
        for (const { sessionToken } of [left, ranOut]) {
          const { status } = await service().sessions.rotateSession({ sessionToken });
          expect([RotateSessionStatus.REVOKED, RotateSessionStatus.EXPIRED]).toContain(status);
        }
      });

      test.each([
        { level: 'asvs_l1', idleMs: 30 * DAY_MS, absoluteMs: 30 * DAY_MS },
        { level: 'asvs_l2', idleMs: 30 * MINUTE_MS, absoluteMs: 12 * HOUR_MS },
        { level: 'asvs_l3', idleMs: 15 * MINUTE_MS, absoluteMs: 12 * HOUR_MS },
      ])('3.3.2 $level has users prove who they are again in time', async ({ level, idleMs, absoluteMs }) => {
        const { session } = await login(service(), { profile: level });
        const granularityMs = BigInt(MINUTE_MS);
        expect(session.absoluteExpiresAtMs - session.createdAtMs).toBe(BigInt(absoluteMs));
        expect(session.expiresAtMs - session.createdAtMs <= BigInt(idleMs) + granularityMs).toBe(true);
      });

      test('3.3.3 after a change of password all other sessions can be ended', async () => {
        const userId = user();
        const here = await login(service(), { userId });
        await login(service(), { userId });
        await service().sessions.destroyUserSessions({ userId, keepSessionId: here.session.sessionId });
        const { sessions: left } = await service().sessions.listUserSessions({ userId });
        expect(left.map(({ sessionId }) => sessionId)).toEqual([here.session.sessionId]);
      });

      test('3.3.4 users can see and end their sessions', async () => {
        const userId = user();
        await login(service(), { userId });
        await login(service(), { userId });
        expect((await service().sessions.listUserSessions({ userId })).totalCount).toBe(2);
        await service().sessions.destroyUserSessions({ userId });
        expect((await service().sessions.listUserSessions({ userId })).totalCount).toBe(0);
      });

      test('3.6.2 when the user last proved who they are is told', async () => {
        const authenticatedAtMs = BigInt(Date.now() - HOUR_MS);
        const { sessionToken } = await login(service(), { authenticatedAtMs });
        const { session } = await service().sessions.validateSession({ sessionToken });
        expect(session?.authenticatedAtMs).toBe(authenticatedAtMs);
      });
    });
  },
  { POLICIES_FILE },
);

test('4.0.3 3.2.4 tokens are random bytes of the platform, and kept as SHA-256 only', async () => {
  const url = sharedRedisUrl('standalone');
  const service = await startTestService({ REDIS_URL: url });
  const redis = createClient({
    url: asOurselves(url),
    commandOptions: { typeMapping: { [RESP_TYPES.BLOB_STRING]: Buffer } },
  });
  await redis.connect();
  try {
    const { session, sessionToken } = await login(service);
    const [key = ''] = (await redis.keys(`${service.namespace}:session:*:${session.sessionId}`)).map(String);
    const packed = await redis.get(key);
    const secret = secretOf(sessionToken);
    expect(Buffer.isBuffer(packed) && packed.includes(createHash('sha256').update(secret).digest())).toBe(true);
    expect(Buffer.isBuffer(packed) && packed.includes(secret)).toBe(false);
  } finally {
    redis.destroy();
    await service.stop();
  }
});
