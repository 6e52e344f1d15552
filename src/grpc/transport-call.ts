import { CallContext, type EndReason, type Principal } from './call-context.js';
import type { PreparedRpc } from './prepared-rpc.js';
import type { RpcStatus } from './status.js';

/** Counts the calls that wait for something other than Redis. */
export interface Parking {
  /** Answers false where too many do. */
  park(): boolean;
  unpark(): void;
}

/** A call as a transport brings it. It is answered once: by `succeed`, or by `fail`. */
export abstract class TransportCall extends CallContext {
  /** Set by the invoker while it works for the call. */
  onEarlyEnd: ((call: TransportCall, reason: Exclude<EndReason, 'answered'>) => void) | undefined = undefined;

  /** Set by the invoker while it works for the call. */
  parking: Parking | undefined = undefined;

  constructor(
    readonly prepared: PreparedRpc,
    principal: Principal,
    /** When the caller's request arrived, on the clock of `performance.now()`. */
    readonly arrivedAt: number,
    deadlineAt: number,
  ) {
    super(principal, deadlineAt);
  }

  /** Sends the response of the call's RPC. May throw, having sent nothing: the call fails then. */
  abstract succeed(response: unknown): void;
  abstract fail(status: RpcStatus): void;

  override park(): boolean {
    return this.parking?.park() ?? true;
  }

  override unpark(): void {
    this.parking?.unpark();
  }

  protected override endedEarly(reason: Exclude<EndReason, 'answered'>): void {
    this.onEarlyEnd?.(this, reason);
  }
}

export interface DeadlineLimits {
  readonly defaultDeadlineMs: number;
  readonly maxDeadlineMs: number;
}

/** A default where the caller names none, and never past the maximum. */
export function timeoutMsOf(
  requestedMs: number | undefined,
  { defaultDeadlineMs, maxDeadlineMs }: DeadlineLimits,
): number {
  return requestedMs === undefined ? defaultDeadlineMs : Math.min(requestedMs, maxDeadlineMs);
}
