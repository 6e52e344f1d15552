import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { connect, InvalidArgumentError, type CallOptions, type ShardkeepClient } from '../../src/client/index.js';
import { errorOf } from '../support/client-error.js';
import { sdkClient } from '../support/sdk-client.js';
import { sharedRedisUrl, startTestService, type TestService } from '../support/service.js';

let service: TestService;
beforeAll(async () => {
  service = await startTestService({ REDIS_URL: sharedRedisUrl('standalone') });
});
afterAll(() => service.stop());

const WRONG: readonly unknown[] = [0, -1, Number.NaN, '5', null];
const LIMIT = {
  subject: 'user:1',
  policy: { name: 'p', algorithm: 'concurrency', limit: 1, windowMs: 600_000 },
} as const;

/** One call of every kind. */
const CALLS: readonly (readonly [string, (client: ShardkeepClient, options: CallOptions) => Promise<unknown>])[] = [
  ['a read of the cache', ({ cache }, options) => cache.get('k', options)],
  ['cacheAside', ({ cache }, options) => cache.cacheAside('k', () => 'loaded', options)],
  ['a session', ({ sessions }, options) => sessions.listUserSessions('ada', options)],
  ['acquireLock', ({ locks }, options) => locks.acquireLock('a', { waitMs: 1, ...options })],
  ['withLock', ({ locks }, options) => locks.withLock('a', options, () => Promise.resolve())],
  ['a check', ({ rateLimits }, options) => rateLimits.check('user:1', 'p', options)],
  ['a slot', ({ rateLimits }, options) => rateLimits.holdConcurrency(LIMIT, options)],
  ['health', ({ health }, options) => health.check('', options)],
  ['an RPC', ({ rpc }, options) => rpc.locks.listLocks({}, options)],
];

describe.each(['pipeline', 'unary'] as const)('a wrong timeoutMs over %s is refused by', (transport) => {
  test.each(CALLS)('%s', async (_, call) => {
    const client = sdkClient(service.address, { transport });
    for (const timeoutMs of WRONG) {
      const error = await errorOf(call(client, { timeoutMs: timeoutMs as number }));
      expect(error).toBeInstanceOf(InvalidArgumentError);
      expect(error.fields).toEqual(['timeoutMs']);
    }
  });
});

test('a wrong timeoutMs is refused by connect', async () => {
  for (const timeoutMs of WRONG)
    expect(() => connect(service.address, { timeoutMs: timeoutMs as number })).toThrow(InvalidArgumentError);
  const client = sdkClient(service.address, { timeoutMs: Infinity });
  expect(await client.health.check()).toBe('serving');
});

test.each([Number.NaN, 0.5, -1, Infinity, '1'])('a slot of cost %p is refused', async (cost) => {
  const { rateLimits } = sdkClient(service.address);
  const error = await errorOf(rateLimits.holdConcurrency(LIMIT, { cost: cost as number }));
  expect(error).toBeInstanceOf(InvalidArgumentError);
  expect(error.fields).toEqual(['cost']);
});

test('a stream whose request is no message is refused as such', async () => {
  const { rpc } = sdkClient(service.address);
  const call = async (): Promise<unknown> => rpc.rateLimits.holdConcurrency({ cost: Number.NaN }).next();
  expect(await errorOf(call())).toBeInstanceOf(InvalidArgumentError);
});
