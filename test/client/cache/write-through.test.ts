import { afterEach, describe, expect, test } from '@jest/globals';
import { CancelledError, FailedPreconditionError } from '../../../src/client/index.js';
import { errorOf } from '../../support/client-error.js';
import { until } from '../../support/redis-server.js';
import { sdkClient } from '../../support/sdk-client.js';
import { killServiceProcesses, startServiceProcess } from '../../support/service-process.js';
import { onEachTopology, randomNamespace, sharedRedisUrl } from '../../support/service.js';

onEachTopology('writeThrough', (service) => {
  const cacheOf = () => sdkClient(service().address).cache;

  test('writes to the source, then to the cache, over what was there or not', async () => {
    const cache = cacheOf();
    const key = randomNamespace();
    const source: number[] = [];
    const write = (value: number) =>
      cache.writeThrough(key, value, (kept) => void source.push(kept), { ttlMs: 60_000 });
    expect((await write(1)).stored).toBe(true);
    expect((await write(2)).stored).toBe(true);
    expect(source).toEqual([1, 2]);
    expect(await cache.get(key)).toBe(2);
  });

  test('of two writers at once neither value stays: nobody knows whose the source has', async () => {
    const [one, other] = [cacheOf(), cacheOf()];
    const key = randomNamespace();
    await one.set(key, 'before');
    const stored = await one.writeThrough(key, 'first', async () => {
      await other.writeThrough(key, 'second', () => undefined);
    });
    expect(stored.stored).toBe(false);
    expect(await other.get(key)).toBeUndefined();
  });

  test('a writer that fails leaves no value, for it may have written', async () => {
    const cache = cacheOf();
    const key = randomNamespace();
    await cache.set(key, 'before');
    const broken = () => Promise.reject(new RangeError('timeout'));
    await expect(cache.writeThrough(key, 'after', broken)).rejects.toBeInstanceOf(RangeError);
    expect(await cache.get(key)).toBeUndefined();
  });

  test('a load from before the write is not stored after it', async () => {
    const [loading, writing] = [cacheOf(), cacheOf()];
    const key = randomNamespace();
    let source = 'old';
    let goOn: (() => void) | undefined;
    const held = new Promise<void>((resolve) => (goOn = resolve));
    let isRead = false;
    const answer = loading.cacheAside(key, async () => {
      const read = source;
      isRead = true;
      await held;
      return read;
    });
    await until(() => isRead);
    const stored = await writing.writeThrough(key, 'new', (value) => void (source = value));
    goOn?.();
    await answer;
    // nor is the new one, for another writer could have come in between
    expect(stored).toEqual({ stored: false, version: 0 });
    expect(await writing.get(key)).toBeUndefined();
  });

  test.each(['wrote', 'wrote and deleted'])(
    'over nothing: where another %s meanwhile, nothing is left',
    async (what) => {
      const [one, other] = [cacheOf(), cacheOf()];
      const key = randomNamespace();
      const stored = await one.writeThrough(key, 'older', async () => {
        await other.set(key, 'wrote');
        if (what !== 'wrote') await other.delete(key);
      });
      expect(stored).toEqual({ stored: false, version: 0 });
      expect(await other.get(key)).toBeUndefined();
    },
  );

  test('over what is remembered as nothing it is stored, and not over what came in between', async () => {
    const [one, other] = [cacheOf(), cacheOf()];
    const [free, taken] = [randomNamespace(), randomNamespace()];
    const forget = { absentTtlMs: 60_000 };
    for (const key of [free, taken]) await one.cacheAside(key, () => undefined, forget);
    expect((await one.writeThrough(free, 'written', () => undefined, { ttlMs: 60_000 })).stored).toBe(true);
    expect(await other.cacheAside(free, () => 'must not run')).toBe('written');
    const stored = await one.writeThrough(taken, 'older', async () => {
      await other.delete(taken);
      await other.cacheAside(taken, () => undefined, forget);
    });
    expect(stored.stored).toBe(false);
    expect(await other.cacheAside(taken, () => 'of the source')).toBe('of the source');
  });

  test('over what is stale it is stored, and is fresh then', async () => {
    const cache = cacheOf();
    const key = randomNamespace();
    await cache.set(key, 'old', { ttlMs: 1, staleMs: 60_000 });
    await until(async () => (await cache.getEntry(key))?.stale === true);
    expect((await cache.writeThrough(key, 'new', () => undefined, { ttlMs: 60_000 })).stored).toBe(true);
    expect(await cache.getEntry(key)).toMatchObject({ value: 'new', stale: false });
  });

  test.each([[true], [false]])(
    'a tag that is invalidated while the writer runs ends the entry, softly: %s',
    async (soft) => {
      const [one, other] = [cacheOf(), cacheOf()];
      const [entry, nothing] = [randomNamespace(), randomNamespace()];
      const tag = randomNamespace();
      // long ago, as far as the service can tell
      await one.set(entry, 'before', { ttlMs: 60_000 });
      const ttlMs = await one.getTtl(entry);
      await until(async () => ((await one.getTtl(entry)) ?? 0) < (ttlMs ?? 0) - 100);
      for (const key of [entry, nothing]) {
        await one.writeThrough(key, 'older', () => other.invalidateByTag(tag, { soft }), {
          ttlMs: 60_000,
          tags: [tag],
        });
        const left = await other.getEntry(key);
        expect(left?.stale ?? 'gone').toBe(soft ? true : 'gone');
      }
    },
  );

  test('what the writer adds to the value is kept too', async () => {
    const cache = cacheOf();
    const key = randomNamespace();
    const user: { name: string; id?: number } = { name: 'Ada' };
    await cache.writeThrough(key, user, (written) => {
      written.id = 7;
    });
    expect(await cache.get(key)).toEqual({ name: 'Ada', id: 7 });
  });

  test('a writer that reads the key does not wait for itself', async () => {
    const cache = cacheOf();
    const key = randomNamespace();
    let read: unknown;
    const { stored } = await cache.writeThrough(key, 'new', async () => {
      read = await cache.cacheAside(key, () => 'old', { waitMs: 60_000 });
    });
    expect(stored).toBe(true);
    expect(read).toBe('old');
    expect(await cache.get(key)).toBe('new');
    // it would wait for 60 s
  }, 30_000);

  test('a writer that fails leaves nobody waiting for it', async () => {
    const [one, other] = [cacheOf(), cacheOf()];
    const key = randomNamespace();
    const broken = () => Promise.reject(new RangeError('timeout'));
    await expect(one.writeThrough(key, 'lost', broken)).rejects.toBeInstanceOf(RangeError);
    let loads = 0;
    // were the lease left, it would be loaded beside it, and not stored
    expect(await other.cacheAside(key, () => ++loads, { waitMs: 0 })).toBe(1);
    expect(await one.get(key)).toBe(1);
  });

  test.each(['entry', 'nothing'])(
    'given up while the writer runs, over %s: the old value does not stay',
    async (what) => {
      const cache = cacheOf();
      const key = randomNamespace();
      if (what === 'entry') await cache.set(key, 'before');
      const controller = new AbortController();
      const write = cache.writeThrough(
        key,
        'after',
        () => {
          controller.abort();
        },
        { signal: controller.signal },
      );
      await expect(write).rejects.toBeInstanceOf(CancelledError);
      expect(await cache.get(key)).toBeUndefined();
      expect((await cache.writeThrough(key, 'again', () => undefined)).stored).toBe(true);
    },
  );

  test.each(['entry', 'nothing'])('under an old fencing token it fails, over %s, and leaves no value', async (what) => {
    const [one, other] = [cacheOf(), cacheOf()];
    const key = randomNamespace();
    const guard = (fencingToken: number) => ({ guard: { resource: 'lock', fencingToken } });
    await other.set(key, 'newer', guard(7));
    if (what === 'nothing') await other.delete(key);
    const write = one.writeThrough(key, 'older', () => undefined, guard(6));
    expect(await errorOf(write)).toBeInstanceOf(FailedPreconditionError);
    expect(await one.get(key)).toBeUndefined();
    expect((await one.writeThrough(key, 'newest', () => undefined, guard(8))).stored).toBe(true);
  });
});

