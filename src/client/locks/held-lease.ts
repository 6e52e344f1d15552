import { performance } from 'node:perf_hooks';
import type { Logger } from '../logger.js';
import type { Lock } from './acquire-outcome.js';
import { LockLostError, type LockLoss } from './lock-errors.js';
import type { LockGrant } from './lock-state.js';

/** A lock that is held until it is released or lost. */
export interface HeldLock {
  readonly resources: readonly string[];
  /** One for each resource, in their order; each fits as the `guard` of a write. */
  readonly grants: readonly LockGrant[];
  /** That of the first resource. */
  readonly fencingToken: number;
  /**
   * Aborts with a LockLostError when the lock is lost. Ask it as `lock.signal` each time rather than keep it: asking compares the
   * lease with the clock, so that also code which runs before any timer can, when the event loop stood still, is told.
   */
  readonly signal: AbortSignal;
  /**
   * Gives the lock back: when it resolves, the next one can have it. Never rejects: where the service cannot be asked, the
   * lock ends with its lease. A second time, or after a loss, it does nothing more.
   */
  release(): Promise<void>;
}

/** What keeps a lock at the service. */
export interface LeaseKeeper {
  /** Makes its lease whole again; false: it is lost. Rejects where that could not be found out. */
  renew(lock: Lock, leaseMs: number): Promise<boolean>;
  /** Rejects where it could not be asked, or did not answer in time. */
  release(lock: Lock, leaseMs: number): Promise<void>;
}

export interface HeldLeaseOptions {
  readonly leaseMs: number;
  /** When the lock was asked for, on the clock of `performance.now()`: its lease began then at the earliest. */
  readonly askedAt: number;
  readonly keeper: LeaseKeeper;
  readonly logger: Logger;
}

/** Renewed after a third of the lease at the latest, so that two more tries fit in; spread, for those granted together. */
const RENEW_FROM = 0.28;
const RENEW_TO = 0.33;
/** A renewal that failed is tried again after so much of the lease. */
const RETRY = 0.05;
/**
 * How much sooner than at the service the lease ends here: for clocks that do not run alike, and for a timer that is late.
 * A clock of a computer is off by less than 0.05 %.
 */
const MARGIN = 0.02;
const MARGIN_MS = 10;
/** An older lease is renewed before its holder begins. */
const FRESH = 0.34;

/**
 * A lock whose lease is counted here. It counts from when the last renewal that was answered was *sent*: whatever the service,
 * Redis and the network do, nobody else is granted the lock by its lease before this has aborted the signal.
 */
export class HeldLease implements HeldLock {
  readonly resources: readonly string[];
  readonly grants: readonly LockGrant[];
  readonly fencingToken: number;
  private readonly controller = new AbortController();
  /** When the lease is over as far as this side may count on it, on the clock of `performance.now()`. */
  private endsAt = 0;
  private renewAt = 0;
  private renewal: Promise<void> | undefined;
  private released: Promise<void> | undefined;
  private isOver = false;
  private lost: LockLostError | undefined;
  private timer: NodeJS.Timeout | undefined;
  private tellOver: () => void = () => undefined;

  constructor(
    readonly lock: Lock,
    private readonly options: HeldLeaseOptions,
  ) {
    this.resources = lock.resources;
    this.grants = lock.grants;
    this.fencingToken = lock.fencingToken;
    this.countFrom(options.askedAt);
  }

  get signal(): AbortSignal {
    this.look();
    return this.controller.signal;
  }

  /** How it got lost; undefined: it did not. */
  get loss(): LockLostError | undefined {
    this.look();
    return this.lost;
  }

  /** Sees to it that most of the lease is left. Of a lock that waited for its turn nobody knows when its lease began. */
  async freshen(): Promise<void> {
    const { askedAt, leaseMs } = this.options;
    if (performance.now() < askedAt + leaseMs * FRESH) this.arm();
    else await this.renew();
  }

  /** It is lost: nothing makes it held again. */
  lose(loss: LockLoss, detail?: string): void {
    if (this.isOver || this.lost !== undefined) return;
    // its holder is done, and had it until then, unless the service has taken it meanwhile
    if (this.released !== undefined && (loss === 'disconnected' || loss === 'closed')) return;
    clearTimeout(this.timer);
    this.lost = new LockLostError(this.resources, loss, detail);
    this.options.logger.warn({ resources: this.resources, loss }, 'a lock is lost');
    this.controller.abort(this.lost);
    this.tellOver();
  }

  /** Calls back when it is released or lost. */
  whenOver(listener: () => void): void {
    this.tellOver = listener;
  }

  release(): Promise<void> {
    this.released ??= this.giveBack();
    return this.released;
  }

  private async giveBack(): Promise<void> {
    const { loss } = this;
    clearTimeout(this.timer);
    if (loss?.loss !== 'closed') {
      const { keeper, leaseMs, logger } = this.options;
      const done = keeper.release(this.lock, leaseMs).catch((err: unknown) => {
        logger.warn({ err, resources: this.resources }, 'a lock could not be released; it ends with its lease');
      });
      // of what is lost something may be left that is in the way of others, but nobody waits for it here
      if (loss === undefined) await done;
    }
    this.isOver = true;
    this.tellOver();
  }

  private look(): void {
    if (this.released === undefined && performance.now() >= this.endsAt) this.lose('expired');
  }

  private renew(): Promise<void> {
    this.renewal ??= this.tryToRenew().finally(() => {
      this.renewal = undefined;
      if (this.lost === undefined && this.released === undefined) this.arm();
    });
    return this.renewal;
  }

  private async tryToRenew(): Promise<void> {
    const { keeper, leaseMs, logger } = this.options;
    const sentAt = performance.now();
    try {
      const isHeld = await keeper.renew(this.lock, leaseMs);
      // a renewal that its own release overtook finds nothing
      if (this.released !== undefined) return;
      if (isHeld) this.countFrom(sentAt);
      else this.lose('expired');
    } catch (err) {
      logger.debug({ err, resources: this.resources }, 'a lock could not be renewed');
      this.renewAt = performance.now() + leaseMs * RETRY;
    }
  }

  private countFrom(at: number): void {
    const { leaseMs } = this.options;
    this.endsAt = at + leaseMs * (1 - MARGIN) - MARGIN_MS;
    this.renewAt = at + leaseMs * (RENEW_FROM + Math.random() * (RENEW_TO - RENEW_FROM));
  }

  private arm(): void {
    clearTimeout(this.timer);
    const at = this.renewal === undefined ? Math.min(this.renewAt, this.endsAt) : this.endsAt;
    // the stream is what keeps the process, as long as it is open
    this.timer = setTimeout(
      () => {
        this.onTime();
      },
      Math.max(0, at - performance.now()),
    ).unref();
  }

  private onTime(): void {
    this.look();
    if (this.lost !== undefined || this.released !== undefined) return;
    if (performance.now() >= this.renewAt && this.renewal === undefined) void this.renew();
    this.arm();
  }
}
