import { describe, expect, test } from '@jest/globals';
import { CancelledError, type WarmStep } from '../../../src/client/index.js';
import { errorOf } from '../../support/client-error.js';
import { until } from '../../support/redis-server.js';
import { sdkClient } from '../../support/sdk-client.js';
import { onEachTopology, randomNamespace } from '../../support/service.js';

onEachTopology('patterns', (service) => {
  const cacheOf = () => sdkClient(service().address).cache;

  describe('warm', () => {
    test('loads however new the entry is, and once where several do', async () => {
      const caches = [cacheOf(), cacheOf(), cacheOf()] as const;
      const key = randomNamespace();
      let loads = 0;
      let goOn: (() => void) | undefined;
      const held = new Promise<void>((resolve) => (goOn = resolve));
      const loader = async () => {
        loads++;
        await held;
        return loads;
      };
      await caches[0].set(key, 'new', { ttlMs: 60_000 });
      const warmed = Promise.all(caches.map((cache) => cache.warm(key, loader, { ttlMs: 60_000 })));
      await until(() => loads === 1);
      expect(await caches[1].get(key)).toBe('new');
      goOn?.();
      // who came later than the first one was done has warmed anew
      expect((await warmed).filter((outcome) => outcome === 'warmed')).toHaveLength(loads);
      expect(await caches[1].get(key)).toBe(loads);
    });

    test('many: a few at a time, each step told, and one that fails stops nobody', async () => {
      const cache = cacheOf();
      const run = randomNamespace();
      let running = 0;
      let most = 0;
      const entries = Array.from({ length: 30 }, (_, index) => ({
        key: `${run}:${String(index)}`,
        ttlMs: 60_000,
        loader: async () => {
          most = Math.max(most, ++running);
          await new Promise(setImmediate);
          running--;
          if (index % 10 === 9) throw new RangeError('no such board');
          return index;
        },
      }));
      const steps: WarmStep[] = [];
      const done = await cache.warmMany(entries, { concurrency: 3, onProgress: (step) => steps.push(step) });
      expect(done).toMatchObject({ total: 30, done: 30, warmed: 27, skipped: 0, failed: 3 });
      expect(most).toBeLessThanOrEqual(3);
      expect(steps.map((step) => step.done)).toEqual(Array.from({ length: 30 }, (_, index) => index + 1));
      expect(steps.filter(({ error }) => error instanceof RangeError).map(({ key }) => key)).toEqual(
        [9, 19, 29].map((index) => `${run}:${String(index)}`),
      );
      const values = await cache.getMany(entries.map(({ key }) => key));
      expect(values).toEqual(entries.map((_, index) => (index % 10 === 9 ? undefined : index)));
    });

    test('many: reasons are told, of the first 100', async () => {
      const cache = cacheOf();
      const run = randomNamespace();
      const broken = new RangeError('no such board');
      const entries = Array.from({ length: 103 }, (_, index) => ({
        key: `${run}:${String(index)}`,
        loader: () => (index === 0 ? 'good' : Promise.reject(broken)),
        failureBackoffMs: 0,
      }));
      const done = await cache.warmMany(entries, { concurrency: 1 });
      expect(done).toMatchObject({ warmed: 1, failed: 102 });
      expect(done.failures).toEqual(entries.slice(1, 101).map(({ key }) => ({ key, error: broken })));
    });

    test.each([
      [
        'throws',
        () => {
          throw new RangeError('no such bar');
        },
      ],
      ['rejects', () => Promise.reject(new RangeError('no such bar'))],
    ] as [string, () => void][])(
      'many: an onProgress that %s is told to the logger, and stops nothing',
      async (_, onProgress) => {
        const logged: object[] = [];
        const logger = {
          debug: () => undefined,
          warn: () => undefined,
          error: (details: object) => logged.push(details),
        };
        const { cache } = sdkClient(service().address, { logger });
        const run = randomNamespace();
        const entries = ['a', 'b', 'c'].map((id) => ({ key: `${run}:${id}`, loader: () => id }));
        const done = await cache.warmMany(entries, { concurrency: 1, onProgress });
        expect(done).toEqual({ total: 3, done: 3, warmed: 3, skipped: 0, failed: 0, failures: [] });
        expect(await cache.getMany(entries.map(({ key }) => key))).toEqual(['a', 'b', 'c']);
        expect(logged[0]).toMatchObject({ err: { message: 'no such bar' } });
      },
    );

    test('gradually, and no further when told to stop', async () => {
      const cache = cacheOf();
      const run = randomNamespace();
      const stop = new AbortController();
      let loads = 0;
      const entries = Array.from({ length: 50 }, (_, index) => ({
        key: `${run}:${String(index)}`,
        loader: () => {
          if (++loads === 5) stop.abort();
          return index;
        },
      }));
      const startedAt = performance.now();
      const done = await cache.warmMany(entries, { maxPerSecond: 100, concurrency: 8, signal: stop.signal });
      expect(performance.now() - startedAt).toBeGreaterThan(39);
      // those that had begun came to their end
      expect(done.done).toBe(loads);
      expect(loads).toBeLessThanOrEqual(12);
    });

    test.each([
      [{ concurrency: 0 }, 'concurrency'],
      [{ maxPerSecond: 0 }, 'maxPerSecond'],
    ])('%j is refused', async (options, field) => {
      expect((await errorOf(cacheOf().warmMany([], options))).fields).toEqual([field]);
    });
  });

  describe('memo', () => {
    test('one request asks for a key once, and sees what it writes itself', async () => {
      const [cache, other] = [cacheOf(), cacheOf()];
      const key = randomNamespace();
      let loads = 0;
      const loader = () => ++loads;
      await cache.memo(async () => {
        expect(await cache.cacheAside(key, loader)).toBe(1);
        await other.delete(key);
        expect(await cache.cacheAside(key, loader)).toBe(1);
        expect(await cache.get(key)).toBeUndefined();
        await cache.set(key, 'mine');
        expect(await cache.get(key)).toBe('mine');
        await other.set(key, 'theirs');
        expect(await cache.get(key)).toBe('mine');
        // another codec or schema has answers of its own
        expect(await cache.with({ schemaVersion: 1 }).get(key)).toBeUndefined();
      });
      expect(await cache.get(key)).toBe('theirs');
    });

    test('requests at the same time have memories of their own', async () => {
      const cache = cacheOf();
      const key = randomNamespace();
      await cache.set(key, 0);
      let written: (() => void) | undefined;
      const whenWritten = new Promise<void>((resolve) => (written = resolve));
      const first = cache.memo(async () => {
        const before = await cache.get(key);
        await whenWritten;
        return [before, await cache.get(key)];
      });
      await cache.memo(async () => {
        await cache.get(key);
        await cache.set(key, 1);
        expect(await cache.get(key)).toBe(1);
      });
      written?.();
      expect(await first).toEqual([0, 0]);
      expect(await cache.get(key)).toBe(1);
    });

    test.each(['get', 'cacheAside'] as const)(
      "%s: a signal ends its caller's wait and nobody else's",
      async (method) => {
        const cache = cacheOf();
        const key = randomNamespace();
        await cacheOf().set(key, 'value');
        let goOn: (() => void) | undefined;
        const held = new Promise<string>(
          (resolve) =>
            (goOn = () => {
              resolve('value');
            }),
        );
        const loaded = randomNamespace();
        const ask = (options: { signal?: AbortSignal }) =>
          method === 'get' ? cache.get(key, options) : cache.cacheAside(loaded, () => held, options);
        await cache.memo(async () => {
          const controller = new AbortController();
          const impatient = ask({ signal: controller.signal });
          const patient = ask({});
          controller.abort();
          await expect(impatient).rejects.toBeInstanceOf(CancelledError);
          await expect(ask({ signal: controller.signal })).rejects.toBeInstanceOf(CancelledError);
          goOn?.();
          expect(await patient).toBe('value');
          expect(await ask({})).toBe('value');
        });
      },
    );

    test('that there was nothing is not remembered once it is loaded, nor the old where the new is', async () => {
      const [cache, other] = [cacheOf(), cacheOf()];
      const key = randomNamespace();
      await cache.memo(async () => {
        expect(await cache.get(key)).toBeUndefined();
        expect(await cache.cacheAside(key, () => 'loaded', { ttlMs: 60_000 })).toBe('loaded');
        expect(await cache.get(key)).toBe('loaded');
      });
      await cache.memo(async () => {
        expect(await cache.get(key)).toBe('loaded');
        await other.set(key, 'newer');
        expect(await cache.cacheAside(key, () => 'must not run')).toBe('newer');
        expect(await cache.get(key)).toBe('newer');
        await other.set(key, 'newest');
        // asked once all the same
        expect(await cache.get(key)).toBe('newer');
        expect(await cache.cacheAside(key, () => 'must not run')).toBe('newer');
      });
    });
  });
});
