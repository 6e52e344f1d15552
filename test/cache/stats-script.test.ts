import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { pino } from 'pino';
import { COUNTER, type CounterName, type CounterValues } from '../../src/cache/stats.js';
import { parseRedisUrl } from '../../src/config/redis-url.js';
import { keys } from '../../src/redis/keys.js';
import { Redis } from '../../src/redis/redis.js';
import {
  addStatsScript,
  getStatsScript,
  namedStats,
  partsArgument,
  statsScripts,
  type CountedStats,
} from '../../src/redis/stats-scripts.js';
import { until } from '../support/redis-server.js';
import { rawRedis, type RawRedis } from '../support/raw-redis.js';
import { randomNamespace, sharedRedisUrl, TOPOLOGIES } from '../support/service.js';

/** What the scripts make of additions, against a model that only adds up. */

const COUNTER_NAMES = Object.keys(COUNTER) as readonly CounterName[];
const SEED = 20_261_121;
const MINUTE_MS = 60_000;
const WEEK_MS = 604_800_000;
const MAX_HOT_KEYS = 500;

interface Addition {
  readonly process: string;
  readonly counts: readonly number[];
  readonly hotKeys: readonly (readonly [key: string, reads: number])[];
  readonly parts?: readonly (readonly [name: string, counts: readonly number[]])[];
  /** How often it is sent. */
  readonly tries: number;
}

const addition: fc.Arbitrary<Addition> = fc.record({
  process: fc.constantFrom('a', 'b', 'c'),
  // shorter: of an older service; longer: of a newer one
  counts: fc.array(fc.nat({ max: 2 ** 40 }), { minLength: 1, maxLength: COUNTER_NAMES.length + 2 }),
  hotKeys: fc.array(fc.tuple(fc.constantFrom('k', 'ü', '{x}', ''), fc.integer({ min: 64, max: 6_400 })), {
    maxLength: 4,
  }),
  parts: fc.uniqueArray(
    fc.tuple(
      fc.constantFrom('api', '(inline)', 'a-b_9'),
      fc.array(fc.nat({ max: 2 ** 40 }), { minLength: 1, maxLength: 3 }),
    ),
    { selector: ([name]) => name },
  ),
  tries: fc.constantFrom(1, 1, 2, 3),
});

/** Place by place. */
function addTo(sums: Map<string, number[]>, name: string, counts: readonly number[]): void {
  const sum = sums.get(name) ?? [];
  sums.set(name, sum);
  for (const [place, count] of counts.entries()) sum[place] = (sum[place] ?? 0) + count;
}

