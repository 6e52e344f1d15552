import { describe, expect, test } from '@jest/globals';
import { CancelledError, CacheKeys, DeadlineExceededError, LoadFailedError } from '../../../src/client/index.js';
import { errorOf } from '../../support/client-error.js';
import { until } from '../../support/redis-server.js';
import { sdkClient } from '../../support/sdk-client.js';
import { onEachTopology, randomNamespace } from '../../support/service.js';

/** A loader that waits until the test lets it go on. */
function heldLoader<Value>(value: Value) {
  let release: (() => void) | undefined;
  const held = new Promise<void>((resolve) => {
    release = resolve;
  });
  const loader = async (): Promise<Value> => {
    loader.runs++;
    await held;
    return value;
  };
  loader.runs = 0;
  loader.release = (): void => release?.();
  return loader;
}

onEachTopology('cacheAside', (service) => {
  const cacheOf = () => sdkClient(service().address).cache;

  test('loads once, then answers from the cache', async () => {
    const [one, other] = [cacheOf(), cacheOf()];
    const key = CacheKeys.user(randomNamespace());
    let loads = 0;
    const loader = () => ({ load: ++loads });
    expect(await one.cacheAside(key, loader, { ttlMs: 60_000 })).toEqual({ load: 1 });
    expect(await one.cacheAside(key, loader, { ttlMs: 60_000 })).toEqual({ load: 1 });
    expect(await other.cacheAside(key, loader, { ttlMs: 60_000 })).toEqual({ load: 1 });
    expect(await other.get(key)).toEqual({ load: 1 });
  });

  test('that the source has nothing is answered, and remembered only where asked for', async () => {
    const cache = cacheOf();
    const [forgotten, remembered] = [randomNamespace(), randomNamespace()];
    let loads = 0;
    const nothing = () => {
      loads++;
      return null;
    };
    expect(await cache.cacheAside(forgotten, nothing, { ttlMs: 60_000 })).toBeUndefined();
    await until(async () => (await cache.getTtl(forgotten)) === undefined);
    expect(await cache.cacheAside(forgotten, () => 'there now', { ttlMs: 60_000 })).toBe('there now');
    for (let count = 0; count < 3; count++)
      expect(await cache.cacheAside(remembered, nothing, { ttlMs: 60_000, absentTtlMs: 60_000 })).toBeUndefined();
    expect(loads).toBe(2);
  });

  test('a loader that fails fails its callers, and for a while those of others, and nothing is kept', async () => {
    const [one, other] = [cacheOf(), cacheOf()];
    const key = randomNamespace();
    const broken = () => Promise.reject(new RangeError('no database'));
    await expect(one.cacheAside(key, broken, { failureBackoffMs: 600_000 })).rejects.toBeInstanceOf(RangeError);
    // FailLease is on its way
    const failed = async (): Promise<unknown> =>
      other.cacheAside(key, () => 'must not run', { waitMs: 60_000 }).catch((error: unknown) => error);
    const error = await failed();
    expect(error).toBeInstanceOf(LoadFailedError);
    expect((error as LoadFailedError).retryAfterMs).toBeGreaterThan(0);
    expect(await one.get(key)).toBeUndefined();
    // a write of the value heals it at once
    await one.set(key, 'written');
    expect(await other.cacheAside(key, () => 'loaded')).toBe('written');
  });

  test('a stale value is served while one caller loads, and where loading fails', async () => {
    const cache = cacheOf();
    const key = randomNamespace();
    const expiry = { ttlMs: 1, staleMs: 60_000 };
    const options = { ...expiry, failureBackoffMs: 0 };
    await cache.cacheAside(key, () => 'old', options);
    await until(async () => (await cache.getEntry(key))?.stale === true);
    const loader = heldLoader('new');
    expect(await cache.cacheAside(key, loader, { ...options, ttlMs: 60_000 })).toBe('old');
    expect(await cache.cacheAside(key, loader, { ...options, ttlMs: 60_000 })).toBe('old');
    await until(() => loader.runs === 1);
    loader.release();
    await until(async () => (await cache.get(key)) === 'new');

    await cache.cacheAside(key, () => 'old', options);
    await cache.set(key, 'old', expiry);
    await until(async () => (await cache.getEntry(key))?.stale === true);
    const broken = () => Promise.reject(new RangeError('no database'));
    expect(await cache.cacheAside<string>(key, broken, { ...options, whileStale: 'wait' })).toBe('old');
    expect(await cache.cacheAside(key, () => 'fresh', { ...options, whileStale: 'wait' })).toBe('fresh');
  });

  test('near its end a value is loaded anew in the background, by one caller', async () => {
    const [one, other] = [cacheOf(), cacheOf()];
    const key = randomNamespace();
    const options = { ttlMs: 60_000, refreshThreshold: 0.999_999 };
    await one.cacheAside(key, () => 'old', options);
    const loader = heldLoader('new');
    // as soon as a part in a million of its time is over
    await until(async () => (await one.cacheAside(key, loader, options)) === 'old' && loader.runs === 1);
    expect(await other.cacheAside(key, loader, options)).toBe('old');
    loader.release();
    await until(async () => (await other.get(key)) === 'new');
    expect(loader.runs).toBe(1);
  });

  test('tags end entries, also tags that are known only from the value', async () => {
    const cache = cacheOf();
    const tag = randomNamespace();
    const keys = [randomNamespace(), randomNamespace()] as const;
    await cache.taggedCache(keys[0], [tag, 'guild'], () => 'first', { ttlMs: 60_000 });
    await cache.cacheAside(keys[1], () => ({ tag }), { ttlMs: 60_000, tags: (value) => [value.tag] });
    await cache.invalidateByTag(tag);
    expect(await cache.getMany(keys)).toEqual([undefined, undefined]);
    expect(await cache.taggedCache(keys[0], [tag], () => 'again', { ttlMs: 60_000, staleMs: 60_000 })).toBe('again');
    await cache.invalidateTags([tag], { soft: true });
    expect(await cache.getEntry(keys[0])).toMatchObject({ value: 'again', stale: true });
  });

  test.each(['a write', 'a deletion', 'an invalidation'])(
    'what %s overtook while it was loaded is answered and not kept',
    async (what) => {
      const [loading, writing] = [cacheOf(), cacheOf()];
      const key = randomNamespace();
      const loader = heldLoader('read too early');
      const answer = loading.cacheAside(key, loader, { ttlMs: 60_000, tags: ['t'] });
      await until(() => loader.runs === 1);
      if (what === 'a write') await writing.set(key, 'written');
      else if (what === 'a deletion') await writing.delete(key);
      else await writing.invalidateByTag('t');
      loader.release();
      expect(await answer).toBe('read too early');
      expect(await writing.get(key)).toBe(what === 'a write' ? 'written' : undefined);
    },
  );

  test('who writes a key reads it anew, though a load of it runs', async () => {
    const cache = cacheOf();
    const key = randomNamespace();
    const loader = heldLoader('read too early');
    const early = cache.cacheAside(key, loader, { ttlMs: 60_000 });
    await until(() => loader.runs === 1);
    await cache.delete(key);
    expect(await cache.cacheAside(key, () => 'read afterwards', { ttlMs: 60_000 })).toBe('read afterwards');
    loader.release();
    expect(await early).toBe('read too early');
    expect(await cache.get(key)).toBe('read afterwards');
  });

  test('a lease is kept for as long as its load takes', async () => {
    const [one, other] = [cacheOf(), cacheOf()];
    const key = randomNamespace();
    const loader = heldLoader('slow');
    const answer = one.cacheAside(key, loader, { ttlMs: 60_000, leaseMs: 1_000 });
    await until(() => loader.runs === 1);
    const startedAt = performance.now();
    const waiting = other.cacheAside(key, () => 'must not run', { ttlMs: 60_000, leaseMs: 1_000, waitMs: 60_000 });
    await until(() => performance.now() - startedAt > 2_500);
    loader.release();
    expect(await Promise.all([answer, waiting])).toEqual(['slow', 'slow']);
  });

  test('who waited long enough loads beside the other, and does not store', async () => {
    const [one, other] = [cacheOf(), cacheOf()];
    const key = randomNamespace();
    const loader = heldLoader('first');
    const answer = one.cacheAside(key, loader, { ttlMs: 60_000 });
    await until(() => loader.runs === 1);
    expect(await other.cacheAside(key, () => 'beside', { ttlMs: 60_000, waitMs: 10 })).toBe('beside');
    loader.release();
    expect(await answer).toBe('first');
    expect(await other.get(key)).toBe('first');
  });

  test('a load that never ends is given up, told so, and followed by another', async () => {
    const cache = cacheOf();
    const key = randomNamespace();
    let told: AbortSignal | undefined;
    const never = ({ signal }: { signal: AbortSignal }): Promise<never> => {
      told = signal;
      return new Promise(() => undefined);
    };
    const error = await errorOf(cache.cacheAside(key, never, { maxLoadMs: 10, failureBackoffMs: 0 }));
    expect(error).toBeInstanceOf(DeadlineExceededError);
    expect(told?.aborted).toBe(true);
    await until(async () => (await cache.cacheAside(key, () => 'at last', { waitMs: 60_000 })) === 'at last');
  });

  test("a caller's signal ends its wait and nobody else's", async () => {
    const cache = cacheOf();
    const key = randomNamespace();
    const loader = heldLoader('value');
    const controller = new AbortController();
    const impatient = cache.cacheAside(key, loader, { signal: controller.signal });
    const patient = cache.cacheAside(key, loader);
    await until(() => loader.runs === 1);
    controller.abort(new RangeError('gone'));
    await expect(impatient).rejects.toBeInstanceOf(CancelledError);
    await expect(cache.cacheAside(key, loader, { signal: controller.signal })).rejects.toBeInstanceOf(CancelledError);
    loader.release();
    expect(await patient).toBe('value');
  });

  test('a client that closes gives its loads up', async () => {
    const client = sdkClient(service().address);
    const loader = heldLoader('value');
    const load = errorOf(client.cache.cacheAside(randomNamespace(), loader));
    await until(() => loader.runs === 1);
    await client.close();
    expect(await load).toBeInstanceOf(CancelledError);
  });

  test('an entry that cannot be read is loaded, and replaced', async () => {
    const cache = cacheOf();
    const key = randomNamespace();
    await cache.with({ schemaVersion: 1 }).set(key, 'old shape', { ttlMs: 60_000 });
    const next = cache.with({ schemaVersion: 2 });
    expect(await next.cacheAside(key, () => 'new shape', { ttlMs: 60_000 })).toBe('new shape');
    expect(await next.get(key)).toBe('new shape');
  });

  test('a value that cannot be kept fails its caller, and leaves the key to others', async () => {
    const cache = cacheOf();
    const key = randomNamespace();
    const error = await errorOf(cache.cacheAside<unknown>(key, () => 1n, { failureBackoffMs: 0 }));
    expect(error.fields).toEqual(['value']);
    await until(async () => (await cache.cacheAside(key, () => 'good', { waitMs: 60_000 })) === 'good');
  });
});

