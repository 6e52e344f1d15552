import { afterAll, beforeAll, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { FillStatus, GetOrLeaseStatus as Status, InvalidationMode } from '../../src/gen/shardkeep/cache/v1/cache.js';
import { rawRedis, type RawRedis } from '../support/raw-redis.js';
import { onEachTopology, randomNamespace } from '../support/service.js';

const MINUTE = { $case: 'ttlMs', value: 60_000n } as const;
const value = Buffer.from('value');

onEachTopology('tags', (service, topology) => {
  let raw: RawRedis;
  beforeAll(async () => {
    raw = await rawRedis(topology);
  });
  afterAll(async () => {
    await raw.close();
  });

  const table = (): string => `${service().namespace}:tags:{tags:${service().namespace}}`;
  const unique = (what: string): string => `${what}:${randomNamespace()}`;
  const there = async (key: string): Promise<boolean> => (await service().cache.get({ key })).entry !== undefined;

  async function tagged(...tags: string[]): Promise<string> {
    const key = unique('tagged');
    expect((await service().cache.set({ key, value, expiry: MINUTE, tags })).stored).toBe(true);
    return key;
  }

  test('end every entry that has one of them, and no other', async () => {
    const { cache } = service();
    const [guild, zone] = [unique('guild'), unique('zone')];
    const both = await tagged(guild, zone);
    const guildOnly = await tagged(guild);
    const zoneOnly = await tagged(zone);
    const without = await tagged();
    const { generation } = await cache.invalidateTags({ tags: [guild, unique('nobody has this')] });
    expect(generation).toBeGreaterThan(0n);
    expect(await Promise.all([both, guildOnly, zoneOnly, without].map(there))).toEqual([false, false, true, true]);
    const { items } = await cache.getMany({ keys: [both, zoneOnly, guildOnly, without] });
    expect(items.map(({ entry }) => entry !== undefined)).toEqual([false, true, false, true]);
    // what is written afterwards lives
    expect(await there(await tagged(guild))).toBe(true);
    const later = await cache.invalidateTags({ tags: [zone] });
    expect(later.generation).toBeGreaterThan(generation);
    expect(await there(zoneOnly)).toBe(false);
  });

  test('are told with every entry that has them, however it is read', async () => {
    const { cache } = service();
    const tags = [unique('guild'), 'ü'.repeat(64)];
    const key = await tagged(...tags);
    const read = [
      (await cache.get({ key })).entry,
      (await cache.getMany({ keys: [key] })).items[0]?.entry,
      (await cache.getOrLease({ key, leaseMs: 1_000n })).entry,
    ];
    expect(read.map((entry) => entry?.tags)).toEqual([tags, tags, tags]);
    expect((await cache.get({ key: await tagged() })).entry?.tags).toEqual([]);
  });

  test('are any text of up to 128 bytes, up to 32 of them', async () => {
    const { cache } = service();
    const odd = ['clock', 'floor', 'h', 's', '{}', '%', 'ü'.repeat(64), ' ', '\n', 'x'.repeat(128)];
    for (const tag of odd) {
      const key = await tagged(tag);
      const other = await tagged(`${tag.slice(1)}!`);
      expect(await there(key)).toBe(true);
      await cache.invalidateTags({ tags: [tag] });
      expect([await there(key), await there(other)]).toEqual([false, true]);
    }
    const many = Array.from({ length: 32 }, (_, index) => unique(String(index).repeat(40)));
    for (const tag of many) {
      const key = await tagged(...many);
      await cache.invalidateTags({ tags: [tag] });
      expect(await there(key)).toBe(false);
    }
  });

  test('that are invalidated softly leave a stale entry, which one caller loads anew', async () => {
    const { cache } = service();
    const tag = unique('soft');
    const key = await tagged(tag);
    await cache.invalidateTags({ tags: [tag], mode: InvalidationMode.SOFT });
    expect((await cache.get({ key })).entry).toMatchObject({ stale: true, value });
    const first = await cache.getOrLease({ key, leaseMs: 60_000n });
    expect(first).toMatchObject({ status: Status.LEASED, entry: { stale: true } });
    expect(await cache.getOrLease({ key, leaseMs: 60_000n })).toMatchObject({ status: Status.STALE });
    const result = { $case: 'value', value } as const;
    const filled = await cache.fill({ ...first, key, result, expiry: MINUTE, tags: [tag] });
    expect(filled.status).toBe(FillStatus.FILLED);
    expect(await cache.getOrLease({ key, leaseMs: 60_000n })).toMatchObject({
      ...{ status: Status.HIT, entry: { stale: false } },
    });
    await cache.invalidateTags({ tags: [tag] });
    expect(await there(key)).toBe(false);
  });

  test('that are dead let one caller load, without the dead value', async () => {
    const { cache } = service();
    const tag = unique('dead');
    const key = await tagged(tag);
    await cache.invalidateTags({ tags: [tag] });
    const answers = await Promise.all(Array.from({ length: 10 }, () => cache.getOrLease({ key, leaseMs: 60_000n })));
    expect(answers.filter(({ status }) => status === Status.LEASED)).toHaveLength(1);
    expect(answers.filter(({ status }) => status === Status.LOADING)).toHaveLength(9);
    expect(answers.every(({ entry }) => entry === undefined)).toBe(true);
  });

  test('outlive neither the table that is lost nor one that is begun anew', async () => {
    const keys = await Promise.all(['a', 'b'].map((tag) => tagged(unique(tag))));
    const without = await tagged();
    await raw.command('DEL', table());
    expect(await Promise.all([...keys, without].map(there))).toEqual([false, false, true]);
    // a new table, begun by a write
    const after = await tagged(unique('c'));
    expect(await Promise.all([...keys, after].map(there))).toEqual([false, false, true]);
  });

  test('that the table has no room for make entries of before miss, and only those', async () => {
    const { cache } = service();
    const old = unique('old');
    const before = await tagged(old);
    await cache.invalidateTags({ tags: [unique('x')] });
    const since = await tagged(old);
    expect(await there(before)).toBe(true);
    // as if a hundred thousand tags had been invalidated since `before`, and none since
    const floor = String(await raw.command('ZSCORE', table(), 'clock'));
    const filling = Array.from({ length: 100_000 }, (_, index) => [floor, `hfilling${String(index)}`]);
    while (filling.length > 0) await raw.command('ZADD', table(), ...filling.splice(0, 5_000).flat());
    await cache.invalidateTags({ tags: [unique('y')] });
    expect([await there(before), await there(since)]).toEqual([false, true]);
    expect(await raw.command('ZCARD', table())).toBe(100_002);
    await raw.command('DEL', table());
  });

  test('of two processes agree, whatever order things come in', async () => {
    const { cache } = service();
    const names = ['a', 'b', 'c'].map(unique);
    const tagOf = (index: number): string => names[index] ?? '';
    const step = fc.oneof(
      fc.record({ kind: fc.constant('set' as const), key: fc.nat({ max: 3 }), tags: fc.subarray([0, 1, 2]) }),
      fc.record({ kind: fc.constant('invalidate' as const), tags: fc.subarray([0, 1, 2], { minLength: 1 }) }),
      fc.record({ kind: fc.constant('delete' as const), key: fc.nat({ max: 3 }) }),
    );
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 12 }), async (steps) => {
        const keyOf = (index: number): string => `model:${String(index)}`;
        const keys = [0, 1, 2, 3].map(keyOf);
        await cache.delete({ keys });
        const model = new Map<string, readonly number[]>();
        for (const each of steps) {
          if (each.kind === 'invalidate') {
            await cache.invalidateTags({ tags: each.tags.map(tagOf) });
            for (const [key, tags] of model) if (tags.some((tag) => each.tags.includes(tag))) model.delete(key);
          } else if (each.kind === 'set') {
            await cache.set({ key: keyOf(each.key), value, expiry: MINUTE, tags: each.tags.map(tagOf) });
            model.set(keyOf(each.key), each.tags);
          } else {
            await cache.delete({ keys: [keyOf(each.key)] });
            model.delete(keyOf(each.key));
          }
          const { items } = await cache.getMany({ keys });
          expect(items.map(({ entry }) => entry !== undefined)).toEqual(keys.map((key) => model.has(key)));
        }
      }),
      { numRuns: 25, seed: 20_261_121 },
    );
  });
});
