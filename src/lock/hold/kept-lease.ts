import { performance } from 'node:perf_hooks';
import { setTimeout as sleep } from 'node:timers/promises';
import { keys } from '../../redis/keys.js';
import { NO_SLOT, type DeadlineWheel, type Timed } from '../../wire/deadline-wheel.js';
import type { WakeChannel, WakeChannels, WakeListener } from '../wake-channels.js';
import type { HoldStore, LetGo, StreamLease } from './hold-store.js';
import type { RenewReply } from './scripts.js';

export type LossReason = 'expired' | 'force_released' | 'released';

/** How a lock got lost. */
export interface Loss {
  readonly reason: LossReason;
  /** What was said to ForceReleaseLock. */
  readonly message: string;
}

/** How a lease is kept from now on. */
export interface KeepTerms {
  readonly ttlMs: number;
  readonly graceMs: number;
  readonly fencingToken: number;
  /** The caller renews it, by `extend`; the service only looks. */
  readonly callerRenews: boolean;
}

export interface KeptLeaseOptions {
  readonly store: HoldStore;
  readonly wakes: WakeChannels;
  /** What wakes all leases of the process: those that are due together are renewed by one command. */
  readonly wheel: DeadlineWheel;
  /** It is kept no more, for a loss or, undefined, since another stream keeps it. It hears what comes until it is stopped. */
  readonly onEnd: (lease: KeptLease, loss: Loss | undefined) => void;
}

/** After a third of the lease at the latest, so that two more tries fit in; spread, for those that were granted together. */
const RENEW_FROM = 0.28;
const RENEW_TO = 0.33;
/** How soon a renewal that failed is tried again. */
const RETRY_MS = 100;
type NotHolder = Extract<RenewReply, { status: 'not_holder' }>;

const EXPIRED: Loss = { reason: 'expired', message: '' };

/**
 * The lease of one resource that a stream keeps, or asks for. From the beginning it listens to what becomes of the lock;
 * from `keep` on it renews the lease. What it hears is only a reason to look: of one token with several resources one may
 * be meant, or the token may have been granted anew.
 */
export class KeptLease implements WakeListener, Timed {
  slot = NO_SLOT;
  next: Timed | undefined;
  previous: Timed | undefined;
  deadlineAt = 0;
  /** Requests of the stream that ask for it. */
  askers = 0;
  private terms: KeepTerms | undefined;
  /** When the lease is over unless it was renewed, on the clock of `performance.now()`. */
  private endsAt = 0;
  private isRenewing = false;
  private isStale = false;
  private isPaused = false;
  /** What was heard of its end, and not seen yet. */
  private heard: Loss | undefined;
  private readonly channel: WakeChannel;

  constructor(
    readonly lease: StreamLease,
    private readonly options: KeptLeaseOptions,
  ) {
    const { namespace, resource, lockToken } = lease;
    this.channel = options.wakes.open(namespace, keys.lock(namespace, resource), lockToken, this);
  }

  get isKept(): boolean {
    return this.terms !== undefined;
  }

  /** The lease was granted just now. */
  keep(terms: KeepTerms): void {
    this.terms = terms;
    this.isPaused = false;
    const now = performance.now();
    this.endsAt = now + terms.ttlMs;
    this.wakeAfterRenewal(now, terms);
  }

  /** Makes it last for its whole time from now on; answers whether it does. Rejects where Redis does not tell. */
  async extend(): Promise<boolean> {
    const { terms, heard } = this;
    if (terms === undefined || this.isPaused) return false;
    const sentAt = performance.now();
    const reply = await this.options.store.renew(this.lease, terms.ttlMs);
    // what was asked before it ended, or was granted anew, tells nothing
    if (this.terms !== terms || this.isReleasing) return false;
    this.settle(reply, { sentAt, heard, terms });
    return reply.status === 'done';
  }

  /** Renews no more until it is granted again: it is about to be released. */
  pause(): void {
    this.isPaused = true;
    this.options.wheel.remove(this);
  }

  get isReleasing(): boolean {
    return this.isPaused;
  }

  /** Renews no more and hears nothing more. */
  stop(): void {
    this.terms = undefined;
    this.options.wheel.remove(this);
    this.channel.close();
  }