describe('keys', () => {
  test('are those of the convention', () => {
    expect(CacheKeys.user('123')).toBe('user:123:profile');
    expect(CacheKeys.settings('123')).toBe('user:123:settings');
    expect(CacheKeys.achievements('123')).toBe('user:123:achievements');
    expect(CacheKeys.character('456')).toBe('char:456:data');
    expect(CacheKeys.inventory('456')).toBe('char:456:inventory');
    expect(CacheKeys.skills('456')).toBe('char:456:skills');
    expect(CacheKeys.guild('789')).toBe('guild:789:data');
    expect(CacheKeys.zone('zone1')).toBe('zone:zone1:data');
    expect(CacheKeys.combat('combat123')).toBe('combat:combat123:state');
    expect(CacheKeys.leaderboard('global')).toBe('leaderboard:global');
    expect(CacheKeys.temp('password_reset', '123')).toBe('temp:password_reset:123');
    expect(CacheKeys.rateLimit('123', 'login')).toBe('ratelimit:123:login');
  });

  test('no id makes the key of another thing', () => {
    expect(CacheKeys.temp('a:b', 'c')).not.toBe(CacheKeys.temp('a', 'b:c'));
    expect(CacheKeys.leaderboard('a%3Ab')).not.toBe(CacheKeys.leaderboard('a:b'));
  });
});
