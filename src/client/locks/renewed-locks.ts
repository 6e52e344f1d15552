import { performance } from 'node:perf_hooks';
import { status as Code } from '@grpc/grpc-js';
import { ExtendLockRequest, LockOwnershipStatus, ReleaseLockRequest } from '../../gen/shardkeep/lock/v1/lock.js';
import { CancelledError, shardkeepError } from '../errors.js';
import type { Rpc } from '../rpc/rpc.js';
import { toAcquireResult, type Lock, type LockRefusal } from './acquire-outcome.js';
import { toAcquireRequest, type HoldRequest } from './acquire-request.js';
import { HeldLease, type LeaseKeeper } from './held-lease.js';
import type { HoldCallOptions, LockTakerOptions, LockTaker } from './hold-streams.js';

/**
 * Locks by AcquireLock, ExtendLock and ReleaseLock, for services without HoldLocks: those whose locks live on a quorum, or are
 * those of npm redlock. Nobody tells of a loss: it is found out by the next renewal, or by the clock.
 */
export class RenewedLocks implements LockTaker, LeaseKeeper {
  private readonly held = new Set<HeldLease>();
  private readonly closing = new AbortController();

  constructor(
    private readonly rpc: Rpc['locks'],
    private readonly options: LockTakerOptions,
  ) {}

  async hold(request: HoldRequest, options: HoldCallOptions): Promise<HeldLease | LockRefusal> {
    const { resources, terms, leaseMs, waitMs, requestId } = request;
    const { timeoutMs = this.options.timeoutMs, signal } = options;
    const message = toAcquireRequest(resources, { ...terms, ttlMs: leaseMs, waitMs, requestId });
    const closing = this.closing.signal;
    const either = signal === undefined ? closing : AbortSignal.any([signal, closing]);
    const askedAt = performance.now();
    const call = this.rpc.acquireLock(message, { timeoutMs: waitMs + timeoutMs, signal: either, retrySafe: true });
    const response = await call.catch((error: unknown) => {
      const isClosed = error instanceof CancelledError && closing.aborted;
      throw isClosed ? shardkeepError(Code.UNAVAILABLE, 'the client is closed') : error;
    });
    const result = toAcquireResult(response);
    if (result.status !== 'granted') return result;
    const lease = new HeldLease(result.lock, { leaseMs, askedAt, keeper: this, logger: this.options.logger });
    this.held.add(lease);
    lease.whenOver(() => {
      this.held.delete(lease);
    });
    return lease;
  }

  async renew({ resources, lockToken }: Lock, leaseMs: number): Promise<boolean> {
    const request = ExtendLockRequest.fromPartial({ resources: [...resources], lockToken, ttlMs: BigInt(leaseMs) });
    return (await this.rpc.extendLock(request)).status === LockOwnershipStatus.DONE;
  }

  async release({ resources, lockToken }: Lock): Promise<void> {
    await this.rpc.releaseLock(ReleaseLockRequest.fromPartial({ resources: [...resources], lockToken }));
  }

  async close(): Promise<void> {
    this.closing.abort();
    const leases = [...this.held];
    for (const lease of leases) lease.lose('closed');
    // what cannot be released ends with its lease
    await Promise.allSettled(leases.map(({ lock }) => this.release(lock)));
  }
}
