import type { StreamContext, StreamRpc } from './rpc.js';
import { TransportCall } from './transport-call.js';

/**
 * A call of a stream RPC: answers many times, then ends once: by `finish`, or by `fail`. `deadlineAt` is Infinity where
 * the caller named none: a stream has no default.
 */
export abstract class StreamCall extends TransportCall<StreamRpc> implements StreamContext {
  private isDraining = false;
  private readonly drainListeners: (() => void)[] = [];

  get draining(): boolean {
    return this.isDraining;
  }

  whenDraining(listener: () => void): void {
    if (this.isDraining) listener();
    else this.drainListeners.push(listener);
  }

  /** The service is going away: ends a stream whose RPC does not wait for its work, tells the others. */
  drain(): void {
    if (this.isDraining) return;
    this.isDraining = true;
    if (this.prepared.rpc.onDrain === 'end') this.end('draining');
    else for (const listener of this.drainListeners.splice(0)) listener();
  }

  /** The encoded requests; none is read before it is asked for. Ends, or throws, when the call ends. */
  abstract readonly requests: AsyncIterable<Buffer>;

  /**
   * Sends one response. Resolves when the transport has room for the next, or the call has ended; answers undefined
   * where it has room now. May throw, having sent nothing.
   */
  abstract send(response: Buffer): Promise<void> | undefined;

  /** Ends the stream with OK, behind everything that was sent. */
  abstract finish(): void;

  /** The handler is done with the call, which may be after its end. */
  abstract released(): void;
}
