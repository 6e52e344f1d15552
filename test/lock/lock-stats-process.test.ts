import { afterAll, expect, test } from '@jest/globals';
import { LockServiceService } from '../../src/gen/shardkeep/lock/v1/lock.js';
import { until } from '../support/redis-server.js';
import { killServiceProcesses, startServiceProcess } from '../support/service-process.js';
import { randomNamespace, sharedRedisUrl, startTestService, TOPOLOGIES } from '../support/service.js';
import { countsOf, hold, queueUp } from './operations-support.js';

/** What is counted of locks over service processes that come and go. */

afterAll(killServiceProcesses);

// they mostly wait
test.concurrent.each(TOPOLOGIES)(
  'on %s what two processes count adds up; one that was killed waits no more, and its places are cleared',
  async (topology) => {
    const env = { REDIS_URL: sharedRedisUrl(topology), NAMESPACE: randomNamespace() };
    const [one, killed] = await Promise.all([startTestService(env), startServiceProcess(env)]);
    const other = { locks: killed.channel().of(LockServiceService) };
    const { lockToken } = await hold(one.locks, 'hot');
    for (let each = 0; each < 3; each++) await one.locks.acquireLock({ resources: ['hot'] });
    for (let each = 0; each < 4; each++) await other.locks.acquireLock({ resources: ['hot'] });
    await hold(other.locks, 'cool');
    await one.locks.acquireLock({ resources: ['cool'] });
    const { granted } = await queueUp(one.locks, 'hot');
    await queueUp(other.locks, 'hot', { waitMs: 7_000n });
    // what the other one counted comes by itself, also who waits there
    const counts = { heldCount: 2, granted: 2, refused: 8, waitingCount: 2 };
    await until(async () => {
      const counted = await countsOf(one.locks);
      return counted.refused === 8 && counted.waitingCount === 2;
    });
    expect(await countsOf(one.locks)).toEqual(counts);
    expect((await one.locks.getLockStats({ hottestCount: 10 })).hottest).toEqual([
      { resource: 'hot', contended: 9n },
      { resource: 'cool', contended: 1n },
    ]);

    await killed.stop('SIGKILL');
    // the place behind the head is over, and nobody looks at it before its turn
    await until(async () => (await one.locks.getLock({ resource: 'hot' })).waitingCount === 1n);
    expect(await one.locks.cleanupExpiredLocks({})).toEqual({
      ...{ scannedCount: 2n, expiredHolders: 0n, expiredWaiters: 1n },
    });
    await until(async () => (await countsOf(one.locks)).waitingCount === 1);
    await one.locks.releaseLock({ resources: ['hot'], lockToken });
    await granted;
    expect(await countsOf(one.locks)).toEqual({
      ...{ heldCount: 2, granted: 3, grantedAfterWaiting: 1, refused: 8, released: 1 },
    });
    await one.stop();
  },
);
