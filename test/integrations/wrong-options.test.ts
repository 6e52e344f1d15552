import { describe, expect, test } from '@jest/globals';
import type { Request } from 'express';
import Fastify from 'fastify';
import Keyv from 'keyv';
import { Server } from 'socket.io';
import { Code, connect, InvalidArgumentError, type ShardkeepClient } from '../../src/client/index.js';
import * as inExpress from '../../src/integrations/express/index.js';
import { ShardkeepRateLimitStore } from '../../src/integrations/express-rate-limit/index.js';
import { ShardkeepStore } from '../../src/integrations/express-session/index.js';
import * as inFastify from '../../src/integrations/fastify/index.js';
import { KeyvShardkeep } from '../../src/integrations/keyv/index.js';
import { shardkeepSessions } from '../../src/integrations/socket.io/index.js';
import { WebOfTest } from './web-support.js';

/** What is wrong is said when something is made, by the names of its options: nobody should find it by a request. */

const web = new WebOfTest();
/** Nothing is asked of it, so nothing need be there. */
const aClient = () => web.client('127.0.0.1:1');
const verify = (): object => ({});

type Case = readonly [wrong: string, options: unknown, fields: readonly string[]];
/** As JavaScript calls it, where no type is in the way. */
type Maker = (options: never) => unknown;

function fieldsOf(make: () => unknown): readonly string[] {
  try {
    make();
  } catch (error) {
    if (error instanceof InvalidArgumentError && error.code === Code.INVALID_ARGUMENT) return error.fields;
    throw error;
  }
  return [];
}

function eachIsRefused(maker: Maker, cases: readonly Case[]): void {
  test.each(cases)('%s', (_wrong, options, fields) => {
    const given =
      typeof options === 'function' ? (options as (client: ShardkeepClient) => unknown)(aClient()) : options;
    expect(fieldsOf(() => maker(given as never))).toEqual(fields);
  });
}

/** With a client. */
const and = (options: object) => (client: ShardkeepClient) => ({ client, ...options });

const SESSION_CASES: readonly Case[] = [
  ['nothing', undefined, ['options']],
  ['no client', {}, ['client']],
  ['the client itself', (client: ShardkeepClient) => client, ['client']],
  ['a part of the client', ({ sessions }: ShardkeepClient) => ({ client: sessions }), ['client']],
  ['a promise of a client', (client: ShardkeepClient) => ({ client: Promise.resolve(client) }), ['client']],
  ['a misspelt option', and({ tokenfrom: ['header'] }), ['tokenfrom']],
  ['an option called as what every object has', and({ constructor: 1 }), ['constructor']],
  ['one source without a list', and({ tokenFrom: 'header' }), ['tokenFrom']],
  ['a list of no source', and({ tokenFrom: [] }), ['tokenFrom']],
  ['a cookie without a name', and({ tokenFrom: ['header', 'cookie'] }), ['tokenFrom[1]']],
  ['a cookie with an empty name', and({ tokenFrom: [{ cookie: '' }] }), ['tokenFrom[0].cookie']],
  ['a header that is none', and({ tokenFrom: [{ header: 'x token' }] }), ['tokenFrom[0].header']],
  ['two sources in one', and({ tokenFrom: [{ header: 'x', cookie: 'y' }] }), ['tokenFrom[0].cookie']],
  ['no source', and({ tokenFrom: [null, 7] }), ['tokenFrom[0]', 'tokenFrom[1]']],
  ['a JWT that nobody verifies', and({ tokenFrom: [{ jwt: { claim: 'sid' } }] }), ['tokenFrom[0].jwt.verify']],
  ['a JWT from nowhere', and({ tokenFrom: [{ jwt: { verify, from: 'cookie' } }] }), ['tokenFrom[0].jwt.from']],
  ['a JWT behind what takes it for a token', and({ tokenFrom: ['header', { jwt: { verify } }] }), ['tokenFrom[1].jwt']],
  [
    'a JWT of a cookie behind what takes it for a token',
    and({ tokenFrom: [{ cookie: 'a' }, { jwt: { verify } }, { jwt: { verify, from: { cookie: 'a' } } }, 'header'] }),
    ['tokenFrom[2].jwt'],
  ],
  ['a device that nobody tells', and({ requiredClientFields: ['ip', 'deviceId'] }), ['requiredClientFields[1]']],
  ['a field that there is not', and({ requiredClientFields: ['user_agent'] }), ['requiredClientFields[0]']],
  ['a field without a list', and({ requiredClientFields: 'ip' }), ['requiredClientFields']],
  ['an age below 0', and({ maxAuthAgeMs: -1 }), ['maxAuthAgeMs']],
  ['an age that is no number', and({ maxAuthAgeMs: NaN }), ['maxAuthAgeMs']],
  ['no time at all', and({ timeoutMs: 0 }), ['timeoutMs']],
  ['a device that is no function', and({ deviceIdOf: 'x-device' }), ['deviceIdOf']],
  ['several at once', and({ timeoutMs: '1s', maxAuthAgeMs: '1h' }), ['maxAuthAgeMs', 'timeoutMs']],
];

