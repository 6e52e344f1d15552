import { expect, test } from '@jest/globals';
import express from 'express';
import { MemoryStore, rateLimit, type Options, type Store } from 'express-rate-limit';
import { createClient } from 'redis';
import { ShardkeepRateLimitStore } from '../../../src/integrations/express-rate-limit/index.js';
import { freePort, until } from '../../support/redis-server.js';
import { onEachTopology, sharedRedisUrl, startTestService } from '../../support/service.js';
import { someone } from '../../client/rate-limits/support.js';
import { countOf, statusesOf, WebOfTest } from '../web-support.js';
import { asOurselves } from '../../support/redis-user.js';

const web = new WebOfTest();

onEachTopology('the store for express-rate-limit', (service) => {
  const storeOf = (prefix = someone(), address = service().address) =>
    new ShardkeepRateLimitStore({ client: web.client(address), prefix, timeoutMs: 30_000 });

  const initOf = (options: Partial<Options>): Options =>
    ({ windowMs: 600_000, skipFailedRequests: true, ...options }) as Options;

  test('does what the memory store does', async () => {
    const stores: Required<Pick<Store, 'init' | 'get' | 'increment' | 'decrement' | 'resetKey'>>[] = [
      new MemoryStore(),
      storeOf(),
    ];
    const told = await Promise.all(
      stores.map(async (store) => {
        await store.init(initOf({}));
        const hits: unknown[] = [(await store.get('a'))?.totalHits];
        for (const key of ['a', 'a', 'b', 'a']) hits.push((await store.increment(key)).totalHits);
        await store.decrement('a');
        hits.push((await store.get('a'))?.totalHits, (await store.increment('a')).totalHits);
        await store.decrement('b');
        await store.decrement('b');
        hits.push((await store.increment('b')).totalHits);
        await store.resetKey('a');
        hits.push((await store.get('a'))?.totalHits, (await store.increment('a')).totalHits);
        await store.decrement('no such key');
        return hits;
      }),
    );
    expect(told[1]).toEqual(told[0]);
  });

  test('a window begins with its first hit, is over for all at once, and its hits are not taken back from the next', async () => {
    const store = storeOf();
    const windowMs = 700;
    store.init(initOf({ windowMs }));
    const first = await store.increment('a');
    const second = await store.increment('a');
    expect(second).toEqual({ totalHits: 2, resetTime: first.resetTime });
    await until(async () => (await store.get('a')) === undefined);
    const next = await store.increment('a');
    expect(next.totalHits).toBe(1);
    for (let n = 0; n < 3; n++) await store.decrement('a');
    expect(await store.get('a')).toBeUndefined();
    expect((await store.increment('a')).totalHits).toBe(1);
    expect(Number(next.resetTime)).toBeGreaterThanOrEqual(Number(first.resetTime) + windowMs);
  });

  test('concurrent hits of several processes are each another number', async () => {
    const prefix = someone();
    const stores = [storeOf(prefix), storeOf(prefix)];
    for (const store of stores) store.init(initOf({ skipFailedRequests: false }));
    const counts = await Promise.all(
      stores.flatMap((store) => Array.from({ length: 25 }, async () => (await store.increment('a')).totalHits)),
    );
    expect(counts.toSorted((a, b) => a - b)).toEqual(Array.from({ length: 50 }, (_, index) => index + 1));
  });

  test('carries a limiter of two apps', async () => {
    const prefix = someone();
    const urls = await Promise.all(
      [1, 2].map(async () => {
        const app = express();
        app.use(rateLimit({ store: storeOf(prefix), windowMs: 600_000, limit: 20, validate: false }));
        app.get('/', (_request, response) => response.send('in'));
        return web.serve(app);
      }),
    );
    const statuses = await statusesOf(60, (index) => urls[index % 2] ?? '');
    expect([countOf(statuses, 200), countOf(statuses, 429)]).toEqual([20, 40]);
  });

  test('gives back what failed', async () => {
    const store = storeOf();
    const app = express();
    app.use(rateLimit({ store, limit: 5, skipFailedRequests: true, keyGenerator: () => 'k', validate: false }));
    app.get('/ok', (_request, response) => response.send('in'));
    app.get('/wrong', (_request, response) => response.status(400).send('no'));
    const url = await web.serve(app);
    await Promise.all([statusesOf(3, `${url}/wrong`), statusesOf(2, `${url}/ok`)]);
    await until(async () => (await store.get('k'))?.totalHits === 2);
    expect((await store.increment('k')).totalHits).toBe(3);
  });

  test.each([
    ['failed', { skipFailedRequests: true }],
    ['successful', { skipSuccessfulRequests: true }],
  ])('counts to its limit and beyond as the memory store does, and takes back what %s', async (_which, skip) => {
    const limit = 3;
    const stores: Required<Pick<Store, 'init' | 'get' | 'increment' | 'decrement' | 'resetKey'>>[] = [
      new MemoryStore(),
      storeOf(),
    ];
    const told = await Promise.all(
      stores.map(async (store) => {
        await store.init(initOf({ limit, skipFailedRequests: false, ...skip }));
        const hits: unknown[] = [];
        const hit = async (times: number) => {
          for (let n = 0; n < times; n++) hits.push((await store.increment('a')).totalHits);
        };
        const takeBack = async (times: number) => {
          for (let n = 0; n < times; n++) await store.decrement('a');
          hits.push((await store.get('a'))?.totalHits);
        };
        await hit(5);
        // those over the limit let nobody in
        await takeBack(2);
        await hit(2);
        await takeBack(3);
        await hit(1);
        await takeBack(1);
        await hit(3);
        await store.resetKey('a');
        hits.push((await store.get('a'))?.totalHits);
        await hit(2);
        return hits;
      }),
    );
    expect(told[1]).toEqual(told[0]);
  });

  test('hits over the limit are those of their own window', async () => {
    const store = storeOf();
    store.init(initOf({ limit: 1, windowMs: 700 }));
    await store.increment('a');
    expect((await store.increment('a')).totalHits).toBe(2);
    await until(async () => (await store.get('a')) === undefined);
    expect((await store.increment('a')).totalHits).toBe(1);
    await store.decrement('a');
    expect(await store.get('a')).toBeUndefined();
  });

  test('what is denied, and answered as failed, lets nobody else in', async () => {
    const app = express();
    const store = storeOf();
    app.use(rateLimit({ store, limit: 5, skipFailedRequests: true, validate: false, keyGenerator: () => 'k' }));
    app.get('/', (_request, response) => response.send('in'));
    const url = await web.serve(app);
    expect(countOf(await statusesOf(40, url), 200)).toBe(5);
    expect(countOf(await statusesOf(40, url), 200)).toBe(0);
  });

  test('is an error where it cannot count, for passOnStoreError to decide', async () => {
    const nowhere = `127.0.0.1:${String(await freePort())}`;
    const app = express();
    const limiter = (passOnStoreError: boolean) =>
      rateLimit({
        store: storeOf('rl:', nowhere),
        passOnStoreError,
        validate: false,
        logger: { error: () => 0, warn: () => 0 },
      });
    app.get('/strict', limiter(false), (_request, response) => response.send('in'));
    app.get('/lenient', limiter(true), (_request, response) => response.send('in'));
    const url = await web.serve(app);
    expect([...(await statusesOf(1, `${url}/strict`)), ...(await statusesOf(1, `${url}/lenient`))]).toEqual([500, 200]);
  });
});

