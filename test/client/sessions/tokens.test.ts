import { status as Code } from '@grpc/grpc-js';
import { expect, test } from '@jest/globals';
import type { Sessions } from '../../../src/client/index.js';
import { errorOf } from '../../support/client-error.js';
import { until } from '../../support/redis-server.js';
import { onEachTopology, sharedRedisUrl, startTestService } from '../../support/service.js';
import { startTcpProxy } from '../../support/tcp-proxy.js';
import { client, login, POLICIES_FILE, untouched } from './support.js';

const HOME = { ip: '203.0.113.9', userAgent: 'Game/1.2 (iOS)', deviceId: 'device-1' };

onEachTopology(
  'a session token',
  (service) => {
    const sessions = (): Sessions => client(service().address).sessions;

    test('opens its session, also for who is at home', async () => {
      const { session, sessionToken } = await login(sessions(), { client: HOME, profile: 'bound' });
      for (const options of [{}, { client: HOME }, { client: {} }, { client: { deviceId: 'device-1' } }]) {
        const valid = await sessions().validateSession(sessionToken, options);
        if (valid.status !== 'valid') throw new Error(valid.status);
        expect(untouched(valid.session)).toEqual(untouched(session));
        expect(valid.changedClientFields).toEqual([]);
      }
    });

    test('tells what of the client has changed, or is refused for it', async () => {
      const away = { ip: '198.51.100.1', userAgent: 'Other/1.0', deviceId: 'device-2' };
      const changed = ['ip', 'user_agent', 'device_id'];
      const signalled = await login(sessions(), { client: HOME });
      const signal = await sessions().validateSession(signalled.sessionToken, { client: away });
      expect(signal).toMatchObject({ status: 'valid', changedClientFields: changed });

      const { sessionToken } = await login(sessions(), { client: HOME, profile: 'bound' });
      const binding = { status: 'binding', changedClientFields: changed };
      expect(await sessions().validateSession(sessionToken, { client: away })).toEqual(binding);
      expect(await sessions().rotateSession(sessionToken, { client: away })).toEqual(binding);
      // who proves anew who they are is at home there
      const rotated = await sessions().rotateSession(sessionToken, { client: away, reauthenticated: true });
      if (rotated.status !== 'rotated') throw new Error(rotated.status);
      expect(await sessions().validateSession(rotated.sessionToken, { client: away })).toMatchObject({
        status: 'valid',
      });
    });

    test('wants a fresh proof where it is asked for', async () => {
      const { session, sessionToken } = await login(sessions(), { authenticatedAtMs: Date.now() - 3_600_000 });
      const { sessionId } = session;
      const stepUp = await sessions().validateSession(sessionToken, { maxAuthAgeMs: 60_000 });
      expect(stepUp).toMatchObject({ status: 'step_up', session: { sessionId } });
      const rotated = await sessions().rotateSession(sessionToken, { reauthenticated: true });
      if (rotated.status !== 'rotated') throw new Error(rotated.status);
      expect(rotated.session.authenticatedAtMs).toBeGreaterThan(session.authenticatedAtMs);
      const valid = await sessions().validateSession(rotated.sessionToken, { maxAuthAgeMs: 3_000_000 });
      expect(valid).toMatchObject({ status: 'valid', session: { sessionId } });
    });

    test('of a session that was destroyed tells by what', async () => {
      const { session, sessionToken } = await login(sessions());
      await sessions().destroySession(session.sessionId, { reason: 'kick', message: 'Bye' });
      const end = { cause: 'destroyed', reason: 'kick', message: 'Bye' };
      for (const answer of [sessions().validateSession(sessionToken), sessions().rotateSession(sessionToken)]) {
        const revoked = await answer;
        expect(revoked).toMatchObject({ status: 'revoked', end });
        expect('end' in revoked && revoked.end.endedAtMs >= session.createdAtMs).toBe(true);
      }
    });

    test('of a session that ran out, of none, and a text that is no token', async () => {
      const { sessionToken } = await login(sessions(), { profile: 'brief' });
      await until(async () => (await sessions().validateSession(sessionToken)).status !== 'valid');
      const expired = { status: 'expired', end: { cause: 'expired_idle', reason: '', message: '' } };
      expect(await sessions().validateSession(sessionToken)).toMatchObject(expired);
      expect(await sessions().rotateSession(sessionToken)).toMatchObject(expired);
      const foreign = sessionToken.slice(0, 25) + 'A'.repeat(43);
      expect(await sessions().validateSession(foreign)).toEqual({ status: 'unknown' });
      expect(await sessions().rotateSession(foreign)).toEqual({ status: 'unknown' });
      for (const text of ['', 'no token', '\0', '\uD800', `${sessionToken} `]) {
        expect(await sessions().validateSession(text)).toEqual({ status: 'unknown' });
        expect(await sessions().rotateSession(text)).toEqual({ status: 'unknown' });
      }
      // not the token alone is wrong
      const odd = { client: { ip: 'x'.repeat(10_000) } };
      for (const answer of [sessions().validateSession('no token', odd), sessions().rotateSession('no token', odd)])
        expect((await errorOf(answer)).code).toBe(Code.INVALID_ARGUMENT);
      // a mistake of the program
      const none = undefined as unknown as string;
      for (const answer of [sessions().validateSession(none), sessions().rotateSession(none)])
        expect((await errorOf(answer)).code).toBe(Code.INVALID_ARGUMENT);
    });

    test('that is replaced has one successor, and was stolen when it shows up later', async () => {
      const { session, sessionToken } = await login(sessions());
      const tokens = await Promise.all(
        Array.from({ length: 5 }, async () => {
          const rotated = await sessions().rotateSession(sessionToken);
          return rotated.status === 'rotated' ? rotated.sessionToken : rotated.status;
        }),
      );
      const [token = ''] = tokens;
      expect(new Set(tokens).size).toBe(1);
      expect(await sessions().validateSession(token)).toMatchObject({ status: 'valid' });
      expect(untouched((await sessions().getSession(session.sessionId)) ?? session)).toEqual(untouched(session));

      const graceless = await login(sessions(), { profile: 'graceless' });
      await sessions().rotateSession(graceless.sessionToken);
      expect(await sessions().validateSession(graceless.sessionToken)).toMatchObject({
        status: 'revoked',
        end: { cause: 'theft', reason: 'previous' },
      });
    });
  },
  { POLICIES_FILE },
);

test('a rotation whose answer is lost is tried again, and answers the one successor', async () => {
  const service = await startTestService({ REDIS_URL: sharedRedisUrl('standalone'), POLICIES_FILE });
  const proxy = await startTcpProxy(Number(service.address.split(':')[1]));
  const { sessions } = client(`127.0.0.1:${String(proxy.port)}`);
  const beside = client(service.address).sessions;
  const { sessionToken } = await login(sessions);
  proxy.hold('');
  const rotating = sessions.rotateSession(sessionToken);
  await until(async () => (await beside.getSessionStats()).rotatedCount === 1);
  proxy.cut('');
  proxy.release();
  const rotated = await rotating;
  if (rotated.status !== 'rotated') throw new Error(rotated.status);
  expect(await beside.validateSession(rotated.sessionToken)).toMatchObject({ status: 'valid' });
  expect((await beside.getSessionStats()).rotatedCount).toBe(1);
  await proxy.close();
  await service.stop();
});
