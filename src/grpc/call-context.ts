import type { Call } from '../redis/call.js';

/** Who calls, as far as the service knows. */
export interface Principal {
  readonly name: string;
  /** The only namespace the principal works in. */
  readonly namespace: string;
}

export type EndReason = 'answered' | 'deadline' | 'cancelled';

/** One call on its way: what handlers and stores may know of it. */
export class CallContext implements Call {
  private endReason: EndReason | undefined;
  private onEnd: ((reason: EndReason) => void) | undefined;

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

  /** Ends the call once; later reasons change nothing. */
  end(reason: EndReason): void {
    if (this.endReason !== undefined) return;
    this.endReason = reason;
    this.onEnd?.(reason);
  }

  /** Calls back when the call ends, also when it has ended already. */
  whenEnded(callback: (reason: EndReason) => void): void {
    this.onEnd = callback;
    if (this.endReason !== undefined) callback(this.endReason);
  }
}