describe.each(TOPOLOGIES)('on %s', (topology) => {
  let redis: Redis;
  let raw: RawRedis;
  beforeAll(async () => {
    const target = parseRedisUrl(sharedRedisUrl(topology));
    redis = new Redis({ target, scripts: statsScripts, logger: pino({ level: 'silent' }) });
    redis.connect();
    raw = await rawRedis(topology);
    await until(() => redis.isReady);
  });
  afterAll(async () => {
    await redis.close();
    await raw.close();
  });

  const callOf = (namespace: string) => ({ namespace, deadlineAt: Number.POSITIVE_INFINITY, ended: false });

  async function add(
    namespace: string,
    batch: number,
    { process, counts, hotKeys, parts = [] }: Addition,
  ): Promise<void> {
    const args = {
      process,
      batch: String(batch),
      gatheredMs: '2000',
      counts: counts.join(','),
      ongoing: '0',
      parts: partsArgument(parts.map(([name, of]) => [name, Float64Array.from(of)])),
      '...hot': hotKeys.flatMap(([key, reads]) => [key, String(reads)]),
    };
    await redis.run(addStatsScript.bind(keys.cacheStats(namespace), args), callOf(namespace));
  }

  const addOne = (namespace: string, batch: number): Promise<void> =>
    add(namespace, batch, { process: 'p', counts: [1], hotKeys: [], tries: 1 });

  async function get(
    namespace: string,
    minutes = 60,
    hotLimit = 100,
  ): Promise<CountedStats<CounterValues> | undefined> {
    const args = { minutes: String(minutes), hotLimit: String(hotLimit) };
    const counted = await redis.run(getStatsScript.bind(keys.cacheStats(namespace), args), callOf(namespace));
    return counted && namedStats(COUNTER, counted);
  }

  const field = async (namespace: string, name: string): Promise<string | undefined> => {
    const value = await raw.command('HGET', keys.cacheStats(namespace).stats, name);
    return Buffer.isBuffer(value) ? value.toString() : undefined;
  };

  /** Runs its steps in one minute of Redis's clock, again where that ends in between. */
  async function inOneMinute(steps: (minute: number, namespace: string) => Promise<void>): Promise<void> {
    const now = (): number => Math.floor(Date.now() / MINUTE_MS);
    for (;;) {
      const minute = now();
      try {
        await steps(minute, randomNamespace());
        return;
      } catch (error) {
        if (now() === minute) throw error;
      }
    }
  }

  test('each addition counts once, whoever makes it and however often it is sent', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(addition, { minLength: 1, maxLength: 12 }), async (additions) => {
        const namespace = randomNamespace();
        const total: number[] = [];
        const reads = new Map<string, number>();
        const ofParts = new Map<string, number[]>();
        for (const [index, each] of additions.entries()) {
          for (let tries = 0; tries < each.tries; tries++) await add(namespace, index + 1, each);
          for (const [place, count] of each.counts.entries()) total[place] = (total[place] ?? 0) + count;
          for (const [name, counts] of each.parts ?? []) addTo(ofParts, name, counts);
          for (const [key, more] of each.hotKeys) reads.set(key, (reads.get(key) ?? 0) + more);
        }
        // what a newer service counts is kept, too
        expect(await field(namespace, 'total')).toBe(total.join(','));
        const counted = await get(namespace);
        expect(COUNTER_NAMES.map((name) => counted?.total[name])).toEqual(COUNTER_NAMES.map((_, at) => total[at] ?? 0));
        for (const name of COUNTER_NAMES) {
          const sum = (counted?.minutes ?? []).reduce((before, { counts }) => before + counts[name], 0);
          expect(sum).toBe(counted?.total[name]);
        }
        const partsOfMinutes = new Map<string, number[]>();
        for (const { parts } of counted?.minutes ?? []) {
          for (const [name, counts] of parts) addTo(partsOfMinutes, name, counts);
        }
        expect(partsOfMinutes).toEqual(ofParts);
        const expected = [...reads].map(([key, of]) => ({ name: key, count: of }));
        const hottest = expected.toSorted(
          (one, other) => other.count - one.count || Buffer.compare(Buffer.from(one.name), Buffer.from(other.name)),
        );
        expect(counted?.hot).toEqual(hottest);
        expect((await get(namespace, 60, 1))?.hot).toEqual(hottest.slice(0, 1));
      }),
      { numRuns: 60, seed: SEED },
    );
  });

  test('minutes that are over are dropped with the first addition of a new one, and told until then', async () => {
    await inOneMinute(async (minute, namespace) => {
      const { stats } = keys.cacheStats(namespace);
      const old = Array.from({ length: 70 }, (_, age) => minute - 1 - age);
      const since = String((minute - 70) * MINUTE_MS);
      const fields = old.flatMap((each) => [String(each), '1', `parts:${String(each)}`, 'p:1']);
      await raw.command('HSET', stats, 'since', since, 'total', '70', ...fields);
      const before = await get(namespace);
      expect(before?.minutes.map(({ startMs, counts }) => [startMs / MINUTE_MS - minute, counts.hits])).toEqual([
        ...Array.from({ length: 59 }, (_, index) => [index - 59, 1]),
        [0, 0],
      ]);
      await addOne(namespace, 1);
      const kept = ((await raw.command('HKEYS', stats)) as Buffer[]).map(String);
      const left = kept.filter((name) => /^\d+$/.test(name));
      expect(kept.filter((name) => name.startsWith('parts:'))).toHaveLength(59);
      expect(left.map((each) => Number(each) - minute).toSorted((one, other) => one - other)).toEqual(
        Array.from({ length: 60 }, (_, index) => index - 59),
      );
      const after = await get(namespace);
      expect(after?.minutes.at(-1)?.counts.hits).toBe(1);
      expect([after?.sinceMs, after?.total.hits]).toEqual([Number(since), 71]);
    });
  });

  test('minutes without an addition are told as zeros, and none from before counting began', async () => {
    await inOneMinute(async (minute, namespace) => {
      const { stats } = keys.cacheStats(namespace);
      await raw.command('HSET', stats, 'since', String((minute - 3) * MINUTE_MS + 7), 'total', '5');
      await raw.command('HSET', stats, String(minute - 3), '2', String(minute - 1), '3');
      const hits = async (minutes: number): Promise<number[] | undefined> =>
        (await get(namespace, minutes))?.minutes.map(({ counts }) => counts.hits);
      expect(await hits(60)).toEqual([2, 0, 3, 0]);
      expect(await hits(2)).toEqual([3, 0]);
      expect(await hits(0)).toEqual([]);
    });
  });

  test('hot keys are of this minute and the one before', async () => {
    await inOneMinute(async (minute, namespace) => {
      const { stats, hotEven, hotOdd } = keys.cacheStats(namespace);
      const [mine, other] = minute % 2 === 0 ? [hotEven, hotOdd] : [hotOdd, hotEven];
      const [isOf, otherIsOf] = minute % 2 === 0 ? ['even', 'odd'] : ['odd', 'even'];
      await raw.command('HSET', stats, 'since', '0', 'total', '0');
      await raw.command('HSET', stats, isOf, String(minute - 2), otherIsOf, String(minute - 1));
      await raw.command('ZADD', mine, '700', 'two minutes ago');
      await raw.command('ZADD', other, '640', 'a minute ago', '64', 'both');
      expect((await get(namespace))?.hot.map(({ name }) => name)).toEqual(['a minute ago', 'both']);
      const hotKeys = [['both', 1_280] as const];
      await add(namespace, 1, { process: 'p', counts: [1], hotKeys, tries: 1 });
      const counted = await get(namespace);
      expect(counted?.hot).toEqual([
        { name: 'both', count: 1_344 },
        { name: 'a minute ago', count: 640 },
      ]);
      expect(counted?.hotWindowMs).toBeGreaterThanOrEqual(MINUTE_MS);
      expect(counted?.hotWindowMs).toBeLessThan(2 * MINUTE_MS);
    });
  });

  test('the hot keys of a minute are bounded, and the coldest go', async () => {
    await inOneMinute(async (minute, namespace) => {
      const { hotEven, hotOdd } = keys.cacheStats(namespace);
      for (let batch = 1; batch <= 12; batch++) {
        const hotKeys = Array.from({ length: 64 }, (_, index) => [`${String(batch)}:${String(index)}`, batch] as const);
        await add(namespace, batch, { process: 'p', counts: [1], hotKeys, tries: 1 });
      }
      expect(await raw.command('ZCARD', minute % 2 === 0 ? hotEven : hotOdd)).toBe(MAX_HOT_KEYS);
      expect((await get(namespace))?.hot.map(({ count }) => count)).toEqual([
        ...Array.from({ length: 64 }, () => 12),
        ...Array.from({ length: 36 }, () => 11),
      ]);
    });
  });

  test('the parts of a minute are bounded, and those that are kept go on counting', async () => {
    await inOneMinute(async (_, namespace) => {
      const parts = (from: number, count: number) =>
        Array.from({ length: count }, (__, index) => [`p${String(from + index)}`, [1]] as const);
      for (const [batch, from] of [0, 1_500, 0].entries()) {
        await add(namespace, batch + 1, {
          process: 'p',
          counts: [1],
          hotKeys: [],
          parts: parts(from, 1_500),
          tries: 1,
        });
      }
      const kept = (await get(namespace))?.minutes.at(-1)?.parts ?? new Map<string, readonly number[]>();
      expect([kept.size, kept.get('p0'), kept.get('p1999'), kept.get('p2000')]).toEqual([2_000, [2], [1], undefined]);
    });
  });

  test('processes that have not added for ten minutes are forgotten', async () => {
    await inOneMinute(async (minute, namespace) => {
      const { stats } = keys.cacheStats(namespace);
      await raw.command('HSET', stats, 'of:gone', `9 ${String(minute - 10)}`, 'of:there', `9 ${String(minute - 9)}`);
      await addOne(namespace, 1);
      const names = ((await raw.command('HKEYS', stats)) as Buffer[]).map(String);
      expect(names.filter((name) => name.startsWith('of:')).toSorted()).toEqual(['of:p', 'of:there']);
    });
  });

  test('what goes on is that of every process that said so in the last ten seconds', async () => {
    const namespace = randomNamespace();
    const { stats } = keys.cacheStats(namespace);
    const say = async (process: string, batch: number, ongoing: number): Promise<number | undefined> => {
      const args = {
        process,
        batch: String(batch),
        gatheredMs: '0',
        counts: '0',
        ongoing: String(ongoing),
        parts: '',
        '...hot': [],
      };
      await redis.run(addStatsScript.bind(keys.cacheStats(namespace), args), callOf(namespace));
      return (await get(namespace))?.ongoing;
    };
    expect(await say('a', 1, 3)).toBe(3);
    expect(await say('b', 1, 4)).toBe(7);
    expect(await say('a', 2, 1)).toBe(5);
    // as it was sent by one that died, a moment ago and long ago
    // the clock of Redis itself, of the same machine: the copy of it that the service keeps may be ahead
    const now = Date.now();
    await raw.command('HSET', stats, 'now:died', `100 ${String(now)}`);
    expect((await get(namespace))?.ongoing).toBe(105);
    await raw.command('HSET', stats, 'now:died', `100 ${String(now - 10_001)}`);
    expect((await get(namespace))?.ongoing).toBe(5);
    expect(await say('a', 3, 0)).toBe(4);
    expect(await field(namespace, 'now:a')).toBeUndefined();
  });

  test('everything has an expiry', async () => {
    const namespace = randomNamespace();
    await add(namespace, 1, { process: 'p', counts: [1], hotKeys: [['k', 64]], tries: 1 });
    const { stats, hotEven, hotOdd } = keys.cacheStats(namespace);
    const [kept, ...hot] = await Promise.all(
      [stats, hotEven, hotOdd].map(async (key) => Number(await raw.command('PTTL', key))),
    );
    expect(kept).toBeGreaterThan(WEEK_MS - MINUTE_MS);
    expect(kept).toBeLessThanOrEqual(WEEK_MS);
    // one of the two is not there
    expect(Math.min(...hot)).toBe(-2);
    expect(Math.max(...hot)).toBeGreaterThan(2 * MINUTE_MS);
    expect(Math.max(...hot)).toBeLessThanOrEqual(3 * MINUTE_MS);
  });

  test('counting begins when what is added first was counted', async () => {
    const namespace = randomNamespace();
    expect(await get(namespace)).toBeUndefined();
    await addOne(namespace, 1);
    const first = await get(namespace);
    await addOne(namespace, 2);
    expect((await get(namespace))?.sinceMs).toBe(first?.sinceMs);
    expect(first?.hotWindowMs).toBeGreaterThanOrEqual(2_000);
  });

  test.each([
    ['no counts', { counts: '' }],
    ['no list', { counts: '1;2' }],
    ['a count below zero', { counts: '1,-2' }],
    ['no batch', { batch: '0' }],
    ['no time', { gatheredMs: 'x' }],
    ['something below zero going on', { ongoing: '-1' }],
    ['a part without a name', { parts: ':1' }],
    ['a part without counts', { parts: 'a:1 b' }],
    ['a part with a count below zero', { parts: 'a:-1' }],
    ['more than a space between parts', { parts: 'a:1  b:2' }],
    ['half a hot key', { '...hot': ['k'] }],
    ['a hot key without reads', { '...hot': ['k', '64', 'l', 'many'] }],
  ])('%s is refused, and nothing written', async (_, wrong) => {
    const namespace = randomNamespace();
    const args = {
      process: 'p',
      batch: '1',
      gatheredMs: '0',
      counts: '1,2',
      ongoing: '0',
      parts: '',
      '...hot': ['k', '64'],
      ...wrong,
    };
    const added = redis.run(addStatsScript.bind(keys.cacheStats(namespace), args), callOf(namespace));
    await expect(added).rejects.toThrow('BADARG');
    expect(await raw.command('EXISTS', keys.cacheStats(namespace).stats)).toBe(0);
  });
});