afterEach(killServiceProcesses);

test('a writer that takes longer than its lease stores all the same', async () => {
  const running = await startServiceProcess({ REDIS_URL: sharedRedisUrl('standalone'), NAMESPACE: randomNamespace() });
  const [one, other] = [sdkClient(running.address).cache, sdkClient(running.address).cache];
  const key = randomNamespace();
  const startedAt = performance.now();
  const waiting: Promise<unknown>[] = [];
  const { stored } = await one.writeThrough(key, 'slow', async () => {
    waiting.push(other.cacheAside(key, () => 'must not run', { waitMs: 60_000 }));
    await until(() => performance.now() - startedAt > 5_500);
  });
  expect(stored).toBe(true);
  expect(await waiting[0]).toBe('slow');
});

describe('while the service is away', () => {
  const start = async () => {
    const env = { REDIS_URL: sharedRedisUrl('standalone'), NAMESPACE: randomNamespace() };
    const running = await startServiceProcess(env);
    const lines: string[] = [];
    const client = sdkClient(running.address, {
      retry: { maxAttempts: 1 },
      logger: { debug: () => undefined, warn: () => undefined, error: (_, line) => lines.push(line) },
    });
    return { running, client, lines, again: () => startServiceProcess({ ...env, GRPC_LISTEN: running.address }) };
  };

  test('at the beginning only: what was there before does not stay', async () => {
    const { running, client, again } = await start();
    await client.cache.set('k', 'before', { ttlMs: 60_000 });
    await running.stop('SIGKILL');
    const stored = await client.cache.writeThrough('k', 'after', async () => {
      await again();
      await until(async () => (await client.health.check()) === 'serving');
    });
    expect(stored).toEqual({ stored: false, version: 0 });
    expect(await client.cache.get('k')).toBeUndefined();
  });

  test.each(['entry', 'nothing'])(
    'at the end, over %s: the source is written, and what is lost is told',
    async (what) => {
      const { running, client, lines } = await start();
      if (what === 'entry') await client.cache.set('k', 'before', { ttlMs: 60_000 });
      let written: unknown;
      const stored = await client.cache.writeThrough('k', 'after', async (value) => {
        await running.stop('SIGKILL');
        written = value;
      });
      expect(stored).toEqual({ stored: false, version: 0 });
      expect(written).toBe('after');
      expect(lines.some((line) => line.startsWith('a deletion is late'))).toBe(true);
    },
  );
});
