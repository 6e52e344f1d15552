import { performance } from 'node:perf_hooks';
import { setTimeout as sleep } from 'node:timers/promises';
import { DomainError } from '../../errors.js';
import type { Call } from '../../redis/call.js';
import { NO_SLOT, type DeadlineWheel, type Timed } from '../../wire/deadline-wheel.js';
import type { ConcurrencyStore, Slots } from '../concurrency-store.js';
import { countedOf } from '../listed.js';
import type { RateLimitDecision } from '../decision.js';

export interface HeldSlotsOptions {
  readonly store: ConcurrencyStore;
  /** What wakes all that are held by this process: those that are due together are renewed by one command. */
  readonly wheel: DeadlineWheel;
}

/** After a third of the lease at the latest, so that two more tries fit in; spread, for those that were taken together. */
const RENEW_FROM = 0.28;
const RENEW_TO = 0.33;
/** How soon a renewal that failed is tried again. */
const RETRY_MS = 100;
/** How soon slots are tried to be given back again, at the latest. */
const MAX_RETRY_MS = 1_000;
/** How long the end of a stream waits for its slots to be given back; what is left is done behind it. */
const SETTLE_MS = 1_500;

/** The slots of one stream: taken once, renewed until the stream ends or they are lost, then given back. */
export class HeldSlots implements Timed {
  slot = NO_SLOT;
  next: Timed | undefined;
  previous: Timed | undefined;
  deadlineAt = 0;
  /** What may be held: not what a limit that only watches had no room for. */
  private slots: Slots;
  private readonly leaseMs: number;
  private mayHold = false;
  /** Not those that only watch: without them nobody has less. */
  private canBeLost = false;
  /** When a lease is over unless it was renewed, on the clock of `performance.now()`. */
  private endsAt = 0;
  private isOver = false;
  private finish: () => void = () => undefined;
  private lose: (error: DomainError) => void = () => undefined;
  /** Resolves when the stream is over, rejects when slots are lost. */
  readonly over = new Promise<void>((resolve, reject) => {
    this.finish = resolve;
    this.lose = reject;
  });

  constructor(
    slots: Slots,
    private readonly options: HeldSlotsOptions,
  ) {
    this.slots = slots;
    this.leaseMs = Math.min(...slots.limits.map(({ policy }) => policy.windowMs));
    // who waits for it hears of it too
    this.over.catch(() => undefined);
  }

  /** Takes all or none, and renews those that were taken. Throws SLOTS_LOST where that took longer than their lease. */
  async take(call: Call): Promise<RateLimitDecision> {
    const sentAt = performance.now();
    this.endsAt = sentAt + this.leaseMs;
    let decision: RateLimitDecision;
    try {
      decision = await this.options.store.take(this.slots, call);
    } catch (error) {
      this.mayHold = !(error instanceof DomainError) || error.code === 'OUTCOME_UNKNOWN';
      this.endsAt = performance.now() + this.leaseMs;
      throw error;
    }
    if (!decision.allowed) return decision;
    const limits = decision.limits.filter(({ denial }) => denial === undefined).map(({ terms }) => terms);
    this.slots = { ...this.slots, limits };
    this.mayHold = limits.length > 0;
    this.canBeLost = countedOf(limits).some(({ isShadow }) => !isShadow);
    // this process stood still, and others may have them by now
    if (this.isLate) throw slotsLost();
    if (this.mayHold && !this.isOver) this.wakeAt(sentAt + this.renewAfterMs());
    return decision;
  }

  /** Renews no more. */
  stop(): void {
    this.isOver = true;
    this.options.wheel.remove(this);
    this.finish();
  }

  /** Stops, and gives back what may be held; what takes long is done behind it. Never rejects. */
  async letGo(): Promise<void> {
    this.stop();
    if (!this.mayHold) return;
    this.mayHold = false;
    const timer = new AbortController();
    const patience = sleep(SETTLE_MS, undefined, { ref: false, signal: timer.signal }).catch(() => undefined);
    await Promise.race([this.giveBack(), patience]);
    timer.abort();
  }

  /** The wheel wakes it. */
  expire(): void {
    if (this.isLate) this.lost();
    else void this.renew();
  }

  private get isLate(): boolean {
    return this.canBeLost && performance.now() >= this.endsAt;
  }

  private async renew(): Promise<void> {
    this.wakeAt(this.endsAt);
    const sentAt = performance.now();
    const isHeld = await this.options.store.renew(this.slots).catch(() => undefined);
    if (this.isOver) return;
    if (isHeld === undefined) {
      this.wakeAt(Math.min(this.endsAt, performance.now() + RETRY_MS * (0.5 + Math.random())));
    } else if (isHeld) {
      this.endsAt = sentAt + this.leaseMs;
      this.wakeAt(sentAt + this.renewAfterMs());
    } else {
      this.lost();
    }
  }

  private lost(): void {
    this.lose(slotsLost());
    this.stop();
  }

  /** Until it is done, or the last lease is over by itself. */
  private async giveBack(): Promise<void> {
    const longestMs = Math.max(...this.slots.limits.map(({ policy }) => policy.windowMs));
    const overAt = performance.now() + longestMs;
    for (let pauseMs = RETRY_MS; ; pauseMs = Math.min(2 * pauseMs, MAX_RETRY_MS)) {
      try {
        await this.options.store.giveBack(this.slots);
        return;
      } catch {
        // logged where it went wrong
        if (performance.now() + pauseMs >= overAt) return;
        await sleep(pauseMs, undefined, { ref: false });
      }
    }
  }

  private renewAfterMs(): number {
    return this.leaseMs * (RENEW_FROM + Math.random() * (RENEW_TO - RENEW_FROM));
  }

  private wakeAt(at: number): void {
    this.options.wheel.remove(this);
    this.deadlineAt = at;
    this.options.wheel.add(this);
  }
}

function slotsLost(): DomainError {
  return new DomainError('SLOTS_LOST', 'the slots were reset, or their lease ran out');
}
