import { randomUUID } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import { AcquireLockStatus, LockOwnershipStatus } from '../../../src/gen/shardkeep/lock/v1/lock.js';
import { ShardkeepError } from '../client.js';
import { nowUs } from '../stage/evidence.js';
import type { ShardContext } from './context.js';

export interface HeldLock {
  readonly resource: string;
  /** For the database. */
  readonly fencingToken: bigint;
  /** For ReleaseLock and ExtendLock. */
  readonly lockToken: string;
}

/** Many times what a trade takes, and what the others wait when the holder dies. */
export const LEASE_MS = 1_500;
/** Longer than a lease, so that a dead holder's locks lapse while we wait. */
const PATIENCE_MS = 4_000;
/** How long to keep others out of one lock while waiting for the next. */
const WAIT_HOLDING_MS = LEASE_MS / 2;
const FIRST_BACKOFF_MS = 10;
const MAX_BACKOFF_MS = 160;

/**
 * Takes all locks or none, in sorted order: two trades that want the same two inventories then never hold one each and
 * wait for the other. Undefined: not to be had for four seconds.
 */
export async function lockAll(context: ShardContext, resources: readonly string[]): Promise<HeldLock[] | undefined> {
  const sorted = [...resources].sort();
  const giveUpAtMs = Date.now() + PATIENCE_MS;
  while (Date.now() < giveUpAtMs) {
    const held: HeldLock[] = [];
    for (const resource of sorted) {
      const untilMs = held.length === 0 ? giveUpAtMs : Math.min(giveUpAtMs, Date.now() + WAIT_HOLDING_MS);
      const lock = await acquire(context, resource, untilMs);
      if (lock === undefined) break;
      held.push(lock);
    }
    if (held.length === sorted.length && (await renewEarlier(context, held))) return held;
    await releaseAll(context, held);
  }
  return undefined;
}

/** Never throws: a lock that cannot be given back lapses by itself. */
export async function releaseAll(context: ShardContext, locks: readonly HeldLock[]): Promise<void> {
  await Promise.all(locks.map((lock) => release(context, lock)));
}

async function acquire(context: ShardContext, resource: string, untilMs: number): Promise<HeldLock | undefined> {
  const { shardkeep, report } = context;
  // one id for all tries: when the answer to a grant is lost, the next try gets that same grant
  const requestId = randomUUID();
  for (let backoffMs = FIRST_BACKOFF_MS; ; backoffMs = Math.min(2 * backoffMs, MAX_BACKOFF_MS)) {
    const startedUs = nowUs();
    const { status, lockToken, grants, holder } = await shardkeep.locks.acquireLock({
      resources: [resource],
      ttlMs: BigInt(LEASE_MS),
      owner: context.name,
      requestId,
    });
    const [grant] = grants;
    if (status === AcquireLockStatus.GRANTED && grant !== undefined) {
      report(startedUs, { kind: 'lock_granted', resource, fencingToken: grant.fencingToken, ttlMs: LEASE_MS });
      return { resource, fencingToken: grant.fencingToken, lockToken };
    }
    if (status !== AcquireLockStatus.HELD) throw new Error(`AcquireLock answered status ${String(status)}`);
    report(startedUs, { kind: 'lock_held', resource });
    // at random, so that those who wait do not come in step; never longer than the lease that is in the way
    const waitMs = Math.min(backoffMs * (0.5 + Math.random()), Number(holder?.ttlMs ?? MAX_BACKOFF_MS) + 1);
    if (Date.now() + waitMs > untilMs) return undefined;
    await delay(waitMs);
  }
}

/** Gives the locks that were taken first a full lease again; false: one of them has lapsed meanwhile. */
async function renewEarlier({ shardkeep }: ShardContext, held: readonly HeldLock[]): Promise<boolean> {
  const extended = await Promise.all(
    held
      .slice(0, -1)
      .map(({ resource, lockToken }) =>
        shardkeep.locks.extendLock({ resources: [resource], lockToken, ttlMs: BigInt(LEASE_MS) }),
      ),
  );
  return extended.every(({ status }) => status === LockOwnershipStatus.DONE);
}

async function release({ shardkeep, report }: ShardContext, lock: HeldLock): Promise<void> {
  const { resource, lockToken, fencingToken } = lock;
  const startedUs = nowUs();
  report(startedUs, { kind: 'lock_releasing', resource, fencingToken });
  try {
    const { status } = await shardkeep.locks.releaseLock({ resources: [resource], lockToken });
    report(startedUs, { kind: 'lock_released', resource, inTime: status === LockOwnershipStatus.DONE });
  } catch (error) {
    if (!(error instanceof ShardkeepError)) throw error;
    report(startedUs, { kind: 'call_failed', message: error.message });
  }
}
