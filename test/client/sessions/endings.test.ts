import { expect, test } from '@jest/globals';
import type { DestroyAllProgress, Sessions } from '../../../src/client/index.js';
import { errorOf } from '../../support/client-error.js';
import { until } from '../../support/redis-server.js';
import { onEachTopology, randomNamespace, sharedRedisUrl, startTestService } from '../../support/service.js';
import { client, login, POLICIES_FILE } from './support.js';

onEachTopology(
  'sessions end',
  (service) => {
    const sessions = (): Sessions => client(service().address).sessions;

    test('one, once', async () => {
      const { session } = await login(sessions());
      expect(await sessions().destroySession(session.sessionId)).toBe(true);
      expect(await sessions().destroySession(session.sessionId)).toBe(false);
      expect(await sessions().getSession(session.sessionId)).toBeUndefined();
    });

    test('one, after it was announced', async () => {
      const { session, sessionToken } = await login(sessions());
      const end = { reason: 'maintenance', message: 'Back at six' };
      expect(await sessions().destroySession(session.sessionId, { ...end, effectiveInMs: 60_000 })).toBe(true);
      const warned = await sessions().getSession(session.sessionId);
      expect(warned?.announcedEnd).toEqual({ cause: 'destroyed', ...end, endedAtMs: warned?.expiresAtMs });
      await sessions().destroySession(session.sessionId, { ...end, effectiveInMs: 1 });
      await until(async () => (await sessions().validateSession(sessionToken)).status === 'revoked');
    });

    test('those of a user, but one that stays', async () => {
      const userId = randomNamespace();
      const kept = await login(sessions(), { userId });
      await login(sessions(), { userId });
      const other = await login(sessions());
      const listed = await sessions().listUserSessions(userId, { limit: 1 });
      expect(listed).toEqual({ sessions: [kept.session], totalCount: 2 });
      const options = { keepSessionId: kept.session.sessionId, reason: 'logout everywhere' };
      const destroyed = await sessions().destroyUserSessions(userId, options);
      expect(destroyed).toMatchObject({ destroyedCount: 1, blockedUntilMs: undefined });
      expect(destroyed.revokedAtMs).toBeGreaterThanOrEqual(kept.session.createdAtMs);
      expect(await sessions().listUserSessions(userId)).toEqual({ sessions: [kept.session], totalCount: 1 });
      expect(await sessions().getSession(other.session.sessionId)).toBeDefined();
      expect((await errorOf(sessions().listUserSessions(userId, { limit: 0 }))).fields).toEqual(['limit']);
    });

    test('those of a user, later', async () => {
      const { session } = await login(sessions());
      const { destroyedCount } = await sessions().destroyUserSessions(session.userId, { effectiveInMs: 60_000 });
      expect(destroyedCount).toBe(1);
      expect((await sessions().getSession(session.sessionId))?.announcedEnd?.cause).toBe('destroyed');
    });

    test('all, told by progress', async () => {
      const { session, sessionToken } = await login(sessions());
      const words = { reason: 'leak', message: 'Log in again' };
      const progress: DestroyAllProgress[] = [];
      for await (const step of sessions().destroyAllSessions(words)) progress.push(step);
      expect(progress.map(({ done }) => done)).toEqual([...progress.slice(1).map(() => false), true]);
      expect(progress.at(-1)?.destroyedCount).toBeGreaterThan(0);
      expect(progress.at(-1)?.revokedAtMs).toBeGreaterThanOrEqual(session.createdAtMs);
      expect(await sessions().validateSession(sessionToken)).toMatchObject({ status: 'revoked', end: words });
    });

    test('all, also where nobody reads how far it has come', async () => {
      const { sessionToken } = await login(sessions());
      sessions().destroyAllSessions();
      await until(async () => (await sessions().validateSession(sessionToken)).status === 'revoked');
      expect(await sessions().validateSession(sessionToken)).toMatchObject({ end: { cause: 'destroyed', reason: '' } });
    });

    test('all, which tells what was wrong', async () => {
      const read = async (): Promise<void> => {
        for await (const step of sessions().destroyAllSessions({ reason: 'r'.repeat(65) })) expect(step).toBeNull();
      };
      expect((await errorOf(read())).fields).toEqual(['reason']);
    });
  },
  { POLICIES_FILE },
);

test('what has happened is counted', async () => {
  const service = await startTestService({ REDIS_URL: sharedRedisUrl('standalone'), POLICIES_FILE });
  const { sessions } = client(service.address);
  const [first, second] = [await login(sessions), await login(sessions, { profile: 'evicting' })];
  await login(sessions, { userId: second.session.userId, profile: 'evicting' });
  await sessions.destroySession(first.session.sessionId);
  await sessions.rotateSession(second.sessionToken.slice(0, 25) + 'A'.repeat(43));
  const run = await login(sessions, { profile: 'brief' });
  await until(async () => (await sessions.validateSession(run.sessionToken)).status === 'expired');
  const left = await sessions.cleanupExpiredSessions();
  // a sweeper may have been there before
  expect([0, 1]).toContain(left);
  expect(await sessions.getSessionStats()).toMatchObject({
    ...{ activeSessions: 1, activeUsers: 1, createdCount: 4, extendedCount: 0, rotatedCount: 0 },
    ended: {
      destroyed: 1,
      evicted: 1,
      expired_idle: 1,
      expired_absolute: 0,
      expired_renewal: 0,
      theft: 0,
      unknown: 0,
    },
    foreignTokenCount: 1,
    foreignTokenSources: [{ count: 1 }],
  });
  await service.stop();
});
