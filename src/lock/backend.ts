import type { Call, ParkableCall } from '../redis/call.js';

/**
 * What LockService needs of where locks live: one Redis or Cluster (`store.ts`), a quorum of masters (`quorum/`), or those
 * that users of npm `redlock` share (`redlock/`).
 */
export interface LockBackend {
  /**
   * Waits up to `waitMs`, and not past the call's deadline. What is granted after the call ended is given back. Throws
   * FailedPreconditionError for what it cannot do.
   */
  acquireLock(request: AcquireRequest, call: ParkableCall): Promise<AcquireOutcome>;
  releaseLock(resources: readonly string[], lockToken: string, call: Call): Promise<OwnershipOutcome>;
  /** The leases end `ttlMs` from now, which may be earlier than before. */
  extendLock(resources: readonly string[], lockToken: string, ttlMs: number, call: Call): Promise<ExtendOutcome>;
  getLock(resource: string, call: Call): Promise<LockState>;
}

export interface AcquireRequest {
  /** Each once. */
  readonly resources: readonly string[];
  readonly ttlMs: number;
  /** 0: does not wait. */
  readonly waitMs: number;
  readonly owner: string;
  /** While a grant lives, the same id is answered that grant. Empty: none. */
  readonly requestId: string;
  /** 0: all. */
  readonly permits: number;
  /** At least `permits`. */
  readonly capacity: number;
  readonly reentrant: boolean;
}

export interface Grant {
  readonly resource: string;
  /** A logical clock in µs, below 2^53; 0: there is none here. */
  readonly fencingToken: number;
  readonly holdCount: number;
}

export interface Granted {
  readonly status: 'granted';
  readonly lockToken: string;
  /** In the order asked. */
  readonly grants: readonly Grant[];
  readonly expiresAtMs: number;
}

export interface Refused {
  readonly status: 'held' | 'queued' | 'in_delay';
  /** What is in the way. */
  readonly resource: string;
  /** One of them, where it is held. */
  readonly holder: Holder | undefined;
  readonly waitingCount: number;
  readonly delayLeftMs: number;
}

export type AcquireOutcome = Granted | Refused;

/** Who holds a lock, without the token. Times are Unix milliseconds of Redis's clock. */
export interface Holder {
  readonly owner: string;
  readonly fencingToken: number;
  readonly acquiredAtMs: number;
  readonly expiresAtMs: number;
  /** At least 1. */
  readonly ttlMs: number;
  /** 0: all. */
  readonly permits: number;
}

export interface OwnershipOutcome {
  /** The resources that the token does not hold; empty: done. */
  readonly notHeld: readonly string[];
}

export interface ExtendOutcome extends OwnershipOutcome {
  /** The earliest new end of a lease; undefined: none was extended. */
  readonly expiresAtMs: number | undefined;
}

export interface Waiter {
  readonly owner: string;
  readonly permits: number;
  readonly waitingSinceMs: number;
  readonly givesUpAtMs: number;
}

export interface LockState {
  /** At most 100. */
  readonly holders: readonly Holder[];
  readonly holderCount: number;
  /** At most 100. */
  readonly waiters: readonly Waiter[];
  readonly waitingCount: number;
  /** The highest fencing token granted; 0: none is known. Undefined: there are none here. */
  readonly fence: number | undefined;
  readonly delayLeftMs: number;
}
