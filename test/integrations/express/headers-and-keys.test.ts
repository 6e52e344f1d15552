import { afterAll, beforeAll, expect, test } from '@jest/globals';
import express, { type Express, type RequestHandler } from 'express';
import { rateLimit } from 'express-rate-limit';
import { isInnerList, parseList } from 'structured-headers';
import {
  authRateLimit,
  chatRateLimit,
  combatRateLimit,
  createRateLimit,
  type ExpressRateLimitOptions,
} from '../../../src/integrations/express/index.js';
import { policiesFile, sharedRedisUrl, startTestService, type TestService } from '../../support/service.js';
import { someone } from '../../client/rate-limits/support.js';
import { WebOfTest } from '../web-support.js';

const web = new WebOfTest();
let service: TestService;

beforeAll(async () => {
  const rate_policies = { tiered: { algorithm: 'sliding_exact', limit: 1, window_ms: 60_000, tiers: { vip: 3 } } };
  const POLICIES_FILE = policiesFile({ rate_policies });
  service = await startTestService({ REDIS_URL: sharedRedisUrl('standalone'), POLICIES_FILE });
});
afterAll(async () => {
  await service.stop();
});

const client = () => web.client(service.address);

const limiterOf = (options: Partial<ExpressRateLimitOptions>, key = someone()) =>
  createRateLimit({
    client: client(),
    windowMs: options.policy === undefined ? 600_000 : undefined,
    keyGenerator: () => key,
    timeoutMs: 30_000,
    ...options,
  });

/** An app behind a proxy of this machine. */
async function serve(...handlers: RequestHandler[]): Promise<string> {
  const app: Express = express().set('trust proxy', 'loopback');
  app.get('/', ...handlers, (_request, response) => response.send('in'));
  return web.serve(app);
}

/** The names of the items of a structured field, with their parameters. */
function itemsOf(response: Response, name: string): (readonly [string, Record<string, unknown>])[] {
  return parseList(response.headers.get(name) ?? '').map((item) => {
    if (isInnerList(item)) throw new Error('not an item');
    return [String(item[0]), Object.fromEntries<unknown>(item[1])];
  });
}

test('the fields of the IETF tell of every limiter of the route', async () => {
  const url = await serve(
    limiterOf({ maxRequests: 2, windowMs: 60_000, name: 'burst' }),
    limiterOf({ maxRequests: 100, windowMs: 900_000 }),
    limiterOf({ policy: 'api' }),
  );
  const first = await fetch(url);
  expect(itemsOf(first, 'RateLimit-Policy')).toEqual([
    ['burst', { q: 2, w: 60 }],
    ['100-in-15m', { q: 100, w: 900 }],
    ['api', { q: 100, w: 900 }],
  ]);
  expect(itemsOf(first, 'RateLimit').map(([name, { r }]) => [name, r])).toEqual([
    ['burst', 1],
    ['100-in-15m', 99],
    ['api', 99],
  ]);
  for (const [, { t }] of itemsOf(first, 'RateLimit')) expect(Number(t)).toBeGreaterThan(0);
  expect(first.headers.has('retry-after')).toBe(false);
  expect(first.headers.has('x-ratelimit-limit')).toBe(false);
  await fetch(url);
  const denied = await fetch(url);
  expect(denied.status).toBe(429);
  const [[name, { r }] = ['', {}]] = itemsOf(denied, 'RateLimit');
  expect([name, r]).toEqual(['burst', 0]);
  const retryAfter = Number(denied.headers.get('retry-after'));
  expect(Number.isInteger(retryAfter) && retryAfter >= 1 && retryAfter <= 60).toBe(true);
});

test('headers that tell of one limit tell of the one with the least room, in any order', async () => {
  const [tight, wide] = [2, 50];
  for (const limits of [
    [tight, wide],
    [wide, tight],
  ]) {
    const url = await serve(...limits.map((maxRequests) => limiterOf({ maxRequests, legacyHeaders: true })));
    const { headers } = await fetch(url);
    expect([headers.get('x-ratelimit-limit'), headers.get('x-ratelimit-remaining')]).toEqual(['2', '1']);
    await fetch(url);
    const denied = await fetch(url);
    expect([denied.status, denied.headers.get('x-ratelimit-remaining')]).toEqual([429, '0']);
  }
});

test.each(['draft-6', 'draft-7', 'draft-8'] as const)(
  '%s says what express-rate-limit says',
  async (standardHeaders) => {
    const options = { windowMs: 60_000, limit: 3, standardHeaders, legacyHeaders: true };
    const ours = await serve(limiterOf({ ...options, name: 'same' }));
    const theirs = await serve(rateLimit({ ...options, identifier: 'same', validate: false }));
    for (const status of [200, 200, 200, 429]) {
      const [our, their] = await Promise.all([fetch(ours), fetch(theirs)]);
      expect([our.status, their.status]).toEqual([status, status]);
      const names = [...their.headers.keys()].filter((name) => /ratelimit|retry-after/.test(name));
      expect([...our.headers.keys()].filter((name) => /ratelimit|retry-after/.test(name))).toEqual(names);
      for (const name of names.filter((name) => name !== 'retry-after')) {
        expect(withoutTimes(our.headers.get(name))).toBe(withoutTimes(their.headers.get(name)));
      }
    }
  },
);

