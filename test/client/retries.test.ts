import { Metadata, status as Code, type sendUnaryData } from '@grpc/grpc-js';
import { afterEach, expect, test } from '@jest/globals';
import { DomainError } from '../../src/errors.js';
import { toStatus } from '../../src/grpc/status.js';
import { CacheServiceService, type GetRequest, type IncrementRequest } from '../../src/gen/shardkeep/cache/v1/cache.js';
import type { ConnectOptions, Rpc, ShardkeepClient } from '../../src/client/index.js';
import { errorOf } from '../support/client-error.js';
import { startForeignServer, stopForeignServers } from '../support/foreign-server.js';
import { sdkClient } from '../support/sdk-client.js';

afterEach(stopForeignServers);

type Reason = 'REDIS_UNAVAILABLE' | 'OUTCOME_UNKNOWN' | 'OVERLOADED';

const MISS = CacheServiceService.get.responseDeserialize(Buffer.alloc(0));
const COUNT = CacheServiceService.increment.responseDeserialize(Buffer.alloc(0));

/** A server that fails so many calls in this way before it answers, and what it was asked. */
async function failing(
  reason: Reason,
  failures: number,
  options: ConnectOptions = {},
): Promise<{
  readonly client: ShardkeepClient;
  readonly cache: Rpc['cache'];
  readonly asked: (GetRequest | IncrementRequest)[];
}> {
  const asked: (GetRequest | IncrementRequest)[] = [];
  const handle =
    (answer: object) =>
    ({ request }: { request: GetRequest & IncrementRequest }, callback: sendUnaryData<object>): void => {
      asked.push(request);
      if (asked.length > failures) {
        callback(null, answer);
        return;
      }
      const { code, details } = toStatus(new DomainError(reason, 'not now', { retryAfterMs: 1 }));
      const metadata = new Metadata();
      metadata.set('grpc-status-details-bin', details);
      callback({ code, details: 'not now', metadata });
    };
  const { address } = await startForeignServer({ cache: { get: handle(MISS), increment: handle(COUNT) } });
  const client = sdkClient(address, { transport: 'unary', ...options });
  return { client, cache: client.rpc.cache, asked };
}

test('a call that was not done is tried again, whatever it is, up to four times', async () => {
  const healed = await failing('REDIS_UNAVAILABLE', 3);
  await healed.cache.increment({ key: 'n' });
  expect(healed.asked).toHaveLength(4);
  const broken = await failing('REDIS_UNAVAILABLE', 4);
  expect((await errorOf(broken.cache.get({ key: 'k' }))).reason).toBe('REDIS_UNAVAILABLE');
  expect(broken.asked).toHaveLength(4);
});

test('a call whose fate is unknown is tried again only where a second time does no harm', async () => {
  const read = await failing('OUTCOME_UNKNOWN', 1);
  await read.cache.get({ key: 'k' });
  expect(read.asked).toHaveLength(2);
  const write = await failing('OUTCOME_UNKNOWN', 1);
  expect((await errorOf(write.cache.increment({ key: 'n' }))).reason).toBe('OUTCOME_UNKNOWN');
  expect(write.asked).toHaveLength(1);
  const named = await failing('OUTCOME_UNKNOWN', 1);
  await named.cache.increment({ key: 'n', requestId: 'r'.repeat(16) }, { retrySafe: true });
  expect(named.asked).toHaveLength(2);
});

test('a count of the SDK is sent again under the same id', async () => {
  const { client, asked } = await failing('OUTCOME_UNKNOWN', 1);
  await client.cache.increment('n');
  expect(asked).toHaveLength(2);
  expect(new Set(asked.map((request) => (request as IncrementRequest).requestId)).size).toBe(1);
});

test('overload is not answered with more calls', async () => {
  const { cache, asked } = await failing('OVERLOADED', 1);
  expect((await errorOf(cache.get({ key: 'k' }))).code).toBe(Code.RESOURCE_EXHAUSTED);
  expect(asked).toHaveLength(1);
});

test('in an outage the budget ends, and calls are not tried again', async () => {
  const calls = 100;
  const { cache, asked } = await failing('REDIS_UNAVAILABLE', Infinity, { retry: { budget: 20 } });
  for (let count = 0; count < calls; count++) await errorOf(cache.get({ key: 'k' }));
  // each failure takes one: two calls with three retries each, and after the second failure of the third half is gone
  expect(asked.length).toBe(calls + 7);
});

test('many calls that fail at once are each tried again, and none after that', async () => {
  const calls = 200;
  const { cache, asked } = await failing('REDIS_UNAVAILABLE', calls, { retry: { budget: 2 } });
  await Promise.all(Array.from({ length: calls }, () => cache.get({ key: 'k' })));
  expect(asked).toHaveLength(2 * calls);

  const outage = await failing('REDIS_UNAVAILABLE', Infinity, { retry: { budget: 2 } });
  for (let round = 0; round < 4; round++) {
    await Promise.all(Array.from({ length: calls }, () => errorOf(outage.cache.get({ key: 'k' }))));
  }
  expect(outage.asked.length).toBeLessThanOrEqual(4 * calls + calls);
});

test('no attempt begins after the time of the call, or when it was given up', async () => {
  const late = await failing('REDIS_UNAVAILABLE', Infinity, { retry: { maxAttempts: 1_000, baseDelayMs: 200 } });
  const startedAt = performance.now();
  const error = await errorOf(late.cache.get({ key: 'k' }, { timeoutMs: 150 }));
  expect(error.code).not.toBe(Code.OK);
  expect(late.asked.length).toBeLessThanOrEqual(2);
  expect(performance.now() - startedAt).toBeLessThan(30_000);
  const controller = new AbortController();
  const slow = await failing('REDIS_UNAVAILABLE', Infinity, {
    retry: { baseDelayMs: 3_600_000, maxDelayMs: 3_600_000 },
  });
  const givenUp = errorOf(slow.cache.get({ key: 'k' }, { timeoutMs: 7_200_000, signal: controller.signal }));
  while (slow.asked.length === 0) await new Promise(setImmediate);
  controller.abort();
  await givenUp;
  expect(slow.asked).toHaveLength(1);
});
