import { performance } from 'node:perf_hooks';
import type { Call, ParkableCall } from '../../redis/call.js';
import type {
  AcquireOutcome,
  AcquireRequest,
  ExtendOutcome,
  LockBackend,
  LockState,
  OwnershipOutcome,
} from '../backend.js';
import type { LockStats } from '../stats.js';

/** Counts what is done with locks on masters of their own, where no script tells how long they were held. */
export class CountedLocks implements LockBackend {
  constructor(
    private readonly locks: LockBackend,
    private readonly stats: LockStats,
  ) {}

  async acquireLock(request: AcquireRequest, call: ParkableCall): Promise<AcquireOutcome> {
    const startedAt = performance.now();
    const outcome = await this.locks.acquireLock(request, call);
    // who does not wait is answered by the first try; how many tries others took is not told
    const waitedMs = request.waitMs > 0 && outcome.status !== 'granted' ? performance.now() - startedAt : undefined;
    if (!call.ended) this.stats.of(call.namespace).answered(outcome, waitedMs);
    return outcome;
  }

  async releaseLock(resources: readonly string[], lockToken: string, call: Call): Promise<OwnershipOutcome> {
    const outcome = await this.locks.releaseLock(resources, lockToken, call);
    this.stats.of(call.namespace).releasedCount(resources.length - outcome.notHeld.length);
    return outcome;
  }

  extendLock(resources: readonly string[], lockToken: string, ttlMs: number, call: Call): Promise<ExtendOutcome> {
    return this.locks.extendLock(resources, lockToken, ttlMs, call);
  }

  getLock(resource: string, call: Call): Promise<LockState> {
    return this.locks.getLock(resource, call);
  }
}
