import { NO_SLOT, type Timed } from '../../wire/deadline-wheel.js';
import type { ClientMethod } from './method.js';

/** Who a call belongs to. */
export interface CallOwner {
  /** The call's time is over. */
  expire(call: PendingCall): void;
}

/** What a call was sent on. */
export interface CallCarrier {
  /** Tells the service that nobody waits for the call any more. */
  cancel(call: PendingCall): void;
}

/** A call that waits for its answer. */
export class PendingCall implements Timed {
  slot = NO_SLOT;
  next: Timed | undefined = undefined;
  previous: Timed | undefined = undefined;
  /** Its id on the stream it was sent on last; 0: not sent yet. */
  id = 0;
  /** The stream it was sent on last. */
  stream: CallCarrier | undefined = undefined;
  /** It waits in a CallQueue. */
  queued = false;
  settled = false;
  signal: AbortSignal | undefined = undefined;
  /** Takes the listener off the caller's signal. */
  forgetSignal: (() => void) | undefined = undefined;

  constructor(
    private readonly owner: CallOwner,
    readonly method: ClientMethod,
    readonly request: object,
    /** What the service is told; from 1. */
    readonly timeoutMs: number,
    /** On the clock of `performance.now()`. */
    readonly deadlineAt: number,
    readonly resolve: (response: unknown) => void,
    readonly reject: (error: Error) => void,
  ) {}

  expire(): void {
    this.owner.expire(this);
  }
}
