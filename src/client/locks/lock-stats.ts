import type { GetLockStatsResponse } from '../../gen/shardkeep/lock/v1/lock.js';

/** What the locks of the namespace do, over all service processes. */
export interface LockStats {
  /** Resources that somebody holds now, among those that were counted. */
  readonly heldCount: number;
  /** Whether all locks were counted for `heldCount`. */
  readonly complete: boolean;
  /** Calls that wait now. */
  readonly waitingCount: number;
  /** How many minutes the counts below are of, up to 60, the current one among them. */
  readonly minutes: number;
  /** Resources that were granted. */
  readonly granted: number;
  /** Of these after waiting. */
  readonly grantedAfterWaiting: number;
  /** Calls that were not granted. */
  readonly refused: number;
  /** Resources that their holder released. */
  readonly released: number;
  /** Leases that ran out. */
  readonly lost: number;
  /** Resources that forceReleaseLock took from somebody. */
  readonly forceReleased: number;
  /** How long the calls that waited did so, in all. */
  readonly waitedMs: number;
  /** How long the locks that were released had been held, in all. */
  readonly heldMs: number;
  /** The resources with the most calls that found them taken, in this minute and the one before; those with the most first. */
  readonly hottest: readonly HotLock[];
}

export interface HotLock {
  readonly resource: string;
  /** How many calls found it taken; at least so many. */
  readonly contended: number;
}

export function toStats(stats: GetLockStatsResponse): LockStats {
  return {
    heldCount: Number(stats.heldCount),
    complete: stats.complete,
    waitingCount: Number(stats.waitingCount),
    minutes: stats.minutes,
    granted: Number(stats.granted),
    grantedAfterWaiting: Number(stats.grantedAfterWaiting),
    refused: Number(stats.refused),
    released: Number(stats.released),
    lost: Number(stats.lost),
    forceReleased: Number(stats.forceReleased),
    waitedMs: Number(stats.waitedMs),
    heldMs: Number(stats.heldMs),
    hottest: stats.hottest.map(({ resource, contended }) => ({ resource, contended: Number(contended) })),
  };
}
