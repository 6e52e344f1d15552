import { expect, test } from '@jest/globals';
import { binary } from '../../../src/client/index.js';
import { until } from '../../support/redis-server.js';
import { sdkClient } from '../../support/sdk-client.js';
import { onEachTopology, randomNamespace } from '../../support/service.js';

onEachTopology('values in the near cache', (service) => {
  const nearOf = () => sdkClient(service().address, { cache: { nearCache: { maxEntries: 100 } } }).cache;

  test('what is read often is answered from memory, until somebody changes it', async () => {
    const [near, other] = [nearOf(), sdkClient(service().address).cache];
    const key = randomNamespace();
    await other.set(key, 'first', { ttlMs: 60_000 });
    await until(async () => {
      expect(await near.get(key)).toBe('first');
      return (near.nearCacheStats?.hits ?? 0) > 0;
    });
    await other.set(key, 'second', { ttlMs: 60_000 });
    await until(async () => (await near.get(key)) === 'second');
    await other.delete(key);
    await until(async () => (await near.get(key)) === undefined);
  });

  test('what this client writes it reads at once', async () => {
    const near = nearOf();
    const key = randomNamespace();
    await near.set(key, -1);
    await until(async () => {
      await near.get(key);
      return (near.nearCacheStats?.hits ?? 0) > 0;
    });
    for (let count = 0; count < 200; count++) {
      await near.set(key, count);
      expect(await near.get(key)).toBe(count);
    }
    await near.writeThrough(key, 'written', () => undefined);
    expect(await near.get(key)).toBe('written');
    await near.delete(key);
    expect(await near.get(key)).toBeUndefined();
  });

  test('cacheAside is answered from memory too, and sees tags that others invalidate', async () => {
    const [near, other] = [nearOf(), sdkClient(service().address).cache];
    const key = randomNamespace();
    const tag = randomNamespace();
    let loads = 0;
    const load = () => near.cacheAside(key, () => ++loads, { ttlMs: 60_000, tags: [tag] });
    await until(async () => {
      await load();
      return (near.nearCacheStats?.hits ?? 0) > 0;
    });
    const before = loads;
    expect(before).toBe(1);
    await other.invalidateByTag(tag);
    await until(async () => (await load()) === 2);
    // and what it invalidates itself it loads anew at once
    for (let count = 3; count < 20; count++) {
      await near.invalidateByTag(tag);
      expect(await load()).toBe(count);
    }
  });

  test('near its end a value is loaded anew although memory has it', async () => {
    const near = nearOf();
    const key = randomNamespace();
    let loads = 0;
    const options = { ttlMs: 60_000, refreshThreshold: 0.999_999 };
    await until(async () => {
      await near.cacheAside(key, () => ++loads, options);
      return loads > 1;
    });
    expect(loads).toBeGreaterThan(1);
  });

  test("bytes from memory are the caller's own: changing them changes nothing for others", async () => {
    const near = nearOf().with({ codec: binary });
    const key = randomNamespace();
    await near.set(key, Buffer.from('kept'), { ttlMs: 60_000 });
    await until(async () => {
      const [read, again] = await Promise.all([near.get<Buffer>(key), near.get<Buffer>(key)]);
      read?.fill(0);
      expect(again).toEqual(Buffer.from('kept'));
      return (near.nearCacheStats?.hits ?? 0) > 2;
    });
  });
});
