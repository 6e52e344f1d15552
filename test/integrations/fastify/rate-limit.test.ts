import { randomUUID } from 'node:crypto';
import { rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import Fastify, { type FastifyInstance, type FastifyServerOptions } from 'fastify';
import { parseList } from 'structured-headers';
import { createRateLimitHook, shardkeep, type RateLimitDefaults } from '../../../src/integrations/fastify/index.js';
import { until } from '../../support/redis-server.js';
import {
  onEachTopology,
  randomNamespace,
  sharedRedisUrl,
  startTestService,
  type TestService,
} from '../../support/service.js';
import { errorOf } from '../../support/client-error.js';
import { killServiceProcesses, startServiceProcess } from '../../support/service-process.js';
import { someone } from '../../client/rate-limits/support.js';
import { countOf, listeningLogger, statusesOf, WebOfTest } from '../web-support.js';

const web = new WebOfTest();

/** An app with the plugin; `listen` answers where it serves. */
async function open(address: string, rateLimit: RateLimitDefaults, server: FastifyServerOptions = {}) {
  const app: FastifyInstance = Fastify(server);
  await app.register(shardkeep, {
    address,
    connect: { timeoutMs: 30_000 },
    rateLimit: { timeoutMs: 30_000, ...rateLimit },
  });
  web.closeLater(() => app.close());
  return { app, listen: () => app.listen({ port: 0, host: '127.0.0.1' }) };
}

onEachTopology('the Fastify plugin', (service) => {
  test('lets as many of 100 concurrent requests through as it says, whatever app they reach', async () => {
    const key = someone();
    let reached = 0;
    const urls = await Promise.all(
      [1, 2].map(async () => {
        const limits = { windowMs: 600_000, maxRequests: 37, keyGenerator: () => key };
        const { app, listen } = await open(service().address, limits);
        app.get('/', () => {
          reached++;
          return 'in';
        });
        return listen();
      }),
    );
    const statuses = await statusesOf(100, (index) => urls[index % 2] ?? '');
    expect([countOf(statuses, 200), countOf(statuses, 429), reached]).toEqual([37, 63, 37]);
  });
});

describe('on one Redis', () => {
  let service: TestService;
  beforeAll(async () => {
    service = await startTestService({ REDIS_URL: sharedRedisUrl('standalone') });
  });
  afterAll(async () => {
    await service.stop();
    await killServiceProcesses();
  });

  test('a denial is an error of Fastify, with headers and a hint', async () => {
    const { app, listen } = await open(service.address, { max: 1, windowMs: 600_000, keyGenerator: () => key });
    const key = someone();
    app.get('/', (request) => request.rateLimit);
    const url = await listen();
    const first = await fetch(url);
    expect(await first.json()).toMatchObject({ limit: 1, used: 1, remaining: 0, key });
    expect(parseList(first.headers.get('ratelimit-policy') ?? '')[0]?.[0]).toBe('1-in-10m');
    const denied = await fetch(url);
    expect(denied.status).toBe(429);
    expect(await denied.json()).toEqual({
      ...{ statusCode: 429, error: 'Too Many Requests', message: 'Rate limit exceeded, retry in 10 minutes' },
    });
    expect(Number(denied.headers.get('retry-after'))).toBeGreaterThan(590);
    expect(parseList(denied.headers.get('ratelimit') ?? '')[0]?.[1].get('r')).toBe(0);
  });

  test('routes share the limit of all, have their own, or none', async () => {
    const key = someone();
    const { app, listen } = await open(service.address, { maxRequests: 2, windowMs: 600_000, keyGenerator: () => key });
    for (const path of ['/a', '/b']) app.get(path, () => 'in');
    for (const path of ['/c', '/d']) app.get(path, { config: { rateLimit: { maxRequests: 1 } } }, () => 'in');
    app.get('/chat', { config: { rateLimit: { policy: 'chat' } } }, () => 'in');
    app.get('/free', { config: { rateLimit: false } }, () => 'in');
    const url = await listen();
    const ask = async (path: string, method = 'GET') => (await fetch(`${url}${path}`, { method })).status;
    expect([await ask('/a'), await ask('/b'), await ask('/a'), await ask('/b')]).toEqual([200, 200, 429, 429]);
    expect([await ask('/c'), await ask('/c'), await ask('/d'), await ask('/d')]).toEqual([200, 429, 200, 429]);
    expect([await ask('/free'), await ask('/free'), await ask('/free')]).toEqual([200, 200, 200]);
    const { headers } = await fetch(`${url}/chat`, { method: 'HEAD' });
    // a HEAD of a GET route is one request of it
    expect(parseList(headers.get('ratelimit') ?? '')[0]?.[1].get('r')).toBe(9);
    expect(await ask('/c', 'HEAD')).toBe(429);
  });

  test('only routes that ask for it are limited where that is said', async () => {
    const key = someone();
    const limits = { global: false, maxRequests: 1, keyGenerator: () => key };
    const { app, listen } = await open(service.address, limits);
    app.get('/plain', () => 'in');
    app.get('/limited', { config: { rateLimit: {} } }, () => 'in');
    const url = await listen();
    expect(await statusesOf(2, `${url}/plain`)).toEqual([200, 200]);
    expect((await statusesOf(2, `${url}/limited`)).toSorted()).toEqual([200, 429]);
  });

  test('what a denial says can be built, and who is banned is forbidden', async () => {
    const key = someone();
    const errorResponseBuilder: RateLimitDefaults['errorResponseBuilder'] = (_request, context) => ({
      ...{ statusCode: context.statusCode, ban: context.ban, max: context.max },
    });
    const { app, listen } = await open(service.address, { maxRequests: 1, keyGenerator: () => key });
    const seen: unknown[] = [];
    app.setErrorHandler((error: { readonly statusCode: number }, _request, reply) => {
      seen.push(error.statusCode);
      return reply.send({ handled: error });
    });
    app.get('/built', { config: { rateLimit: { errorResponseBuilder } } }, () => 'in');
    app.get('/calm', { config: { rateLimit: { errorResponseBuilder, maxRequests: 5 } } }, () => 'in');
    app.get('/object', { config: { rateLimit: { message: { code: 42 }, statusCode: 420 } } }, () => 'in');
    const url = await listen();
    for (const path of ['/built', '/object']) await fetch(`${url}${path}`);
    const built = await fetch(`${url}/built`);
    expect([built.status, await built.json()]).toEqual([429, { handled: { statusCode: 429, ban: false, max: 1 } }]);
    const object = await fetch(`${url}/object`);
    expect([object.status, await object.json()]).toEqual([420, { code: 42 }]);
    await app.shardkeep.rateLimits.ban(key, 60_000);
    const banned = await fetch(`${url}/calm`);
    expect([banned.status, await banned.json()]).toMatchObject([403, { handled: { ban: true } }]);
    expect(seen).toEqual([429, 403]);
  });

  test('the limiter runs behind the hooks that tell who asks, or when it is said to', async () => {
    const { app, listen } = await open(service.address, {
      maxRequests: 1,
      name: 'by-user',
      keyGenerator: (request) => Reflect.get(request, 'player') as string,
    });
    app.decorateRequest('player', '');
    const byHeader = (request: { readonly headers: Record<string, unknown> }) =>
      Promise.resolve(void Reflect.set(request, 'player', request.headers.player));
    app.addHook('onRequest', byHeader);
    app.get('/early', () => 'in');
    app.get('/late', { config: { rateLimit: { hook: 'preHandler' } }, preHandler: byHeader }, () => 'in');
    const url = await listen();
    const player = someone();
    const ask = async (path: string) => (await fetch(`${url}${path}`, { headers: { player } })).status;
    expect([await ask('/early'), await ask('/early')]).toEqual([200, 429]);
    expect([await ask('/late'), await ask('/late')]).toEqual([200, 429]);
  });

  test('addresses count by their network, and what has no route can be limited', async () => {
    const { app, listen } = await open(service.address, {}, { trustProxy: 'loopback' });
    const limiter = createRateLimitHook({ client: app.shardkeep, maxRequests: 1, name: 'lost', timeoutMs: 30_000 });
    app.setNotFoundHandler({ preHandler: limiter }, (_request, reply) => reply.code(404).send('nothing here'));
    const url = await listen();
    const from = async (address: string) =>
      (await fetch(`${url}/nowhere`, { headers: { 'x-forwarded-for': address } })).status;
    expect(await from('2001:db8:f::1')).toBe(404);
    expect(await from('2001:db8:f::2')).toBe(429);
    expect(await from('2001:db8:f:1::1')).toBe(404);
    await limiter.resetKey('2001:db8:f::3');
    expect(await from('2001:db8:f::1')).toBe(404);
  });

  test('failures give their charge back where they are skipped', async () => {
    const key = someone();
    const policy = { name: 'failures', algorithm: 'sliding_exact', limit: 5, windowMs: 600_000 } as const;
    const { app, listen } = await open(service.address, { policy, keyGenerator: () => key, skipFailedRequests: true });
    app.get('/ok', () => 'in');
    app.get('/wrong', () => Promise.reject(new Error('no')));
    const url = await listen();
    for (const path of ['/ok', '/wrong', '/wrong']) await fetch(`${url}${path}`);
    const { rateLimits } = app.shardkeep;
    await until(async () => (await rateLimits.peekRateLimit({ subject: key, policy })).remaining === 4);
    expect((await rateLimits.check(key, policy)).remaining).toBe(3);
  });

  test('a client that the plugin made is closed with the app, and one that it was given is not', async () => {
    const { app: own } = await open(service.address, {});
    await own.ready();
    const { rateLimits } = own.shardkeep;
    await rateLimits.listPolicies();
    await own.close();
    expect((await errorOf(rateLimits.listPolicies())).code).toBe(14);
    const client = web.client(service.address);
    const app = Fastify();
    await app.register(shardkeep, { client });
    await app.ready();
    expect(app.shardkeep).toBe(client);
    await app.close();
    expect((await client.rateLimits.listPolicies()).policies.length).toBeGreaterThan(0);
  });

  test('a service that is killed: open passes, closed refuses, and its successor is found', async () => {
    const path = join(tmpdir(), `sk-${randomUUID().slice(0, 8)}.sock`);
    web.closeLater(() => {
      rmSync(path, { force: true });
    });
    const env = { REDIS_URL: sharedRedisUrl('standalone'), GRPC_LISTEN: `unix:${path}`, NAMESPACE: randomNamespace() };
    const killed = await startServiceProcess(env);
    const logger = listeningLogger();
    const { app, listen } = await open(env.GRPC_LISTEN, { maxRequests: 1_000, timeoutMs: 5_000, logger });
    app.get('/open', () => 'in');
    app.get('/closed', { config: { rateLimit: { failMode: 'closed' } } }, () => 'in');
    const url = await listen();
    expect(await Promise.all([statusesOf(1, `${url}/open`), statusesOf(1, `${url}/closed`)])).toEqual([[200], [200]]);
    await killed.stop('SIGKILL');
    expect((await fetch(`${url}/open`)).status).toBe(200);
    const refused = await fetch(`${url}/closed`);
    expect([refused.status, refused.headers.get('retry-after')]).toEqual([503, '1']);
    expect(logger.warnings).toHaveLength(2);
    await startServiceProcess(env);
    await until(async () => (await fetch(`${url}/closed`)).status === 200);
    await until(async () => (await fetch(`${url}/open`)).headers.has('ratelimit'));
  });
});
