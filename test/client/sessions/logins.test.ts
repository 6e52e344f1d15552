import { afterEach, describe, expect, test } from '@jest/globals';
import { status as Code } from '@grpc/grpc-js';
import type { Sessions } from '../../../src/client/index.js';
import { errorOf } from '../../support/client-error.js';
import { until } from '../../support/redis-server.js';
import { onEachTopology, randomNamespace, sharedRedisUrl, startTestService } from '../../support/service.js';
import { startTcpProxy, type TcpProxy } from '../../support/tcp-proxy.js';
import { client, login, POLICIES_FILE } from './support.js';

onEachTopology(
  'createSession',
  (service) => {
    const sessions = (): Sessions => client(service().address).sessions;

    test('answers the session as plain values', async () => {
      const userId = randomNamespace();
      const before = Date.now();
      const { session, sessionToken, ...rest } = await login(sessions(), {
        userId,
        username: 'Ada',
        roles: ['player', 'tester'],
        permissions: ['chat'],
        organizationId: 'guild',
        characterId: 'hero',
        metadata: { platform: 'iOS', game_version: '1.2', ip: 'to be replaced' },
        client: { ip: '203.0.113.9', userAgent: 'agent', deviceId: 'device' },
        profile: 'renewed',
        idleTtlMs: 300_000,
        authenticatedAtMs: before - 3_600_000,
      });
      expect(session).toEqual({
        sessionId: sessionToken.slice(0, 24),
        userId,
        username: 'Ada',
        roles: ['player', 'tester'],
        permissions: ['chat'],
        organizationId: 'guild',
        characterId: 'hero',
        metadata: {
          platform: 'iOS',
          game_version: '1.2',
          ip: '203.0.113.9',
          user_agent: 'agent',
          device_id: 'device',
        },
        createdAtMs: session.createdAtMs,
        lastActiveMs: session.createdAtMs,
        expiresAtMs: session.createdAtMs + 300_000,
        absoluteExpiresAtMs: session.createdAtMs + 86_400_000,
        authenticatedAtMs: before - 3_600_000,
        version: session.version,
        profile: 'renewed',
        renewByMs: session.createdAtMs + 600_000,
        announcedEnd: undefined,
        deviceClass: 'mobile',
      });
      expect(Number.isSafeInteger(session.createdAtMs) && Number.isSafeInteger(session.version)).toBe(true);
      expect(rest).toEqual({ status: 'created', evictedSessionIds: [], replacedSessionId: undefined });
    });

    test('leaves out what was not said', async () => {
      const userId = randomNamespace();
      const { session } = await login(sessions(), { userId });
      expect(session).toMatchObject({ userId, roles: [], permissions: [], metadata: {}, profile: 'default' });
      expect(session).toMatchObject({ username: undefined, organizationId: undefined, characterId: undefined });
      expect(session).toMatchObject({ absoluteExpiresAtMs: undefined, renewByMs: undefined, deviceClass: 'other' });
    });

    test('metadata may have the names of what objects inherit', async () => {
      const metadata = Object.fromEntries(['__proto__', 'constructor', 'to-string'].map((key) => [key, `is ${key}`]));
      const { session } = await login(sessions(), { metadata });
      expect(Object.entries(session.metadata).toSorted()).toEqual(Object.entries(metadata).toSorted());
      expect(Object.getPrototypeOf(session.metadata)).toBe(Object.prototype);
    });

    test('tells who was ended to make room, and whose place it took', async () => {
      const userId = randomNamespace();
      const [first, guest] = [await login(sessions(), { userId, profile: 'evicting' }), await login(sessions())];
      const request = { userId, profile: 'evicting', replacesSessionToken: guest.sessionToken };
      expect(await login(sessions(), request)).toMatchObject({
        evictedSessionIds: [first.session.sessionId],
        replacedSessionId: guest.session.sessionId,
      });
    });

    test('at the limit lists the live sessions, and ends whom the player chose', async () => {
      const request = { userId: randomNamespace(), profile: 'refusing' };
      const [first, second] = [await login(sessions(), request), await login(sessions(), request)];
      const refused = await sessions().createSession(request);
      expect(refused).toEqual({ status: 'session_limit', liveSessions: [first.session, second.session] });
      const evictSessionIds = [second.session.sessionId];
      expect(await sessions().createSession({ ...request, evictSessionIds })).toMatchObject({
        status: 'created',
        evictedSessionIds: evictSessionIds,
      });
    });

    test('refuses who is blocked, whose proof is revoked, and a request whose session has ended', async () => {
      const userId = randomNamespace();
      const requestId = 'r'.repeat(11) + randomNamespace();
      const { session } = await login(sessions(), { userId, requestId });
      const { revokedAtMs, blockedUntilMs } = await sessions().destroyUserSessions(userId, { blockForMs: 600_000 });
      expect(blockedUntilMs).toBeGreaterThanOrEqual(revokedAtMs + 600_000);
      expect(await sessions().createSession({ userId })).toEqual({ status: 'user_blocked', blockedUntilMs });
      expect(await sessions().createSession({ userId, requestId })).toEqual({ status: 'request_spent' });

      const other = randomNamespace();
      await sessions().destroyUserSessions(other);
      const authenticatedAtMs = session.createdAtMs - 1;
      expect(await sessions().createSession({ userId: other, authenticatedAtMs })).toEqual({
        status: 'authentication_revoked',
      });
    });

    test('names the fields that are wrong, also those that are no whole numbers', async () => {
      const wrong = await errorOf(sessions().createSession({ userId: '', roles: [''] }));
      expect(wrong).toMatchObject({ code: Code.INVALID_ARGUMENT, fields: ['userId', 'roles[0]'] });
      const missing = {} as { userId: string };
      expect((await errorOf(sessions().createSession(missing))).fields).toEqual(['userId']);
      const fraction = await errorOf(sessions().createSession({ userId: 'x', idleTtlMs: 0.5 }));
      expect(fraction).toMatchObject({ code: Code.INVALID_ARGUMENT, fields: ['idleTtlMs'] });
    });

    test('with a request id of the caller, two clients get one session', async () => {
      const request = { userId: randomNamespace(), requestId: 'r'.repeat(11) + randomNamespace() };
      const first = await login(sessions(), request);
      expect(await login(sessions(), request)).toMatchObject({ sessionToken: first.sessionToken });
      expect(await sessions().listUserSessions(request.userId)).toEqual({ sessions: [first.session], totalCount: 1 });
    });
  },
  { POLICIES_FILE },
);

describe.each(['pipeline', 'unary'] as const)('a login over %s whose answer is lost', (transport) => {
  let proxy: TcpProxy;
  afterEach(async () => {
    await proxy.close();
  });

  test('is tried again and makes one session', async () => {
    const service = await startTestService({ REDIS_URL: sharedRedisUrl('standalone'), POLICIES_FILE });
    proxy = await startTcpProxy(Number(service.address.split(':')[1]));
    const { sessions } = client(`127.0.0.1:${String(proxy.port)}`, { transport });
    const beside = client(service.address).sessions;
    await sessions.getSessionStats();

    const userId = randomNamespace();
    proxy.hold('');
    const created = login(sessions, { userId });
    await until(async () => (await beside.listUserSessions(userId)).totalCount === 1);
    proxy.cut('');
    proxy.release();
    const { session, sessionToken } = await created;
    expect(await beside.listUserSessions(userId)).toEqual({ sessions: [session], totalCount: 1 });
    expect(await beside.validateSession(sessionToken)).toMatchObject({ status: 'valid' });
    await service.stop();
  });
});
