import { status as Code } from '@grpc/grpc-js';
import { describe, expect, test } from '@jest/globals';
import { failureOf } from '../support/client.js';
import { onEachTopology } from '../support/service.js';

const bytes = (text: string): Buffer => Buffer.from(text);

onEachTopology('cache', (service) => {
  describe('Set and Get', () => {
    test('a value comes back as it was set, with its version, age and TTL', async () => {
      const { cache } = service();
      const value = Buffer.from([0, 255, 1, 128, 0xc3, 0x28]);
      const stored = await cache.set({ key: 'round', value, expiry: { $case: 'ttlMs', value: 60_000n } });
      const { entry } = await cache.get({ key: 'round' });
      expect(stored.stored).toBe(true);
      expect(entry?.value).toEqual(value);
      expect(entry?.version).toBe(stored.version);
      expect(entry?.ttlMs).toBeGreaterThan(0n);
      expect(entry?.createdAtMs).toBe(stored.version / 1_000n);
    });

    test('a miss is an answer without entry', async () => {
      expect((await service().cache.get({ key: 'nowhere' })).entry).toBeUndefined();
    });
  });

  test('of 40 parallel writers under if_absent exactly one writes', async () => {
    const { cache } = service();
    const writers = Array.from({ length: 40 }, (_, index) =>
      cache.set({ key: 'once', value: bytes(String(index)), condition: { $case: 'ifAbsent', value: true } }),
    );
    const stored = (await Promise.all(writers)).filter((reply) => reply.stored);
    expect(stored).toHaveLength(1);
    expect((await cache.get({ key: 'once' })).entry?.version).toBe(stored[0]?.version);
  });

  test('a counter is exact past 2^53', async () => {
    const { cache } = service();
    const start = 2n ** 53n;
    await cache.increment({ key: 'big', delta: start });
    await Promise.all(Array.from({ length: 101 }, () => cache.increment({ key: 'big', delta: 1n })));
    expect((await cache.increment({ key: 'big', delta: 0n })).value).toBe(start + 101n);
  });

  test('using a counter as an entry is FAILED_PRECONDITION and changes nothing', async () => {
    const { cache } = service();
    await cache.increment({ key: 'kind', delta: 7n });
    expect(await failureOf(cache.get({ key: 'kind' }))).toMatchObject({
      code: Code.FAILED_PRECONDITION,
      reason: 'WRONG_TYPE',
    });
    expect(await failureOf(cache.set({ key: 'kind', value: bytes('x') }))).toMatchObject({ reason: 'WRONG_TYPE' });
    expect((await cache.increment({ key: 'kind', delta: 0n })).value).toBe(7n);
  });
});
