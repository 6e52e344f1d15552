import { createServer, type Server } from 'node:http';
import { afterEach, describe, expect, test } from '@jest/globals';
import express, { type Express } from 'express';
import { platformOf, loadSession, requireSession, sessionRoutes } from '../../../src/integrations/express/index.js';
import type { ShardkeepClient } from '../../../src/client/index.js';
import { portOf } from '../../support/tcp-proxy.js';
import { sdkClient } from '../../support/sdk-client.js';
import { killServiceProcesses, startServiceProcess } from '../../support/service-process.js';
import {
  onEachTopology,
  policiesFile,
  randomNamespace,
  sharedRedisUrl,
  startTestService,
} from '../../support/service.js';

const servers: Server[] = [];

afterEach(async () => {
  for (const server of servers.splice(0)) {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  }
  await killServiceProcesses();
});

async function listen(app: Express): Promise<string> {
  // what Express says of an error is not for the terminal of a test
  app.set('env', 'test');
  const server = createServer(app as never);
  servers.push(server);
  return `http://127.0.0.1:${String(await portOf(server))}`;
}

async function login(client: ShardkeepClient, userId: string, profile = ''): Promise<{ id: string; token: string }> {
  const result = await client.sessions.createSession({ userId, profile, client: { ip: '127.0.0.1' } });
  if (result.status !== 'created') throw new Error(result.status);
  return { id: result.session.sessionId, token: result.sessionToken };
}

const bearer = (token: string) => ({ headers: { authorization: `Bearer ${token}` } });

async function codeOf(answer: Response): Promise<unknown> {
  return ((await answer.json()) as { error: { code: string } }).error.code;
}

/** Whoever a header says: what authenticates is not what is tested. */
async function api(
  client: ShardkeepClient,
): Promise<(user: string, method: string, path: string, body?: unknown) => Promise<Response>> {
  const app = express();
  const authenticate = (request: express.Request) => {
    const userId = request.get('x-user');
    return userId === undefined || userId === '' ? undefined : { userId, username: 'Ada', roles: ['player'] };
  };
  app.use('/api/v1/sessions', sessionRoutes({ client, authenticate }));
  const url = `${await listen(app)}/api/v1/sessions`;
  return (user, method, path, body) =>
    fetch(`${url}${path}`, {
      method,
      headers: {
        'x-user': user,
        'user-agent': 'Mozilla/5.0 (iPhone; CPU iPhone OS 17_0 like Mac OS X)',
        'content-type': 'application/json',
      },
      ...(body !== undefined && { body: JSON.stringify(body) }),
    });
}

