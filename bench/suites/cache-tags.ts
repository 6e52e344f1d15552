import { createClient } from 'redis';
import { keys } from '../../src/redis/keys.js';
import { openDirectRedis } from '../harness/direct-redis.js';
import { lineChart } from '../harness/line-chart.js';
import { atMost, formatMs } from '../harness/section.js';
import { NAMESPACE, startService, startStandalone } from '../harness/servers.js';
import { median, spread, type Spread } from '../harness/statistics.js';
import type { SuiteContext } from '../harness/suite.js';
import { BEST, failLoudly, redisAddress } from '../programs/best-settings.js';
import { valueOf } from '../programs/fixtures.js';
import { connectService, type ServiceClient } from '../programs/service-client.js';
import { FIRST, formatCount, LIFETIME, LIFETIME_MS, VALUE_BYTES, type CachePart } from './cache-part.js';

const SIZES = [1, 1_000, 100_000, 1_000_000];
const FEWER_SIZES = [1, 100_000];
const FLATNESS = 1.2;
const BLOCKS = 5;
/** Rounds in a block; the first block is not counted. */
const ROUNDS = 200;
const FEWER_ROUNDS = 50;
/** Entries that are looked at to see that an invalidation ends them all. */
const LOOKED_AT = 50;
/** Keys that one UNLINK of the baseline names. */
const UNLINK_AT_ONCE = 1_000;

interface Latencies {
  readonly invalidateMs: number[];
  readonly readMs: number[];
}

interface ByHand {
  readonly tookMs: number;
  readonly longestCommandMs: number;
}

export async function measureTags(context: SuiteContext): Promise<CachePart> {
  const { quick } = context.pace;
  const sizes = quick ? FEWER_SIZES : SIZES;
  const blocks = await measureService(context, sizes);
  const byHand = await measureByHand(context, sizes);
  const all = (size: number, of: keyof Latencies): number[] => blocks.flatMap((block) => block.get(size)?.[of] ?? []);
  const flatness = (of: keyof Latencies): Spread =>
    spread(
      blocks.map((block) => {
        const medians = [...block.values()].map((latencies) => median(latencies[of]));
        return Math.max(...medians) / Math.min(...medians);
      }),
    );
  const range = `1 to ${formatCount(Math.max(...sizes))} entries`;
  const title = 'InvalidateTags by number of entries with the tag';
  const line = (of: keyof Latencies) => sizes.map((x) => ({ x, y: median(all(x, of)) }));
  const lines = [
    { name: 'InvalidateTags', points: line('invalidateMs') },
    { name: 'first read after', points: line('readMs') },
    { name: 'by hand', points: sizes.map((x) => ({ x, y: byHand.get(x)?.tookMs ?? 0 })) },
  ];
  return {
    note:
      `Tags: so many entries of ${VALUE_BYTES} bytes carry a tag, a tag each size, all in one Redis. Calls one at a time; ` +
      'the sizes take turns. In each turn an entry is written under the tag and read, the tag is invalidated, and the ' +
      `entry is read again: it must be gone. The first invalidation, which is not counted, must end ${LOOKED_AT} others ` +
      'that are looked at too; later ones find those dead, and only what was written since alive. By hand: the keys of the ' +
      `entries in a set of Redis, ended by SMEMBERS and UNLINK (${formatCount(UNLINK_AT_ONCE)} keys a command) with ` +
      'node-redis at its best; it blocks Redis for as long as SMEMBERS takes, and ends only what is in the set by then.',
    goals: [
      atMost(`InvalidateTags, slowest ÷ fastest of ${range} with the tag`, FLATNESS, flatness('invalidateMs')),
      atMost(`first read after InvalidateTags, slowest ÷ fastest of ${range}`, FLATNESS, flatness('readMs')),
    ],
    tables: [
      {
        title,
        columns: [
          'entries',
          'InvalidateTags p50 ms',
          'first read after, p50 ms',
          'by hand ms',
          'its longest command ms',
          'by hand ÷ InvalidateTags',
        ],
        rows: sizes.map((size) => {
          const oursMs = median(all(size, 'invalidateMs'));
          const { tookMs, longestCommandMs } = byHand.get(size) ?? { tookMs: 0, longestCommandMs: 0 };
          return [
            formatCount(size),
            formatMs(oursMs),
            formatMs(median(all(size, 'readMs'))),
            formatMs(tookMs),
            formatMs(longestCommandMs),
            (tookMs / oursMs).toFixed(1),
          ];
        }),
      },
    ],
    plots: [
      {
        name: 'tags',
        title,
        svg: lineChart(lines, { title, xLabel: 'entries with the tag', yLabel: 'ms', logarithmicY: true }),
      },
    ],
  };
}

const tagOf = (size: number): string => `guild:${size}`;
const keyOf = (size: number, index: number): string =>
  `of-guild-${String.fromCharCode(97 + SIZES.indexOf(size))}:player:${index}:profile`;