const LIMIT_CASES: readonly Case[] = [
  ['nothing', undefined, ['options']],
  ['no client', { maxRequests: 1 }, ['client']],
  ['the client itself', (client: ShardkeepClient) => client, ['client']],
  ['what is missing before what is too much', { foo: 1, bar: 2 }, ['client', 'foo', 'bar']],
  ['no limit', and({}), ['maxRequests']],
  ['no limit, and a window', and({ windowMs: 1_000 }), ['maxRequests']],
  ['a misspelt option', and({ maxRequest: 1, maxRequests: 1 }), ['maxRequest']],
  ['a policy and a window', and({ policy: 'api', windowMs: 1_000 }), ['windowMs']],
  ['a policy and a limit', and({ policy: 'api', max: 5, name: 'x' }), ['max', 'name']],
  ['a policy that no service has', and({ policy: 'No Policy' }), ['policy']],
  ['a policy of nothing', and({ policy: {} }), ['policy.name', 'policy.algorithm', 'policy.limit', 'policy.windowMs']],
  [
    'slots, which nobody would give back',
    and({ policy: { name: 'x', algorithm: 'concurrency', limit: 1, windowMs: 1_000 } }),
    ['policy.algorithm'],
  ],
  [
    'more than can be remembered',
    and({ policy: { name: 'x', algorithm: 'sliding_exact', limit: 8_193, windowMs: 1_000 } }),
    ['policy.algorithm'],
  ],
  ['more than can be remembered, of its own', and({ max: 8_193, algorithm: 'sliding_exact' }), ['algorithm']],
  ['two limits', and({ max: 5, limit: 6 }), ['limit', 'max']],
  ['an unknown algorithm', and({ max: 5, algorithm: 'leaky' }), ['algorithm']],
  ['a window of 0', and({ max: 5, windowMs: 0 }), ['windowMs']],
  ['a window of NaN', and({ max: 5, windowMs: NaN }), ['windowMs']],
  ['a window in words', and({ max: 5, windowMs: '1m' }), ['windowMs']],
  ['a limit of 0', and({ max: 0 }), ['max']],
  ['a limit of 1.5', and({ maxRequests: 1.5 }), ['maxRequests']],
  ['a name in capitals', and({ max: 5, name: 'Chat' }), ['name']],
  ['a cost of 0', and({ max: 5, cost: 0 }), ['cost']],
  ['a cost above the limit', and({ max: 5, cost: 6 }), ['cost']],
  ['an unknown mode', and({ max: 5, failMode: 'close' }), ['failMode']],
  ['headers by a draft that there is not', and({ max: 5, standardHeaders: 'draft-9' }), ['standardHeaders']],
  ['a key that is no function', and({ max: 5, keyGenerator: 'ip' }), ['keyGenerator']],
  ['a logger that cannot warn', and({ max: 5, logger: () => undefined }), ['logger']],
  ['no time at all', and({ max: 5, timeoutMs: 0 }), ['timeoutMs']],
  ['a status that is none', and({ max: 5, statusCode: '429' }), ['statusCode']],
  ['a message that is a number', and({ max: 5, message: 7 }), ['message']],
];

