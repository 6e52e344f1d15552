import { CallContext, type EndReason, type Principal } from './call-context.js';
import type { PreparedRpc } from './prepared-rpc.js';
import type { RpcStatus } from './status.js';

export interface CallTimes {
  /** On the clock of `performance.now()`, as all times of a call. */
  readonly arrivedAt: number;
  readonly deadlineAt: number;
}

/** A call as a transport brings it. It is answered once: by `succeed`, or by `fail`. */
export abstract class TransportCall extends CallContext {
  /** When the caller's request arrived. */
  readonly arrivedAt: number;
  /** Set by the invoker while it works for the call. */
  onEarlyEnd: ((call: TransportCall, reason: Exclude<EndReason, 'answered'>) => void) | undefined;

  constructor(
    readonly prepared: PreparedRpc,
    principal: Principal,
    { arrivedAt, deadlineAt }: CallTimes,
  ) {
    super(principal, deadlineAt);
    this.arrivedAt = arrivedAt;
  }

  /** Sends the response of the call's RPC. May throw, having sent nothing: the call fails then. */
  abstract succeed(response: unknown): void;
  abstract fail(status: RpcStatus): void;

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
