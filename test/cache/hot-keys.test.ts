import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { HotKeys, SAMPLE_EVERY } from '../../src/cache/hot-keys.js';

/** Which keys a sample of the reads finds. */

/** Numbers from 0 to below 1, the same each time: mulberry32. */
function seeded(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** Every read is a sample. */
const NO_GAP = (): number => 0;
const MAX_KEYS = 128;

function readAll(hotKeys: HotKeys, keys: Iterable<string>): void {
  for (const key of keys) hotKeys.read(key);
}

describe('of reads that are all samples', () => {
  test('few keys are counted exactly', () => {
    const keys = fc.array(fc.integer({ min: 1, max: MAX_KEYS }).map(String), { maxLength: 1_000 });
    fc.assert(
      fc.property(keys, (reads) => {
        const hotKeys = new HotKeys(NO_GAP);
        readAll(hotKeys, reads);
        const counts = new Map<string, number>();
        for (const key of reads) counts.set(key, (counts.get(key) ?? 0) + 1);
        expect(new Map(hotKeys.take(MAX_KEYS).map(({ key, samples }) => [key, samples]))).toEqual(counts);
      }),
    );
  });

  test('of many keys none is told more often than it was read, and each with more than its part is told', () => {
    // one key in every place of the summary, and 1,000 others
    const key = fc.oneof(
      { weight: 1, arbitrary: fc.integer({ min: 0, max: 3 }) },
      { weight: 4, arbitrary: fc.integer({ min: 4, max: 1_000 }) },
    );
    fc.assert(
      fc.property(fc.array(key.map(String), { minLength: 2_000, maxLength: 4_000 }), (reads) => {
        const hotKeys = new HotKeys(NO_GAP);
        readAll(hotKeys, reads);
        const told = new Map(hotKeys.take(MAX_KEYS).map(({ key: name, samples }) => [name, samples]));
        expect(told.size).toBeLessThanOrEqual(MAX_KEYS);
        const counts = new Map<string, number>();
        for (const name of reads) counts.set(name, (counts.get(name) ?? 0) + 1);
        for (const [name, samples] of told) expect(samples).toBeLessThanOrEqual(counts.get(name) ?? 0);
        // Metwally et al., theorem 2
        const bound = reads.length / MAX_KEYS;
        const certain = [...counts].filter(([, count]) => count > bound).map(([name]) => name);
        expect(certain.filter((name) => !told.has(name))).toEqual([]);
        // what is not certain of a key is at most what the coldest has
        for (const [name, count] of counts) {
          if (told.has(name)) expect(told.get(name)).toBeGreaterThanOrEqual(count - bound);
        }
      }),
      { numRuns: 30, seed: 20_261_121 },
    );
  });

  test('the hottest come first, and only as many as asked for', () => {
    const hotKeys = new HotKeys(NO_GAP);
    readAll(hotKeys, ['b', 'a', 'c', 'a', 'b', 'a']);
    expect(hotKeys.take(2)).toEqual([
      { key: 'a', samples: 3 },
      { key: 'b', samples: 2 },
    ]);
    expect(hotKeys.take(2)).toEqual([]);
    hotKeys.read('c');
    expect(hotKeys.take(2)).toEqual([{ key: 'c', samples: 1 }]);
  });
});

describe('of a sample', () => {
  test('the keys of a Zipf law come in its order, at the rates of their reads', () => {
    const random = seeded(7);
    const KEYS = 10_000;
    const READS = 1_000_000;
    const weights = Array.from({ length: KEYS }, (_, rank) => 1 / (rank + 1));
    const all = weights.reduce((before, weight) => before + weight, 0);
    const bounds: number[] = [];
    let below = 0;
    for (const weight of weights) bounds.push((below += weight / all));
    const drawn = (): string => {
      const at = random();
      let [low, high] = [0, KEYS - 1];
      while (low < high) {
        const middle = (low + high) >> 1;
        if ((bounds[middle] ?? 1) > at) high = middle;
        else low = middle + 1;
      }
      return String(low);
    };
    const hotKeys = new HotKeys(seeded(8));
    for (let read = 0; read < READS; read++) hotKeys.read(drawn());
    const top = hotKeys.take(5);
    expect(top.map(({ key }) => key)).toEqual(['0', '1', '2', '3', '4']);
    // of these seeds; the law expects 102,166
    expect((top[0]?.samples ?? 0) * SAMPLE_EVERY).toBe(104_576);
  });

  test('keys that are read in turn are not taken for one, whatever their number', () => {
    for (const turn of [2, 32, 64, 128]) {
      const hotKeys = new HotKeys(seeded(turn));
      for (let read = 0; read < 64 * turn * 100; read++) hotKeys.read(String(read % turn));
      const told = hotKeys.take(MAX_KEYS);
      expect(told).toHaveLength(turn);
      // an even gap of 64 would tell of one of them, or of two
      expect(told[0]?.samples).toBeLessThan(3 * (told.at(-1)?.samples ?? 0));
    }
  });

  test('one read in 64 is looked at, on average', () => {
    const hotKeys = new HotKeys(seeded(1));
    for (let read = 0; read < 64_000; read++) hotKeys.read('k');
    // of this seed; 1,000 are expected, and 18 more or less are one standard deviation
    expect(hotKeys.take(1)).toEqual([{ key: 'k', samples: 1_018 }]);
  });
});