/** Seconds and spaces are each one's own; so is the partition key, which ours leave out. */
function withoutTimes(value: string | null): string | undefined {
  return value
    ?.replaceAll(/; ?/g, ';')
    .replace(/;pk=:[^:]*:/, '')
    .replace(/(t=|reset=|^)\d{2,}/, '$1seconds');
}

test('headers can be left out, and are not sent for what was skipped', async () => {
  const none = await fetch(await serve(limiterOf({ maxRequests: 5, standardHeaders: false })));
  const skipped = await fetch(await serve(limiterOf({ maxRequests: 5, skip: () => true, legacyHeaders: true })));
  for (const { headers } of [none, skipped]) expect([...headers.keys()].join()).not.toContain('ratelimit');
});

test('addresses count by their network, however they are written', async () => {
  const url = await serve(limiterOf({ maxRequests: 3, keyGenerator: undefined, name: 'by-address' }));
  const from = async (address: string): Promise<unknown[]> => {
    const response = await fetch(url, { headers: { 'x-forwarded-for': address } });
    return [response.status, itemsOf(response, 'RateLimit')[0]?.[1].r];
  };
  expect(await from('2001:db8:0:1::1')).toEqual([200, 2]);
  expect(await from('2001:db8:0:1:ffff::2')).toEqual([200, 1]);
  expect(await from('2001:db8:0:2::1')).toEqual([200, 2]);
  expect(await from('198.51.100.7')).toEqual([200, 2]);
  expect(await from('::ffff:198.51.100.7')).toEqual([200, 1]);
  expect(await from('2001:0db8::1:0:0:0:3')).toEqual([200, 0]);
  expect((await from('2001:db8:0:1::4'))[0]).toBe(429);
});

test('a key may be asked for, and be anything', async () => {
  const keyGenerator: ExpressRateLimitOptions['keyGenerator'] = async ({ query }) =>
    Promise.resolve(query.key as string);
  const url = await serve(limiterOf({ maxRequests: 1, keyGenerator, name: 'by-query' }));
  const unique = someone();
  const keys = [
    'x'.repeat(300),
    'x'.repeat(301),
    '\uFFFD',
    '\uFFFD\uFFFD',
    '{tag}%:\n',
    'é',
    'user:1',
    '2001:db8:7::1',
  ];
  for (const key of keys.map((each) => (each.startsWith('2001') ? each : `${unique}${each}`))) {
    const asked = `${url}/?key=${encodeURIComponent(key)}`;
    expect([(await fetch(asked)).status, (await fetch(asked)).status]).toEqual([200, 429]);
  }
  // an address is one also where a generator answers it
  expect((await fetch(`${url}/?key=2001:db8:7::2`)).status).toBe(429);
});

test('later handlers find what was decided', async () => {
  const key = someone();
  const seen: unknown[] = [];
  const url = await serve(
    limiterOf({ maxRequests: 5, requestPropertyName: 'limits' }, key),
    (request, _response, next) => {
      seen.push(Reflect.get(request, 'limits'));
      next();
    },
  );
  await fetch(url);
  expect(seen).toMatchObject([{ limit: 5, used: 1, remaining: 4, key, decision: { allowed: true } }]);
  expect((seen[0] as { resetTime: unknown }).resetTime).toBeInstanceOf(Date);
});

test('the shipped limiters count per user where one is known, else per address', async () => {
  const open = client();
  const app = express().set('trust proxy', 'loopback');
  app.use((request, _response, next) => {
    const { user, session } = request.query;
    if (user !== undefined) Object.assign(request, { user: { id: user } });
    if (session !== undefined) Object.assign(request, { session: { userId: session } });
    next();
  });
  const overrides = { timeoutMs: 30_000 };
  app.post('/auth', authRateLimit(open, overrides), (_request, response) => response.send('in'));
  app.post('/chat', chatRateLimit(open, overrides), (_request, response) => response.send('in'));
  app.post('/combat', combatRateLimit(open, overrides), (_request, response) => response.send('in'));
  const url = await web.serve(app);
  const post = async (path: string, address = '192.0.2.1') => {
    const response = await fetch(`${url}${path}`, { method: 'POST', headers: { 'x-forwarded-for': address } });
    return [response.status, ...itemsOf(response, 'RateLimit').map(([name, { r }]) => `${name} ${String(r)}`)];
  };
  for (let left = 4; left >= 0; left--) expect(await post('/auth')).toEqual([200, `auth ${String(left)}`]);
  expect(await post('/auth')).toEqual([429, 'auth 0']);
  expect(await post('/auth', '192.0.2.2')).toEqual([200, 'auth 4']);
  expect(await post('/chat')).toEqual([200, 'chat 9']);
  expect(await post('/chat?user=7')).toEqual([200, 'chat 9']);
  expect(await post('/chat?session=7', '192.0.2.3')).toEqual([200, 'chat 8']);
  expect(await post('/combat?user=7')).toEqual([200, 'combat 9']);
  expect(await open.rateLimits.peekRateLimit({ subject: 'user:7', policy: 'chat' })).toMatchObject({ remaining: 8 });
});

test('a policy of the service may have a tier for a role', async () => {
  const role: ExpressRateLimitOptions['role'] = ({ query }) => (query.vip === undefined ? undefined : 'vip');
  const url = await serve(limiterOf({ policy: 'tiered', role }));
  expect(itemsOf(await fetch(`${url}/?vip`), 'RateLimit-Policy')).toEqual([['tiered', { q: 3, w: 60 }]]);
  expect((await fetch(url)).status).toBe(429);
});
