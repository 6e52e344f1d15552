import { fork } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import express, { type ErrorRequestHandler, type Express, type RequestHandler } from 'express';
import express4 from 'express4';
import type { InlineRateLimitPolicy, RateLimitDecision } from '../../../src/client/index.js';
import { createRateLimit, type ExpressRateLimitOptions } from '../../../src/integrations/express/index.js';
import { until } from '../../support/redis-server.js';
import { onEachTopology, sharedRedisUrl, startTestService, type TestService } from '../../support/service.js';
import { someone } from '../../client/rate-limits/support.js';
import { countOf, statusesOf, WebOfTest } from '../web-support.js';

const WEB_PROCESS = fileURLToPath(new URL('web-process.mjs', import.meta.url));
const web = new WebOfTest();

/** An app whose handler counts who reaches it. */
async function serve(
  ...handlers: RequestHandler[]
): Promise<{ readonly url: string; readonly app: Express; readonly reached: () => number }> {
  const app = express();
  let reached = 0;
  app.get('/', ...handlers, (_request, response) => {
    reached++;
    response.send('in');
  });
  return { url: await web.serve(app), app, reached: () => reached };
}

onEachTopology('createRateLimit', (service) => {
  test('lets as many of 100 concurrent requests through as it says, whatever app they reach', async () => {
    const key = someone();
    const apps = await Promise.all(
      [1, 2].map(() =>
        serve(
          createRateLimit({
            client: web.client(service().address),
            ...{ windowMs: 600_000, maxRequests: 37, keyGenerator: () => key, timeoutMs: 30_000 },
          }),
        ),
      ),
    );
    const statuses = await statusesOf(100, (index) => apps[index % 2]?.url ?? '');
    expect([countOf(statuses, 200), countOf(statuses, 429)]).toEqual([37, 63]);
    expect(apps.reduce((sum, { reached }) => sum + reached(), 0)).toBe(37);
  });

  test('gives back what did not count', async () => {
    const client = web.client(service().address);
    const key = someone();
    const { url } = await serve(
      createRateLimit({
        client,
        maxRequests: 3,
        keyGenerator: () => key,
        timeoutMs: 30_000,
        skipSuccessfulRequests: true,
      }),
    );
    const policy: InlineRateLimitPolicy = { name: '3-in-1m', algorithm: 'sliding_exact', limit: 3, windowMs: 60_000 };
    expect(await statusesOf(3, url)).toEqual([200, 200, 200]);
    await until(async () => (await client.rateLimits.peekRateLimit({ subject: key, policy })).remaining === 3);
    expect(await statusesOf(1, url)).toEqual([200]);
  });
});

