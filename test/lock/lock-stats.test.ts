import { expect, test } from '@jest/globals';
import { until } from '../support/redis-server.js';
import { onEachTopology, sharedRedisUrl, startTestService } from '../support/service.js';
import { countsOf, hold, queueUp } from './operations-support.js';

/** What is counted of locks. */

onEachTopology('what GetLockStats counts', (_, topology) => {
  test('is grants, refusals, releases, losses, force, and who waits, with how long that took', async () => {
    const service = await startTestService({ REDIS_URL: sharedRedisUrl(topology) });
    const { locks } = service;
    expect(await countsOf(locks)).toEqual({});
    const first = await hold(locks, 'a');
    expect(await countsOf(locks)).toEqual({ heldCount: 1, granted: 1 });
    await locks.acquireLock({ resources: ['a'] });
    expect(await countsOf(locks)).toEqual({ heldCount: 1, granted: 1, refused: 1 });
    const { granted } = await queueUp(locks, 'a');
    expect(await countsOf(locks)).toEqual({ heldCount: 1, granted: 1, refused: 1, waitingCount: 1 });
    // long enough for a whole millisecond
    await until(async () => (await locks.getLock({ resource: 'a' })).holders.every(({ ttlMs }) => ttlMs < 3_599_990n));
    await locks.releaseLock({ resources: ['a'], lockToken: first.lockToken });
    await granted;
    const counts = { heldCount: 1, granted: 2, grantedAfterWaiting: 1, refused: 1, released: 1 };
    expect(await countsOf(locks)).toEqual(counts);
    const { waitedMs, heldMs, hottest } = await locks.getLockStats({ hottestCount: 1 });
    expect(waitedMs).toBeGreaterThan(0n);
    expect(heldMs).toBeGreaterThanOrEqual(10n);
    expect(hottest).toEqual([{ resource: 'a', contended: 2n }]);
    await locks.forceReleaseLock({ resource: 'a', reason: 'r' });
    await locks.forceReleaseLock({ resource: 'nobody holds it', reason: 'r' });
    expect(await countsOf(locks)).toEqual({ ...counts, heldCount: undefined, forceReleased: 1 });

    // several resources are granted or refused together
    await hold(locks, 'b', { resources: ['b', 'c', 'd'] });
    await locks.acquireLock({ resources: ['c', 'x', 'y'] });
    expect(await countsOf(locks)).toMatchObject({ heldCount: 3, granted: 5, refused: 2, released: 1 });

    // what a call waited that got nothing counts too
    const before = (await locks.getLockStats({})).waitedMs;
    await locks.acquireLock({ resources: ['b'], waitMs: 30n });
    const after = await locks.getLockStats({ hottestCount: 0 });
    expect(after.waitedMs).toBeGreaterThanOrEqual(before + 29n);
    expect(after).toMatchObject({ refused: 3n, waitingCount: 0n, grantedAfterWaiting: 1n, hottest: [] });

    // a lease that ran out is found by whoever comes next
    await hold(locks, 'short', { ttlMs: 1n });
    await until(async () => (await locks.getLock({ resource: 'short' })).holders.length === 0);
    expect((await countsOf(locks)).lost).toBeUndefined();
    await hold(locks, 'short');
    expect((await countsOf(locks)).lost).toBe(1);
    await service.stop();
  });
});
