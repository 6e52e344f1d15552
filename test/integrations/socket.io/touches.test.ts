import { afterAll, beforeAll, expect, test } from '@jest/globals';
import type { Sessions } from '../../../src/client/index.js';
import { until } from '../../support/redis-server.js';
import { sharedRedisUrl, startTestService, type TestService } from '../../support/service.js';
import { client, login, POLICIES_FILE } from '../../client/sessions/support.js';
import { join, NOBODY, overriding, startGame, untilKicked, type Game, type GameOptions } from './support.js';

/** What a client does, and what it does not do, and the life of its session. */

let service: TestService;
beforeAll(async () => {
  service = await startTestService({ REDIS_URL: sharedRedisUrl('standalone'), POLICIES_FILE });
});
afterAll(async () => {
  await service.stop();
});
const elsewhere = (): Sessions => client(service.address).sessions;

/** A session with a short life has no time to wait for the first handshake, which waits for the watch. */
async function startReadyGame(options: GameOptions = {}): Promise<Game> {
  const game = await startGame(client(service.address), options);
  const { socket } = await join(game, (await login(elsewhere())).sessionToken);
  socket.disconnect();
  await until(() => game.installed.counts.sockets === 0);
  return game;
}

test('a session lives on by what its client does, also when its token was rotated', async () => {
  const playing = await startReadyGame({ touchEveryMs: 0 });
  const there = elsewhere();
  const { session, sessionToken } = await login(there, { profile: 'graceless', idleTtlMs: 3_000 });
  const player = await join(playing, sessionToken);
  await there.rotateSession(sessionToken);
  let { lastActiveMs } = session;
  while (lastActiveMs < session.expiresAtMs) {
    await player.act();
    const now = await there.getSession(session.sessionId);
    if (now === undefined) throw new Error('it ran out');
    ({ lastActiveMs } = now);
  }
  expect(player.told).toEqual([]);
});

test('a session whose client does nothing runs out, and it is disconnected', async () => {
  const playing = await startReadyGame();
  const there = elsewhere();
  const { sessionToken } = await login(there, { idleTtlMs: 3_000 });
  const player = await join(playing, sessionToken);
  // what sweepers do some seconds later
  await until(async () => {
    await there.cleanupExpiredSessions();
    return !player.socket.connected;
  });
  expect(await untilKicked(player)).toEqual({ cause: 'expired_idle', reason: '', message: '' });
  expect(playing.installed.counts).toEqual(NOBODY);
});

test('a session is touched at most once in a while, for all its sockets', async () => {
  const connected = client(service.address);
  const touchEveryMs = 400;
  let touches = 0;
  const extendSession: Sessions['extendSession'] = (...call) => {
    touches++;
    return connected.sessions.extendSession(...call);
  };
  const startedAt = performance.now();
  const playing = await startGame(overriding(connected, { extendSession }), { touchEveryMs });
  const { session, sessionToken } = await login(elsewhere());
  const players = [await join(playing, sessionToken), await join(playing, sessionToken)];
  const known = () => [...playing.io.of('/').sockets.values()].map(({ data }) => data.session.lastActiveMs);
  // the handshake was the first touch
  for (let expected = 1; expected <= 2; expected++) {
    while (touches < expected) await Promise.all(players.map((player) => player.act()));
    expect(performance.now() - startedAt).toBeGreaterThanOrEqual(expected * touchEveryMs);
  }
  await until(() => known().every((lastActiveMs) => lastActiveMs > session.lastActiveMs));
});

test('a touch that finds no session any more disconnects, and one that fails does not', async () => {
  const connected = client(service.address);
  const nobody = connected.sessions.watchSessions({ sessionIds: ['A'.repeat(24)] });
  let fails = true;
  const deaf = overriding(connected, {
    // as if what happens to this session was never told
    watchSessions: () => nobody,
    extendSession: (...call) => (fails ? Promise.reject(new Error('away')) : connected.sessions.extendSession(...call)),
  });
  const said: string[] = [];
  const say = (_: object, message: string): void => void said.push(message);
  const playing = await startGame(deaf, { touchEveryMs: 0, logger: { debug: () => undefined, warn: say, error: say } });
  const there = elsewhere();
  const { session, sessionToken } = await login(there);
  const player = await join(playing, sessionToken);
  const words = { reason: 'logout', message: 'Good night' };
  await there.destroySession(session.sessionId, words);
  await player.act();
  await player.act();
  expect(said).toHaveLength(1);
  expect(player.socket.connected).toBe(true);
  fails = false;
  await player.act();
  expect(await untilKicked(player)).toEqual({ cause: 'destroyed', ...words });
});
