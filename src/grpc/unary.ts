import { Metadata, type handleUnaryCall } from '@grpc/grpc-js';
import { CallContext, type Principal } from './call-context.js';
import type { Invoker } from './invoke.js';
import type { Rpc } from './rpc.js';

export interface UnaryOptions {
  readonly invoker: Invoker;
  readonly principal: Principal;
  readonly defaultDeadlineMs: number;
  readonly maxDeadlineMs: number;
  /** Counts calls from their start until their stream is closed, so that a drain knows when all answers are out. */
  readonly openCalls: OpenCalls;
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

/** Adapts an RPC to grpc-js: raw bytes in, raw bytes out (the service definition has identity codecs). */
export function unaryHandler(rpc: Rpc, options: UnaryOptions): handleUnaryCall<Buffer, Buffer> {
  return (call, callback) => {
    const context = new CallContext(options.principal, deadlineOf(call.getDeadline(), options));
    options.openCalls.opened();
    // grpc-js emits 'cancelled' when the stream closes, after every call; CallContext keeps the first end
    call.on('cancelled', () => {
      context.end('cancelled');
      options.openCalls.closed();
    });
    void options.invoker.invoke(rpc, call.request, context).then((outcome) => {
      if (outcome.ok) {
        callback(null, outcome.payload);
        return;
      }
      const metadata = new Metadata();
      metadata.set('grpc-status-details-bin', outcome.status.details);
      callback({ code: outcome.status.code, details: outcome.status.message, metadata });
    });
  };
}

/** The caller's deadline on the monotonic clock: a default where there is none, and never past the maximum. */
function deadlineOf(
  deadline: Date | number,
  { defaultDeadlineMs, maxDeadlineMs }: Pick<UnaryOptions, 'defaultDeadlineMs' | 'maxDeadlineMs'>,
): number {
  const untilMs = (typeof deadline === 'number' ? deadline : deadline.getTime()) - Date.now();
  const timeoutMs = Number.isFinite(untilMs) ? Math.min(untilMs, maxDeadlineMs) : defaultDeadlineMs;
  return performance.now() + timeoutMs;
}
