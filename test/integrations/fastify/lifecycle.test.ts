import { request as httpRequest } from 'node:http';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import Fastify, { type FastifyInstance } from 'fastify';
import type { ShardkeepClient } from '../../../src/client/index.js';
import { requireSession, shardkeep, type RateLimitDefaults } from '../../../src/integrations/fastify/index.js';
import { until } from '../../support/redis-server.js';
import { randomNamespace, sharedRedisUrl, startTestService, type TestService } from '../../support/service.js';
import { someone } from '../../client/rate-limits/support.js';
import { statusesOf, WebOfTest } from '../web-support.js';

/** What Fastify does with plugins, contexts, hooks and replies, and what becomes of limits and sessions then. */

const web = new WebOfTest();
let service: TestService;
let client: ShardkeepClient;

beforeAll(async () => {
  service = await startTestService({ REDIS_URL: sharedRedisUrl('standalone') });
});
afterAll(async () => {
  await service.stop();
});

function app(): FastifyInstance {
  client = web.client(service.address);
  const fastify = Fastify();
  web.closeLater(() => fastify.close());
  return fastify;
}

const listen = (fastify: FastifyInstance) => fastify.listen({ port: 0, host: '127.0.0.1' });

/** Limits of a key of their own, generous of time. */
function limits(options: RateLimitDefaults = {}): RateLimitDefaults {
  const key = someone();
  return { windowMs: 600_000, timeoutMs: 30_000, keyGenerator: () => key, ...options };
}

test('the plugin twice in one context is refused, and leaves no client open', async () => {
  const fastify = app();
  await fastify.register(shardkeep, { client });
  // it does not come to connecting, which this could not
  await expect(fastify.register(shardkeep, { address: 'no address' })).rejects.toMatchObject({
    code: 'FST_ERR_DEC_ALREADY_PRESENT',
  });
});

test('contexts beside each other have limits and clients of their own, and those inside have those around them', async () => {
  const fastify = app();
  const [tight, wide] = [limits({ maxRequests: 1 }), limits({ maxRequests: 2 })];
  await fastify.register(async (game) => {
    await game.register(shardkeep, { client, rateLimit: tight });
    game.get('/shop', () => 'in');
    await game.register(async (inside) => {
      inside.get('/inside', () => 'in');
      return Promise.resolve();
    });
  });
  await fastify.register(async (admin) => {
    await admin.register(shardkeep, { client, rateLimit: wide });
    admin.get('/admin', () => 'in');
  });
  fastify.get('/outside', () => 'in');
  const url = await listen(fastify);
  expect(fastify.hasDecorator('shardkeep')).toBe(false);
  expect(await statusesOf(1, `${url}/shop`)).toEqual([200]);
  expect(await statusesOf(1, `${url}/inside`)).toEqual([429]);
  expect((await statusesOf(3, `${url}/admin`)).toSorted()).toEqual([200, 200, 429]);
  expect(await statusesOf(5, `${url}/outside`)).toEqual([200, 200, 200, 200, 200]);
});

test('routes with limits of their own count by themselves: by prefix, by method and by version', async () => {
  const fastify = app();
  await fastify.register(shardkeep, { client, rateLimit: limits({ global: false }) });
  const config = { rateLimit: { maxRequests: 1 } };
  for (const prefix of ['/v1', '/v2']) {
    await fastify.register(
      async (version) => {
        version.get('/guess', { config }, () => 'in');
        version.post('/guess', { config }, () => 'in');
        return Promise.resolve();
      },
      { prefix },
    );
  }
  fastify.route({ method: ['PUT', 'PATCH'], url: '/v1/guess', config, handler: () => 'in' });
  fastify.get('/v1/guess', { config, constraints: { version: '2.0.0' } }, () => 'in');
  const url = await listen(fastify);
  const ask = async (method: string, path: string) => (await fetch(`${url}${path}`, { method })).status;
  for (const path of ['/v1/guess', '/v2/guess']) {
    expect([await ask('GET', path), await ask('GET', path)]).toEqual([200, 429]);
    expect([await ask('POST', path), await ask('POST', path)]).toEqual([200, 429]);
    // of the GET
    expect(await ask('HEAD', path)).toBe(429);
  }
  expect([await ask('PUT', '/v1/guess'), await ask('PATCH', '/v1/guess')]).toEqual([200, 429]);
  const newer = await fetch(`${url}/v1/guess`, { headers: { 'accept-version': '2.0.0' } });
  expect(newer.status).toBe(200);
});

