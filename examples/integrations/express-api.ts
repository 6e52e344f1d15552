import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import express from 'express';
import { connect } from 'shardkeep/client';
import { authRateLimit, createRateLimit, requireSession, sessionRoutes, userOrAddress } from 'shardkeep/express';

const shardkeep = connect(process.argv[2] ?? '127.0.0.1:50051');
const { sessions, cache } = shardkeep;
const app = express();

// a login makes a session; its token is what the player's client keeps
app.post('/login', authRateLimit(shardkeep), express.json(), async (request, response) => {
  const { user: userId } = request.body as { user: string };
  const login = await sessions.createSession({ userId, client: { ip: request.ip } });
  if (login.status === 'created') response.json({ token: login.sessionToken });
  else response.status(403).json({ error: login.status });
});

// from here on there is a session, and each player has 20 requests in 10 seconds
app.use(requireSession({ client: shardkeep }));
app.use(createRateLimit({ client: shardkeep, windowMs: 10_000, maxRequests: 20, keyGenerator: userOrAddress }));
app.use('/api/v1/sessions', sessionRoutes({ client: shardkeep, authenticate: ({ gameSession }) => gameSession }));

// what one request asks for twice it asks for once
app.use((_request, _response, next) => {
  cache.memo(next);
});
app.get('/profile', async ({ gameSession }, response) => {
  const userId = gameSession?.userId ?? '';
  const profile = await cache.cacheAside(`user:${userId}`, () => ({ name: userId, level: 7 }), { ttlMs: 60_000 });
  response.json(profile);
});

const server = app.listen(0, '127.0.0.1');
await once(server, 'listening');
const url = `http://127.0.0.1:${String((server.address() as AddressInfo).port)}`;

// a player
const headers = { 'content-type': 'application/json' };
const login = await fetch(`${url}/login`, { method: 'POST', headers, body: JSON.stringify({ user: 'ada' }) });
const { token } = (await login.json()) as { token: string };
const as = { headers: { authorization: `Bearer ${token}` } };
console.log('without a session:', (await fetch(`${url}/profile`)).status);
console.log('with one:', JSON.stringify(await (await fetch(`${url}/profile`, as)).json()));
const list = (await (await fetch(`${url}/api/v1/sessions/user/sessions`, as)).json()) as {
  data: { totalCount: number };
};
console.log('sessions:', list.data.totalCount);
const flood = await Promise.all(Array.from({ length: 25 }, async () => (await fetch(`${url}/profile`, as)).status));
console.log('of 25 at once:', flood.filter((status) => status === 429).length, 'denied');
await sessions.destroyUserSessions('ada');
console.log('logged out everywhere:', (await fetch(`${url}/profile`, as)).status);

server.closeAllConnections();
server.close();
await shardkeep.close();
