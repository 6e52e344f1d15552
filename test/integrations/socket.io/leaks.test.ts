import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { Manager } from 'socket.io-client';
import type { Sessions } from '../../../src/client/index.js';
import { until } from '../../support/redis-server.js';
import { sharedRedisUrl, startTestService, type TestService } from '../../support/service.js';
import { client, login, POLICIES_FILE } from '../../client/sessions/support.js';
import { Gate, join, NOBODY, overriding, Player, startGame } from './support.js';

/** Nothing is kept of sockets that are gone, however far they came. */

let service: TestService;
beforeAll(async () => {
  service = await startTestService({ REDIS_URL: sharedRedisUrl('standalone'), POLICIES_FILE });
});
afterAll(async () => {
  await service.stop();
});
const sessions = (): Sessions => client(service.address).sessions;

const CONNECTIONS = 1_000;
const AT_ONCE = 50;

test('of 1,000 sockets that came and went, by either side', async () => {
  const offline: string[] = [];
  const playing = await startGame(client(service.address), {
    onStatus: ({ userId, status }) => {
      if (status === 'offline') offline.push(userId);
    },
  });
  const logins = await Promise.all(Array.from({ length: 20 }, () => login(sessions())));
  const tokens = logins.map(({ sessionToken }) => sessionToken);
  for (let count = 0; count < CONNECTIONS; count += AT_ONCE) {
    const players = await Promise.all(
      Array.from({ length: AT_ONCE }, (_, index) => join(playing, tokens[index % tokens.length] ?? '')),
    );
    expect(playing.installed.counts).toMatchObject({ sockets: AT_ONCE, sessions: 20, users: 20 });
    for (const [index, player] of players.entries()) {
      if (index % 3 === 0) player.socket.disconnect();
      // as when the network breaks
      else if (index % 3 === 1) player.socket.io.engine.close();
    }
    playing.io.disconnectSockets(true);
    await until(() => playing.installed.counts.sockets === 0);
  }
  expect(playing.installed.counts).toEqual(NOBODY);
  expect(offline).toHaveLength((20 * CONNECTIONS) / AT_ONCE);
});

test('of sockets that another middleware refuses, on connections of their own and on one', async () => {
  const playing = await startGame(client(service.address));
  playing.io.use((_socket, next) => {
    next(new Error('full'));
  });
  const { sessionToken } = await login(sessions());
  const refused = Array.from({ length: 5 }, () => new Player(playing.url, sessionToken));
  await Promise.all(refused.map(({ outcome }) => expect(outcome).rejects.toThrow('full')));
  expect(playing.installed.counts.users).toBe(0);

  // which has the connection stay
  playing.io.of('/open');
  const manager = new Manager(playing.url, { transports: ['websocket'], reconnection: false });
  await new Promise<void>((resolve) => manager.socket('/open').once('connect', resolve));
  const socket = manager.socket('/', { auth: { sessionToken } });
  for (let count = 0; count < 20; count++) {
    await new Promise((resolve) => {
      socket.once('connect_error', resolve);
      socket.connect();
    });
    // what is left of it is let go of by the next one
    expect(playing.installed.counts.sockets).toBeLessThanOrEqual(refused.length + 1);
  }
  manager._close();
  for (const player of refused) player.socket.io._close();
  await until(() => playing.installed.counts.sockets === 0);
  expect(playing.installed.counts).toEqual(NOBODY);
});

test('of sockets whose connection breaks while their session is looked at', async () => {
  const connected = client(service.address);
  const gate = new Gate();
  let validations = 0;
  const validateSession: Sessions['validateSession'] = async (...call) => {
    const result = await connected.sessions.validateSession(...call);
    validations++;
    await gate.opened;
    return result;
  };
  const playing = await startGame(overriding(connected, { validateSession }));
  const { sessionToken } = await login(sessions());
  const players = Array.from({ length: 5 }, () => new Player(playing.url, sessionToken));
  await until(() => validations === players.length);
  expect(playing.installed.counts).toEqual({ ...NOBODY, handshakes: 5 });
  for (const { socket } of players) socket.io.engine.close();
  await until(() => playing.io.engine.clientsCount === 0);
  gate.open();
  await until(() => playing.installed.counts.handshakes === 0);
  expect(playing.installed.counts).toEqual(NOBODY);
});

test('of sockets whose connection breaks while a middleware has them', async () => {
  const playing = await startGame(client(service.address));
  const gate = new Gate();
  let waiting = 0;
  playing.io.use((_socket, next) => {
    waiting++;
    void gate.opened.then(() => {
      next();
    });
  });
  const { sessionToken } = await login(sessions());
  const players = Array.from({ length: 5 }, () => new Player(playing.url, sessionToken));
  await until(() => waiting === players.length);
  expect(playing.installed.counts).toEqual({ handshakes: 0, sockets: 5, sessions: 1, users: 0 });
  for (const { socket } of players) socket.io.engine.close();
  await until(() => playing.installed.counts.sockets === 0);
  gate.open();
  expect(playing.installed.counts).toEqual(NOBODY);
  expect(playing.io.of('/').sockets.size).toBe(0);
});

test('of a connection with sockets of several namespaces, which ends as one', async () => {
  const playing = await startGame(client(service.address));
  const { session, sessionToken } = await login(sessions());
  const player = await join(playing, sessionToken);
  playing.io.of('/chat');
  const chat = player.socket.io.socket('/chat', { auth: { sessionToken } });
  await new Promise<void>((resolve) => {
    chat.once('connect', resolve);
    chat.connect();
  });
  await sessions().destroySession(session.sessionId);
  await player.disconnected;
  await until(() => !chat.connected);
  expect(playing.installed.counts).toEqual(NOBODY);
});