onEachTopology(
  'sessions in Express',
  (service) => {
    const clientOf = () => sdkClient(service().address);

    describe('requireSession', () => {
      async function guarded(client: ShardkeepClient, options: object = {}): Promise<string> {
        const app = express();
        app.get('/me', requireSession({ client, ...options }), (request, response) => {
          response.json({ userId: request.gameSession?.userId });
        });
        return `${await listen(app)}/me`;
      }

      test('lets a live session through, and nothing else', async () => {
        const client = clientOf();
        const url = await guarded(client);
        const userId = randomNamespace();
        const { id, token } = await login(client, userId);
        const open = await fetch(url, bearer(token));
        expect([open.status, await open.json()]).toEqual([200, { userId }]);
        const missing = await fetch(url);
        expect([missing.status, await codeOf(missing)]).toEqual([401, 'missing']);
        expect(missing.headers.get('www-authenticate')).not.toBeNull();
        // an id opens nothing
        for (const wrong of ['nonsense', id, `${token}x`, token.replace(/.$/, (last) => (last === 'A' ? 'B' : 'A'))])
          expect(await codeOf(await fetch(url, bearer(wrong)))).toBe('unknown');
        await client.sessions.destroySession(id);
        expect(await codeOf(await fetch(url, bearer(token)))).toBe('revoked');
      });

      test('finds the token in a cookie or a header of your own', async () => {
        const client = clientOf();
        const url = await guarded(client, { tokenFrom: [{ cookie: 'game' }, { header: 'x-session-token' }] });
        const { token } = await login(client, randomNamespace());
        for (const headers of [
          { cookie: `a=1; game=${token}; b=2` },
          { cookie: `game="${encodeURIComponent(token)}"` },
          { 'x-session-token': token },
        ])
          expect((await fetch(url, { headers })).status).toBe(200);
        expect((await fetch(url, bearer(token))).status).toBe(401);
        expect(await codeOf(await fetch(url, { headers: { cookie: `gamer=${token}` } }))).toBe('missing');
      });

      test('takes the id from a JWT that was verified, of its own user only', async () => {
        const client = clientOf();
        const userId = randomNamespace();
        const { id } = await login(client, userId);
        // stands for the library of your choice
        const verify = (jwt: string): Record<string, unknown> => {
          if (!jwt.startsWith('signed:')) throw new Error('wrong signature');
          return JSON.parse(Buffer.from(jwt.slice(7), 'base64url').toString()) as Record<string, unknown>;
        };
        const sign = (claims: object) => `signed:${Buffer.from(JSON.stringify(claims)).toString('base64url')}`;
        const url = await guarded(client, { tokenFrom: [{ jwt: { verify } }] });
        const with_ = (claims: object) => fetch(url, bearer(sign(claims)));
        expect((await with_({ sid: id, sub: userId })).status).toBe(200);
        expect((await with_({ sid: id })).status).toBe(200);
        expect(await codeOf(await with_({ sid: id, sub: 'somebody else' }))).toBe('unknown');
        for (const sub of [7, [userId], null, { toString: userId }])
          expect(await codeOf(await with_({ sid: id, sub }))).toBe('unknown');
        expect(await codeOf(await with_({ sid: 'nonsense' }))).toBe('unknown');
        expect(await codeOf(await with_({ sub: userId }))).toBe('unknown');
        expect(await codeOf(await fetch(url, bearer(sign({ sid: id }).slice(1))))).toBe('unknown');
        await client.sessions.destroySession(id);
        expect(await codeOf(await with_({ sid: id, sub: userId }))).toBe('unknown');
      });

      test('a credential that opens nothing is denied, whatever else the request carries', async () => {
        const client = clientOf();
        const { token } = await login(client, randomNamespace());
        const other = await login(client, randomNamespace());
        const verify = (jwt: string): object => {
          if (jwt !== 'good') throw new Error('wrong signature');
          return { sid: other.id };
        };
        const tokenFrom = [
          { jwt: { verify } },
          'header',
          { jwt: { verify, from: { cookie: 'jwt' } } },
          { cookie: 'game' },
        ];
        const url = await guarded(client, { tokenFrom });
        const as = async (headers: Record<string, string>): Promise<unknown> => {
          const answer = await fetch(url, { headers });
          return answer.status === 200 ? 200 : codeOf(answer);
        };
        // a text of one place may be of either kind
        expect(await as({ authorization: 'Bearer good' })).toBe(200);
        expect(await as({ authorization: `Bearer ${token}` })).toBe(200);
        expect(await as({ cookie: `game=${token}` })).toBe(200);
        expect(await as({ cookie: 'jwt=good' })).toBe(200);
        // the cookie behind it is somebody's, and nobody asked for them
        expect(await as({ authorization: 'Bearer forged', cookie: `game=${token}` })).toBe('unknown');
        expect(await as({ cookie: `jwt=forged; game=${token}` })).toBe('unknown');
        // nothing is shown there
        expect(await as({ authorization: 'Basic YTpi', cookie: `jwt=; game=${token}` })).toBe(200);
        expect(await as({ authorization: 'Basic YTpi' })).toBe('missing');
      });

      test('headers that are odd keep nobody out', async () => {
        const client = clientOf();
        const app = express();
        app.set('trust proxy', true);
        app.get('/me', requireSession({ client }), (_, response) => {
          response.json({});
        });
        const url = `${await listen(app)}/me`;
        const { token } = await login(client, randomNamespace());
        for (const odd of [
          { 'user-agent': 'x'.repeat(3_000) },
          { 'x-forwarded-for': 'unknown' },
          { 'x-forwarded-for': '1.2.3.4:5555' },
        ])
          expect((await fetch(url, { headers: { authorization: `Bearer ${token}`, ...odd } })).status).toBe(200);
      });

      test('asks for a new proof where the old one is too old', async () => {
        const client = clientOf();
        const url = await guarded(client, { maxAuthAgeMs: 0 });
        const { token } = await login(client, randomNamespace());
        expect(await codeOf(await fetch(url, bearer(token)))).toBe('step_up');
      });

      test('answers a denial in the words of the app', async () => {
        const client = clientOf();
        const url = await guarded(client, {
          onDenied: (_: unknown, response: express.Response, __: unknown, denial: string) => {
            response.redirect(`/login?because=${denial}`);
          },
        });
        const answer = await fetch(url, { redirect: 'manual' });
        expect([answer.status, answer.headers.get('location')]).toEqual([302, '/login?because=missing']);
      });

      test('loadSession lets everybody through, and says who they are', async () => {
        const client = clientOf();
        const app = express();
        app.get('/me', loadSession({ client }), (request, response) => {
          response.json({ user: request.gameSession?.userId ?? null });
        });
        const url = `${await listen(app)}/me`;
        const userId = randomNamespace();
        const { token } = await login(client, userId);
        expect(await (await fetch(url, bearer(token))).json()).toEqual({ user: userId });
        expect(await (await fetch(url)).json()).toEqual({ user: null });
        expect(await (await fetch(url, bearer('nonsense'))).json()).toEqual({ user: null });
      });
    });

    describe('sessionRoutes', () => {
      interface Answer {
        readonly success: boolean;
        readonly data: Record<string, string>;
      }

      test('a session is created, shown, listed, extended and ended', async () => {
        const client = clientOf();
        const call = await api(client);
        const user = randomNamespace();
        const created = await call(user, 'POST', '/create', { metadata: { deviceId: 'phone-1', ip: '6.6.6.6' } });
        expect(created.status).toBe(201);
        const { data } = (await created.json()) as Answer;
        const { sessionId = '', sessionToken = '' } = data;
        expect((await client.sessions.validateSession(sessionToken)).status).toBe('valid');

        const shown = (await (await call(user, 'GET', `/${sessionId}`)).json()) as Answer;
        expect(shown).toMatchObject({
          success: true,
          data: {
            sessionId,
            userId: user,
            metadata: { deviceId: 'phone-1', platform: 'ios', ip: expect.stringContaining('127.0.0.1') },
          },
        });
        expect(JSON.stringify(shown)).not.toContain(sessionToken);
        const listed = (await (await call(user, 'GET', '/user/sessions')).json()) as { data: { sessions: unknown[] } };
        expect(listed.data.sessions).toEqual([shown.data]);

        const extended = (await (
          await call(user, 'POST', `/${sessionId}/extend`, { ttlMs: 7_200_000 })
        ).json()) as Answer;
        expect(Date.parse(extended.data.expiresAt ?? '')).toBeGreaterThan(Date.parse(shown.data.expiresAt ?? ''));
        expect((await call(user, 'DELETE', `/${sessionId}`)).status).toBe(200);
        expect((await call(user, 'GET', `/${sessionId}`)).status).toBe(404);
        expect((await client.sessions.validateSession(sessionToken)).status).toBe('revoked');
      });

      test("nobody sees, extends or ends another user's session", async () => {
        const client = clientOf();
        const call = await api(client);
        const { id, token } = await login(client, randomNamespace());
        const thief = randomNamespace();
        expect((await call(thief, 'GET', `/${id}`)).status).toBe(404);
        expect((await call(thief, 'POST', `/${id}/extend`, {})).status).toBe(404);
        expect((await call(thief, 'DELETE', `/${id}`)).status).toBe(404);
        expect((await client.sessions.validateSession(token)).status).toBe('valid');
        const listed = (await (await call(thief, 'GET', '/user/sessions')).json()) as { data: { totalCount: number } };
        expect(listed.data.totalCount).toBe(0);
        expect((await call('', 'GET', `/${id}`)).status).toBe(401);
      });

      test('metadata are called what they are called, also as what every object has', async () => {
        const client = clientOf();
        const call = await api(client);
        const user = randomNamespace();
        // as a client sends it: a literal of JavaScript would set the prototype
        const metadata: unknown = JSON.parse('{"constructor":"a","__proto__":"b","valueof":"c","gameVersion":"1.2"}');
        const created = await call(user, 'POST', '/create', { metadata });
        expect(created.status).toBe(201);
        const { data } = (await created.json()) as Answer;
        const shown = await (await call(user, 'GET', `/${data.sessionId ?? ''}`)).text();
        expect(JSON.parse(shown)).toMatchObject({ data: { metadata } });
        for (const name of ['constructor', '__proto__', 'toString', 'user']) {
          expect((await call(user, 'GET', `/${name}`)).status).toBe(404);
          expect((await call(user, 'POST', '/create', { metadata: { metadata: 'x' }, [name]: 'x' })).status).toBe(201);
        }
      });

      test("an odd User-Agent or address keeps nobody out, and an address is never the body's", async () => {
        const client = clientOf();
        const app = express().set('trust proxy', true);
        const user = randomNamespace();
        app.use(sessionRoutes({ client, authenticate: () => ({ userId: user }) }));
        const url = `${await listen(app)}/create`;
        const body = JSON.stringify({ metadata: { ip: '6.6.6.6' } });
        const from = async (headers: Record<string, string>): Promise<unknown> => {
          const answer = await fetch(url, {
            method: 'POST',
            body,
            headers: { 'content-type': 'application/json', ...headers },
          });
          expect(answer.status).toBe(201);
          const { data } = (await answer.json()) as Answer;
          return (await client.sessions.getSession(data.sessionId ?? ''))?.metadata.ip;
        };
        expect(await from({ 'user-agent': 'é'.repeat(512), 'x-forwarded-for': '203.0.113.7' })).toBe('203.0.113.7');
        for (const odd of ['unknown', 'x'.repeat(600), '1.2.3.4:5555'])
          expect(await from({ 'x-forwarded-for': odd })).toBeUndefined();
      });

      test.each([
        ['metadata of numbers', '/create', { metadata: { level: 7 } }, 'metadata'],
        ['metadata as a list', '/create', { metadata: ['x'] }, 'metadata'],
        ['a wrong name', '/create', { metadata: { Über: 'x' } }, 'metadata'],
        ['no time', '/:id/extend', { ttlMs: 0 }, 'ttlMs'],
        ['a time in words', '/:id/extend', { ttlMs: '1h' }, 'ttlMs'],
        ['a time for ever', '/:id/extend', { ttlMs: 1e12 }, 'ttlMs'],
      ])('%s is answered 400, naming the field', async (_, path, body, field) => {
        const client = clientOf();
        const call = await api(client);
        const user = randomNamespace();
        const { id } = await login(client, user);
        const answer = await call(user, 'POST', path.replace(':id', id), body);
        expect(answer.status).toBe(400);
        const { error } = (await answer.json()) as { error: { fields: string[] } };
        expect(error.fields[0]).toContain(field);
        expect((await client.sessions.listUserSessions(user)).totalCount).toBe(1);
      });
    });
  },
  // all of these players log in from one address
  { POLICIES_FILE: policiesFile({ rpc_limits: [] }) },
);

