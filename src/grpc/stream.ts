import { performance } from 'node:perf_hooks';
import {
  type handleBidiStreamingCall,
  type handleServerStreamingCall,
  type ServerDuplexStream,
  type ServerWritableStream,
} from '@grpc/grpc-js';
import { answerTooLarge, DomainError } from '../errors.js';
import { refusalOr, type Followed } from './authority.js';
import { connectionOf } from './connection.js';
import type { PreparedRpc } from './prepared-rpc.js';
import { NOBODY, type Principal } from './principal.js';
import type { BidiStreamRpc, ServerStreamRpc, StreamRpc } from './rpc.js';
import type { RpcStatus } from './status.js';
import { StreamCall } from './stream-call.js';
import type { Carried } from './tracing.js';
import { endStream } from './trailers.js';
import { withoutPort } from './transport-call.js';
import { remainingMs, type TransportOptions } from './unary.js';

type GrpcStream = ServerWritableStream<Buffer, Buffer> | ServerDuplexStream<Buffer, Buffer>;

/** Unsent answers from which on the handler is not asked for more. grpc-js counts messages only, whatever their size. */
const MAX_UNSENT_BYTES = 65_536;
const MAX_UNSENT_MESSAGES = 16;
/** How long a drain waits for a caller to take the end of its stream: one that does not read must not hold it. */
const LINGER_MS = 2_000;
/** grpc-js counts a deadline in whole milliseconds of another clock. */
const CLOCK_GRAIN_MS = 2;

/** Adapts a stream RPC to grpc-js: raw bytes in, raw bytes out, and neither faster than the other side takes them. */
export function serverStreamHandler(
  prepared: PreparedRpc<ServerStreamRpc>,
  options: TransportOptions,
): handleServerStreamingCall<Buffer, Buffer> {
  return (grpcStream) => {
    begin(prepared, grpcStream, only(grpcStream.request), options);
  };
}

export function bidiStreamHandler(
  prepared: PreparedRpc<BidiStreamRpc>,
  options: TransportOptions,
): handleBidiStreamingCall<Buffer, Buffer> {
  return (grpcStream) => {
    // a handler that stops reading must still be able to answer
    const requests = grpcStream.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>;
    begin(prepared, grpcStream, requests, options);
  };
}

function begin(
  prepared: PreparedRpc<StreamRpc>,
  grpcStream: GrpcStream,
  requests: AsyncIterable<Buffer>,
  options: TransportOptions,
): void {
  const { authority, invoker } = options;
  const followed: Followed | DomainError = refusalOr(() =>
    authority.follow(grpcStream, prepared.rpc.name, (error) => {
      invoker.reject(call, error);
    }),
  );
  const isKnown = !(followed instanceof DomainError);
  const principal = isKnown ? followed.principal : NOBODY;
  const call = new GrpcStreamCall(prepared, principal, grpcStream, requests, options);
  if (!isKnown) {
    invoker.reject(call, followed);
    call.released();
    return;
  }
  call.whenEnded(() => {
    followed.release();
  });
  invoker.invokeStream(call);
  const connection = connectionOf(grpcStream.metadata);
  if (connection === undefined) return;
  const { onDrain, holds } = prepared.rpc;
  // what only lasts moves when its connection gets old; what holds or does something keeps the connection until it ends
  grpcStream.on('cancelled', onDrain === 'end' && !holds ? connection.hold(call) : connection.keep());
}

// eslint-disable-next-line @typescript-eslint/require-await -- what is there already, as if it came
async function* only(request: Buffer): AsyncGenerator<Buffer, void> {
  yield request;
}

class GrpcStreamCall extends StreamCall {
  private unsentBytes = 0;
  private unsentMessages = 0;
  private hasRoom: (() => void) | undefined;
  private isReleased = false;
  private isClosed = false;
  private isCounted = true;
  private lingerTimer: NodeJS.Timeout | undefined;

  constructor(
    prepared: PreparedRpc<StreamRpc>,
    principal: Principal,
    private readonly grpcStream: GrpcStream,
    readonly requests: AsyncIterable<Buffer>,
    private readonly options: TransportOptions,
  ) {
    const arrivedAt = performance.now();
    const timeoutMs = remainingMs(grpcStream.getDeadline()) ?? Number.POSITIVE_INFINITY;
    super(prepared, principal, arrivedAt, arrivedAt + timeoutMs);
    options.openCalls.opened();
    this.whenEnded(() => {
      this.hasRoom?.();
      this.lingerTimer = setTimeout(() => {
        this.uncount();
      }, LINGER_MS).unref();
    });
    // grpc-js emits 'cancelled' when the stream closes, in whatever way; a call keeps its first end
    grpcStream.on('cancelled', () => {
      this.end(performance.now() + CLOCK_GRAIN_MS >= this.deadlineAt ? 'deadline' : 'cancelled');
      this.isClosed = true;
      this.uncountWhenDone();
    });
  }

  override get peer(): string {
    return withoutPort(this.grpcStream.getPeer());
  }

  override get carried(): Carried {
    return { metadata: this.grpcStream.metadata, isShared: false };
  }

  override send(response: Buffer): Promise<void> | undefined {
    if (response.length > this.options.maxMessageBytes) throw answerTooLarge();
    this.unsentBytes += response.length;
    this.unsentMessages++;
    // not called when the stream breaks: the end of the call wakes the handler then
    this.grpcStream.write(response, () => {
      this.unsentBytes -= response.length;
      this.unsentMessages--;
      if (!this.isFull) this.hasRoom?.();
    });
    if (!this.isFull) return undefined;
    return new Promise((resolve) => {
      this.hasRoom = resolve;
    });
  }

  override finish(): void {
    this.grpcStream.end();
  }

  override fail(status: RpcStatus): void {
    if (this.grpcStream.writable) endStream(this.grpcStream, status);
  }

  override released(): void {
    this.isReleased = true;
    this.uncountWhenDone();
  }

  private get isFull(): boolean {
    return this.unsentBytes >= MAX_UNSENT_BYTES || this.unsentMessages >= MAX_UNSENT_MESSAGES;
  }

  private uncountWhenDone(): void {
    if (this.isClosed && this.isReleased) this.uncount();
  }

  private uncount(): void {
    clearTimeout(this.lingerTimer);
    if (!this.isCounted) return;
    this.isCounted = false;
    this.options.openCalls.closed();
  }
}
