import { setTimeout as sleep } from 'node:timers/promises';
import { status as Code } from '@grpc/grpc-js';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { failureOf } from '../support/client.js';
import { startRedis, until, type RedisServer } from '../support/redis-server.js';
import { startTestService, type TestService } from '../support/service.js';
import { SlotHold, slotsOf, someone, usedOf } from './slots-support.js';

/** Slots of streams while Redis is away, stands still, forgets or is full. */

const LOST = { code: Code.ABORTED, reason: 'SLOTS_LOST' };

let redis: RedisServer;
let service: TestService;

beforeAll(async () => {
  redis = await startRedis(['--maxmemory-policy', 'noeviction']);
  service = await startTestService({ REDIS_URL: redis.url });
});
afterAll(async () => {
  await service.stop();
  await redis.remove();
});

const open = (limit: ReturnType<typeof slotsOf>): SlotHold => new SlotHold(service.channel, [limit]);
const untilUsed = (limit: ReturnType<typeof slotsOf>, units: number): Promise<void> =>
  until(async () => (await usedOf(service.rateLimits, limit))[0] === units);
async function untilRenewed(limit: ReturnType<typeof slotsOf>): Promise<void> {
  let first: bigint | undefined;
  await until(async () => {
    const end = (await service.rateLimits.peekRateLimit({ limits: [limit] })).limits[0]?.resetAtMs ?? 0n;
    first ??= end;
    return end > first;
  });
}

test('slots are kept over connections that break', async () => {
  const limit = slotsOf(someone(), 1, { windowMs: 1_500 });
  const hold = open(limit);
  await hold.decision();
  for (let count = 0; count < 4; count++) {
    await redis.command('CLIENT', 'KILL', 'TYPE', 'normal');
    await untilRenewed(limit);
  }
  hold.stream.cancel();
  expect(await hold.stream.code()).toBe(Code.CANCELLED);
  await untilUsed(limit, 0);
});

test('slots whose lease runs out while Redis stands still are lost meanwhile, and free afterwards', async () => {
  const limit = slotsOf(someone(), 1, { windowMs: 600 });
  const hold = open(limit);
  await hold.decision();
  redis.signal('SIGSTOP');
  expect(await failureOf(hold.stream.result)).toMatchObject(LOST);
  redis.signal('SIGCONT');
  await untilUsed(limit, 0);
});

test('the slots of a Redis that came back empty are lost', async () => {
  const limit = slotsOf(someone(), 1, { windowMs: 3_000 });
  const hold = open(limit);
  await hold.decision();
  const end = failureOf(hold.stream.result);
  await redis.stop('SIGKILL');
  await redis.restart();
  expect(await end).toMatchObject(LOST);
  await until(() => service.rateLimits.peekRateLimit({ limits: [limit] }).then(() => true));
  const next = open(limit);
  expect((await next.decision()).allowed).toBe(true);
  next.stream.cancel();
});

test('a slot that is taken after the stream broke is given back', async () => {
  const limit = slotsOf(someone(), 1);
  await usedOf(service.rateLimits, limit);
  redis.signal('SIGSTOP');
  const hold = open(limit);
  // on the same connection, and needs no Redis: when it is answered the service has asked for the slot
  await failureOf(service.rateLimits.peekRateLimit({}));
  hold.stream.cancel();
  await hold.stream.code();
  redis.signal('SIGCONT');
  await untilUsed(limit, 0);
  expect(
    await redis.command('EXISTS', `${service.namespace}:concurrency:{${limit.subject}}:inline.slots.600000.6`),
  ).toBe(0);
});

test('slots that were granted later than their lease lasts are told to nobody', async () => {
  const limit = slotsOf(someone(), 1, { windowMs: 500 });
  await usedOf(service.rateLimits, limit);
  redis.signal('SIGSTOP');
  const hold = open(limit);
  const end = failureOf(hold.stream.result);
  await failureOf(service.rateLimits.peekRateLimit({}));
  await sleep(600);
  redis.signal('SIGCONT');
  expect(await end).toMatchObject(LOST);
  expect(hold.stream.messages).toEqual([]);
  await untilUsed(limit, 0);
});

test('no stream is opened while Redis is away', async () => {
  await redis.stop();
  try {
    expect((await failureOf(open(slotsOf(someone(), 1)).stream.result)).code).toBe(Code.UNAVAILABLE);
  } finally {
    await redis.restart();
  }
  await until(() => service.rateLimits.peekRateLimit({ limits: [slotsOf(someone(), 1)] }).then(() => true));
});

test('a full Redis gives no slot, and renews and takes back those it gave', async () => {
  const limit = slotsOf(someone(), 2, { windowMs: 900 });
  const hold = open(limit);
  await hold.decision();
  await redis.command('CONFIG', 'SET', 'maxmemory', '1');
  try {
    await untilRenewed(limit);
    expect(await failureOf(open(limit).stream.result)).toMatchObject({ reason: 'REDIS_OUT_OF_MEMORY' });
    hold.stream.cancel();
    await untilUsed(limit, 0);
  } finally {
    await redis.command('CONFIG', 'SET', 'maxmemory', '0');
  }
});
