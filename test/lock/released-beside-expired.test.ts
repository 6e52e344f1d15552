import { expect, test } from '@jest/globals';
import { AcquireLockStatus } from '../../src/gen/shardkeep/lock/v1/lock.js';
import { until } from '../support/redis-server.js';
import { onEachTopology } from '../support/service.js';

onEachTopology('a release beside a lease that is over', (service) => {
  test('leaves the resource free', async () => {
    const { locks } = service();
    const one = { resources: ['shared'], permits: 1, capacity: 2 };
    const { lockToken } = await locks.acquireLock({ ...one, ttlMs: 3_600_000n });
    await locks.acquireLock({ ...one, ttlMs: 50n });
    await until(async () => (await locks.getLock({ resource: 'shared' })).holderCount === 1n);
    await locks.releaseLock({ resources: ['shared'], lockToken });
    expect((await locks.acquireLock({ resources: ['shared'] })).status).toBe(AcquireLockStatus.GRANTED);
  });
});
