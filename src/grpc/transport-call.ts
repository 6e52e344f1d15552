import { CallContext, type EarlyEnd } from './call-context.js';
import type { PreparedRpc } from './prepared-rpc.js';
import type { Principal } from './principal.js';
import type { Rpc, UnaryRpc } from './rpc.js';
import type { RpcStatus } from './status.js';
import type { Carried, RpcTrace } from './tracing.js';

/** Counts the calls that wait for something other than Redis. */
export interface Parking {
  /** Answers false where too many do. */
  park(): boolean;
  unpark(): void;
}

/** A call as a transport brings it, of any kind. It ends once. */
export abstract class TransportCall<Kind extends Rpc = Rpc> extends CallContext {
  /** Set by the invoker while it works for the call. */
  onEarlyEnd: ((call: TransportCall, reason: EarlyEnd) => void) | undefined = undefined;

  /** Set by the invoker while it works for the call. */
  parking: Parking | undefined = undefined;

  /** Set by the invoker where the call is traced. */
  trace: RpcTrace | undefined = undefined;

  constructor(
    readonly prepared: PreparedRpc<Kind>,
    principal: Principal,
    /** When the caller's request arrived, on the clock of `performance.now()`. */
    readonly arrivedAt: number,
    deadlineAt: number,
  ) {
    super(principal, deadlineAt);
  }

  get rpc(): string {
    return this.prepared.rpc.name;
  }

  /** What the caller sent beside the request. */
  abstract readonly carried: Carried;

  abstract fail(status: RpcStatus): void;

  override park(): boolean {
    return this.parking?.park() ?? false;
  }

  override unpark(): void {
    this.parking?.unpark();
  }

  protected override endedEarly(reason: EarlyEnd): void {
    this.onEarlyEnd?.(this, reason);
  }
}

/** A call of a unary RPC. It is answered once: by `succeed`, or by `fail`. */
export abstract class SingleCall extends TransportCall<UnaryRpc> {
  /** Sends the response of the call's RPC. May throw, having sent nothing: the call fails then. */
  abstract succeed(response: unknown): void;
}

/** `address:port` as grpc-js tells it; over a unix socket it is `unknown`. */
export function withoutPort(peer: string): string {
  return peer.replace(/:\d+$/, '');
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
