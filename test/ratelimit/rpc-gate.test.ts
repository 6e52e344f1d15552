import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { pino } from 'pino';
import { ConfigError } from '../../src/config/config.js';
import { DomainError } from '../../src/errors.js';
import type { RpcLimitSettings } from '../../src/config/policies.js';
import { RatePolicies } from '../../src/ratelimit/policies.js';
import { createRpcGates, RpcGates } from '../../src/ratelimit/rpc-gate.js';
import { rateLimitScripts } from '../../src/ratelimit/scripts.js';
import { RateLimitStore } from '../../src/ratelimit/store.js';
import type { Call } from '../../src/redis/call.js';
import { Redis } from '../../src/redis/redis.js';
import { until } from '../support/redis-server.js';
import { randomNamespace, sharedRedisUrl } from '../support/service.js';

/** The gate with RPCs that nobody serves, on a real Redis. */

const logger = pino({ level: 'silent' });
const redis = new Redis({
  target: {
    topology: 'standalone',
    host: '127.0.0.1',
    port: Number(new URL(sharedRedisUrl('standalone')).port),
    database: 0,
    tls: false,
  },
  scripts: rateLimitScripts,
  logger,
});
const store = new RateLimitStore(redis, logger);
const policies = new RatePolicies({
  two: { algorithm: 'sliding_exact', limit: 2, window_ms: 60_000 },
  three: { algorithm: 'sliding_exact', limit: 3, window_ms: 120_000 },
  join: {
    limits: [
      { per: 'ip', algorithm: 'sliding_exact', limit: 2, window_ms: 60_000 },
      { per: 'user', algorithm: 'fixed', limit: 1, window_ms: 600_000, enforcement: 'shadow' },
      { per: 'all', algorithm: 'sliding_buckets', limit: 4, window_ms: 60_000 },
    ],
  },
});
const JOIN = 'game.v1.Game/Join';
const rpcs = [{ name: JOIN, decode: () => ({ userId: '', level: 0, metadata: new Map() }) }];

beforeAll(async () => {
  redis.connect();
  await until(() => redis.isReady);
});
afterAll(() => {
  redis.destroy();
});

const newCall = (): Call => ({ namespace: randomNamespace(), deadlineAt: Number.POSITIVE_INFINITY, ended: false });
const request = (userId: string, ip?: string): unknown => ({
  userId,
  level: 7,
  metadata: new Map(ip === undefined ? [] : [['ip', ip]]),
});
const limit = (policy: string, ...subjects: readonly [kind: string, field: string][]): RpcLimitSettings => ({
  rpc: JOIN,
  policy,
  subjects: subjects.map(([kind, field]) => ({ kind, field })),
});
const gateOf = (...rpcLimits: RpcLimitSettings[]) => {
  const gates = createRpcGates({ limiter: store, policies, rpcLimits, rpcs });
  return (rpc: string, message: unknown, call: Call) => gates.get(rpc)?.(message, call);
};
const userAndIp = limit('two', ['user', 'user_id'], ['ip', 'metadata.ip']);

async function failureOf(charge: Promise<void> | undefined): Promise<DomainError> {
  try {
    await charge;
  } catch (error) {
    if (error instanceof DomainError) return error;
    throw error;
  }
  throw new Error('expected the call to be denied');
}

test('an RPC without policy, or a request that names no subject, asks nobody', () => {
  const gate = gateOf(userAndIp);
  expect(gate('game.v1.Game/Leave', request('ada'), newCall())).toBeUndefined();
  expect(gate(JOIN, request(''), newCall())).toBeUndefined();
});

test('each subject has a count of its own, and the error tells the kind but not the value', async () => {
  const gate = gateOf(userAndIp);
  const call = newCall();
  await gate(JOIN, request('ada', '192.0.2.1'), call);
  await gate(JOIN, request('bob', '192.0.2.1'), call);
  const failure = await failureOf(gate(JOIN, request('eve', '192.0.2.1'), call));
  expect(failure.code).toBe('RATE_LIMITED');
  expect(failure.metadata).toEqual({ policy: 'two', subject_kind: 'ip' });
  expect(failure.retryAfterMs).toBeGreaterThan(0);
  await gate(JOIN, request('eve', '192.0.2.2'), call);
});