describe('requireSession of Express', () => {
  eachIsRefused(inExpress.requireSession, SESSION_CASES);
  eachIsRefused(inExpress.requireSession, [['a denial in words', and({ onDenied: '/login' }), ['onDenied']]]);
});
describe('loadSession of Express', () => {
  eachIsRefused(inExpress.loadSession, SESSION_CASES);
});
describe('requireSession of Fastify', () => {
  eachIsRefused(inFastify.requireSession, SESSION_CASES);
  eachIsRefused(inFastify.requireSession, [['what Express has', and({ onDenied: () => 0 }), ['onDenied']]]);
});
describe('loadSession of Fastify', () => {
  eachIsRefused(inFastify.loadSession, SESSION_CASES);
});
describe('createRateLimit', () => {
  eachIsRefused(inExpress.createRateLimit, LIMIT_CASES);
  eachIsRefused(inExpress.createRateLimit, [
    ['a handler in words', and({ max: 5, handler: 'no' }), ['handler']],
    ['a store of another library', and({ max: 5, store: {} }), ['store']],
  ]);
});
describe('createRateLimitHook', () => {
  eachIsRefused(inFastify.createRateLimitHook, LIMIT_CASES);
  eachIsRefused(inFastify.createRateLimitHook, [
    ['what @fastify/rate-limit has', and({ max: 5, timeWindow: 1_000 }), ['timeWindow']],
  ]);
});

describe.each([
  ['authRateLimit', inExpress.authRateLimit],
  ['chatRateLimit', inExpress.chatRateLimit],
  ['combatRateLimit', inExpress.combatRateLimit],
])('%s', (_name, limiter) => {
  eachIsRefused(limiter, [
    ['nothing', undefined, ['client']],
    ['options in the place of the client', and({}), ['client']],
  ]);
  eachIsRefused(
    (overrides) => limiter(aClient(), overrides),
    [
      ['a limit beside its policy', { maxRequests: 5 }, ['maxRequests']],
      ['a misspelt option', { keyGen: () => 'x' }, ['keyGen']],
    ],
  );
  test('what is right is taken', () => {
    expect(fieldsOf(() => limiter(aClient(), { policy: undefined, maxRequests: 5 }))).toEqual([]);
  });
});

describe('sessionRoutes', () => {
  const authenticate = ({ gameSession }: Request) => gameSession;
  eachIsRefused(inExpress.sessionRoutes, [
    ['nothing', undefined, ['options']],
    ['nobody to tell who asks', and({}), ['authenticate']],
    ['no client', { authenticate }, ['client']],
    ['a misspelt option', and({ authenticate, profil: 'game' }), ['profil']],
    ['a profile that no service has', and({ authenticate, profile: 'Game' }), ['profile']],
    ['an extension of nothing', and({ authenticate, maxExtendMs: 0 }), ['maxExtendMs']],
  ]);
});

describe('the Fastify plugin', () => {
  const fieldsOfPlugin = async (options: unknown, route?: unknown): Promise<unknown> => {
    const app = Fastify();
    web.closeLater(() => app.close());
    try {
      await app.register(inFastify.shardkeep, options as never);
      if (route !== undefined) app.get('/', { config: { rateLimit: route as never } }, () => 'in');
      return [];
    } catch (error) {
      return error instanceof InvalidArgumentError ? error.fields : error;
    }
  };
  test.each<Case>([
    ['nothing', {}, ['client']],
    ['a client that is none', { client: {} }, ['client']],
    ['an address that is none', { address: '' }, ['address']],
    ['two of them', and({ address: '127.0.0.1:1' }), ['address']],
    ['a misspelt option', and({ ratelimit: { max: 5 } }), ['ratelimit']],
    ['a misspelt option of the limits', and({ rateLimit: { max: 5, timeWindow: 1_000 } }), ['timeWindow']],
    ['a policy and a window', and({ rateLimit: { policy: 'api', windowMs: 1_000 } }), ['windowMs']],
    ['a window of 0, which no route has yet', and({ rateLimit: { windowMs: 0 } }), ['windowMs']],
    ['a hook that there is not', and({ rateLimit: { max: 5, hook: 'onSend' } }), ['hook']],
  ])('%s', async (_wrong, options, fields) => {
    const given =
      typeof options === 'function' ? (options as (client: ShardkeepClient) => unknown)(aClient()) : options;
    expect(await fieldsOfPlugin(given)).toEqual(fields);
  });

  test.each<Case>([
    ['true', true, ['options']],
    ['a misspelt option', { maxRequest: 5 }, ['maxRequest']],
    ['a client', and({ max: 5 }), ['client']],
    ['no limit', { windowMs: 1_000 }, ['maxRequests']],
    ['a policy and a window', { policy: 'api', windowMs: 1_000 }, ['windowMs']],
    ['a hook that there is not', { max: 5, hook: 'onSend' }, ['hook']],
  ])('of a route: %s', async (_wrong, options, fields) => {
    const given =
      typeof options === 'function' ? (options as (client: ShardkeepClient) => unknown)(aClient()) : options;
    expect(await fieldsOfPlugin({ client: aClient() }, given)).toEqual(fields);
  });

  test('a policy of a route takes the place of limits that the plugin has, and the other way round', async () => {
    const client = aClient();
    const limits = { maxRequests: 5, windowMs: 1_000, algorithm: 'fixed' } as const;
    expect(await fieldsOfPlugin({ client, rateLimit: limits }, { policy: 'api' })).toEqual([]);
    expect(await fieldsOfPlugin({ client, rateLimit: { policy: 'api' } }, limits)).toEqual([]);
    expect(await fieldsOfPlugin({ client, prefix: '/game', logLevel: 'warn' })).toEqual([]);
  });
});