async function measureService(
  { scope, pace, say }: SuiteContext,
  sizes: readonly number[],
): Promise<Map<number, Latencies>[]> {
  const redis = await startStandalone(scope);
  const service = await startService(scope, { redis });
  const direct = await openDirectRedis(scope, redis);
  const client = connectService(service.address, 'service-pipeline');
  scope.onClose(() => client.close());
  const { cache } = client;
  const value = valueOf(VALUE_BYTES);
  const write = (size: number): Promise<unknown> =>
    cache.set({ key: keyOf(size, FIRST), value, expiry: LIFETIME, tags: [tagOf(size)] });
  for (const size of sizes) {
    await write(size);
    const redisKeyOf = (index: number): string => keys.cache(NAMESPACE, keyOf(size, index));
    await direct.copyMany(redisKeyOf, FIRST, { from: FIRST + 1, to: FIRST + size });
    await expectEntries(client, size, { alive: true });
  }
  say('cache: tagged entries are there');

  const turn = async (size: number, latencies: Latencies): Promise<void> => {
    const key = keyOf(size, FIRST);
    await write(size);
    if ((await cache.get({ key })).entry === undefined) throw new Error('an entry is missing');
    const startedAt = performance.now();
    await cache.invalidateTags({ tags: [tagOf(size)] });
    const invalidatedAt = performance.now();
    const { entry } = await cache.get({ key });
    const readAt = performance.now();
    if (entry !== undefined) throw new Error('an entry outlived its tag');
    latencies.invalidateMs.push(invalidatedAt - startedAt);
    latencies.readMs.push(readAt - invalidatedAt);
  };
  const blocks: Map<number, Latencies>[] = [];
  for (let block = -1; block < BLOCKS; block++) {
    const latencies = new Map(sizes.map((size) => [size, { invalidateMs: [], readMs: [] } satisfies Latencies]));
    const rounds = pace.quick ? FEWER_ROUNDS : ROUNDS;
    for (let round = 0; round < rounds; round++) {
      for (let place = 0; place < sizes.length; place++) {
        const size = sizes[(round + place) % sizes.length] ?? 0;
        await turn(size, latencies.get(size) ?? { invalidateMs: [], readMs: [] });
        if (block < 0 && round === 0) await expectEntries(client, size, { alive: false });
      }
    }
    if (block >= 0) blocks.push(latencies);
  }
  return blocks;
}

/** Looks at some entries with the tag, from the first to the last. */
async function expectEntries({ cache }: ServiceClient, size: number, { alive }: { alive: boolean }): Promise<void> {
  const count = Math.min(size, LOOKED_AT);
  const some = Array.from({ length: count }, (_, place) => keyOf(size, FIRST + Math.floor((place * size) / count)));
  const { items } = await cache.getMany({ keys: some });
  const found = items.filter(({ entry }) => entry !== undefined).length;
  if (found !== (alive ? count : 0)) throw new Error(`${found} of ${count} entries are there`);
}

/** Few entries take as long as what disturbs them, many take seconds. */
const repetitionsOf = (size: number): number => (size > 1_000 ? 1 : 20);

async function measureByHand({ scope }: SuiteContext, sizes: readonly number[]): Promise<Map<number, ByHand>> {
  const redis = await startStandalone(scope);
  const direct = await openDirectRedis(scope, redis);
  const client = createClient({ ...BEST, ...redisAddress(redis.url) }).on('error', failLoudly);
  await client.connect();
  scope.onClose(() => {
    client.destroy();
    return Promise.resolve();
  });
  const value = valueOf(VALUE_BYTES);
  const results = new Map<number, ByHand>();
  for (const size of sizes) {
    const tag = `by-hand:${tagOf(size)}`;
    const tookMs: number[] = [];
    const longestMs: number[] = [];
    for (let repetition = 0; repetition < repetitionsOf(size); repetition++) {
      await client.set(keyOf(size, FIRST), value, { expiration: { type: 'PX', value: LIFETIME_MS } });
      await direct.copyMany((index) => keyOf(size, index), FIRST, { from: FIRST + 1, to: FIRST + size });
      const [prefix = '', suffix = ''] = keyOf(size, FIRST).split(String(FIRST));
      await direct.send('EVAL', ADD_TO_TAG, '1', tag, prefix, suffix, String(FIRST), String(FIRST + size));
      await direct.watchCommands();
      const startedAt = performance.now();
      const members = await client.sMembers(tag);
      for (let from = 0; from < members.length; from += UNLINK_AT_ONCE) {
        await client.unlink(members.slice(from, from + UNLINK_AT_ONCE));
      }
      await client.unlink(tag);
      tookMs.push(performance.now() - startedAt);
      const commands = await direct.commandTimes('smembers', 'unlink');
      longestMs.push(Math.max(...commands.map((command) => command.longestMs)));
    }
    results.set(size, { tookMs: median(tookMs), longestCommandMs: median(longestMs) });
  }
  return results;
}

const ADD_TO_TAG = `for index = tonumber(ARGV[3]), tonumber(ARGV[4]) - 1 do redis.call('SADD', KEYS[1], ARGV[1] .. index .. ARGV[2]) end`;
