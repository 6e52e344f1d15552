import { NO_SLOT, type Timed } from '../wire/deadline-wheel.js';
import type { ClientMethod } from './method.js';

export interface PendingCallOptions {
  /** What the service is told, from 1. */
  readonly timeoutMs: number;
  /** On the clock of `performance.now()`. */
  readonly deadlineAt: number;
  readonly resolve: (response: unknown) => void;
  readonly reject: (error: Error) => void;
  readonly onExpired: (call: PendingCall) => void;
}

/** A call that waits for its answer. */
export class PendingCall implements Timed {
  slot = NO_SLOT;
  next: Timed | undefined;
  previous: Timed | undefined;
  /** Its id on the stream it was sent on last; 0: not sent yet. */
  id = 0;
  settled = false;
  signal: AbortSignal | undefined;
  /** Takes the listener off the caller's signal. */
  forgetSignal: (() => void) | undefined;
  readonly timeoutMs: number;
  readonly deadlineAt: number;
  readonly resolve: (response: unknown) => void;
  readonly reject: (error: Error) => void;
  private readonly onExpired: (call: PendingCall) => void;

  constructor(
    readonly method: ClientMethod,
    readonly request: object,
    { timeoutMs, deadlineAt, resolve, reject, onExpired }: PendingCallOptions,
  ) {
    this.timeoutMs = timeoutMs;
    this.deadlineAt = deadlineAt;
    this.resolve = resolve;
    this.reject = reject;
    this.onExpired = onExpired;
  }

  expire(): void {
    this.onExpired(this);
  }
}
