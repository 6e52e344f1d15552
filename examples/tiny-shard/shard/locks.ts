import { ShardkeepError, type Lock } from 'shardkeep/client';
import { nowUs } from '../stage/evidence.js';
import type { ShardContext } from './context.js';

/** Many times what a trade takes, and what the others wait when the holder dies. */
export const LEASE_MS = 1_500;
/** Longer than a lease, so that a dead holder's locks lapse while we wait. */
const WAIT_MS = 3_000;

/**
 * Takes all locks or none, waiting in their queues. Undefined: not to be had for three seconds. By hand, so that the checks
 * see each grant and release; `withLock` would do both, and renew.
 */
export async function lockAll(context: ShardContext, resources: readonly string[]): Promise<Lock | undefined> {
  const { shardkeep, report, name } = context;
  const startedUs = nowUs();
  const taken = await shardkeep.locks.acquireLock(resources, { ttlMs: LEASE_MS, waitMs: WAIT_MS, owner: name });
  if (taken.status !== 'granted') {
    report(startedUs, { kind: 'lock_held', resource: taken.blockingResource });
    return undefined;
  }
  for (const { resource, fencingToken } of taken.lock.grants) {
    report(startedUs, { kind: 'lock_granted', resource, fencingToken, ttlMs: LEASE_MS });
  }
  return taken.lock;
}

/** Never throws: a lock that cannot be given back lapses by itself. */
export async function releaseAll({ shardkeep, report }: ShardContext, lock: Lock): Promise<void> {
  const startedUs = nowUs();
  for (const { resource, fencingToken } of lock.grants) {
    report(startedUs, { kind: 'lock_releasing', resource, fencingToken });
  }
  try {
    const released = await shardkeep.locks.releaseLock(lock);
    const late = released.status === 'not_holder' ? released.notHeldResources : [];
    for (const resource of lock.resources) {
      report(startedUs, { kind: 'lock_released', resource, inTime: !late.includes(resource) });
    }
  } catch (error) {
    if (!(error instanceof ShardkeepError)) throw error;
    report(startedUs, { kind: 'call_failed', message: error.message });
  }
}