test.each([
  ['a number', 5, 5],
  ['a function', () => 5, 500],
])('one address leaves no more in Redis than its limit, where that is %s', async (_what, limit, most) => {
  const redis = createClient({ url: asOurselves(sharedRedisUrl('standalone')) });
  const service = await startTestService({ REDIS_URL: sharedRedisUrl('standalone') });
  web.closeLater(() => service.stop());
  web.closeLater(() => redis.close());
  await redis.connect();
  const app = express();
  const store = new ShardkeepRateLimitStore({ client: web.client(service.address), timeoutMs: 30_000 });
  app.use(rateLimit({ store, limit, skipSuccessfulRequests: true, windowMs: 600_000, validate: false }));
  app.get('/', (_request, response) => response.status(401).end());
  const url = await web.serve(app);
  const statuses: number[] = [];
  for (let n = 0; n < 12; n++) statuses.push(...(await statusesOf(50, url)));
  expect([countOf(statuses, 401), countOf(statuses, 429)]).toEqual([5, 595]);
  let reservations = 0;
  for await (const page of redis.scanIterator({ MATCH: `${service.namespace}:reservation:*`, COUNT: 10_000 }))
    reservations += page.length;
  expect(reservations).toBe(most);
});

test('a store that takes nothing back says so, and one without a limiter cannot count', async () => {
  const store = new ShardkeepRateLimitStore({ client: web.client('127.0.0.1:1') });
  await expect(store.increment('a')).rejects.toThrow();
  store.init({ windowMs: 1_000 });
  await expect(store.decrement('a')).rejects.toThrow();
});
