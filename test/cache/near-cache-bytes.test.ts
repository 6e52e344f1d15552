import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { pino } from 'pino';
import { NearCache } from '../../src/cache/near-cache.js';
import { parseRedisUrl } from '../../src/config/redis-url.js';
import { KeyTracking } from '../../src/redis/tracking.js';
import { startRedis, type RedisServer } from '../support/redis-server.js';
import { fromRedis, ROOMY, scripted, takeAll, type ScriptedRead } from './scripted-tracking.js';

/** How much the near cache may hold. */

test('the bytes are bounded: what was not used for the longest time goes', async () => {
  const { near, tracking } = scripted({ maxBytes: 4_000 });
  const fill = async (key: string): Promise<void> => {
    void near.get(key, takeAll, fromRedis);
    await tracking.last().answer('x'.repeat(300));
  };
  for (const key of ['a', 'b', 'c']) await fill(key);
  expect(near.stats.entries).toBe(3);
  await near.get('a', takeAll, fromRedis);
  await fill('d');
  expect(near.stats.bytes).toBeLessThanOrEqual(4_000);
  const before = tracking.reads.length;
  await Promise.all(['a', 'c', 'd'].map((key) => near.get(key, takeAll, fromRedis)));
  expect(tracking.reads.length).toBe(before);
  expect(tracking.reads.map(({ stopped }) => stopped)).toEqual([0, 1, 0, 0]);
});

test('the bytes of one value may be too many to keep; it is answered all the same', async () => {
  const { near, tracking } = scripted({ maxBytes: 4_000 });
  void near.get('small', takeAll, fromRedis);
  await tracking.last().answer('small');
  const answer = near.get('large', takeAll, fromRedis);
  await tracking.last().answer('x'.repeat(4_000));
  expect(await answer).toHaveLength(4_000);
  expect(near.stats.entries).toBe(1);
  expect(tracking.last().stopped).toBe(1);
});

test('the bytes add up, whatever happens in whichever order, and no answer is older than the last change', async () => {
  const keys = ['a', 'b', 'c', 'd'];
  const step = fc.record({
    what: fc.constantFrom('get', 'answer', 'answer', 'change', 'drop', 'fail', 'clear'),
    which: fc.nat({ max: 3 }),
    size: fc.nat({ max: 1_500 }),
  });
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 40 }), async (steps) => {
      const { near, tracking } = scripted({ maxBytes: 5_000 });
      // what each key holds: its version, of some size
      const current = new Map(keys.map((key) => [key, 'v0:']));
      const pending: { read: ScriptedRead; value: string }[] = [];
      const stale: string[] = [];
      let version = 0;
      const ask = (key: string): void => {
        const before = tracking.reads.length;
        const askedAt = current.get(key) ?? '';
        void near
          .get(key, takeAll, () => Promise.resolve('v999999:'))
          .then((answer) => {
            if (versionOf(answer) < versionOf(askedAt)) stale.push(`${key} ${answer}`);
          });
        // Redis runs a read when it is sent
        for (const read of tracking.reads.slice(before)) pending.push({ read, value: current.get(read.key) ?? '' });
      };
      for (const { what, which, size } of steps) {
        const key = keys[which] ?? 'a';
        if (what === 'get') ask(key);
        else if (what === 'answer') await answerOne(pending, which);
        else if (what === 'fail') await pending.splice(which, 1)[0]?.read.answer(new Error('away'));
        else if (what === 'clear') near.clear();
        else {
          current.set(key, `v${String(++version)}:${'x'.repeat(size)}`);
          if (what === 'drop') near.drop(key);
          else for (const read of tracking.reads) if (read.key === key) read.change();
        }
        expect(near.stats.bytes).toBeLessThanOrEqual(5_000);
        expect(near.stats.bytes === 0).toBe(near.stats.entries === 0);
      }
      for (const key of keys) ask(key);
      while (pending.length > 0) await answerOne(pending, 0);
      expect(stale).toEqual([]);
      near.clear();
      expect(near.stats).toMatchObject({ bytes: 0, entries: 0 });
      expect(tracking.reads.filter(({ answered, stopped }) => answered && stopped === 0)).toEqual([]);
    }),
    { numRuns: 400 },
  );
});

describe('memory', () => {
  let redis: RedisServer;
  let tracking: KeyTracking;
  beforeAll(async () => {
    setFlagsFromString('--expose-gc');
    redis = await startRedis();
    tracking = new KeyTracking(parseRedisUrl(redis.url), pino({ level: 'silent' }));
    for (let start = 0; start < 2 * COUNT; start += 5_000) {
      const pairs = Array.from({ length: 5_000 }, (_, index) => [keyOf(start + index), 'x'.repeat(100)]);
      await redis.command('MSET', ...pairs.flat());
    }
  });
  afterAll(async () => {
    await tracking.close();
    await redis.remove();
  });

  const COUNT = 20_000;
  const keyOf = (index: number): string => `ns:cache:{user:${String(index)}:profile}`;

  async function used(): Promise<number> {
    // what sockets read is given back some turns after it was collected
    for (let round = 0; round < 3; round++) {
      (runInNewContext('gc') as () => void)();
      await new Promise(setImmediate);
    }
    const { heapUsed, external } = process.memoryUsage();
    return heapUsed + external;
  }

  async function read(near: NearCache, from: number): Promise<void> {
    for (let start = from; start < from + COUNT; start += 500) {
      const keys = Array.from({ length: 500 }, (_, index) => keyOf(start + index));
      await Promise.all(keys.map((key) => near.get(key, takeAll, fromRedis)));
    }
  }

  test('that is held is no more than is counted', async () => {
    const near = new NearCache({ ...ROOMY, maxBytes: 100_000_000, tracking });
    await read(near, 0);
    near.clear();
    const before = await used();
    await read(near, COUNT);
    const held = (await used()) - before;
    expect(near.stats.entries).toBe(COUNT);
    expect(held).toBeLessThanOrEqual(near.stats.bytes);
    // and the other way round: what is counted is not far from what is held
    expect(near.stats.bytes).toBeLessThanOrEqual(2 * held);
  });

  test('stays within the bound however many keys are read', async () => {
    const near = new NearCache({ ...ROOMY, maxBytes: 2_000_000, tracking });
    await read(near, 0);
    near.clear();
    const before = await used();
    for (const from of [0, COUNT, 0, COUNT]) await read(near, from);
    expect((await used()) - before).toBeLessThanOrEqual(2_000_000);
    expect(near.stats.entries).toBeGreaterThan(1_000);
  });
});

function versionOf(value: string): number {
  return Number(/^v(\d+):/.exec(value)?.[1] ?? Number.NaN);
}

async function answerOne(pending: { read: ScriptedRead; value: string }[], which: number): Promise<void> {
  const [next] = pending.splice(which % Math.max(1, pending.length), 1);
  await next?.read.answer(next.value);
}