test('logins beyond the rate policy are answered 429', async () => {
  const service = await startTestService({ REDIS_URL: sharedRedisUrl('standalone') });
  try {
    const call = await api(sdkClient(service.address));
    const statuses: number[] = [];
    for (let count = 0; count < 11; count++) statuses.push((await call('ada', 'POST', '/create', {})).status);
    // 10 a minute for each user
    expect(statuses).toEqual([...Array<number>(10).fill(201), 429]);
    expect((await call('ada', 'POST', '/create', {})).headers.get('retry-after')).toMatch(/^\d+$/);
  } finally {
    await service.stop();
  }
});

test('while the service is away nobody is let through, and nobody is thrown out', async () => {
  const env = { REDIS_URL: sharedRedisUrl('standalone'), NAMESPACE: randomNamespace() };
  const service = await startServiceProcess(env);
  const client = sdkClient(service.address, { timeoutMs: 5_000 });
  const app = express();
  app.get('/me', requireSession({ client, timeoutMs: 300 }), (request, response) => {
    response.json({ userId: request.gameSession?.userId });
  });
  const url = `${await listen(app)}/me`;
  const { token } = await login(client, 'ada');
  await service.stop('SIGKILL');
  const answer = await fetch(url, bearer(token));
  expect([answer.status, await codeOf(answer)]).toEqual([503, 'unavailable']);
  expect(answer.headers.get('retry-after')).toMatch(/^\d+$/);
  await startServiceProcess({ ...env, GRPC_LISTEN: service.address });
  await client.sessions.listUserSessions('ada', { timeoutMs: 30_000 }).catch(() => undefined);
  let status = 0;
  while (status !== 200) status = (await fetch(url, bearer(token))).status;
  expect(status).toBe(200);
});

