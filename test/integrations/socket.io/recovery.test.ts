import { afterAll, beforeAll, expect, test } from '@jest/globals';
import type { Sessions } from '../../../src/client/index.js';
import { until } from '../../support/redis-server.js';
import { sharedRedisUrl, startTestService, type TestService } from '../../support/service.js';
import { client, login, POLICIES_FILE, type Created } from '../../client/sessions/support.js';
import { join, NOBODY, startGame, untilKicked, type Game, type Player } from './support.js';

/** Connections that break and that Socket.IO recovers, with their rooms, data and what they missed. */

let service: TestService;
beforeAll(async () => {
  service = await startTestService({ REDIS_URL: sharedRedisUrl('standalone'), POLICIES_FILE });
});
afterAll(async () => {
  await service.stop();
});
const sessions = (): Sessions => client(service.address).sessions;

const LATE = { skipMiddlewares: true, maxDisconnectionDuration: 120_000 };
const EARLY = { ...LATE, skipMiddlewares: false };

/** A game with a player whose connection is broken. */
async function broken(
  connectionStateRecovery: typeof LATE,
  { session, sessionToken }: Created,
): Promise<{ game: Game; player: Player }> {
  const game = await startGame(client(service.address), {}, { connectionStateRecovery });
  const player = await join(game, sessionToken);
  game.io.in(`user:${session.userId}`).socketsJoin('guild');
  // from now on it knows where it was
  game.io.to('guild').emit('news', 'before');
  await player.untilTold('news');
  player.socket.io.engine.close();
  await player.disconnected;
  await until(() => game.installed.counts.sockets === 0);
  return { game, player };
}

test.each([LATE, EARLY])('goes on with its session, and is kicked with it (%o)', async (recovery) => {
  const created = await login(sessions());
  const { game, player } = await broken(recovery, created);
  game.io.to('guild').emit('news', 'missed');
  player.socket.connect();
  await until(() => player.told.length === 2);
  expect(player.socket.recovered).toBe(true);
  expect(player.told).toEqual([
    ['news', 'before'],
    ['news', 'missed'],
  ]);
  await until(() => game.installed.counts.users === 1);
  const kicked = new Promise((resolve) => player.socket.once('disconnect', resolve));
  await sessions().destroySession(created.session.sessionId);
  expect(await kicked).toBe('io server disconnect');
  expect(game.installed.counts).toEqual(NOBODY);
});

test.each([LATE, EARLY])('does not go on when its session has ended meanwhile (%o)', async (recovery) => {
  const created = await login(sessions());
  const { game, player } = await broken(recovery, created);
  await sessions().destroySession(created.session.sessionId, { reason: 'ban' });
  const outcome = new Promise((resolve) => {
    player.socket.once('session:refused', resolve);
    player.socket.once('connect_error', (error: Error & { data?: unknown }) => {
      resolve(error.data);
    });
  });
  player.socket.connect();
  const end = { cause: 'destroyed', reason: 'ban', message: '' };
  expect(await outcome).toEqual({ code: 'revoked', end });
  await until(() => !player.socket.connected);
  expect(game.io.of('/').sockets.size).toBe(0);
  expect(game.installed.counts).toEqual(NOBODY);
});

test('has nothing of another session that the connection had', async () => {
  const [former, next] = [await login(sessions()), await login(sessions())];
  const { game, player } = await broken(EARLY, former);
  player.socket.auth = { sessionToken: next.sessionToken };
  player.socket.connect();
  await until(() => game.installed.counts.users === 1);
  const [socket] = [...game.io.of('/').sockets.values()];
  expect(socket?.data.session.userId).toBe(next.session.userId);
  expect([...(socket?.rooms ?? [])].sort()).toEqual(
    [socket?.id, `session:${next.session.sessionId}`, `user:${next.session.userId}`].sort(),
  );
});

test('may not go on with another session where nobody was asked before', async () => {
  const [former, next] = [await login(sessions()), await login(sessions())];
  const { game, player } = await broken(LATE, former);
  player.socket.auth = { sessionToken: next.sessionToken };
  player.socket.connect();
  expect(await player.untilTold('session:refused')).toEqual({ code: 'unknown' });
  await until(() => !player.socket.connected);
  expect(game.installed.counts).toEqual(NOBODY);
  await expect(untilKicked(player)).rejects.toThrow('not kicked');
});
