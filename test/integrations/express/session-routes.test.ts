import { describe, expect, test } from '@jest/globals';
import express from 'express';
import { requireSession, sessionRoutes } from '../../../src/integrations/express/index.js';
import type { Sessions } from '../../../src/client/index.js';
import { sdkClient } from '../../support/sdk-client.js';
import {
  onEachTopology,
  policiesFile,
  randomNamespace,
  sharedRedisUrl,
  startTestService,
} from '../../support/service.js';
import { api, codeOf, listen, login } from './session-support.js';

onEachTopology(
  'sessionRoutes',
  (service) => {
    const clientOf = () => sdkClient(service().address);

    describe('the routes', () => {
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
          const created = await call(user, 'POST', '/create', { metadata: { metadata: 'x' }, [name]: 'x' });
          expect([created.status, await created.json()]).toMatchObject([400, { error: { fields: [name] } }]);
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

      test('what the application does wrong is no mistake of the player', async () => {
        const client = clientOf();
        const app = express();
        const ada = { userId: randomNamespace() };
        app.use('/profile', sessionRoutes({ client, profile: 'nosuch', authenticate: () => ada }));
        app.use('/user', sessionRoutes({ client, authenticate: () => ({ id: 'ada' }) as never }));
        app.use('/roles', sessionRoutes({ client, authenticate: () => ({ ...ada, roles: [''] }) }));
        const url = await listen(app);
        for (const path of ['profile', 'user', 'roles'])
          expect((await fetch(`${url}/${path}/create`, { method: 'POST' })).status).toBe(500);
        expect((await client.sessions.listUserSessions(ada.userId)).totalCount).toBe(0);
      });

      test('an answer that somebody else gave meanwhile is left alone', async () => {
        const client = clientOf();
        let settle: (() => void) | undefined;
        const listed = new Promise<void>((resolve) => (settle = resolve));
        const listUserSessions: Sessions['listUserSessions'] = async (...asked) => {
          const live = await client.sessions.listUserSessions(...asked);
          // behind what is done with it
          setImmediate(() => settle?.());
          return live;
        };
        const get = (sessions: Sessions, name: keyof Sessions): unknown =>
          name === 'listUserSessions' ? listUserSessions : sessions[name].bind(sessions);
        const watched = { sessions: new Proxy(client.sessions, { get }) };
        const failures: unknown[] = [];
        const denials: unknown[] = [];
        const app = express();
        app.use((_, response, next) => {
          response.status(504).end('too slow');
          next();
        });
        app.use('/routes', sessionRoutes({ client: watched, authenticate: () => ({ userId: 'ada' }) }));
        app.use('/denied', requireSession({ client }));
        app.use(
          '/told',
          requireSession({ client, onDenied: (_request, _response, _next, denial) => denials.push(denial) }),
        );
        app.use(((error: { code: string }, _request, _response, next) => {
          failures.push(error.code);
          next(error);
        }) as express.ErrorRequestHandler);
        const url = await listen(app);
        for (const path of ['denied', 'told', 'routes/user/sessions'])
          expect((await fetch(`${url}/${path}`)).status).toBe(504);
        await listed;
        expect([failures, denials]).toEqual([[], []]);
      });

      test('a body that is no JSON is answered as everything else is', async () => {
        const app = express();
        app.use(sessionRoutes({ client: clientOf(), authenticate: () => ({ userId: 'ada' }) }));
        const answer = await fetch(`${await listen(app)}/create`, {
          method: 'POST',
          headers: { 'content-type': 'application/json' },
          body: '{',
        });
        expect([answer.status, await codeOf(answer)]).toEqual([400, 'invalid_request']);
      });

      test.each(['/create', '/:id/extend'])('a list is no body of %s', async (path) => {
        const client = clientOf();
        const user = randomNamespace();
        const { id } = await login(client, user);
        const answer = await (await api(client))(user, 'POST', path.replace(':id', id), []);
        expect([answer.status, await codeOf(answer)]).toEqual([400, 'invalid_request']);
        expect((await client.sessions.listUserSessions(user)).totalCount).toBe(1);
      });

      test.each([
        ['metadata of numbers', '/create', { metadata: { level: 7 } }, 'metadata'],
        ['metadata as a list', '/create', { metadata: ['x'] }, 'metadata'],
        ['a wrong name', '/create', { metadata: { Über: 'x' } }, 'metadata'],
        ['a time by another name', '/:id/extend', { ttl: 7_200 }, 'ttl'],
        ['metadata on their own', '/create', { platform: 'web' }, 'platform'],
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
