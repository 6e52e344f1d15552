import { setImmediate as nextTurn } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import { InvalidationMode } from '../../../src/gen/shardkeep/cache/v1/cache.js';
import { NearCache } from '../../../src/client/cache/near/near-cache.js';
import { Code, InvalidArgumentError } from '../../../src/client/index.js';
import { SILENT } from '../../../src/client/logger.js';
import { errorOf } from '../../support/client-error.js';
import { until } from '../../support/redis-server.js';
import {
  onEachTopology,
  randomNamespace,
  sharedRedisUrl,
  startTestService,
  type TestService,
} from '../../support/service.js';
import { bytes, forMs, lasting, NearClient, type NearClientOptions } from './near-support.js';

onEachTopology('a near cache', (service, topology) => {
  /** Another process of the service, with the same data. */
  let other: TestService;
  const open: NearClient[] = [];
  beforeAll(async () => {
    other = await startTestService({ REDIS_URL: sharedRedisUrl(topology), NAMESPACE: service().namespace });
  });
  afterAll(async () => {
    await other.stop();
  });
  afterEach(async () => {
    await Promise.all(open.splice(0).map((reader) => reader.close()));
  });

  function reading(options: NearClientOptions = {}): NearClient {
    const reader = new NearClient(service().address, options);
    open.push(reader);
    return reader;
  }

  const newKey = (): string => `near:${randomNamespace()}`;

  async function written(value: string, tags: string[] = []): Promise<string> {
    const key = newKey();
    await other.cache.set({ key, value: bytes(value), expiry: lasting, tags });
    return key;
  }

  const write = (key: string, value: string): Promise<unknown> =>
    other.cache.set({ key, value: bytes(value), expiry: lasting });

  test('answers from memory what was read before, and the time it has left', async () => {
    const reader = reading();
    const key = newKey();
    const { version } = await other.cache.set({ key, value: bytes('v'), expiry: forMs(60_000) });
    expect(await reader.remember(key)).toBe('v');
    const { loads } = reader;
    const before = reader.near.stats;
    const first = await reader.entry(key);
    const second = await reader.entry(key);
    expect(reader.loads).toBe(loads);
    expect(reader.near.stats).toMatchObject({ hits: before.hits + 2, entries: 1, live: true });
    expect(second).toMatchObject({ value: bytes('v'), version, stale: false, tags: [] });
    expect(first?.ttlMs).toBeLessThanOrEqual(60_000n);
    expect(second?.ttlMs).toBeLessThanOrEqual(first?.ttlMs ?? 0n);
    expect(second?.ttlMs).toBeGreaterThan(0n);
  });

  test('a key that is read once is not watched', async () => {
    const reader = reading();
    const keys = Array.from({ length: 50 }, newKey);
    await Promise.all(keys.map((key) => reader.get(key)));
    await reader.remember(newKey());
    expect(reader.near.stats.entries).toBe(1);
  });

  describe('sees what another process did:', () => {
    const changes: [string, string, (key: string) => Promise<unknown>][] = [
      ['a Set', 'new', (key) => write(key, 'new')],
      ['a Delete', 'miss', (key) => other.cache.delete({ keys: [key] })],
      ['an InvalidateTags', 'miss', () => other.cache.invalidateTags({ tags: ['zone'] })],
      [
        'a DeletePattern',
        'miss',
        async (key) => {
          const path = '/shardkeep.cache.v1.CacheService/DeletePattern';
          // 1: pattern
          await other.channel.rawStream(path, Buffer.from([0x0a, key.length + 1, ...Buffer.from(`${key}*`)]));
        },
      ],
      ['a Touch', 'old', (key) => other.cache.touch({ keys: [key], expiry: forMs(50_000) })],
    ];

    test.each(changes)('%s', async (_, after, change) => {
      const reader = reading();
      const key = await written('old', ['zone']);
      expect(await reader.remember(key)).toBe('old');
      const { invalidations } = reader.near.stats;
      await change(key);
      await until(() => reader.near.stats.invalidations > invalidations);
      expect(await reader.remember(key)).toBe(after);
    });

    test('that a key came to be', async () => {
      const reader = reading();
      const key = newKey();
      expect(await reader.remember(key)).toBe('miss');
      await write(key, 'new');
      await reader.untilReads(key, 'new');
      expect(await reader.remember(key)).toBe('new');
    });

    test('a soft InvalidateTags: what is stale is answered by the service', async () => {
      const reader = reading();
      const key = await written('old', ['soft']);
      await reader.remember(key);
      await other.cache.invalidateTags({ tags: ['soft'], mode: InvalidationMode.SOFT });
      await until(async () => (await reader.entry(key))?.stale === true);
      const { loads } = reader;
      for (let reads = 0; reads < 3; reads++) expect(await reader.entry(key)).toMatchObject({ stale: true });
      expect(reader.loads).toBe(loads + 3);
    });

    test('that one of many tags was invalidated, also one that came later', async () => {
      const reader = reading();
      const key = await written('old', ['a', 'b']);
      await reader.remember(key);
      await other.cache.set({ key, value: bytes('newer'), expiry: lasting, tags: ['b', 'c'] });
      await reader.untilReads(key, 'newer');
      await reader.remember(key);
      await other.cache.invalidateTags({ tags: ['c'] });
      await reader.untilReads(key, 'miss');
      expect(await reader.remember(key)).toBe('miss');
    });
  });

  test('what this client writes it sees at once, whatever it was told', async () => {
    const reader = reading();
    const { near, client } = reader;
    const key = await written('old', ['mine']);
    await reader.remember(key);
    // no word of anything comes
    reader.gate.hold(({ keys, tags }) => keys.length + tags.length > 0);
    for (const value of ['1', '2', '3']) {
      near.forget(key);
      await client.rpc.cache.set({ key, value: bytes(value), expiry: lasting, tags: ['mine'] });
      near.forget(key);
      expect(await reader.get(key)).toBe(value);
      expect(await reader.remember(key)).toBe(value);
    }
    near.forgetTags(['mine']);
    await client.rpc.cache.invalidateTags({ tags: ['mine'] });
    near.forgetTags(['mine']);
    expect(await reader.get(key)).toBe('miss');
    await write(key, '4');
    near.forgetAll();
    expect(await reader.get(key)).toBe('4');
  });

  test('nothing is answered when its time is over', async () => {
    const reader = reading({ maxAgeMs: 600_000 });
    const [expiring, fresh] = [newKey(), newKey()];
    const freshness = { $case: 'freshness', value: { freshMs: 1_500n, staleMs: 600_000n } } as const;
    await other.cache.set({ key: expiring, value: bytes('old'), expiry: forMs(1_500) });
    await other.cache.set({ key: fresh, value: bytes('old'), expiry: freshness });
    // Redis does not tell of it before it looks
    reader.gate.hold(({ keys }) => keys.length > 0);
    const begin = performance.now();
    await Promise.all([reader.remember(expiring), reader.remember(fresh)]);
    await until(() => performance.now() - begin >= 1_500);
    expect(await reader.get(expiring)).toBe('miss');
    expect(await reader.entry(fresh)).toMatchObject({ stale: true });
  });

  test('nothing is answered that is older than maxAgeMs', async () => {
    const reader = reading({ maxAgeMs: 500 });
    const key = await written('old');
    reader.gate.hold(({ keys }) => keys.length > 0);
    await reader.remember(key);
    const { loads } = reader;
    await until(async () => {
      await reader.get(key);
      return reader.loads > loads;
    });
    expect(reader.near.stats.invalidations).toBe(0);
  });

  test('only the keys that may be are kept', async () => {
    const reader = reading({ keys: (key) => !key.startsWith('secret:') });
    await reader.remember(await written('v'));
    const { loads } = reader;
    for (let reads = 0; reads < 5; reads++) await reader.get('secret:1');
    expect(reader.loads).toBe(loads + 5);
    expect(reader.near.stats.entries).toBe(1);
  });

  test('many keys at once: memory answers what it has, one call the rest, each key once', async () => {
    const reader = reading();
    const keys = await Promise.all(['a', 'b', 'c'].map((value) => written(value)));
    const [a = '', b = '', c = ''] = keys;
    await reader.remember(a);
    const { loads } = reader;
    expect(await reader.getMany([a, b, c, 'not there', b])).toEqual(['a', 'b', 'c', 'miss', 'b']);
    expect(reader.loads).toBe(loads + 3);
    await until(async () => {
      const before = reader.loads;
      expect(await reader.getMany(keys)).toEqual(['a', 'b', 'c']);
      return reader.loads === before;
    });
    await write(b, 'new');
    await until(async () => (await reader.getMany(keys))[1] === 'new');
  });

  test('callers of one turn share a read; so do all callers of a key that is watched', async () => {
    const reader = reading();
    const key = await written('v');
    expect(await Promise.all(Array.from({ length: 20 }, () => reader.get(key)))).toEqual(Array(20).fill('v'));
    expect(reader.loads).toBe(1);
    await reader.remember(key);
    reader.near.forget(key);
    const { loads } = reader;
    const read = await reader.readOnItsWay(key);
    const later = Array.from({ length: 20 }, () => reader.get(key));
    await nextTurn();
    later.push(reader.get(key));
    await read.land();
    expect(new Set(await Promise.all(later))).toEqual(new Set(['v']));
    expect(reader.loads).toBe(loads + 1);
  });

  test('a failed read fails its caller; who shared it tries alone', async () => {
    const { near } = reading();
    const fails = near.get('k', () => Promise.reject(new InvalidArgumentError(Code.INVALID_ARGUMENT, 'no')));
    const shares = near.get('k', () => Promise.resolve(undefined));
    const both = near.getMany(['k', 'l'], (keys) => Promise.resolve(keys.map(() => undefined)));
    expect(await errorOf(fails)).toBeInstanceOf(InvalidArgumentError);
    expect(await shares).toBeUndefined();
    expect(await both).toEqual([undefined, undefined]);
    const thrown = near.getMany(['m'], () => {
      throw new InvalidArgumentError(Code.INVALID_ARGUMENT, 'no');
    });
    expect(await errorOf(thrown)).toBeInstanceOf(InvalidArgumentError);
    expect(await near.get('m', () => Promise.resolve(undefined))).toBeUndefined();
    const throwsAtOnce = near.get('n', () => {
      throw new InvalidArgumentError(Code.INVALID_ARGUMENT, 'no');
    });
    expect(await errorOf(throwsAtOnce)).toBeInstanceOf(InvalidArgumentError);
  });

  test('a key that the service refuses does no harm', async () => {
    const reader = reading();
    for (const key of ['', 'x'.repeat(513), 'x\0', '\ud800']) {
      for (let reads = 0; reads < 3; reads++) {
        expect(await errorOf(reader.entry(key))).toBeInstanceOf(InvalidArgumentError);
      }
    }
    await reader.remember(await written('v'));
    expect(reader.gate.streams).toBe(1);
  });

  test('the bytes and the entries are bounded: what was not used for the longest time goes', async () => {
    const keys = await Promise.all(Array.from({ length: 6 }, () => written('x'.repeat(3_000))));
    const [first = '', ...others] = keys;
    for (const bound of [{ maxEntries: 3 }, { maxBytes: 14_000 }]) {
      const reader = reading(bound);
      const maxEntries = 3;
      await reader.remember(first);
      for (const key of others) {
        await reader.remember(key);
        await reader.remember(first);
        const { entries, bytes } = reader.near.stats;
        expect(entries).toBeLessThanOrEqual(maxEntries);
        expect(bytes).toBeLessThanOrEqual(14_000);
      }
      const { loads } = reader;
      await reader.get(first);
      expect(reader.loads).toBe(loads);
      // evicted, it is still what it is
      for (const key of keys) expect(await reader.get(key)).toHaveLength(3_000);
    }
  });

  test('a value that is larger than the bound is answered, and not kept', async () => {
    const reader = reading({ maxBytes: 10_000 });
    const key = await written('x'.repeat(20_000));
    for (let reads = 0; reads < 5; reads++) expect(await reader.get(key)).toHaveLength(20_000);
    expect(reader.loads).toBe(5);
    expect(reader.near.stats.entries).toBe(0);
  });

  test('closed, it reads at the service', async () => {
    const reader = reading();
    const key = await written('v');
    await reader.remember(key);
    reader.near.close();
    reader.near.close();
    const { loads } = reader;
    expect(await reader.get(key)).toBe('v');
    expect(reader.loads).toBe(loads + 1);
    expect(reader.near.stats).toMatchObject({ entries: 0, bytes: 0, live: false });
  });
});

test.each([
  { maxBytes: 0 },
  { maxBytes: 4_096.5 },
  { maxEntries: 0 },
  { maxEntries: 16_385 },
  { maxAgeMs: 0 },
  { maxAgeMs: Number.NaN },
])('options out of range are refused: %j', (options) => {
  const watch = (): never => {
    throw new Error('not called');
  };
  expect(() => new NearCache({ watch }, options, SILENT)).toThrow(InvalidArgumentError);
});
