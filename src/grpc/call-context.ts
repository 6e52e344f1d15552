import type { ParkableCall } from '../redis/call.js';
import { NO_SLOT, type Timed } from '../wire/deadline-wheel.js';
import type { Principal } from './principal.js';

/** `draining`: the service goes away, and the stream does not wait for its work. */
export type EndReason = 'answered' | 'deadline' | 'cancelled' | 'draining';
export type EarlyEnd = Exclude<EndReason, 'answered'>;

/** One call on its way: what handlers and stores may know of it. */
export abstract class CallContext implements ParkableCall, Timed {
  slot = NO_SLOT;
  next: Timed | undefined;
  previous: Timed | undefined;
  private endReason: EndReason | undefined;
  private endListeners: ((reason: EndReason) => void)[] | undefined;

  constructor(
    readonly principal: Principal,
    /** On the clock of `performance.now()`. */
    readonly deadlineAt: number,
  ) {}

  get namespace(): string {
    return this.principal.namespace;
  }

  get ended(): boolean {
    return this.endReason !== undefined;
  }

  /** Ends the call; answers false, and changes nothing, where it has ended already. */
  end(reason: EndReason): boolean {
    if (this.endReason !== undefined) return false;
    this.endReason = reason;
    const listeners = this.endListeners;
    this.endListeners = undefined;
    if (listeners !== undefined) for (const listener of listeners) listener(reason);
    if (reason !== 'answered') this.endedEarly?.(reason);
    return true;
  }

  expire(): void {
    this.end('deadline');
  }

  /** Calls back when the call ends, also when it has ended already. */
  whenEnded(listener: (reason: EndReason) => void): void {
    if (this.endReason !== undefined) listener(this.endReason);
    else if (this.endListeners === undefined) this.endListeners = [listener];
    else this.endListeners.push(listener);
  }

  /** The address that the call came from, without the port. */
  abstract get peer(): string;
  abstract park(): boolean;
  abstract unpark(): void;

  /** Called when the caller waits no more and the call has no answer yet. */
  protected endedEarly?(reason: EarlyEnd): void;
}
