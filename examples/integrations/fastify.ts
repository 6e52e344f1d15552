import Fastify from 'fastify';
import { requireSession, shardkeep } from 'shardkeep/fastify';

const app = Fastify();
// connects, and closes with the app; every route has 100 requests a minute for each address unless it says otherwise
await app.register(shardkeep, {
  address: process.argv[2] ?? '127.0.0.1:50051',
  rateLimit: { windowMs: 60_000, maxRequests: 100 },
});
const client = app.shardkeep;

app.get('/me', { onRequest: requireSession({ client }) }, ({ gameSession }) => ({ user: gameSession?.userId }));
app.post('/guess', { config: { rateLimit: { windowMs: 60_000, maxRequests: 3 } } }, () => ({ right: false }));

const url = await app.listen({ port: 0, host: '127.0.0.1' });
const login = await client.sessions.createSession({ userId: 'ada' });
if (login.status !== 'created') throw new Error(login.status);
const as = { headers: { authorization: `Bearer ${login.sessionToken}` } };
console.log('without a session:', (await fetch(`${url}/me`)).status);
console.log('with one:', await (await fetch(`${url}/me`, as)).text());
const guesses: number[] = [];
for (let count = 0; count < 4; count++) guesses.push((await fetch(`${url}/guess`, { method: 'POST' })).status);
console.log('guesses:', guesses.join(' '));
await app.close();