test('an answer that somebody else gave meanwhile is left alone', async () => {
  const service = await startServiceProcess({ REDIS_URL: sharedRedisUrl('standalone') });
  const client = sdkClient(service.address);
  const { token } = await login(client, 'ada');
  const app = express();
  let failed: (() => void) | undefined;
  const whenFailed = new Promise<void>((resolve) => (failed = resolve));
  app.use((_, response, next) => {
    response.status(504).end('too slow');
    next();
  });
  app.use((_, __, next) => {
    const { sessions } = client;
    // the check behind this fails after the answer
    void sessions.listUserSessions('ada', { timeoutMs: 400 }).catch(() => failed?.());
    next();
  });
  app.get('/me', requireSession({ client, timeoutMs: 200 }), (_, response) => {
    response.json({});
  });
  const url = `${await listen(app)}/me`;
  service.signal('SIGSTOP');
  expect((await fetch(url, bearer(token))).status).toBe(504);
  await whenFailed;
  service.signal('SIGCONT');
});

test.each([
  ['Mozilla/5.0 (iPhone; CPU iPhone OS 17_0 like Mac OS X) AppleWebKit/605.1.15', 'ios'],
  ['Dalvik/2.1.0 (Linux; U; Android 14; Pixel 8)', 'android'],
  ['Mozilla/5.0 (Linux; Android 14; Pixel 8) AppleWebKit/537.36 Chrome/120.0', 'android'],
  ['Mozilla/5.0 (X11; Linux x86_64; rv:120.0) Gecko/20100101 Firefox/120.0', 'web'],
  ['Mozilla/5.0 (PlayStation; PlayStation 5/2.26) AppleWebKit/605.1.15', 'console'],
  ['UnityPlayer/2022.3.10f1 (UnityWebRequest/1.0, libcurl/7.84.0-DEV)', 'desktop'],
  ['curl/8.4.0', undefined],
  [undefined, undefined],
])('the platform of %s is %s', (userAgent, platform) => {
  expect(platformOf(userAgent)).toBe(platform);
});
