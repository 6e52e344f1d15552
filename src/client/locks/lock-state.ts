import type * as proto from '../../gen/shardkeep/lock/v1/lock.js';
import { unlessZero } from '../int64.js';

/** One resource of a grant. As `guard` of a write it makes the record refuse this holder once a later one has written. */
export interface LockGrant {
  readonly resource: string;
  /**
   * Exclusive: greater than every fencing token granted for this resource before. Otherwise that of the last exclusive grant.
   * 0, which is none, where the service shares its locks with npm redlock.
   */
  readonly fencingToken: number;
  /** How many grants the owner has of it; above 1 by re-entry. */
  readonly holdCount: number;
}

/** Who holds a resource. */
export interface LockHolder {
  /** What the holder gave as `owner`; may be empty. */
  readonly owner: string;
  readonly fencingToken: number;
  /** When it was granted, Unix milliseconds of Redis's clock. */
  readonly acquiredAtMs: number;
  /** When its lease ends unless it is renewed, Unix milliseconds of Redis's clock. */
  readonly expiresAtMs: number;
  /** Milliseconds of the lease that are left, at least 1. */
  readonly ttlMs: number;
  /** How many permits it has. 0: all, it is exclusive. */
  readonly permits: number;
}

/** Who stands in the queue of a resource. */
export interface LockWaiter {
  /** What the waiter gave as `owner`; may be empty. */
  readonly owner: string;
  /** How many permits it waits for. 0: all. */
  readonly permits: number;
  /** When it came, Unix milliseconds of Redis's clock. */
  readonly waitingSinceMs: number;
  /** When it gives up, Unix milliseconds of Redis's clock. */
  readonly givesUpAtMs: number;
}

/** How a resource stands at one moment. */
export interface LockState {
  readonly resource: string;
  /** At most 100 of those who hold it; none when it is free. */
  readonly holders: readonly LockHolder[];
  readonly holderCount: number;
  /** Those who wait first, in their order, at most 100. */
  readonly waiters: readonly LockWaiter[];
  readonly waitingCount: number;
  /** The highest fencing token granted; undefined: none that the service still remembers. */
  readonly fencingToken: number | undefined;
  /** For how long nobody gets it because a holder got lost, in milliseconds; 0: not at all. */
  readonly delayLeftMs: number;
}

/** The same in short. */
export interface LockSummary {
  readonly resource: string;
  /** One of those who hold it; undefined when nobody does. */
  readonly holder: LockHolder | undefined;
  readonly holderCount: number;
  readonly waitingCount: number;
  /** The highest fencing token granted; undefined: none that the service still remembers. */
  readonly fencingToken: number | undefined;
  /** For how long nobody gets it because a holder got lost, in milliseconds; 0: not at all. */
  readonly delayLeftMs: number;
}

export function toGrant({ resource, fencingToken, holdCount }: proto.LockGrant): LockGrant {
  return { resource, fencingToken: Number(fencingToken), holdCount };
}

export function toHolder(holder: proto.LockHolder): LockHolder {
  return {
    owner: holder.owner,
    fencingToken: Number(holder.fencingToken),
    acquiredAtMs: Number(holder.acquiredAtMs),
    expiresAtMs: Number(holder.expiresAtMs),
    ttlMs: Number(holder.ttlMs),
    permits: holder.permits,
  };
}

export function toState(resource: string, state: proto.GetLockResponse): LockState {
  return {
    resource,
    holders: state.holders.map(toHolder),
    holderCount: Number(state.holderCount),
    waiters: state.waiters.map(({ owner, permits, waitingSinceMs, givesUpAtMs }) => ({
      owner,
      permits,
      waitingSinceMs: Number(waitingSinceMs),
      givesUpAtMs: Number(givesUpAtMs),
    })),
    waitingCount: Number(state.waitingCount),
    fencingToken: unlessZero(state.fencingToken),
    delayLeftMs: Number(state.delayLeftMs),
  };
}

export function toSummary(summary: proto.LockSummary): LockSummary {
  return {
    resource: summary.resource,
    holder: summary.holder && toHolder(summary.holder),
    holderCount: Number(summary.holderCount),
    waitingCount: Number(summary.waitingCount),
    fencingToken: unlessZero(summary.fencingToken),
    delayLeftMs: Number(summary.delayLeftMs),
  };
}