  /** Stops, and lets go of the lock in Redis: tries until it is done, or the lease is over by itself. Never rejects. */
  async letGo(how: 'released' | 'lost'): Promise<void> {
    const { terms, endsAt, lease, options } = this;
    this.stop();
    if (terms === undefined) return;
    const way: LetGo = how === 'released' ? { clean: true } : { clean: false, graceMs: terms.graceMs };
    for (;;) {
      try {
        await options.store.detach(lease, way);
        return;
      } catch {
        // logged where it went wrong
        if (performance.now() + RETRY_MS >= endsAt) return;
        await sleep(RETRY_MS, undefined, { ref: false });
      }
    }
  }

  readonly onLost = (message: string): void => {
    this.hear({ reason: 'force_released', message });
  };

  readonly onReleased = (): void => {
    this.hear({ reason: 'released', message: '' });
  };

  readonly onMissed = (): void => {
    void this.renew();
  };

  /** The wheel wakes it. */
  expire(): void {
    if (performance.now() < this.endsAt) {
      // what was heard is looked at, by which the lease lasts longer once; that does no harm
      if (this.terms?.callerRenews !== true || this.heard !== undefined) void this.renew();
      else this.wakeAt(this.endsAt);
      return;
    }
    const { lease, options } = this;
    this.end(this.heard ?? EXPIRED);
    // a renewal whose answer never came may have been done
    options.store.detach(lease, { clean: false, graceMs: 0 }).catch(() => undefined);
  }

  private hear(loss: Loss): void {
    this.heard = loss;
    void this.renew();
  }

  private async renew(): Promise<void> {
    const { terms, heard } = this;
    if (terms === undefined || this.isPaused) return;
    if (this.isRenewing) {
      this.isStale = true;
      return;
    }
    this.isRenewing = true;
    this.wakeAt(this.endsAt);
    const sentAt = performance.now();
    const reply = await this.options.store.renew(this.lease, terms.ttlMs).catch(() => undefined);
    this.isRenewing = false;
    // what was asked before it ended, or was granted anew, tells nothing
    if (this.terms === terms && !this.isReleasing) this.settle(reply, { sentAt, heard, terms });
    if (!this.isStale) return;
    this.isStale = false;
    void this.renew();
  }

  private settle(
    reply: RenewReply | undefined,
    { sentAt, heard, terms }: { readonly sentAt: number; readonly heard: Loss | undefined; readonly terms: KeepTerms },
  ): void {
    switch (reply?.status) {
      case undefined:
        this.wakeAt(Math.min(this.endsAt, performance.now() + RETRY_MS * (0.5 + Math.random())));
        break;
      case 'done':
        this.endsAt = Math.max(this.endsAt, sentAt + terms.ttlMs);
        // what was heard before was of another resource, or of an earlier grant
        if (this.heard === heard) this.heard = undefined;
        this.wakeAfterRenewal(sentAt, terms);
        break;
      case 'taken_over':
        this.end(undefined);
        break;
      case 'not_holder':
        this.end(this.heard ?? this.unheard(reply));
        break;
    }
  }

  /**
   * A lease that Redis does not know any more although it is not over: a fence that was set by force since it was granted
   * tells who took it. Where the fence is still its own, Redis has lost nothing, and nobody else has it, so it was released.
   */
  private unheard({ fence, forced }: NotHolder): Loss {
    const fencingToken = this.terms?.fencingToken ?? 0;
    if (performance.now() >= this.endsAt) return EXPIRED;
    if (forced !== undefined && forced.fence > fencingToken)
      return { reason: 'force_released', message: forced.reason };
    return fence === fencingToken ? { reason: 'released', message: '' } : EXPIRED;
  }

  private end(loss: Loss | undefined): void {
    this.terms = undefined;
    this.heard = undefined;
    this.options.wheel.remove(this);
    this.options.onEnd(this, loss);
  }

  private wakeAfterRenewal(renewedAt: number, { ttlMs, callerRenews }: KeepTerms): void {
    this.wakeAt(callerRenews ? this.endsAt : renewedAt + renewAfterMs(ttlMs));
  }

  private wakeAt(at: number): void {
    this.options.wheel.remove(this);
    this.deadlineAt = at;
    this.options.wheel.add(this);
  }
}

function renewAfterMs(ttlMs: number): number {
  return ttlMs * (RENEW_FROM + Math.random() * (RENEW_TO - RENEW_FROM));
}