test('a denied call is charged to none of its subjects, over all entries of its RPC', async () => {
  const gate = gateOf(limit('two', ['ip', 'metadata.ip']), limit('three', ['user', 'user_id']));
  const call = newCall();
  await gate(JOIN, request('ada', '192.0.2.1'), call);
  await gate(JOIN, request('bob', '192.0.2.1'), call);
  for (let tries = 0; tries < 5; tries++) {
    expect((await failureOf(gate(JOIN, request('eve', '192.0.2.1'), call))).metadata.subject_kind).toBe('ip');
  }
  for (const ip of ['192.0.2.2', '192.0.2.3', '192.0.2.4']) await gate(JOIN, request('eve', ip), call);
  expect((await failureOf(gate(JOIN, request('eve', '192.0.2.5'), call))).metadata).toMatchObject({ policy: 'three' });
});

test('of several that deny, the error tells of the one that denies longest', async () => {
  const gate = gateOf(limit('two', ['ip', 'metadata.ip']), limit('three', ['user', 'user_id']));
  const call = newCall();
  await gate(JOIN, request('ada', '192.0.2.1'), call);
  await gate(JOIN, request('ada', '192.0.2.1'), call);
  await gate(JOIN, request('ada', '192.0.2.2'), call);
  const failure = await failureOf(gate(JOIN, request('ada', '192.0.2.1'), call));
  expect(failure.metadata).toEqual({ policy: 'three', subject_kind: 'user' });
  expect(failure.retryAfterMs).toBeGreaterThan(60_000);
});

test('a subject that two entries name is charged once', async () => {
  const gate = gateOf(limit('two', ['user', 'user_id']), limit('two', ['user', 'user_id'], ['user', 'metadata.ip']));
  const call = newCall();
  await gate(JOIN, request('ada', 'ada'), call);
  await gate(JOIN, request('ada', 'ada'), call);
  expect((await failureOf(gate(JOIN, request('ada', 'ada'), call))).code).toBe('RATE_LIMITED');
});

describe('a policy of several limits', () => {
  const join = limit('join', ['user', 'user_id'], ['ip', 'metadata.ip']);

  test('limits each kind of subject that the request names, and all together', async () => {
    const gate = gateOf(join);
    const call = newCall();
    await gate(JOIN, request('ada', '::ffff:192.0.2.1'), call);
    await gate(JOIN, request('ada', '192.0.2.1'), call);
    const failure = await failureOf(gate(JOIN, request('ada', '192.0.2.1'), call));
    // not the user's: that limit only watches, though for longer
    expect(failure.metadata).toEqual({ policy: 'join', subject_kind: 'ip' });
    await gate(JOIN, request('ada', '192.0.2.2'), call);
    await gate(JOIN, request('', undefined), call);
    expect((await failureOf(gate(JOIN, request('eve'), call))).metadata).toMatchObject({ subject_kind: 'all' });
  });
});

test('gates that are replaced act at once, and bad ones change nothing', async () => {
  const gates = new RpcGates({ limiter: store, policies, rpcLimits: [], rpcs });
  const gate = gates.gateOf(JOIN);
  const call = newCall();
  expect(gate(request('ada'), call)).toBeUndefined();
  gates.replace([limit('two', ['user', 'user_id'])]);
  await gate(request('ada'), call);
  await gate(request('ada'), call);
  expect(() => {
    gates.replace([limit('two', ['user', 'usr_id'])]);
  }).toThrow(ConfigError);
  expect((await failureOf(gate(request('ada'), call))).code).toBe('RATE_LIMITED');
});

describe('a limit that could never act is refused at boot:', () => {
  test.each([
    ['an RPC that nobody serves', { ...userAndIp, rpc: 'game.v1.Game/Jion' }],
    ['a field that is not there', limit('two', ['user', 'usr_id'])],
    ['a field that is no string', limit('two', ['level', 'level'])],
    ['a map without key', limit('two', ['ip', 'metadata'])],
    ['a key of a field that is no map', limit('two', ['user', 'user_id.name'])],
    ['an empty key', limit('two', ['ip', 'metadata.'])],
    ['a name that only an object has', limit('two', ['user', 'constructor'])],
  ])('%s', (_, bad) => {
    expect(() => gateOf(userAndIp, bad)).toThrow(ConfigError);
  });
});
