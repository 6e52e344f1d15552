import {
  FailLeaseRequest,
  FillStatus,
  RenewLeaseRequest,
  type FillRequest,
  type FillResponse,
} from '../../gen/shardkeep/cache/v1/cache.js';
import type { Rpc } from '../rpc/rpc.js';
import type { CallOptions } from '../transport/method.js';
import type { Degrading } from './degrading.js';

export interface Lease {
  readonly key: string;
  readonly leaseToken: Buffer;
  /** Whole, from 1. */
  readonly leaseMs: number;
}

/** A lease that is kept while a load or a write to the source runs, and then filled or failed. */
export class LeasedLoad {
  private readonly timer: NodeJS.Timeout;

  constructor(
    private readonly rpc: Rpc['cache'],
    private readonly degrading: Degrading,
    private readonly lease: Lease,
  ) {
    this.timer = setInterval(() => {
      void this.renew();
    }, lease.leaseMs / 3);
  }

  /**
   * Stores what was loaded, or written; LEASE_LOST where a write, an invalidation or another lease was faster, or the cache is
   * away. Whoever sends a guard has to know: then that fails with UnavailableError.
   */
  async fill(request: FillRequest, options: CallOptions = {}): Promise<FillResponse> {
    const fill = (): Promise<FillResponse> => this.rpc.fill(request, options);
    if (request.guard !== undefined) return this.degrading.ask(fill);
    const lost = { status: FillStatus.LEASE_LOST, version: 0n };
    return this.degrading.write('a value could not be stored under its lease', lost, options, fill);
  }

  /** Lets others load after `backoffMs`, 0 to 600,000. Does not wait for the answer: without it the lease runs out. */
  fail(backoffMs: number): void {
    const { key, leaseToken } = this.lease;
    const request = FailLeaseRequest.fromPartial({ key, leaseToken, retryAfterMs: BigInt(backoffMs) });
    this.degrading
      .ask(() => this.rpc.failLease(request))
      .catch((error: unknown) => {
        this.degrading.say('warn', 'a failed load could not be told', error);
      });
  }

  stop(): void {
    clearInterval(this.timer);
  }

  private async renew(): Promise<void> {
    const { key, leaseToken, leaseMs } = this.lease;
    const request = RenewLeaseRequest.fromPartial({ key, leaseToken, leaseMs: BigInt(leaseMs) });
    try {
      const { renewed } = await this.degrading.ask(() => this.rpc.renewLease(request));
      // what is loaded is still good for whoever asked for it
      if (!renewed) this.stop();
    } catch (error) {
      this.degrading.say('warn', 'the lease of a load could not be renewed', error);
    }
  }
}
