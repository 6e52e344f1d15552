import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import type { Cache } from '../../../src/client/index.js';
import { SeededRandom } from '../../support/seeded-random.js';
import { sdkClient } from '../../support/sdk-client.js';
import {
  randomNamespace,
  sharedRedisUrl,
  startTestService,
  TOPOLOGIES,
  type TestService,
} from '../../support/service.js';

/** What a database has of one key, and had before. */
class Source {
  readonly written: string[] = [];

  get value(): string | undefined {
    return this.written.at(-1);
  }

  write(value: string): void {
    this.written.push(value);
  }
}

const KEYS = 150;
const WRITERS = 3;
const LOADERS = 2;
/** So many turns of the event loop are at most between two steps of somebody. */
const MAX_TURNS = 12;

async function pause(random: SeededRandom): Promise<void> {
  for (let turns = random.below(MAX_TURNS); turns > 0; turns--) await new Promise(setImmediate);
}

describe.each(TOPOLOGIES)('writers, loaders and deleters at once, on %s', (topology) => {
  const services: TestService[] = [];

  beforeAll(async () => {
    const env = { REDIS_URL: sharedRedisUrl(topology), NAMESPACE: randomNamespace() };
    services.push(await startTestService(env), await startTestService(env));
  });
  afterAll(async () => {
    await Promise.all(services.map((service) => service.stop()));
  });

  /** Game servers, beside two service processes; half of them with a memory of their own. */
  const cachesOf = (): Cache[] =>
    services.flatMap(({ address }) =>
      [false, true].map((nearCache) => sdkClient(address, { cache: { nearCache } }).cache),
    );

  interface Race {
    readonly key: string;
    readonly source: Source;
    readonly random: SeededRandom;
    readonly caches: readonly Cache[];
    /** Has no memory of its own. */
    readonly reader: Cache;
    readonly options: { readonly ttlMs: number; readonly tags: readonly string[] };
  }

  /** Tells what was older in the cache than what this writer had written when it had done so, and whether it was stored. */
  async function write({ key, source, random, caches, reader, options }: Race, value: string) {
    await pause(random);
    const { stored } = await random.pick(caches).writeThrough(
      key,
      value,
      async () => {
        await pause(random);
        source.write(value);
        await pause(random);
      },
      options,
    );
    const read = await reader.get<string>(key);
    const isOlder = read !== undefined && source.written.indexOf(read) < source.written.indexOf(value);
    return { stored, older: isOlder ? [`${key}: ${read} after ${value}`] : [] };
  }

  async function load({ key, source, random, caches, options }: Race): Promise<void> {
    await pause(random);
    const loader = async () => {
      await pause(random);
      const { value } = source;
      await pause(random);
      return value;
    };
    await random.pick(caches).cacheAside(key, loader, { ...options, absentTtlMs: 60_000, leaseMs: 60_000 });
  }

  async function deleteAfterWrite({ key, source, random, caches }: Race, value: string): Promise<void> {
    await pause(random);
    source.write(value);
    await random.pick(caches).delete(key);
  }

  async function run(race: Race, start: 'nothing' | 'absent' | 'entry' | 'stale') {
    const { key, source, reader, options } = race;
    if (start === 'absent') await reader.cacheAside(key, () => undefined, { absentTtlMs: 60_000 });
    if (start === 'entry' || start === 'stale') {
      source.write('before');
      await reader.set(key, 'before', { ...options, ...(start === 'stale' && { ttlMs: 1, staleMs: 60_000 }) });
    }
    const writes = Array.from({ length: WRITERS }, (_, index) => write(race, `w${String(index)}`));
    const others = [
      ...Array.from({ length: LOADERS }, () => load(race)),
      ...(race.random.chance(0.3) ? [deleteAfterWrite(race, 'deleter')] : []),
    ];
    const outcomes = await Promise.all(writes);
    await Promise.all(others);
    return {
      stored: outcomes.filter(({ stored }) => stored).length,
      older: outcomes.flatMap(({ older }) => older),
    };
  }

  test.each([[[]], [['season']]])(
    'in the end everybody reads what the source has, with tags %j',
    async (tags) => {
      const caches = cachesOf();
      const reader = sdkClient(services[0]?.address ?? '').cache;
      const random = new SeededRandom(topology.length * 31 + tags.length);
      const starts = ['nothing', 'absent', 'entry', 'stale'] as const;
      const races = Array.from({ length: KEYS }, (_, index): Race => {
        const key = `${randomNamespace()}:${String(index)}`;
        return { key, source: new Source(), random, caches, reader, options: { ttlMs: 60_000, tags } };
      });
      const outcomes = await Promise.all(races.map((race, index) => run(race, starts[index % 4] ?? 'nothing')));
      expect(outcomes.flatMap(({ older }) => older)).toEqual([]);

      let loads = 0;
      const wrong = await Promise.all(
        races.map(async ({ key, source }) => {
          // where the cache holds nothing it is loaded; that there is nothing to load would be remembered
          const read = await reader.cacheAside(
            key,
            () => {
              loads++;
              return source.value;
            },
            { waitMs: 60_000 },
          );
          return read === source.value ? [] : [`${key}: ${String(read)} of ${source.written.join(', ')}`];
        }),
      );
      expect(wrong.flat()).toEqual([]);
      // it is a cache still
      expect(outcomes.reduce((sum, { stored }) => sum + stored, 0)).toBeGreaterThan(0);
      expect(loads).toBeLessThan(KEYS);
    },
    60_000,
  );
});
