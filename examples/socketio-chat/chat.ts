import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { Server } from 'socket.io';
import { io as connectPlayer, type Socket } from 'socket.io-client';
import { connect } from 'shardkeep/client';
import { shardkeepSessions, type SessionEvents, type SessionSocketData } from 'shardkeep/socket.io';

interface ChatEvents extends SessionEvents {
  said: (line: { readonly from: string; readonly text: string }) => void;
  slow_down: (wait: { readonly retryAfterMs: number }) => void;
}

const shardkeep = connect(process.argv[2] ?? '127.0.0.1:50051');
const http = createServer();
const io = new Server<{ say: (text: string) => void }, ChatEvents, Record<string, never>, SessionSocketData>(http);

// whoever connects shows a session token; a session that ends anywhere takes its sockets with it
const installed = shardkeepSessions(io, {
  client: shardkeep,
  onStatus: ({ userId, status }) => {
    console.log(`${userId} is ${status}`);
  },
});

io.on('connection', (socket) => {
  socket.on('say', async (text) => {
    const { userId } = socket.data.session;
    // the policy that ships: 10 messages in 10 seconds, in all rooms and on all servers; while nobody counts, nobody talks
    const { allowed, retryAfterMs } = await shardkeep.rateLimits
      .check(`user:${userId}`, 'chat')
      .catch(() => ({ allowed: false, retryAfterMs: 1_000 }));
    if (allowed) io.emit('said', { from: userId, text });
    else socket.emit('slow_down', { retryAfterMs });
  });
});

http.listen(0, '127.0.0.1');
await once(http, 'listening');
const url = `http://127.0.0.1:${String((http.address() as AddressInfo).port)}`;

type Player = Socket<ChatEvents, { say: (text: string) => void }>;

async function join(userId: string): Promise<Player> {
  const login = await shardkeep.sessions.createSession({ userId });
  if (login.status !== 'created') throw new Error(login.status);
  const player: Player = connectPlayer(url, { auth: { sessionToken: login.sessionToken }, forceNew: true });
  await new Promise<void>((resolve) => player.once('connect', resolve));
  return player;
}

const next = <Event extends keyof ChatEvents>(
  player: Player,
  event: Event,
): Promise<Parameters<ChatEvents[Event]>[0]> =>
  new Promise((resolve) => {
    player.once(event, resolve as never);
  });

const ada = await join('ada');
const bob = await join('bob');
const heard = next(bob, 'said');
ada.emit('say', 'hello bob');
const { from, text } = await heard;
console.log(`bob hears ${from}: ${text}`);

const slowDown = next(ada, 'slow_down');
for (let line = 0; line < 12; line++) ada.emit('say', 'buy gold!');
await slowDown;
console.log('ada is told to slow down');

const ended = next(ada, 'session:ended');
await shardkeep.sessions.destroyUserSessions('ada', { reason: 'spam', message: 'Come back tomorrow' });
console.log(`ada is thrown out: ${(await ended).message}`);

bob.close();
await io.close();
installed.close();
await shardkeep.close();
