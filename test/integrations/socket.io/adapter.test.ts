import { expect, test } from '@jest/globals';
import { createAdapter } from '@socket.io/redis-adapter';
import { createClient } from 'redis';
import { randomNamespace, sharedRedisUrl, startTestService } from '../../support/service.js';
import { client, login, POLICIES_FILE } from '../../client/sessions/support.js';
import { join, NOBODY, startGame, untilKicked } from './support.js';
import { asOurselves } from '../../support/redis-user.js';

test('with the adapter for Redis rooms reach all processes, and each one kicks its own sockets', async () => {
  const REDIS_URL = sharedRedisUrl('standalone');
  const url = asOurselves(REDIS_URL);
  const NAMESPACE = randomNamespace();
  const services = await Promise.all([
    startTestService({ REDIS_URL, POLICIES_FILE, NAMESPACE }),
    startTestService({ REDIS_URL, POLICIES_FILE, NAMESPACE }),
  ]);
  const redis = [createClient({ url }), createClient({ url }), createClient({ url }), createClient({ url })];
  await Promise.all(redis.map((connection) => connection.connect()));
  const games = await Promise.all(
    services.map(async ({ address }, index) => {
      const game = await startGame(client(address));
      game.io.adapter(createAdapter(redis[2 * index], redis[2 * index + 1]));
      return game;
    }),
  );
  const [one, other] = games;
  if (one === undefined || other === undefined) throw new Error('no game');
  const { sessions } = client(services[0].address);
  const { session, sessionToken } = await login(sessions);
  const players = [await join(one, sessionToken), await join(other, sessionToken)];
  one.io.to(`user:${session.userId}`).emit('news', 'to both');
  for (const player of players) expect(await player.untilTold('news')).toBe('to both');
  await sessions.destroyUserSessions(session.userId, { reason: 'logout' });
  for (const player of players) {
    expect(await untilKicked(player)).toEqual({ cause: 'destroyed', reason: 'logout', message: '' });
  }
  for (const { installed } of games) expect(installed.counts).toEqual(NOBODY);
  for (const game of games) await game.close();
  await Promise.all(redis.map((connection) => connection.close()));
  await Promise.all(services.map((service) => service.stop()));
});
