import { fork } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { expect, test } from '@jest/globals';
import fc from 'fast-check';
import { startRedis } from '../support/redis-server.js';
import { fromRedis, scripted, takeAll, type ScriptedRead } from './scripted-tracking.js';

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

/** What test/support/near-cache-memory.mjs tells. */
interface NearCacheMemory {
  readonly entries: number;
  readonly heldBytes: number;
  readonly countedBytes: number;
  readonly bounded: { readonly entries: number; readonly heldBytes: number; readonly maxBytes: number };
}

const KEYS_MEASURED = 20_000;

/** Measured in a process of its own: this one's heap is so large that collecting it takes seconds on a busy machine. */
test('memory that is held is no more than is counted, and stays within the bound', async () => {
  const redis = await startRedis();
  try {
    const program = fileURLToPath(new URL('../support/near-cache-memory.mjs', import.meta.url));
    const child = fork(program, [redis.url, String(KEYS_MEASURED)], { execArgv: ['--expose-gc'] });
    const [measured] = (await once(child, 'message')) as [NearCacheMemory];
    expect(measured.entries).toBe(KEYS_MEASURED);
    expect(measured.heldBytes).toBeLessThanOrEqual(measured.countedBytes);
    // and the other way round: what is counted is not far from what is held
    expect(measured.countedBytes).toBeLessThanOrEqual(2 * measured.heldBytes);

    expect(measured.bounded.heldBytes).toBeLessThanOrEqual(measured.bounded.maxBytes);
    expect(measured.bounded.entries).toBeGreaterThan(1_000);
  } finally {
    await redis.remove();
  }
});

function versionOf(value: string): number {
  return Number(/^v(\d+):/.exec(value)?.[1] ?? Number.NaN);
}

async function answerOne(pending: { read: ScriptedRead; value: string }[], which: number): Promise<void> {
  const [next] = pending.splice(which % Math.max(1, pending.length), 1);
  await next?.read.answer(next.value);
}
