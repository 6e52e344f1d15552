import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import express from 'express';
import session from 'express-session';
import { connect } from 'shardkeep/client';
import { ShardkeepStore } from 'shardkeep/express-session';

declare module 'express-session' {
  interface SessionData {
    visits?: number;
  }
}

const shardkeep = connect(process.argv[2] ?? '127.0.0.1:50051');
const app = express();
app.use(
  session({
    store: new ShardkeepStore({ sessions: shardkeep.sessions }),
    secret: 'a secret of your own',
    resave: false,
    saveUninitialized: false,
    cookie: { maxAge: 3_600_000 },
  }),
);
app.get('/', (request, response) => {
  request.session.visits = (request.session.visits ?? 0) + 1;
  response.send(`visit ${String(request.session.visits)}`);
});

const server = app.listen(0, '127.0.0.1');
await once(server, 'listening');
const url = `http://127.0.0.1:${String((server.address() as AddressInfo).port)}`;
const first = await fetch(url);
const cookie = first.headers.get('set-cookie')?.split(';')[0] ?? '';
console.log(await first.text());
console.log(await (await fetch(url, { headers: { cookie } })).text());
server.closeAllConnections();
server.close();
await shardkeep.close();
