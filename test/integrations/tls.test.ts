import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createSecureServer, type IncomingHttpHeaders, type ServerHttp2Session } from 'node:http2';
import { connect as connectPlain } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createServer as createTlsServer, type TlsOptions as ServerTls } from 'node:tls';
import { afterAll, afterEach, beforeAll, expect, test } from '@jest/globals';
import express from 'express';
import { UnauthenticatedError, UnavailableError, type ConnectOptions } from '../../src/client/index.js';
import { createRateLimit, requireSession } from '../../src/integrations/express/index.js';
import { someone } from '../client/rate-limits/support.js';
import { sharedRedisUrl, startTestService, type TestService } from '../support/service.js';
import { closeTogether, portOf } from '../support/tcp-proxy.js';
import { statusesOf, WebOfTest } from './web-support.js';

/** A service behind what ends TLS in front of it, with certificates that nobody but the test trusts. */

interface Pair {
  readonly key: Buffer;
  readonly cert: Buffer;
}

const web = new WebOfTest();
const directory = mkdtempSync(join(tmpdir(), 'shardkeep-tls-'));
let service: TestService;
let shard: Pair;
let player: Pair;
let stranger: Pair;
const closings: (() => void)[] = [];

beforeAll(async () => {
  [shard, player, stranger] = [selfSigned('shard.test'), selfSigned('player.test'), selfSigned('shard.test')];
  service = await startTestService({ REDIS_URL: sharedRedisUrl('standalone') });
});
afterEach(() => {
  for (const close of closings.splice(0)) close();
});
afterAll(async () => {
  await service.stop();
  rmSync(directory, { recursive: true });
});

let made = 0;

function selfSigned(name: string): Pair {
  const [key, cert] = ['key', 'cert'].map((kind) => join(directory, `${String(made)}-${kind}.pem`)) as [string, string];
  made++;
  execFileSync(
    'openssl',
    [
      ...['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '2'],
      ...['-subj', `/CN=${name}`, '-addext', `subjectAltName=DNS:${name}`, '-keyout', key, '-out', cert],
    ],
    { stdio: 'ignore' },
  );
  return { key: readFileSync(key), cert: readFileSync(cert) };
}

/** Ends TLS in front of the service; answers its address. */
async function endTls(options: ServerTls): Promise<string> {
  const port = Number(service.address.split(':').at(-1));
  const proxy = createTlsServer({ ...options, ALPNProtocols: ['h2'] }, (outside) => {
    const inside = connectPlain(port, '127.0.0.1');
    closeTogether(outside, inside, () => undefined);
    outside.pipe(inside).pipe(outside);
    closings.push(() => outside.destroy());
  });
  proxy.on('tlsClientError', () => undefined);
  closings.push(() => proxy.close());
  return `127.0.0.1:${String(await portOf(proxy))}`;
}

test.each(['pipeline', 'unary'] as const)('sessions and limits over TLS, by %s', async (transport) => {
  const address = await endTls(shard);
  const tls = { ca: shard.cert, serverName: 'shard.test' };
  const client = web.client(address, { tls, transport, token: 'secret' });
  const key = someone();
  const app = express();
  app.use(requireSession({ client }));
  app.use(createRateLimit({ client, maxRequests: 2, timeoutMs: 30_000, keyGenerator: () => key }));
  app.get('/', (_request, response) => response.send('in'));
  const url = await web.serve(app);
  const login = await client.sessions.createSession({ userId: someone() });
  if (login.status !== 'created') throw new Error(login.status);
  const headers = { authorization: `Bearer ${login.sessionToken}` };
  const statuses: number[] = [];
  for (let count = 0; count < 3; count++) statuses.push((await fetch(url, { headers })).status);
  expect(statuses).toEqual([200, 200, 429]);
  expect(await statusesOf(1, url)).toEqual([401]);
  // a stream of its own
  const watch = client.sessions.watchSessions({ userIds: [login.session.userId] });
  await watch.ready;
  await client.sessions.destroySession(login.session.sessionId);
  for await (const event of watch) {
    expect(event.type).toBe('destroyed');
    break;
  }
});

test('who shows no certificate, or a wrong one, is not talked to, and nobody is let in', async () => {
  const address = await endTls(shard);
  const once = { retry: { maxAttempts: 1 } };
  const wrong: ConnectOptions[] = [
    { tls: true },
    { tls: { ca: stranger.cert, serverName: 'shard.test' } },
    { tls: { ca: shard.cert, serverName: 'other.test' } },
    { tls: { ca: shard.cert } },
    { tls: false },
  ];
  for (const options of wrong) {
    const client = web.client(address, { ...once, ...options });
    // away: it may be the right one tomorrow
    await expect(client.sessions.listUserSessions('ada')).rejects.toThrow(UnavailableError);
    const app = express();
    app.get('/', requireSession({ client }), (_request, response) => response.send('in'));
    const answer = await fetch(await web.serve(app), { headers: { authorization: `Bearer ${'A'.repeat(68)}` } });
    expect(answer.status).toBe(503);
  }
  const right = web.client(address, { tls: { ca: shard.cert, serverName: 'shard.test' } });
  expect((await right.sessions.listUserSessions('ada')).totalCount).toBe(0);
});

test('a client shows its own certificate where it is asked for one', async () => {
  const address = await endTls({ ...shard, ca: [player.cert], requestCert: true, rejectUnauthorized: true });
  const tls = { ca: shard.cert, serverName: 'shard.test' };
  const known = web.client(address, { tls: { ...tls, ...player } });
  expect((await known.sessions.listUserSessions('ada')).totalCount).toBe(0);
  const unknown = web.client(address, { tls, retry: { maxAttempts: 1 } });
  await expect(unknown.sessions.listUserSessions('ada')).rejects.toThrow(UnavailableError);
});

test('the token goes with every call and stream, as it is then, and inside of TLS only', async () => {
  const seen: IncomingHttpHeaders[] = [];
  const sessions = new Set<ServerHttp2Session>();
  const listener = createSecureServer({ ...shard, ALPNProtocols: ['h2'] }, undefined);
  listener.on('session', (session) => sessions.add(session));
  listener.on('stream', (stream, headers) => {
    seen.push(headers);
    stream.respond({ ':status': 200, 'content-type': 'application/grpc', 'grpc-status': '16' }, { endStream: true });
  });
  closings.push(() => {
    for (const session of sessions) session.destroy();
    listener.close();
  });
  const address = `127.0.0.1:${String(await portOf(listener))}`;
  let token = 'first';
  const tls = { ca: shard.cert, serverName: 'shard.test' };
  const client = web.client(address, { tls, transport: 'unary', token: () => token, timeoutMs: 10_000 });
  await expect(client.sessions.listUserSessions('ada')).rejects.toThrow(UnauthenticatedError);
  token = 'second';
  await expect(client.rateLimits.check('user:ada', 'api')).rejects.toThrow(UnauthenticatedError);
  await expect(client.sessions.watchSessions({ all: true }).ready).rejects.toThrow(UnauthenticatedError);
  expect(seen.map(({ authorization }) => authorization)).toEqual(['Bearer first', 'Bearer second', 'Bearer second']);
  expect(seen.map((headers) => headers[':scheme'])).toEqual(['https', 'https', 'https']);
});
