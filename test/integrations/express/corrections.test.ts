import { afterAll, beforeAll, expect, test } from '@jest/globals';
import express, { type Request } from 'express';
import type { InlineRateLimitPolicy } from '../../../src/client/index.js';
import { createRateLimit, type ExpressRateLimitOptions } from '../../../src/integrations/express/index.js';
import { until } from '../../support/redis-server.js';
import { sharedRedisUrl, startTestService, type TestService } from '../../support/service.js';
import { someone } from '../../client/rate-limits/support.js';
import { WebOfTest } from '../web-support.js';

/** What becomes of the charge of requests that are answered in some way or none. */

const web = new WebOfTest();
const POLICY: InlineRateLimitPolicy = { name: 'corrected', algorithm: 'sliding_exact', limit: 20, windowMs: 600_000 };
let service: TestService;

beforeAll(async () => {
  service = await startTestService({ REDIS_URL: sharedRedisUrl('standalone') });
});
afterAll(async () => {
  await service.stop();
});

async function serve(options: Partial<ExpressRateLimitOptions>) {
  const client = web.client(service.address);
  const key = someone();
  const refunds: string[] = [];
  const { rateLimits } = client;
  const watched = {
    rateLimits: new Proxy(rateLimits, {
      get: (target, name) => {
        if (name !== 'refundRateLimit') {
          const member: unknown = Reflect.get(target, name);
          return typeof member === 'function' ? (member.bind(target) as unknown) : member;
        }
        return (id: string) => {
          refunds.push(id);
          return target.refundRateLimit(id);
        };
      },
    }),
  };
  const app = express();
  const pending: Request[] = [];
  app.use(createRateLimit({ client: watched, policy: POLICY, keyGenerator: () => key, timeoutMs: 30_000, ...options }));
  app.get('/ok', (_request, response) => response.send('in'));
  app.get('/wrong', (_request, response) => response.status(401).send('no'));
  app.get('/never', (request) => {
    pending.push(request);
  });
  return {
    url: await web.serve(app),
    pending,
    refunds,
    used: async () => {
      const { limit, remaining } = await rateLimits.peekRateLimit({ subject: key, policy: POLICY });
      return limit - remaining;
    },
  };
}

test('failures alone count where successes are skipped', async () => {
  const { url, used, refunds } = await serve({ skipSuccessfulRequests: true });
  for (const path of ['/ok', '/wrong', '/ok', '/wrong']) await fetch(`${url}${path}`);
  await until(async () => (await used()) === 2);
  expect(refunds).toHaveLength(2);
});

test('successes alone count where failures are skipped, by a rule of your own too', async () => {
  const plain = await serve({ skipFailedRequests: true });
  const own = await serve({
    skipFailedRequests: true,
    requestWasSuccessful: ({ path }) => Promise.resolve(path === '/wrong'),
  });
  for (const path of ['/ok', '/wrong', '/wrong']) {
    await fetch(`${plain.url}${path}`);
    await fetch(`${own.url}${path}`);
  }
  await until(() => plain.refunds.length === 2 && own.refunds.length === 1);
  await until(async () => (await plain.used()) === 1);
  await until(async () => (await own.used()) === 2);
  expect([plain.refunds.length, own.refunds.length]).toEqual([2, 1]);
});

/** Gives a request up when its handler has it. */
async function abandon(url: string, pending: Request[]): Promise<void> {
  const controller = new AbortController();
  const failed = fetch(`${url}/never`, { signal: controller.signal }).catch(() => undefined);
  await until(() => pending.length > 0);
  const [request] = pending.splice(0);
  const closed = new Promise((resolve) => request?.once('close', resolve));
  controller.abort();
  await Promise.all([failed, closed]);
}

test('a request that its client abandons counts once', async () => {
  const plain = await serve({});
  const failing = await serve({ skipSuccessfulRequests: true });
  for (const { url, pending, used, refunds } of [plain, failing]) {
    await abandon(url, pending);
    // behind everything that was done about the abandoned one
    await fetch(`${url}/wrong`);
    expect(await used()).toBe(2);
    expect(refunds).toEqual([]);
  }
});

test('a request that its client abandons is given back once where failures are skipped', async () => {
  const { url, pending, used, refunds } = await serve({ skipFailedRequests: true });
  await abandon(url, pending);
  await until(async () => (await used()) === 0);
  await fetch(`${url}/ok`);
  expect(await used()).toBe(1);
  expect(refunds).toHaveLength(1);
});

test('a denied request gives nothing back', async () => {
  const { url, used, refunds } = await serve({ skipFailedRequests: true, cost: 20 });
  await fetch(`${url}/ok`);
  expect((await fetch(`${url}/ok`)).status).toBe(429);
  expect((await fetch(`${url}/wrong`)).status).toBe(429);
  expect(await used()).toBe(20);
  expect(refunds).toEqual([]);
});
