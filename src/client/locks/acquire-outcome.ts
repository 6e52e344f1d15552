import { status as Code } from '@grpc/grpc-js';
import { AcquireLockStatus, type AcquireLockResponse } from '../../gen/shardkeep/lock/v1/lock.js';
import { shardkeepError } from '../errors.js';
import { toGrant, toHolder, type LockGrant, type LockHolder } from './lock-state.js';

/** A lock that its holder extends and releases itself. Plain data: another process may release it. */
export interface Lock {
  readonly resources: readonly string[];
  /** Proves the holder. Whoever knows it can release and extend the lock, so it is a secret of its holder. */
  readonly lockToken: string;
  /** One for each resource, in their order. */
  readonly grants: readonly LockGrant[];
  /** That of the first resource. */
  readonly fencingToken: number;
  /**
   * The end of the lease, Unix milliseconds of Redis's clock. By your own clock the lease lasts for `ttlMs` from when you
   * called; of a call that waited less is known.
   */
  readonly expiresAtMs: number;
}

/** What is in the way of a lock. */
export interface LockRefusal {
  /**
   * `held`: by another. `queued`: there is room, but others wait in front. `in_delay`: a holder got lost, and the resource is
   * closed to everybody for a time.
   */
  readonly status: 'held' | 'queued' | 'in_delay';
  readonly blockingResource: string;
  /** Who holds it, of several holders one of those; undefined where nobody does. */
  readonly holder: LockHolder | undefined;
  /** How many stand in the queue, without this call. */
  readonly waitingCount: number;
  /** When it is free unless it is extended, or closed no longer; undefined where that is not known. */
  readonly retryAfterMs: number | undefined;
}

export type AcquireLockResult = { readonly status: 'granted'; readonly lock: Lock } | LockRefusal;

const REFUSALS: ReadonlyMap<AcquireLockStatus, LockRefusal['status']> = new Map([
  [AcquireLockStatus.HELD, 'held'],
  [AcquireLockStatus.QUEUED, 'queued'],
  [AcquireLockStatus.IN_DELAY, 'in_delay'],
]);

export function toAcquireResult(response: AcquireLockResponse): AcquireLockResult {
  const isWhole = response.lockToken !== '' && response.grants.length > 0;
  if (response.status === AcquireLockStatus.GRANTED && isWhole) return { status: 'granted', lock: toLock(response) };
  const status = REFUSALS.get(response.status);
  if (status === undefined) {
    throw shardkeepError(Code.UNKNOWN, 'the service answered AcquireLock with what this client does not know');
  }
  const holder = response.holder && toHolder(response.holder);
  return {
    status,
    blockingResource: response.blockingResource,
    holder,
    waitingCount: Number(response.waitingCount),
    retryAfterMs: status === 'in_delay' ? Number(response.delayLeftMs) : holder?.ttlMs,
  };
}

function toLock({ lockToken, grants, expiresAtMs }: AcquireLockResponse): Lock {
  return {
    resources: grants.map(({ resource }) => resource),
    lockToken,
    grants: grants.map(toGrant),
    fencingToken: Number(grants[0]?.fencingToken ?? 0n),
    expiresAtMs: Number(expiresAtMs),
  };
}
