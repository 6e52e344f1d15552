import {
  FailLeaseRequest,
  FillStatus,
  RenewLeaseRequest,
  type FillRequest,
} from '../../gen/shardkeep/cache/v1/cache.js';
import type { Rpc } from '../rpc/rpc.js';
import type { Degrading } from './degrading.js';
import { wholeMs } from './expiry.js';

export interface Lease {
  readonly key: string;
  readonly leaseToken: Buffer;
  readonly leaseMs: number;
}

/** A lease that is kept while a load runs, and then filled or failed. */
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

  /** Stores what was loaded; false where a write, an invalidation or another lease was faster, or the cache is away. */
  async fill(request: FillRequest): Promise<boolean> {
    const lost = { status: FillStatus.LEASE_LOST, version: 0n };
    const { status } = await this.degrading.write('a loaded value could not be stored', lost, {}, () =>
      this.rpc.fill(request),
    );
    return status === FillStatus.FILLED;
  }

  /** Lets others load after `backoffMs`. Does not wait for the answer: without it the lease runs out. */
  fail(backoffMs: number): void {
    const { key, leaseToken } = this.lease;
    const request = FailLeaseRequest.fromPartial({
      key,
      leaseToken,
      retryAfterMs: wholeMs(backoffMs, 'failureBackoffMs'),
    });
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
    const request = RenewLeaseRequest.fromPartial({ key, leaseToken, leaseMs: wholeMs(leaseMs, 'leaseMs') });
    try {
      const { renewed } = await this.degrading.ask(() => this.rpc.renewLease(request));
      // what is loaded is still good for whoever asked for it
      if (!renewed) this.stop();
    } catch (error) {
      this.degrading.say('warn', 'the lease of a load could not be renewed', error);
    }
  }
}
