import { afterEach, describe, expect, test } from '@jest/globals';
import express from 'express';
import { loadSession, platformOf, requireSession } from '../../../src/integrations/express/index.js';
import type { ShardkeepClient } from '../../../src/client/index.js';
import { sdkClient } from '../../support/sdk-client.js';
import { killServiceProcesses, startServiceProcess } from '../../support/service-process.js';
import { onEachTopology, policiesFile, randomNamespace, sharedRedisUrl } from '../../support/service.js';
import { bearer, codeOf, listen, login } from './session-support.js';

afterEach(async () => {
  await killServiceProcesses();
});

const BOUND = {
  idle_ttl_ms: 600_000,
  absolute_ttl_ms: 6_000_000,
  touch_granularity_ms: 1,
  max_sessions: 5,
  at_limit: 'evict_oldest',
  binding: { ip: 'reject', user_agent: 'reject', device_id: 'reject' },
};

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
        expect(await as({ authorization: 'Bearer good evening', cookie: `game=${token}` })).toBe('unknown');
        expect(await as({ authorization: `bearer\t${token} x`, cookie: `game=${token}` })).toBe('unknown');
        expect(await as({ cookie: `jwt=a b; game=${token}` })).toBe('unknown');
        // nothing is shown there
        expect(await as({ authorization: 'Bearer', cookie: `game=${token}` })).toBe(200);
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

      test('denies who does not tell what has to be compared', async () => {
        const client = clientOf();
        const own = { ip: '203.0.113.9', userAgent: 'Mozilla/5.0', deviceId: 'mine' };
        const made = await client.sessions.createSession({ userId: randomNamespace(), profile: 'bound', client: own });
        if (made.status !== 'created') throw new Error(made.status);
        const { sessionToken, session } = made;
        const requiredClientFields = ['ip', 'userAgent', 'deviceId'] as const;
        const deviceIdOf = (request: express.Request) => request.get('x-device');
        const verify = () => ({ sid: session.sessionId });
        const app = express();
        app.set('trust proxy', 1);
        const options = { client, requiredClientFields, deviceIdOf };
        const toMe: express.RequestHandler = (request, response) => {
          response.json({ user: request.gameSession?.userId ?? null });
        };
        app.get('/me', requireSession(options), toMe);
        app.get('/jwt', requireSession({ ...options, tokenFrom: [{ jwt: { verify } }] }), toMe);
        app.get('/home', loadSession(options), toMe);
        const url = await listen(app);
        const right = { 'x-forwarded-for': own.ip, 'user-agent': own.userAgent, 'x-device': own.deviceId };
        const as = (headers: object, path = '/me') =>
          fetch(`${url}${path}`, { headers: { authorization: `Bearer ${sessionToken}`, ...headers } });
        const { lastActiveMs } = session;
        // an empty header is what fetch has for none
        for (const lacking of [{ 'x-forwarded-for': 'unknown' }, { 'user-agent': '' }, { 'x-device': '' }]) {
          for (const path of ['/me', '/jwt'])
            expect(await codeOf(await as({ ...right, ...lacking }, path))).toBe('binding');
          expect(await (await as({ ...right, ...lacking }, '/home')).json()).toEqual({ user: null });
        }
        expect((await client.sessions.getSession(session.sessionId))?.lastActiveMs).toBe(lastActiveMs);
        expect(await codeOf(await as({ ...right, 'x-device': 'another' }))).toBe('binding');
        for (const path of ['/me', '/jwt', '/home'])
          expect(await (await as(right, path)).json()).toEqual({ user: session.userId });
        expect(await codeOf(await fetch(`${url}/me`))).toBe('missing');
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
  },
  // all of these players log in from one address
  { POLICIES_FILE: policiesFile({ rpc_limits: [], session_profiles: { bound: BOUND } }) },
);

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
