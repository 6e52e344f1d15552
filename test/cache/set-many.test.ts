import { status as Code } from '@grpc/grpc-js';
import { expect, test } from '@jest/globals';
import type { SetRequest } from '../../src/gen/shardkeep/cache/v1/cache.js';
import { failureOf } from '../support/client.js';
import { onEachTopology, randomNamespace } from '../support/service.js';

onEachTopology('SetMany', (service) => {
  const newKey = (): string => `many:${randomNamespace()}`;
  const entry = (key: string, more: Partial<SetRequest> = {}): SetRequest => ({
    ...{ key, value: Buffer.from(key), expiry: undefined, condition: undefined, tags: [], jitterPercent: 0 },
    ...{ guard: undefined, ...more },
  });

  test('writes each entry with its own expiry, condition and tags, and answers in the order asked', async () => {
    const { cache } = service();
    const [plain, lasting, there, fresh, tagged] = Array.from({ length: 5 }, newKey);
    if (plain === undefined || lasting === undefined || there === undefined) throw new Error('no keys');
    if (fresh === undefined || tagged === undefined) throw new Error('no keys');
    const { version } = await cache.set({ key: there, value: Buffer.from('there') });
    const { items } = await cache.setMany({
      entries: [
        entry(plain),
        entry(there, { condition: { $case: 'ifAbsent', value: true } }),
        entry(lasting, { expiry: { $case: 'noExpiry', value: true } }),
        entry(fresh, { expiry: { $case: 'freshness', value: { freshMs: 1n, staleMs: 60_000n } } }),
        entry(tagged, { tags: ['many'] }),
      ],
    });
    expect(items.map(({ key, stored, code, reason }) => [key, stored, code, reason])).toEqual([
      [plain, true, 0, ''],
      [there, false, 0, ''],
      [lasting, true, 0, ''],
      [fresh, true, 0, ''],
      [tagged, true, 0, ''],
    ]);
    expect(items[1]?.version).toBe(version);
    const read = await cache.getMany({ keys: [plain, there, lasting, fresh, tagged] });
    expect(read.items.map(({ entry: found }) => found?.value.toString())).toEqual([
      ...[plain, 'there', lasting, fresh, tagged],
    ]);
    expect(read.items[2]?.entry?.ttlMs).toBeUndefined();
    await cache.invalidateTags({ tags: ['many'] });
    expect((await cache.get({ key: tagged })).entry).toBeUndefined();
  });

  test('an entry that fails fails alone, with its code and reason', async () => {
    const { cache } = service();
    const [counter, guarded, fine] = [newKey(), newKey(), newKey()];
    await cache.increment({ key: counter });
    await cache.set({ key: guarded, value: Buffer.from('x'), guard: { resource: 'r', fencingToken: 9n } });
    const { items } = await cache.setMany({
      entries: [entry(counter), entry(guarded, { guard: { resource: 'r', fencingToken: 8n } }), entry(fine)],
    });
    expect(items).toEqual([
      { key: counter, stored: false, version: 0n, code: Code.FAILED_PRECONDITION, reason: 'WRONG_TYPE' },
      { key: guarded, stored: false, version: 0n, code: Code.FAILED_PRECONDITION, reason: 'OLD_FENCING_TOKEN' },
      expect.objectContaining({ key: fine, stored: true, code: 0 }),
    ]);
  });

  test('takes 256 entries wherever they live, and none twice', async () => {
    const { cache } = service();
    const keys = Array.from({ length: 256 }, newKey);
    const { items } = await cache.setMany({ entries: keys.map((key) => entry(key)) });
    expect(items.every(({ stored }) => stored)).toBe(true);
    const read = await cache.getMany({ keys });
    expect(read.items.map(({ entry: found }) => found?.value.toString())).toEqual(keys);
    const [twice = ''] = keys;
    const before = read.items[0]?.entry?.version;
    expect(await failureOf(cache.setMany({ entries: [entry(twice), entry('other'), entry(twice)] }))).toMatchObject({
      ...{ code: Code.INVALID_ARGUMENT, fields: ['entries[2].key'] },
    });
    expect((await cache.get({ key: twice })).entry?.version).toBe(before);
    const forEver = entry('temp:x', { expiry: { $case: 'noExpiry', value: true } });
    expect(await failureOf(cache.setMany({ entries: [entry('a'), forEver] }))).toMatchObject({
      fields: ['entries[1].no_expiry'],
    });
  });
});
