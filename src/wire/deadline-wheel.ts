import { performance } from 'node:perf_hooks';
/** Something that ends at a time; the links belong to the wheel it is on. */
export interface Timed {
  /** On the clock of `performance.now()`. */
  readonly deadlineAt: number;
  expire(): void;
  slot: number;
  next: Timed | undefined;
  previous: Timed | undefined;
}

/** In `Timed.slot`: on no wheel. */
export const NO_SLOT = -1;

const TICK_MS = 4;
const SLOTS = 1_024;

/**
 * A hashed timer wheel (Varghese and Lauck, 1987, scheme 6): one timer for all calls in flight, where one of Node's own
 * for each would cost 1 µs. A deadline is noticed up to one tick late, never early.
 */
export class DeadlineWheel {
  private readonly heads = new Array<Timed | undefined>(SLOTS).fill(undefined);
  private count = 0;
  private timer: NodeJS.Timeout | undefined;
  private lastTick = 0;

  add(timed: Timed): void {
    if (this.timer === undefined) this.start();
    const slot = Math.max(Math.ceil(timed.deadlineAt / TICK_MS), this.lastTick + 1) % SLOTS;
    const head = this.heads[slot];
    timed.slot = slot;
    timed.next = head;
    if (head !== undefined) head.previous = timed;
    this.heads[slot] = timed;
    this.count++;
  }

  /** Does nothing for one that is on no wheel. */
  remove(timed: Timed): void {
    if (timed.slot === NO_SLOT) return;
    if (timed.previous === undefined) this.heads[timed.slot] = timed.next;
    else timed.previous.next = timed.next;
    if (timed.next !== undefined) timed.next.previous = timed.previous;
    timed.slot = NO_SLOT;
    timed.next = undefined;
    timed.previous = undefined;
    this.count--;
  }

  private start(): void {
    this.lastTick = Math.floor(performance.now() / TICK_MS);
    this.timer = setInterval(() => {
      this.advance();
    }, TICK_MS);
    this.timer.unref();
  }

  private advance(): void {
    const now = performance.now();
    const tick = Math.floor(now / TICK_MS);
    // after a long pause each slot is looked at once
    const from = Math.max(this.lastTick + 1, tick - SLOTS + 1);
    this.lastTick = tick;
    for (let passed = from; passed <= tick; passed++) this.expireSlot(passed % SLOTS, now);
    // kept for a tick after the last call, so that serial calls do not start a timer each
    if (this.count === 0) {
      clearInterval(this.timer);
      this.timer = undefined;
    }
  }

  private expireSlot(slot: number, now: number): void {
    let timed = this.heads[slot];
    while (timed !== undefined) {
      const { next } = timed;
      // others of this slot are due in a later round
      if (timed.deadlineAt <= now) {
        this.remove(timed);
        timed.expire();
      }
      timed = next;
    }
  }
}
