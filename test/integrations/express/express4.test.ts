import { afterAll, beforeAll, expect, jest, test } from '@jest/globals';
import type { Request, Response as ExpressResponse } from 'express';
import express4 from 'express4';
import type { ShardkeepClient } from '../../../src/client/index.js';
import { killServiceProcesses, startServiceProcess } from '../../support/service-process.js';
import { randomNamespace, sharedRedisUrl, startTestService, type TestService } from '../../support/service.js';
import { WebOfTest } from '../web-support.js';

/** Sessions in Express 4, which catches no error of a promise: whatever is not handed to it is heard of by nobody. */

// as for who has installed it
jest.unstable_mockModule('express', () => ({ default: express4, ...express4 }));
const { loadSession, requireSession, sessionRoutes } = await import('../../../src/integrations/express/index.js');

const web = new WebOfTest();
let service: TestService;

beforeAll(async () => {
  service = await startTestService({ REDIS_URL: sharedRedisUrl('standalone') });
});
afterAll(async () => {
  await service.stop();
  await killServiceProcesses();
});

async function serve(client: ShardkeepClient): Promise<string> {
  const app = express4().set('env', 'test');
  const authenticate = ({ headers }: Request) => {
    const user = headers['x-user'];
    if (user === 'nobody can tell') return Promise.reject(new Error('the directory is away'));
    return typeof user === 'string' ? { userId: user } : undefined;
  };
  const me = ({ gameSession }: Request, response: ExpressResponse): void => {
    response.json({ userId: gameSession?.userId ?? null });
  };
  app.get('/me', requireSession({ client, timeoutMs: 5_000 }), me);
  app.get('/maybe', loadSession({ client }), me);
  const deviceIdOf = (): never => {
    throw new Error('no device');
  };
  app.get('/broken/device', requireSession({ client, deviceIdOf }), me);
  const onDenied = (): Promise<never> => Promise.reject(new Error('no page'));
  app.get('/broken/denial', requireSession({ client, onDenied }), me);
  app.use('/api/v1/sessions', sessionRoutes({ client, authenticate }));
  return web.serve(app as never);
}

const bearer = (token: string) => ({ headers: { authorization: `Bearer ${token}` } });
const bodyOf = async (answer: Response): Promise<unknown> => [answer.status, await answer.json()];

test('sessions are created, shown, extended, listed and ended', async () => {
  const url = await serve(web.client(service.address));
  const user = randomNamespace();
  const call = async (
    method: string,
    path: string,
    body?: object,
  ): Promise<[number, { data: Record<string, string> }]> => {
    const answer = await fetch(`${url}/api/v1/sessions${path}`, {
      method,
      headers: { 'x-user': user, 'content-type': 'application/json' },
      ...(body !== undefined && { body: JSON.stringify(body) }),
    });
    return [answer.status, (await answer.json()) as { data: Record<string, string> }];
  };
  // in Express 4 a body that is not there is an empty one
  const [status, { data }] = await call('POST', '/create');
  expect(status).toBe(201);
  const { sessionId = '', sessionToken = '' } = data;
  expect(await call('GET', `/${sessionId}`)).toMatchObject([200, { data: { userId: user } }]);
  expect(await call('POST', `/${sessionId}/extend`, { ttlMs: 7_200_000 })).toMatchObject([200, { success: true }]);
  expect(await call('GET', '/user/sessions')).toMatchObject([200, { data: { totalCount: 1 } }]);
  expect(await bodyOf(await fetch(`${url}/me`, bearer(sessionToken)))).toEqual([200, { userId: user }]);
  expect(await call('DELETE', `/${sessionId}`)).toMatchObject([200, { success: true }]);
  expect(await bodyOf(await fetch(`${url}/me`, bearer(sessionToken)))).toMatchObject([401, { success: false }]);
  expect(await bodyOf(await fetch(`${url}/maybe`))).toEqual([200, { userId: null }]);
});

test('what fails is answered, whoever fails', async () => {
  const url = await serve(web.client(service.address));
  expect((await fetch(`${url}/broken/device`)).status).toBe(500);
  expect((await fetch(`${url}/broken/denial`)).status).toBe(500);
  const headers = { 'x-user': 'nobody can tell' };
  expect((await fetch(`${url}/api/v1/sessions/user/sessions`, { headers })).status).toBe(500);
  expect((await fetch(`${url}/api/v1/sessions/user/sessions`)).status).toBe(401);
});

test('while the service is away nobody is let through', async () => {
  const away = await startServiceProcess({ REDIS_URL: sharedRedisUrl('standalone') });
  const url = await serve(web.client(away.address, { timeoutMs: 5_000, retry: { maxAttempts: 1 } }));
  await away.stop('SIGKILL');
  for (const path of ['/me', '/api/v1/sessions/user/sessions']) {
    const answer = await fetch(`${url}${path}`, {
      headers: { authorization: `Bearer ${'A'.repeat(68)}`, 'x-user': 'a' },
    });
    expect(answer.headers.get('retry-after')).toMatch(/^\d+$/);
    expect(await bodyOf(answer)).toEqual([503, { success: false, error: { code: 'unavailable' } }]);
  }
});

test('a body that is no JSON, or too large, is answered as everything else is', async () => {
  const url = await serve(web.client(service.address));
  const send = async (body: string): Promise<unknown> =>
    bodyOf(
      await fetch(`${url}/api/v1/sessions/create`, {
        method: 'POST',
        headers: { 'x-user': 'ada', 'content-type': 'application/json' },
        body,
      }),
    );
  const wrong = { success: false, error: { code: 'invalid_request' } };
  expect(await send('{')).toEqual([400, wrong]);
  expect(await send(JSON.stringify({ metadata: { a: 'x'.repeat(20_000) } }))).toEqual([413, wrong]);
});