test.each([
  ['admitted', 2],
  ['denied', 1],
])('a request that is answered while it is looked at is answered once, also where it is %s', async (_, maxRequests) => {
  const fastify = app();
  const reached: string[] = [];
  const key = someone();
  let decide: (() => void) | undefined;
  const keyGenerator: RateLimitDefaults['keyGenerator'] = async ({ url }) => {
    if (url === '/slow') await new Promise<void>((resolve) => (decide = resolve));
    return key;
  };
  await fastify.register(shardkeep, { client, rateLimit: limits({ maxRequests, keyGenerator }) });
  fastify.addHook('onRequest', ({ url }, reply, done) => {
    if (url === '/slow') void until(() => decide !== undefined).then(() => reply.code(504).send('too slow'));
    done();
  });
  const errors: unknown[] = [];
  fastify.addHook('onError', (_request, _reply, error, done) => {
    errors.push(error);
    done();
  });
  for (const path of ['/first', '/slow'])
    fastify.get(path, () => {
      reached.push(path);
      return 'in';
    });
  const url = await listen(fastify);
  expect((await fetch(`${url}/first`)).status).toBe(200);
  expect((await fetch(`${url}/slow`)).status).toBe(504);
  decide?.();
  await fastify.close();
  expect([reached, errors]).toEqual([['/first'], []]);
});

test('a client that hangs up while it is looked at ends nothing but itself', async () => {
  const fastify = app();
  const stages: string[] = [];
  let decide: (() => void) | undefined;
  const keyGenerator = async () => {
    await new Promise<void>((resolve) => (decide = resolve));
    return someone();
  };
  await fastify.register(shardkeep, { client, rateLimit: limits({ global: false }) });
  fastify.get('/slow', { config: { rateLimit: { maxRequests: 1, keyGenerator } } }, () => {
    stages.push('handler');
    return 'in';
  });
  fastify.get('/session', { onRequest: requireSession({ client }) }, () => 'in');
  fastify.addHook('onRequestAbort', (_request, done) => {
    stages.push('aborted');
    done();
  });
  const url = await listen(fastify);
  const hungUp = httpRequest(`${url}/slow`);
  hungUp.on('error', () => undefined);
  hungUp.end();
  await until(() => decide !== undefined);
  hungUp.destroy();
  await until(() => stages.includes('aborted'));
  decide?.();
  expect(await (await fetch(`${url}/session`)).json()).toMatchObject({ statusCode: 401, code: 'missing' });
});

test('an error handler of the application answers who has no session, with the reason', async () => {
  const fastify = app();
  fastify.setErrorHandler((error: { statusCode?: number; code?: string }, _request, reply) =>
    reply.code(error.statusCode ?? 500).send({ because: error.code }),
  );
  await fastify.register(async (inside) => {
    inside.addHook('onRequest', requireSession({ client }));
    inside.get('/me', ({ gameSession }) => gameSession?.userId);
    return Promise.resolve();
  });
  fastify.get('/free', () => 'in');
  const url = await listen(fastify);
  const denied = await fetch(`${url}/me`);
  expect([denied.status, await denied.json()]).toEqual([401, { because: 'missing' }]);
  expect(denied.headers.get('www-authenticate')).toBe('Bearer');
  expect((await fetch(`${url}/free`)).status).toBe(200);
  const userId = randomNamespace();
  const login = await client.sessions.createSession({ userId });
  if (login.status !== 'created') throw new Error(login.status);
  const answer = await fetch(`${url}/me`, { headers: { authorization: `Bearer ${login.sessionToken}` } });
  expect([answer.status, await answer.text()]).toEqual([200, userId]);
});

test('the session is there for a limiter behind it, whichever is registered first', async () => {
  const fastify = app();
  const keys: unknown[] = [];
  const keyGenerator: RateLimitDefaults['keyGenerator'] = ({ gameSession }) => {
    keys.push(gameSession?.userId);
    return gameSession?.userId;
  };
  await fastify.register(shardkeep, { client, rateLimit: limits({ maxRequests: 1, keyGenerator }) });
  fastify.addHook('onRequest', requireSession({ client }));
  fastify.get('/me', () => 'in');
  const url = await listen(fastify);
  const userId = randomNamespace();
  const login = await client.sessions.createSession({ userId });
  if (login.status !== 'created') throw new Error(login.status);
  const as = { headers: { authorization: `Bearer ${login.sessionToken}` } };
  expect([(await fetch(`${url}/me`, as)).status, (await fetch(`${url}/me`, as)).status]).toEqual([200, 429]);
  // who has no session is not counted
  expect((await fetch(`${url}/me`)).status).toBe(401);
  expect(keys).toEqual([userId, userId]);
});