describe('shardkeepSessions', () => {
  eachIsRefused(
    (options) => shardkeepSessions(new Server(), options),
    [
      ...SESSION_CASES.filter(([, , [field]]) => ['options', 'client', 'maxAuthAgeMs'].includes(String(field))).filter(
        ([wrong]) => wrong !== 'several at once',
      ),
      ['a misspelt option', and({ touchEvery: 1 }), ['touchEvery']],
      ['sources as in Express', and({ tokenFrom: ['header'] }), ['tokenFrom']],
      ['a cookie of any website', and({ cookie: { name: 'sid' } }), ['cookie.origins']],
      ['a cookie of no website', and({ cookie: { name: 'sid', origins: [] } }), ['cookie.origins']],
      [
        'origins that no browser sends',
        and({
          cookie: { name: 'sid', origins: ['https://a.example/', 'b.example', '*', 'null', 'https://C.example'] },
        }),
        [0, 1, 2, 3, 4].map((index) => `cookie.origins[${String(index)}]`),
      ],
      [
        'a cookie beside what says where the token is',
        and({ tokenFrom: () => undefined, cookie: { name: 'sid', origins: ['https://a.example'] } }),
        ['cookie'],
      ],
      ['a field that there is not', and({ requiredClientFields: ['device'] }), ['requiredClientFields[0]']],
      ['a handshake of no time', and({ handshakeTimeoutMs: 0 }), ['handshakeTimeoutMs']],
      ['a handshake of more time than a timer has', and({ handshakeTimeoutMs: 2 ** 31 }), ['handshakeTimeoutMs']],
      ['touches before they were', and({ touchEveryMs: -1 }), ['touchEveryMs']],
      ['half a logger', and({ logger: { warn: () => 0 } }), ['logger']],
    ],
  );
  test('no server', () => {
    const client = aClient();
    expect(fieldsOf(() => shardkeepSessions(undefined as never, { client }))).toEqual(['io']);
    expect(fieldsOf(() => shardkeepSessions([], { client }))).toEqual(['io']);
    expect(fieldsOf(() => shardkeepSessions([new Server(), {}] as never, { client }))).toEqual(['io[1]']);
  });
});

test('a server that has sessions is given no second ones, by whatever name, and also when the first are closed', () => {
  const client = aClient();
  const io = new Server();
  const chat = io.of('/chat');
  // none that is refused is taken for guarded
  expect(fieldsOf(() => shardkeepSessions([io, chat, io.of('/')], { client }))).toEqual(['io[2]']);
  const installed = shardkeepSessions([io, chat], { client, logger: false });
  for (const again of [io, io.of('/'), chat])
    expect(fieldsOf(() => shardkeepSessions(again, { client }))).toEqual(['io']);
  installed.close();
  expect(fieldsOf(() => shardkeepSessions(io, { client }))).toEqual(['io']);
  shardkeepSessions(io.of('/guild'), { client, logger: false }).close();
});

