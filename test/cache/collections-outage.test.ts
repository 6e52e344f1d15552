import { status as Code } from '@grpc/grpc-js';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { ListSide } from '../../src/gen/shardkeep/cache/v1/cache.js';
import { failureOf } from '../support/client.js';
import { startRedis, until, type RedisServer } from '../support/redis-server.js';
import { startTestService, type TestService } from '../support/service.js';
import { addAll, membersOf, readPages, textsOf } from './set-pages.js';

let redis: RedisServer;
let service: TestService;

beforeAll(async () => {
  redis = await startRedis(['--appendonly', 'yes', '--maxmemory-policy', 'noeviction']);
  service = await startTestService({ REDIS_URL: redis.url });
});
afterAll(async () => {
  await service.stop();
  await redis.remove();
});

const members = Array.from({ length: 3_000 }, (_, index) => Buffer.from(`player:${String(index)}`));
const [first = Buffer.alloc(0), second = Buffer.alloc(0)] = members;

describe('a Redis out of memory', () => {
  beforeAll(async () => {
    await service.cache.addToSet({ key: 'full', members: [first, second] });
    await service.cache.pushToList({ key: 'log', side: ListSide.TAIL, items: [first] });
    await redis.command('CONFIG', 'SET', 'maxmemory', '1');
  });
  afterAll(async () => {
    await redis.command('CONFIG', 'SET', 'maxmemory', '0');
  });

  test('takes nothing into a set or a list, and changes nothing', async () => {
    const { cache } = service;
    for (const call of [
      () => cache.addToSet({ key: 'full', members: [Buffer.from('new')], refreshExpiry: true }),
      () => cache.addToSet({ key: 'another', members: [first] }),
      () => cache.pushToList({ key: 'log', side: ListSide.HEAD, items: [second], maxLength: 1 }),
    ]) {
      expect(await failureOf(call())).toMatchObject({ code: Code.RESOURCE_EXHAUSTED, reason: 'REDIS_OUT_OF_MEMORY' });
    }
    expect(membersOf(await readPages(cache, 'full', 10))).toEqual(textsOf([first, second]));
    expect(textsOf((await cache.getList({ key: 'log', side: ListSide.HEAD })).items)).toEqual(textsOf([first]));
  });

  test('still removes members, and deletes what is left', async () => {
    const { cache } = service;
    expect(await cache.removeFromSet({ key: 'full', members: [first] })).toEqual({ removedCount: 1, size: 1n });
    expect(await cache.removeFromSet({ key: 'full', members: [second] })).toEqual({ removedCount: 1, size: 0n });
    expect(await cache.touch({ keys: ['full', 'log'] })).toEqual({ touched: [false, true] });
    expect(await cache.delete({ keys: ['full', 'log'] })).toEqual({ deleted: [false, true] });
  });
});

test('pages of a set that a restart of Redis interrupts hold every member', async () => {
  const { cache } = service;
  await addAll(cache, 'online', members);
  const pages = await readPages(cache, 'online', 500, async (page) => {
    if (page !== 3) return;
    await redis.stop();
    await redis.restart();
    await until(async () => (await cache.exists({ keys: ['online'] })).exists[0] === true);
  });
  expect([...new Set(membersOf(pages))]).toEqual(textsOf(members).sort());
  // from the start again, for another process has another order
  expect(membersOf(pages).length).toBeGreaterThan(members.length);
});
