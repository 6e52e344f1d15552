import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { SetRequest } from '../../../src/gen/shardkeep/cache/v1/cache.js';
import { until } from '../../support/redis-server.js';
import {
  onEachTopology,
  randomNamespace,
  sharedRedisUrl,
  startTestService,
  type TestService,
} from '../../support/service.js';
import { SeededRandom } from '../../support/seeded-random.js';
import { bytes, lasting, NearClient } from './near-support.js';

onEachTopology('a near cache', (service, topology) => {
  let other: TestService;
  beforeAll(async () => {
    other = await startTestService({ REDIS_URL: sharedRedisUrl(topology), NAMESPACE: service().namespace });
  });
  afterAll(async () => {
    await other.stop();
  });

  test('never goes back: whoever has seen a value is not shown an older one, while others write and it writes itself', async () => {
    const WRITES = 1_500;
    const KEYS = Array.from({ length: 4 }, (_, index) => `raced:${String(index)}`);
    const reader = new NearClient(service().address);
    const { near, client } = reader;
    /** What a read that begins now must answer at least. */
    const seen = new Map(KEYS.map((key) => [key, 0]));
    const see = (key: string, value: number): void => {
      seen.set(key, Math.max(seen.get(key) ?? 0, value));
    };
    const wentBack: string[] = [];
    let writing = true;
    let reads = 0;
    const read = async (): Promise<void> => {
      while (writing) {
        for (const key of KEYS) {
          const least = seen.get(key) ?? 0;
          const value = Number(await reader.get(key));
          if (!(value >= least)) wentBack.push(`${key}: ${String(value)} after ${String(least)}`);
          see(key, value);
          reads++;
        }
        // memory answers without a turn of the event loop
        await new Promise(setImmediate);
      }
    };
    const last = new Map<string, number>();
    for (const key of KEYS) await other.cache.set({ key, value: bytes('0'), expiry: lasting });
    const readers = Array.from({ length: 6 }, read);
    for (let count = 1; count <= WRITES; count++) {
      const key = KEYS[count % KEYS.length] ?? '';
      last.set(key, count);
      if (count % 10 === 0) {
        near.forget(key);
        await client.rpc.cache.set({ key, value: bytes(String(count)), expiry: lasting });
        near.forget(key);
        see(key, count);
      } else await other.cache.set({ key, value: bytes(String(count)), expiry: lasting });
      // now and then it is quiet, and memory answers
      if (count % 150 === 0) await until(async () => (await reader.remember(key)) === String(count));
    }
    writing = false;
    await Promise.all(readers);
    expect(wentBack).toEqual([]);
    for (const key of KEYS) await reader.untilReads(key, String(last.get(key)));
    expect(reads).toBeGreaterThan(1_000);
    const { hits, invalidations } = near.stats;
    expect(hits).toBeGreaterThan(100);
    expect(invalidations).toBeGreaterThan(10);
    await reader.close();
  });
});

test('a near cache of 1,000 entries answers 20,000 keys right, and watches no more than it holds', async () => {
  const env = { REDIS_URL: sharedRedisUrl('standalone'), NAMESPACE: randomNamespace() };
  const [service, other] = await Promise.all([startTestService(env), startTestService(env)]);
  const KEYS = 20_000;
  const PAGE = 250;
  const reader = new NearClient(service.address, { maxEntries: 1_000 });
  const random = new SeededRandom(7);
  const nameOf = (index: number): string => `many:${String(index)}`;
  const values = new Map<string, string>();
  const writeAll = async (keys: readonly string[], value: string): Promise<void> => {
    const entries = keys.map((key) =>
      SetRequest.fromPartial({ key, value: bytes(`${key} ${value}`), expiry: lasting }),
    );
    await other.cache.setMany({ entries });
    for (const key of keys) values.set(key, `${key} ${value}`);
  };
  for (let from = 0; from < KEYS; from += PAGE) {
    await writeAll(
      Array.from({ length: PAGE }, (_, index) => nameOf(from + index)),
      'first',
    );
  }
  for (let round = 0; round < 160; round++) {
    // half of them anywhere, half of them among those that are read much
    const keys = Array.from({ length: PAGE }, (_, index) => nameOf(random.below(index % 2 === 0 ? KEYS : 600)));
    const answers = await reader.getMany(keys);
    for (const [index, key] of keys.entries()) expect(answers[index]?.startsWith(`${key} `)).toBe(true);
    expect(reader.near.stats.entries).toBeLessThanOrEqual(1_000);
    if (round % 8 === 0) await writeAll([...new Set(keys)], `in round ${String(round)}`);
  }
  for (let from = 0; from < KEYS; from += PAGE) {
    const keys = Array.from({ length: PAGE }, (_, index) => nameOf(from + index));
    // the word of the last writes may still be on its way
    await until(async () => {
      const answers = await reader.getMany(keys);
      return keys.every((key, index) => answers[index] === values.get(key));
    });
  }
  expect(reader.gate.streams).toBe(1);
  expect(reader.near.stats.hits).toBeGreaterThan(1_000);
  expect(reader.gate.mostWatched).toBeGreaterThan(600);
  expect(reader.gate.mostWatched).toBeLessThanOrEqual(1_000);
  await reader.close();
  await Promise.all([service.stop(), other.stop()]);
});
