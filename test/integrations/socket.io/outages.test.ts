import { expect, test } from '@jest/globals';
import { Code, UnavailableError, type Sessions } from '../../../src/client/index.js';
import { startRedis, until } from '../../support/redis-server.js';
import { sharedRedisUrl, startTestService } from '../../support/service.js';
import { client, login, POLICIES_FILE } from '../../client/sessions/support.js';
import { Gate, join, overriding, Player, startGame } from './support.js';

/** Sockets when events are lost, calls fail or the watch cannot be. */

test('a Redis that lost everything has lost the sockets’ sessions, also of those that connect', async () => {
  const redis = await startRedis();
  const service = await startTestService({ REDIS_URL: redis.url, POLICIES_FILE });
  const connected = client(service.address);
  const held = new Gate();
  let validations = 0;
  const playing = await startGame(
    overriding(connected, {
      validateSession: async (...call) => {
        const result = await connected.sessions.validateSession(...call);
        // that of the second handshake
        if (++validations === 2) await held.opened;
        return result;
      },
    }),
  );
  const watch = connected.sessions.watchSessions({ all: true });
  await watch.ready;
  const { session, sessionToken } = await login(connected.sessions);
  // what the service has not read of a partition it cannot miss there
  for await (const { type } of watch) if (type === 'created') break;
  const first = await join(playing, sessionToken);
  const second = new Player(playing.url, sessionToken);
  await until(() => validations === 2);
  await redis.command('FLUSHALL');
  // what happens in its partition shows that what was there before is not
  await login(connected.sessions, { userId: session.userId });
  const end = await first.untilTold('session:ended');
  expect(end).toEqual({ cause: 'unknown', reason: '', message: '' });
  held.open();
  expect(await second.outcome).toEqual({ code: 'unknown' });
  await service.stop();
  await redis.remove();
});

test('sessions that could not be looked at are looked at again', async () => {
  const service = await startTestService({ REDIS_URL: sharedRedisUrl('standalone'), POLICIES_FILE });
  const connected = client(service.address);
  const { sessions } = connected;
  let failures = 0;
  const getSession: Sessions['getSession'] = (...call) =>
    failures++ < 3 ? Promise.reject(new UnavailableError(Code.UNAVAILABLE, 'away')) : sessions.getSession(...call);
  const playing = await startGame(overriding(connected, { getSession }));
  const { session, sessionToken } = await login(sessions);
  await join(playing, sessionToken);
  await sessions.updateSession(session.sessionId, { username: 'Ada' });
  const [socket] = [...playing.io.of('/').sockets.values()];
  await until(() => socket?.data.session.username === 'Ada');
  expect(failures).toBe(4);
  await service.stop();
});

test('a watch that was refused is tried again, and nobody gets in before', async () => {
  const service = await startTestService({ REDIS_URL: sharedRedisUrl('standalone'), POLICIES_FILE });
  const connected = client(service.address);
  const { sessions } = connected;
  let watches = 0;
  const said: unknown[] = [];
  const playing = await startGame(
    overriding(connected, {
      // of nothing, which is refused
      watchSessions: (selection, options) => sessions.watchSessions(watches++ === 0 ? {} : selection, options),
    }),
    { logger: { debug: () => undefined, warn: () => undefined, error: (details) => void said.push(details) } },
  );
  const { session, sessionToken } = await login(sessions);
  await until(() => said.length > 0);
  expect(await new Player(playing.url, sessionToken).outcome).toMatchObject({ code: 'unavailable' });
  await until(async () => (await new Player(playing.url, sessionToken).outcome) === 'connected');
  await sessions.destroySession(session.sessionId);
  await until(() => playing.installed.counts.sockets === 0);
  await service.stop();
});

test('nobody gets in when the client is closed', async () => {
  const service = await startTestService({ REDIS_URL: sharedRedisUrl('standalone'), POLICIES_FILE });
  const connected = client(service.address);
  const playing = await startGame(connected);
  const { sessionToken } = await login(connected.sessions);
  const player = await join(playing, sessionToken);
  await connected.close();
  expect(await new Player(playing.url, sessionToken).outcome).toMatchObject({ code: 'unavailable' });
  await player.act();
  await service.stop();
});
