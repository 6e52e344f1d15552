import { mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { status as Code } from '@grpc/grpc-js';
import { afterAll, afterEach, expect, test } from '@jest/globals';
import type { Limit } from '../../src/gen/shardkeep/ratelimit/v1/ratelimit.js';
import { failureOf } from '../support/client.js';
import { rawRedis } from '../support/raw-redis.js';
import { until } from '../support/redis-server.js';
import { sharedRedisUrl, startTestService, type TestService } from '../support/service.js';
import { SlotHold, slotsOf, someone } from './slots-support.js';

/** What becomes of the slots of streams when their policy changes under them, or only watches. */

interface Terms {
  readonly limit: number;
  readonly window_ms: number;
  readonly algorithm?: string;
  readonly enforcement?: string;
}

const folder = mkdtempSync(join(tmpdir(), 'shardkeep-slots-'));
const file = join(folder, 'policies.yaml');
const running: TestService[] = [];
afterEach(async () => {
  for (const service of running.splice(0)) await service.stop();
});
afterAll(() => {
  rmSync(folder, { recursive: true, force: true });
});

function write(slots: Terms | undefined): void {
  const policies = slots === undefined ? {} : { slots: { algorithm: 'concurrency', ...slots } };
  writeFileSync(`${file}.new`, JSON.stringify({ rate_policies: policies }));
  renameSync(`${file}.new`, file);
}

async function serve(slots: Terms): Promise<TestService> {
  write(slots);
  const service = await startTestService({ REDIS_URL: sharedRedisUrl('standalone'), POLICIES_FILE: file });
  running.push(service);
  return service;
}

async function change({ rateLimits }: TestService, slots: Terms | undefined): Promise<void> {
  const { policyVersion: before } = await rateLimits.listPolicies({});
  write(slots);
  await until(async () => (await rateLimits.listPolicies({})).policyVersion !== before);
}

const limitOf = (subject: string): Limit => ({
  subject,
  policy: { $case: 'policyName', value: 'slots' },
  cost: undefined,
  role: undefined,
  subjects: undefined,
});

async function hold(service: TestService, limit: Limit): Promise<SlotHold> {
  const one = new SlotHold(service.channel, [limit]);
  expect((await one.decision()).allowed).toBe(true);
  return one;
}

const isAllowed = async (service: TestService, limit: Limit): Promise<boolean> =>
  (await new SlotHold(service.channel, [limit]).decision()).allowed;

/** The slots in Redis with the end of their leases, Unix ms. */
async function storedOf({ namespace }: TestService, { subject }: Limit): Promise<Map<string, number>> {
  const redis = await rawRedis('standalone');
  const key = `${namespace}:concurrency:{${subject}}:slots`;
  const flat = ((await redis.command('ZRANGE', key, '0', '-1', 'WITHSCORES')) as unknown[]).flat().map(String);
  await redis.close();
  return new Map(flat.flatMap((slot, at) => (at % 2 === 0 ? [[slot, Number(flat[at + 1])] as const] : [])));
}

/** All slots have been renewed since now. */
async function untilRenewed(service: TestService, limit: Limit): Promise<void> {
  const before = await storedOf(service, limit);
  expect(before.size).toBeGreaterThan(0);
  await until(async () => {
    const now = await storedOf(service, limit);
    return [...before].every(([slot, end]) => (now.get(slot) ?? 0) > end);
  });
}

test('a lowered limit takes no slot away, and gives none before there is room', async () => {
  const service = await serve({ limit: 3, window_ms: 900 });
  const limit = limitOf(someone());
  const holds = [await hold(service, limit), await hold(service, limit), await hold(service, limit)];
  await change(service, { limit: 1, window_ms: 900 });
  await untilRenewed(service, limit);
  expect((await storedOf(service, limit)).size).toBe(3);
  for (const [index, { stream }] of holds.entries()) {
    expect(await isAllowed(service, limit)).toBe(false);
    stream.cancel();
    await until(async () => (await storedOf(service, limit)).size === 2 - index);
  }
  expect(await isAllowed(service, limit)).toBe(true);
});

test('a shorter lease gives no slot away that was taken for a longer one, and is renewed as it was', async () => {
  const service = await serve({ limit: 1, window_ms: 60_000 });
  const limit = limitOf(someone());
  const first = await hold(service, limit);
  await change(service, { limit: 1, window_ms: 500 });
  expect(await isAllowed(service, limit)).toBe(false);
  expect((await storedOf(service, limit)).size).toBe(1);
  first.stream.cancel();
  await until(async () => (await storedOf(service, limit)).size === 0);
  const second = await hold(service, limit);
  await untilRenewed(service, limit);
  await change(service, { limit: 1, window_ms: 60_000 });
  await untilRenewed(service, limit);
  expect(await isAllowed(service, limit)).toBe(false);
  second.stream.cancel();
  await until(async () => isAllowed(service, limit));
});

test.each([
  ['removed', undefined],
  ['given another algorithm', { algorithm: 'fixed', limit: 1, window_ms: 600_000 }],
])('streams go on whose policy is %s, and no more are opened', async (_, terms) => {
  const service = await serve({ limit: 1, window_ms: 600 });
  const limit = limitOf(someone());
  const { stream } = await hold(service, limit);
  await change(service, terms);
  await untilRenewed(service, limit);
  const refused = await failureOf(new SlotHold(service.channel, [limit]).stream.result);
  expect(refused).toMatchObject({ code: Code.INVALID_ARGUMENT, fields: ['limits[0].policy_name'] });
  if (terms !== undefined) {
    // counts for itself
    expect(await service.rateLimits.checkRateLimit({ limits: [limit] })).toMatchObject({ allowed: true });
  }
  stream.cancel();
  await until(async () => (await storedOf(service, limit)).size === 0);
});

test('a limit that only watches ends no stream whose slots were reset', async () => {
  const service = await serve({ limit: 1, window_ms: 500, enforcement: 'shadow' });
  const watched = limitOf(someone());
  const beside = slotsOf(watched.subject, 9, { windowMs: 500 });
  const { stream } = await hold(service, watched);
  const both = new SlotHold(service.channel, [watched, beside]);
  // there was no room for the second, which is told and denies nothing
  expect((await both.decision()).allowed).toBe(true);
  expect((await storedOf(service, watched)).size).toBe(1);
  await untilRenewed(service, watched);
  await service.rateLimits.resetRateLimit({ limits: [watched] });
  const third = await hold(service, watched);
  // a lease later: whoever notices the loss has by now
  await untilRenewed(service, watched);
  await untilRenewed(service, watched);
  await untilRenewed(service, watched);
  stream.cancel();
  expect(await stream.code()).toBe(Code.CANCELLED);
  third.stream.cancel();
  both.stream.cancel();
  expect(await both.stream.code()).toBe(Code.CANCELLED);
  await until(async () => (await storedOf(service, watched)).size === 0);
});
