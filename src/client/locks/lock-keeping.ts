import { FailedPreconditionError } from '../errors.js';
import type { Rpc } from '../rpc/rpc.js';
import type { LockRefusal } from './acquire-outcome.js';
import type { HoldRequest } from './acquire-request.js';
import type { HeldLease } from './held-lease.js';
import { HoldStreams, type HoldCallOptions, type LockTakerOptions, type LockTaker } from './hold-streams.js';
import { RenewedLocks } from './renewed-locks.js';

/** Holds locks in the way that the service has. */
export class LockKeeping implements LockTaker {
  private readonly streams: HoldStreams;
  private readonly renewed: RenewedLocks;
  private hasStreams = true;

  constructor(rpc: Rpc['locks'], options: LockTakerOptions) {
    this.streams = new HoldStreams(rpc, options);
    this.renewed = new RenewedLocks(rpc, options);
  }

  async hold(request: HoldRequest, options: HoldCallOptions): Promise<HeldLease | LockRefusal> {
    if (this.hasStreams) {
      try {
        return await this.streams.hold(request, options);
      } catch (error) {
        if (!(error instanceof FailedPreconditionError) || error.reason !== 'LOCK_MODE') throw error;
        this.hasStreams = false;
      }
    }
    return this.renewed.hold(request, options);
  }

  async close(): Promise<void> {
    await Promise.all([this.streams.close(), this.renewed.close()]);
  }
}