describe('on one Redis', () => {
  let service: TestService;
  beforeAll(async () => {
    service = await startTestService({ REDIS_URL: sharedRedisUrl('standalone') });
  });
  afterAll(async () => {
    await service.stop();
  });

  /** With a key that no other limiter has. */
  const limiterOf = (options: Partial<ExpressRateLimitOptions>, key = someone()) =>
    createRateLimit({
      client: web.client(service.address),
      ...{ windowMs: 600_000, keyGenerator: () => key, timeoutMs: 30_000 },
      ...options,
    });

  test('lets as many requests through as it says, whatever process they reach', async () => {
    const key = someone();
    const processes = [1, 2].map(() => fork(WEB_PROCESS, [service.address, key], { execArgv: [] }));
    try {
      const ports = await Promise.all(processes.map(async (child) => Number((await once(child, 'message'))[0])));
      const statuses = await statusesOf(100, (index) => `http://127.0.0.1:${String(ports[index % 2])}/`);
      expect([countOf(statuses, 200), countOf(statuses, 429)]).toEqual([30, 70]);
    } finally {
      for (const child of processes) child.kill('SIGKILL');
    }
  });

  test.each([
    ['Express 5', express],
    ['Express 4', express4],
  ])('works in %s', async (_version, framework) => {
    const app = framework();
    const keyGenerator = (): Promise<string> => Promise.reject(new Error('no key'));
    app.get('/limited', limiterOf({ maxRequests: 1 }), (_request, response) => response.send('in'));
    app.get('/broken', limiterOf({ maxRequests: 1, keyGenerator }), (_request, response) => response.send('in'));
    const url = await web.serve(app);
    const first = await fetch(`${url}/limited`);
    expect([first.status, await first.text()]).toEqual([200, 'in']);
    const second = await fetch(`${url}/limited`);
    expect([second.status, await second.json()]).toEqual([429, { error: 'Rate limit exceeded' }]);
    expect((await fetch(`${url}/broken`)).status).toBe(500);
  });

  test('who waits as long as Retry-After says is let in, and nobody earlier', async () => {
    const windowMs = 1_000;
    const decisions: RateLimitDecision[] = [];
    const limiter = limiterOf({ windowMs, maxRequests: 1 });
    const { url } = await serve(limiter, (request, _response, next) => {
      decisions.push((request as unknown as { rateLimit: { decision: RateLimitDecision } }).rateLimit.decision);
      next();
    });
    expect((await fetch(url)).status).toBe(200);
    const denied = await fetch(url);
    // a whole second, rounded up, where the first request took its time too
    expect(denied.headers.get('retry-after')).toBe('1');
    await until(async () => (await fetch(url)).status === 200);
    const [first, second] = decisions.map(({ resetAtMs }) => Number(resetAtMs));
    expect(Number(second) - Number(first)).toBeGreaterThanOrEqual(windowMs);
  });

  test('a denial is answered as it is asked for, and told of', async () => {
    const told: unknown[] = [];
    const onLimit: ExpressRateLimitOptions['onLimit'] = (request, _response, { status, limit }) =>
      told.push([request.path, status, limit]);
    const text = await serve(limiterOf({ max: 1, message: '<b>slow down</b>', onLimit }));
    const object = await serve(limiterOf({ limit: 1, message: { code: 42 }, statusCode: 503 }));
    const message = (): Promise<{ readonly hint: string }> => Promise.resolve({ hint: 'later' });
    const computed = await serve(limiterOf({ maxRequests: 1, message }));
    const handler: ExpressRateLimitOptions['handler'] = (_request, response, _next, { maxRequests }) =>
      response.status(418).send(`only ${String(maxRequests)}`);
    const handled = await serve(limiterOf({ maxRequests: 1, handler }));
    const apps = [text, object, computed, handled];
    for (const { url } of apps) expect((await fetch(url)).status).toBe(200);
    const answers = await Promise.all(apps.map(({ url }) => fetch(url)));
    expect(answers.map(({ status }) => status)).toEqual([429, 503, 429, 418]);
    expect(await Promise.all(answers.map((answer) => answer.text()))).toEqual([
      ...['<b>slow down</b>', '{"code":42}', '{"hint":"later"}', 'only 1'],
    ]);
    expect(answers[0]?.headers.get('content-type')).toContain('text/plain');
    expect(answers.every(({ headers }) => headers.has('retry-after'))).toBe(true);
    expect(apps.map(({ reached }) => reached())).toEqual([1, 1, 1, 1]);
    expect(told).toEqual([['/', 'over', 1]]);
  });

  test('a request that somebody else has answered meanwhile is left alone', async () => {
    const away = web.client('127.0.0.1:1', { retry: { maxAttempts: 1 } });
    const app = express();
    const handlers: string[] = [];
    const failures: unknown[] = [];
    let settled = 0;
    // a middleware that bounds the time of requests
    const tooSlow: RequestHandler = (_request, response, next) => {
      response.status(504).send('too slow');
      next();
    };
    const key = someone();
    const limits = { windowMs: 600_000, maxRequests: 1, keyGenerator: () => key, name: 'left-alone' };
    const client = web.client(service.address);
    const policy = { name: limits.name, algorithm: 'sliding_exact', limit: 1, windowMs: 600_000 } as const;
    await client.rateLimits.check(key, policy);
    const told = (path: string) => ({
      handler: () => handlers.push(path),
      onLimit: () => settled++,
    });
    app.get('/denied', tooSlow, createRateLimit({ client, timeoutMs: 30_000, ...limits, onLimit: () => settled++ }));
    app.get('/handled', tooSlow, createRateLimit({ client, timeoutMs: 30_000, ...limits, ...told('/handled') }));
    const logger = { warn: () => settled++ };
    app.get('/closed', tooSlow, createRateLimit({ client: away, ...limits, failMode: 'closed', logger }));
    app.use(((error, _request, _response, next) => {
      failures.push(error);
      next(error);
    }) as ErrorRequestHandler);
    const url = await web.serve(app);
    for (const path of ['/denied', '/handled', '/closed']) expect((await fetch(url + path)).status).toBe(504);
    await until(() => settled === 3);
    // behind everything that the limiters do
    expect((await fetch(`${url}/denied`)).status).toBe(504);
    await until(() => settled === 4);
    expect([handlers, failures]).toEqual([[], []]);
  });

  test('a request is skipped, weighed and tiered as it is asked for', async () => {
    const skipping = await serve(limiterOf({ maxRequests: 1, skip: ({ query }) => Promise.resolve('skip' in query) }));
    expect(await statusesOf(3, `${skipping.url}/?skip`)).toEqual([200, 200, 200]);
    expect(await statusesOf(1, skipping.url)).toEqual([200]);
    const weighed = await serve(limiterOf({ maxRequests: 10, cost: ({ query }) => Number(query.cost) }));
    expect(await statusesOf(1, `${weighed.url}/?cost=8`)).toEqual([200]);
    expect(await statusesOf(1, `${weighed.url}/?cost=3`)).toEqual([429]);
    expect(await statusesOf(1, `${weighed.url}/?cost=2`)).toEqual([200]);
    const tiered = await serve(limiterOf({ maxRequests: ({ query }) => (query.tier === 'gold' ? 3 : 1) }));
    expect(await statusesOf(1, tiered.url)).toEqual([200]);
    expect(await statusesOf(1, tiered.url)).toEqual([429]);
    const gold = await statusesOf(4, `${tiered.url}/?tier=gold`);
    expect(countOf(gold, 200)).toBe(2);
  });

  test('a limiter that is in the way twice counts once, and its keys can be reset', async () => {
    const key = someone();
    const twice = limiterOf({ maxRequests: 2 }, key);
    const { url } = await serve(twice, twice);
    expect(await statusesOf(1, url)).toEqual([200]);
    expect(await statusesOf(1, url)).toEqual([200]);
    expect(await statusesOf(1, url)).toEqual([429]);
    await twice.resetKey(key);
    expect(await statusesOf(1, url)).toEqual([200]);
    const byFunction = limiterOf({ maxRequests: () => 1 }, key);
    const other = await serve(byFunction);
    expect(await statusesOf(1, other.url)).toEqual([200]);
    await byFunction.resetKey(key);
    expect(await statusesOf(1, other.url)).toEqual([200]);
  });

  test('what is found wrong with a limiter by a request is no outage', async () => {
    const wrong = [
      limiterOf({ windowMs: undefined, policy: 'no-such-policy' }),
      limiterOf({ maxRequests: 1, cost: () => 2 }),
      limiterOf({ maxRequests: 1, keyGenerator: () => undefined }),
      limiterOf({ maxRequests: () => 0 }),
    ];
    for (const limiter of wrong) {
      const { url, reached } = await serve(limiter);
      expect(await statusesOf(1, url)).toEqual([500]);
      expect(reached()).toBe(0);
    }
  });
});
