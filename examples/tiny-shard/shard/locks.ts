import { randomUUID } from 'node:crypto';
import { AcquireLockStatus } from '../../../src/gen/shardkeep/lock/v1/lock.js';
import { ShardkeepError } from '../client.js';
import { nowUs } from '../stage/evidence.js';
import type { ShardContext } from './context.js';

export interface HeldLock {
  readonly resource: string;
  /** For the database. */
  readonly fencingToken: bigint;
}

export interface HeldLocks {
  readonly locks: readonly HeldLock[];
  /** For ReleaseLock. */
  readonly lockToken: string;
}

/** Many times what a trade takes, and what the others wait when the holder dies. */
export const LEASE_MS = 1_500;
/** Longer than a lease, so that a dead holder's locks lapse while we wait; shorter than the deadline of a call. */
const WAIT_MS = 3_000;

/** Takes all locks or none, waiting in their queues. Undefined: not to be had for three seconds. */
export async function lockAll(context: ShardContext, resources: readonly string[]): Promise<HeldLocks | undefined> {
  const { shardkeep, report, name } = context;
  const startedUs = nowUs();
  const { status, lockToken, grants, blockingResource } = await shardkeep.locks.acquireLock({
    resources: [...resources],
    ttlMs: BigInt(LEASE_MS),
    waitMs: BigInt(WAIT_MS),
    owner: name,
    // when the answer to a grant is lost, the next try gets that same grant; while it waits, that same place
    requestId: randomUUID(),
  });
  if (status !== AcquireLockStatus.GRANTED) {
    report(startedUs, { kind: 'lock_held', resource: blockingResource });
    return undefined;
  }
  for (const { resource, fencingToken } of grants) {
    report(startedUs, { kind: 'lock_granted', resource, fencingToken, ttlMs: LEASE_MS });
  }
  return { locks: grants, lockToken };
}

/** Never throws: a lock that cannot be given back lapses by itself. */
export async function releaseAll({ shardkeep, report }: ShardContext, { locks, lockToken }: HeldLocks): Promise<void> {
  const startedUs = nowUs();
  for (const { resource, fencingToken } of locks) report(startedUs, { kind: 'lock_releasing', resource, fencingToken });
  try {
    const resources = locks.map(({ resource }) => resource);
    const { notHeldResources } = await shardkeep.locks.releaseLock({ resources, lockToken });
    for (const resource of resources) {
      report(startedUs, { kind: 'lock_released', resource, inTime: !notHeldResources.includes(resource) });
    }
  } catch (error) {
    if (!(error instanceof ShardkeepError)) throw error;
    report(startedUs, { kind: 'call_failed', message: error.message });
  }
}
