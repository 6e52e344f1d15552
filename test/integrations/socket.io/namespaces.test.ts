import { once } from 'node:events';
import { createServer } from 'node:http';
import { expect, test } from '@jest/globals';
import { Server } from 'socket.io';
import { Manager, type Socket as PlayerSocket } from 'socket.io-client';
import {
  shardkeepSessions,
  type InstalledSessions,
  type SessionEvents,
  type SessionSocketData,
  type UserStatus,
} from '../../../src/integrations/socket.io/index.js';
import { until } from '../../support/redis-server.js';
import { onEachTopology } from '../../support/service.js';
import { client, login, POLICIES_FILE } from '../../client/sessions/support.js';
import { WebOfTest } from '../web-support.js';
import { NOBODY } from './support.js';

/** One connection with sockets of several namespaces, each of which is guarded. */

const web = new WebOfTest();
type Nothing = Record<string, never>;

interface Hall {
  readonly url: string;
  readonly installed: InstalledSessions;
  readonly statuses: UserStatus[];
}

async function startHall(address: string): Promise<Hall> {
  const http = createServer();
  const io = new Server<Nothing, SessionEvents, Nothing, SessionSocketData>(http);
  const statuses: UserStatus[] = [];
  const installed = shardkeepSessions([io, io.of('/chat'), io.of(/^\/shard-\d+$/)], {
    client: client(address),
    handshakeTimeoutMs: 30_000,
    onStatus: (status) => statuses.push(status),
  });
  http.listen(0, '127.0.0.1');
  await once(http, 'listening');
  const bound = http.address();
  if (bound === null || typeof bound === 'string') throw new Error('no port');
  web.closeLater(async () => {
    installed.close();
    await io.close();
  });
  return { url: `http://127.0.0.1:${String(bound.port)}`, installed, statuses };
}

const connectionTo = (url: string): Manager => {
  const manager = new Manager(url, {
    transports: ['websocket'],
    autoConnect: false,
    reconnection: false,
    timeout: 60_000,
  });
  web.closeLater(() => {
    manager._close();
  });
  return manager;
};

/** `connected`, or why not. */
async function outcomeOf(socket: PlayerSocket): Promise<unknown> {
  const outcome = new Promise((resolve) => {
    socket.once('connect', () => {
      resolve('connected');
    });
    socket.once('connect_error', (error: Error & { data?: { code: string } }) => {
      resolve(error.data?.code ?? error);
    });
  });
  socket.connect();
  return outcome;
}

onEachTopology(
  'several namespaces',
  (service) => {
    test('are each guarded, are one player together, and are each told of the end', async () => {
      const { url, installed, statuses } = await startHall(service().address);
      const { sessions } = client(service().address);
      const { session, sessionToken } = await login(sessions);
      const connection = connectionTo(url);
      const names = ['/', '/chat', '/shard-7'];
      const sockets = names.map((name) => connection.socket(name, { auth: { sessionToken } }));
      for (const socket of sockets) expect(await outcomeOf(socket)).toBe('connected');
      const stranger = connectionTo(url);
      expect(await outcomeOf(stranger.socket('/chat', { auth: { sessionToken: 'nonsense' } }))).toBe('unknown');
      expect(await outcomeOf(stranger.socket('/shard-7'))).toBe('missing');
      expect(installed.counts).toEqual({ handshakes: 0, sockets: 3, sessions: 1, users: 1 });

      // one that leaves is not the player
      sockets[1]?.disconnect();
      await until(() => installed.counts.sockets === 2);
      expect(statuses).toEqual([{ userId: session.userId, status: 'online' }]);
      expect(await outcomeOf(connection.socket('/chat', { auth: { sessionToken } }))).toBe('connected');

      const told = sockets.map((socket) => new Promise((resolve) => socket.once('session:ended', resolve)));
      await sessions.destroySession(session.sessionId, { reason: 'ban', message: 'Bye' });
      const end = { cause: 'destroyed', reason: 'ban', message: 'Bye' };
      expect(await Promise.all(told)).toEqual([end, end, end]);
      await until(() => sockets.every(({ connected }) => !connected));
      expect(installed.counts).toEqual(NOBODY);
      expect(statuses.slice(1)).toEqual([{ userId: session.userId, status: 'offline' }]);
    });
  },
  { POLICIES_FILE },
);
