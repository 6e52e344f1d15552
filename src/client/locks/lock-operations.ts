import type { OptionNames } from '../arguments.js';
import { STREAM_OPTIONS, type StreamOptions } from '../rpc/stream-channel.js';
import { CALL_OPTIONS, type CallOptions } from '../transport/method.js';
import type { LockHolder, LockSummary } from './lock-state.js';

export type ReleaseLockResult =
  | { readonly status: 'done' }
  /** The token does not hold these (any more); of several resources the others are released. */
  | { readonly status: 'not_holder'; readonly notHeldResources: readonly string[] };

export type ExtendLockResult =
  /** The new end of the lease, Unix milliseconds of Redis's clock. */
  | { readonly status: 'done'; readonly expiresAtMs: number }
  /** The token does not hold these (any more); of several resources the others are extended. */
  | { readonly status: 'not_holder'; readonly notHeldResources: readonly string[] };

export interface CheckedFencingToken {
  /** Whether no higher token was granted, or raised by forceReleaseLock, as far as is remembered. */
  readonly valid: boolean;
  /** The highest of the resource; undefined: none that the service still remembers. */
  readonly fencingToken: number | undefined;
}

export interface ListLocksOptions extends CallOptions {
  /** What the resources begin with; all by default. */
  readonly prefix?: string;
  /** Locks in one answer, 1 to 1,000; 100 by default. */
  readonly pageSize?: number;
}

/** `resources`, a `prefix`, or both. */
export interface WatchLocksOptions extends StreamOptions {
  /** Up to 100. */
  readonly resources?: readonly string[];
  /** All resources that begin so; how they stand at the beginning is not told: see listLocks. */
  readonly prefix?: string;
}

export interface WatchedLocks {
  /** How these stand now; of a watch by prefix the first one is empty, and says that changes are told from now on. */
  readonly locks: readonly LockSummary[];
  /** Changes may have been missed. How the named resources stand follows; of a prefix see listLocks. */
  readonly resync: boolean;
}

export interface ForceReleaseLockOptions extends CallOptions {
  /** Only while this is the highest fencing token of the resource. */
  readonly expectedFencingToken?: number;
  /**
   * Nobody gets the resource before the leases are over that are taken: by then every holder by withLock or holdLock has stopped.
   * False by default: who waits is granted it at once, and may have it before the old holder has heard of its loss.
   */
  readonly afterLeases?: boolean;
}

export type ForceReleaseLockResult =
  /** From whom it was taken, at most 100, nobody where nobody held it; and the highest fencing token now. */
  | { readonly status: 'released'; readonly holders: readonly LockHolder[]; readonly fencingToken: number }
  /** Another fencing token than the expected one is the highest; nothing was done. */
  | { readonly status: 'other_token'; readonly fencingToken: number | undefined };

export interface CleanedUpLocks {
  /** How many locks were looked at. */
  readonly scannedCount: number;
  /** Leases that were over. */
  readonly expiredHolders: number;
  /** Waiters that were gone. */
  readonly expiredWaiters: number;
}

export interface LockStatsOptions extends CallOptions {
  /** How many of the hottest resources, 0 to 100; none by default. */
  readonly hottestCount?: number;
}

export const LIST_LOCKS_OPTIONS: OptionNames<ListLocksOptions> = { ...CALL_OPTIONS, prefix: true, pageSize: true };
export const WATCH_LOCKS_OPTIONS: OptionNames<WatchLocksOptions> = { ...STREAM_OPTIONS, resources: true, prefix: true };
export const FORCE_RELEASE_LOCK_OPTIONS: OptionNames<ForceReleaseLockOptions> = {
  ...CALL_OPTIONS,
  expectedFencingToken: true,
  afterLeases: true,
};
export const LOCK_STATS_OPTIONS: OptionNames<LockStatsOptions> = { ...CALL_OPTIONS, hottestCount: true };
