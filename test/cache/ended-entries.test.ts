import { expect, test } from '@jest/globals';
import { InvalidationMode, type SetRequest } from '../../src/gen/shardkeep/cache/v1/cache.js';
import { onEachTopology } from '../support/service.js';

/** What an entry is to a condition that was invalidated by one of its tags: what it is to a read. */

onEachTopology('an entry that its tag ended', (service) => {
  const value = Buffer.from('old');
  const next = Buffer.from('new');

  async function ended(key: string, mode = InvalidationMode.HARD): Promise<bigint> {
    const { cache } = service();
    const { version } = await cache.set({ key, value, tags: [`tag of ${key}`] });
    await cache.invalidateTags({ tags: [`tag of ${key}`], mode });
    return version;
  }

  test('is none for if_absent, and the next one is held as any other', async () => {
    const { cache } = service();
    const version = await ended('absent');
    const ifAbsent = { key: 'absent', value: next, condition: { $case: 'ifAbsent', value: true } as const };
    const written = await cache.set({ ...ifAbsent, tags: ['tag of absent'] });
    expect(written.stored).toBe(true);
    expect(written.version).toBeGreaterThan(version);
    expect((await cache.get({ key: 'absent' })).entry?.value).toEqual(next);
    expect(await cache.set(ifAbsent)).toEqual({ stored: false, version: written.version });
  });

  test('is taken by one of those who find none', async () => {
    const { cache } = service();
    await ended('race');
    const condition = { $case: 'ifAbsent', value: true } as const;
    const writes = Array.from({ length: 20 }, () => cache.set({ key: 'race', value: next, condition }));
    expect((await Promise.all(writes)).filter(({ stored }) => stored)).toHaveLength(1);
  });

  test.each<[string, (version: bigint) => SetRequest['condition']]>([
    ['if_present', () => ({ $case: 'ifPresent', value: true })],
    ['if_version', (version) => ({ $case: 'ifVersion', value: version })],
  ])('is not there for %s; a soft invalidation leaves it there', async (name, conditionOf) => {
    const { cache } = service();
    const dead = await ended(`dead ${name}`);
    expect(await cache.set({ key: `dead ${name}`, value: next, condition: conditionOf(dead) })).toEqual({
      stored: false,
      version: 0n,
    });
    expect((await cache.get({ key: `dead ${name}` })).entry).toBeUndefined();
    const stale = await ended(`stale ${name}`, InvalidationMode.SOFT);
    const { stored } = await cache.set({ key: `stale ${name}`, value: next, condition: conditionOf(stale) });
    expect(stored).toBe(true);
  });
});
