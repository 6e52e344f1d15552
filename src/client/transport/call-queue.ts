import type { PendingCall } from './pending-call.js';

/** Settled calls that may stay before the array is made anew. */
const SLACK = 64;

/** Calls that are not sent yet, in the order they will be. A call that ends while it waits is taken out at no cost. */
export class CallQueue {
  private calls: PendingCall[] = [];
  private waiting = 0;

  get size(): number {
    return this.waiting;
  }

  push(call: PendingCall): void {
    call.queued = true;
    this.waiting++;
    this.calls.push(call);
  }

  /** Puts back what has not left: before all others, without those that have ended. */
  unshift(calls: readonly PendingCall[]): void {
    const unsettled = calls.filter((call) => !call.settled);
    for (const call of unsettled) call.queued = true;
    this.waiting += unsettled.length;
    this.calls.unshift(...unsettled);
  }

  shift(): PendingCall | undefined {
    for (;;) {
      const call = this.calls.shift();
      if (call === undefined) return undefined;
      if (!call.queued) continue;
      call.queued = false;
      this.waiting--;
      return call;
    }
  }

  takeAll(): PendingCall[] {
    const calls = this.calls.filter((call) => call.queued);
    for (const call of calls) call.queued = false;
    this.calls = [];
    this.waiting = 0;
    return calls;
  }

  /** For a call that ended while it waited. */
  remove(call: PendingCall): void {
    call.queued = false;
    this.waiting--;
    // before a service that says nothing calls come and end for hours: their requests must not pile up
    if (this.calls.length > 2 * this.waiting + SLACK) this.calls = this.calls.filter((other) => other.queued);
  }
}
