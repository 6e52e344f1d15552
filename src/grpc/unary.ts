import { performance } from 'node:perf_hooks';
import type { handleUnaryCall, sendUnaryData, ServerUnaryCall } from '@grpc/grpc-js';
import { answerTooLarge, DomainError } from '../errors.js';
import { refusalOr, type Authority } from './authority.js';
import type { Invoker } from './invoke.js';
import type { PreparedRpc } from './prepared-rpc.js';
import { NOBODY, type Principal } from './principal.js';
import type { Rejections } from './rejections.js';
import type { RpcStatus } from './status.js';
import type { UnaryRpc } from './rpc.js';
import type { Carried } from './tracing.js';
import { trailersOf } from './trailers.js';
import { SingleCall, timeoutMsOf, withoutPort, type DeadlineLimits } from './transport-call.js';

/** What every transport needs. */
export interface TransportOptions extends DeadlineLimits {
  readonly invoker: Invoker;
  readonly authority: Authority;
  readonly maxMessageBytes: number;
  /** Counts calls from their start until their stream is closed, so that a drain knows when all answers are out. */
  readonly openCalls: OpenCalls;
  readonly rejections: Rejections;
}

export class OpenCalls {
  private count = 0;
  private idle: (() => void) | undefined;

  opened(): void {
    this.count++;
  }

  closed(): void {
    this.count--;
    if (this.count === 0) this.idle?.();
  }

  /** Resolves when no call is open. */
  whenIdle(): Promise<void> {
    return new Promise((resolve) => {
      if (this.count === 0) resolve();
      else this.idle = resolve;
    });
  }
}

class UnaryCall extends SingleCall {
  constructor(
    prepared: PreparedRpc<UnaryRpc>,
    principal: Principal,
    arrivedAt: number,
    deadlineAt: number,
    private readonly options: TransportOptions,
    private readonly grpcCall: ServerUnaryCall<Buffer, Buffer>,
    private readonly callback: sendUnaryData<Buffer>,
  ) {
    super(prepared, principal, arrivedAt, deadlineAt);
  }

  override get peer(): string {
    return withoutPort(this.grpcCall.getPeer());
  }

  override get carried(): Carried {
    return { metadata: this.grpcCall.metadata, isShared: false };
  }

  override succeed(response: unknown): void {
    const payload = this.prepared.rpc.encode(response);
    if (payload.length > this.options.maxMessageBytes) throw answerTooLarge();
    this.callback(null, payload);
  }

  override fail(status: RpcStatus): void {
    this.callback({ code: status.code, details: status.message, metadata: trailersOf(status) });
  }
}

/** Adapts an RPC to grpc-js: raw bytes in, raw bytes out (the service definition has identity codecs). */
export function unaryHandler(
  prepared: PreparedRpc<UnaryRpc>,
  options: TransportOptions,
): handleUnaryCall<Buffer, Buffer> {
  return (grpcCall, callback) => {
    const arrivedAt = performance.now();
    const deadlineAt = arrivedAt + timeoutMsOf(remainingMs(grpcCall.getDeadline()), options);
    const caller = refusalOr(() => options.authority.principalOf(grpcCall));
    const isKnown = !(caller instanceof DomainError);
    const principal = isKnown ? caller : NOBODY;
    const call = new UnaryCall(prepared, principal, arrivedAt, deadlineAt, options, grpcCall, callback);
    options.openCalls.opened();
    // grpc-js emits 'cancelled' when the stream closes, after every call; a call keeps its first end
    grpcCall.on('cancelled', () => {
      call.end('cancelled');
      options.openCalls.closed();
    });
    if (isKnown) options.invoker.invoke(call, grpcCall.request, 0, grpcCall.request.length);
    else options.invoker.reject(call, caller);
  };
}

/** What is left until a deadline of the wall clock; undefined where the caller named none. */
export function remainingMs(deadline: Date | number): number | undefined {
  const untilMs = (typeof deadline === 'number' ? deadline : deadline.getTime()) - Date.now();
  return Number.isFinite(untilMs) ? untilMs : undefined;
}