test('options that are something else altogether are told of in a few words, and named all', () => {
  const names = Array.from({ length: 50 }, (_, index) => `something-that-there-is-no-option-for-${String(index)}`);
  const options = Object.fromEntries(names.map((each) => [each, 1]));
  const make = () => inExpress.createRateLimit(options as never);
  expect(fieldsOf(make)).toEqual(['client', ...names]);
  expect(() => make()).toThrow(expect.objectContaining({ message: expect.not.stringContaining(String(names[3])) }));
  expect(() => make()).toThrow(String(names[2]));
});

describe('the stores', () => {
  eachIsRefused(
    (options) => new ShardkeepStore(options),
    [
      ['nothing', undefined, ['options']],
      ['the client in the place of its sessions', (client: ShardkeepClient) => ({ sessions: client }), ['sessions']],
      ['what connect-redis takes', and({}), ['sessions', 'client']],
      ['a prefix that no user id has room for', inSessions({ prefix: 'x'.repeat(86) }), ['prefix']],
      ['a life of 0', inSessions({ ttlMs: 0 }), ['ttlMs']],
      ['a life for ever', inSessions({ ttlMs: Infinity }), ['ttlMs']],
      ['a misspelt option', inSessions({ ttl: 60 }), ['ttl']],
      ['a yes in words', inSessions({ ownsNamespace: 'yes' }), ['ownsNamespace']],
    ],
  );
  eachIsRefused(
    (options) => new ShardkeepRateLimitStore(options),
    [
      ['nothing', undefined, ['options']],
      ['no client', { prefix: 'x' }, ['client']],
      ['a misspelt option', and({ keyPrefix: 'x' }), ['keyPrefix']],
      ['no time at all', and({ timeoutMs: 0 }), ['timeoutMs']],
    ],
  );
  test('a window that the service does not take is refused where the limiter is made', () => {
    const store = new ShardkeepRateLimitStore({ client: aClient() });
    expect(
      fieldsOf(() => {
        store.init({ windowMs: 0 });
      }),
    ).toEqual(['windowMs']);
    expect(
      fieldsOf(() => {
        store.init({ windowMs: 2_592_000_001 });
      }),
    ).toEqual(['windowMs']);
  });
  test('a client in the place of its cache, and a namespace that leaves no room for keys', () => {
    const client = aClient();
    expect(fieldsOf(() => new KeyvShardkeep(client as never))).toEqual(['cache']);
    expect(fieldsOf(() => new KeyvShardkeep(undefined as never))).toEqual(['cache']);
    const store = new KeyvShardkeep(client.cache);
    expect(fieldsOf(() => new Keyv({ store, namespace: 'é'.repeat(256) }))).toEqual(['namespace']);
  });
});

function inSessions(options: object): (client: ShardkeepClient) => unknown {
  return ({ sessions }) => ({ sessions, ...options });
}

test('what is right is taken', () => {
  const client = connect('127.0.0.1:1');
  web.closeLater(() => client.close());
  const cookie = { name: 'sid', origins: ['https://a.example', 'http://localhost:8080', 'capacitor://localhost'] };
  const right: (() => unknown)[] = [
    () => inExpress.requireSession({ client, tokenFrom: undefined, maxAuthAgeMs: 0, timeoutMs: Infinity }),
    () =>
      inExpress.requireSession({
        client,
        tokenFrom: ['header', { cookie: '__Host-game' }, { jwt: { verify: () => ({}), from: { cookie: 'jwt' } } }],
      }),
    () => inExpress.requireSession({ client, tokenFrom: [{ jwt: { verify: () => ({}) } }, 'header'] }),
    () => inExpress.requireSession({ client, requiredClientFields: ['deviceId'], deviceIdOf: () => 'x' }),
    () => {
      shardkeepSessions(new Server(), { client, requiredClientFields: ['deviceId'] }).close();
    },
    () => inExpress.createRateLimit({ client, max: 5, limit: 5, windowMs: 10 }),
    () => inExpress.createRateLimit({ client, maxRequests: () => 5, cost: () => 1, message: { error: 'x' } }),
    () => {
      shardkeepSessions(new Server(), { client, cookie, touchEveryMs: Infinity }).close();
    },
    () => {
      shardkeepSessions(new Server().of(/^\/shard-/), { client }).close();
    },
  ];
  for (const make of right) expect(fieldsOf(make)).toEqual([]);
});
