import { afterEach, expect, test } from '@jest/globals';
import Fastify, { type FastifyInstance, type FastifyRequest } from 'fastify';
import { loadSession, requireSession } from '../../../src/integrations/fastify/index.js';
import type { ShardkeepClient } from '../../../src/client/index.js';
import { sdkClient } from '../../support/sdk-client.js';
import { killServiceProcesses, startServiceProcess } from '../../support/service-process.js';
import { onEachTopology, randomNamespace, sharedRedisUrl } from '../../support/service.js';

const apps: FastifyInstance[] = [];

afterEach(async () => {
  await Promise.all(apps.splice(0).map((app) => app.close()));
  await killServiceProcesses();
});

async function listen(client: ShardkeepClient): Promise<string> {
  const app = Fastify();
  apps.push(app);
  const tokenFrom = ['header', { cookie: 'game' }] as const;
  app.get('/me', { onRequest: requireSession({ client, tokenFrom, timeoutMs: 5_000 }) }, (request) => ({
    user: request.gameSession?.userId,
  }));
  app.get('/home', { onRequest: loadSession({ client }) }, (request) => ({
    user: request.gameSession?.userId ?? null,
  }));
  return app.listen({ port: 0, host: '127.0.0.1' });
}

async function login(client: ShardkeepClient, userId: string): Promise<{ id: string; token: string }> {
  const result = await client.sessions.createSession({ userId });
  if (result.status !== 'created') throw new Error(result.status);
  return { id: result.session.sessionId, token: result.sessionToken };
}

const bearer = (token: string) => ({ headers: { authorization: `Bearer ${token}` } });

async function told(answer: Response): Promise<unknown[]> {
  return [answer.status, ((await answer.json()) as { code?: string }).code];
}

onEachTopology('sessions in Fastify', (service) => {
  test('only a live session passes where one is needed, and everybody where none is', async () => {
    const client = sdkClient(service().address);
    const url = await listen(client);
    const userId = randomNamespace();
    const { id, token } = await login(client, userId);
    expect(await (await fetch(`${url}/me`, bearer(token))).json()).toEqual({ user: userId });
    expect((await fetch(`${url}/me`, { headers: { cookie: `game=${token}` } })).status).toBe(200);
    expect(await told(await fetch(`${url}/me`))).toEqual([401, 'missing']);
    expect(await told(await fetch(`${url}/me`, bearer(id)))).toEqual([401, 'unknown']);
    expect(await (await fetch(`${url}/home`, bearer(token))).json()).toEqual({ user: userId });
    expect(await (await fetch(`${url}/home`)).json()).toEqual({ user: null });
    await client.sessions.destroySession(id);
    expect(await told(await fetch(`${url}/me`, bearer(token)))).toEqual([401, 'revoked']);
  });

  test('who does not tell what has to be compared does not pass', async () => {
    const client = sdkClient(service().address);
    const app = Fastify({ trustProxy: '127.0.0.1' });
    apps.push(app);
    const deviceIdOf = ({ headers }: FastifyRequest) => headers['x-device']?.toString();
    const onRequest = requireSession({
      client,
      deviceIdOf,
      requiredClientFields: ['ip', 'userAgent', 'deviceId'],
    });
    app.get('/me', { onRequest }, (request) => ({ user: request.gameSession?.userId }));
    const url = await app.listen({ port: 0, host: '127.0.0.1' });
    const userId = randomNamespace();
    const { token } = await login(client, userId);
    const right = { authorization: `Bearer ${token}`, 'user-agent': 'Mozilla/5.0', 'x-device': 'mine' };
    const as = (headers: object) => fetch(`${url}/me`, { headers: { ...right, ...headers } });
    // an empty header is what fetch has for none
    for (const lacking of [{ 'x-forwarded-for': 'unknown' }, { 'user-agent': '' }, { 'x-device': '' }])
      expect(await told(await as(lacking))).toEqual([401, 'binding']);
    expect(await (await as({})).json()).toEqual({ user: userId });
  });
});

test('while the service is away nobody is let through', async () => {
  const service = await startServiceProcess({ REDIS_URL: sharedRedisUrl('standalone') });
  const client = sdkClient(service.address, { retry: { maxAttempts: 1 } });
  const url = await listen(client);
  const { token } = await login(client, 'ada');
  await service.stop('SIGKILL');
  const answer = await fetch(`${url}/me`, bearer(token));
  expect(await told(answer)).toEqual([503, 'unavailable']);
  expect(answer.headers.get('retry-after')).toMatch(/^\d+$/);
});
