import { status as Code, type ClientDuplexStream, type ClientReadableStream, type StatusObject } from '@grpc/grpc-js';
import { errorOfStatus, outcomeUnknown, shardkeepError } from '../errors.js';
import { isOfConnection } from '../transport/lost-call.js';

/** What may wait for the reader before the service is told to hold back. */
const MAX_BUFFERED = 64;

export interface MessageStreamOptions {
  readonly signal?: AbortSignal | undefined;
  /** Asked when the call has failed: whether it never had a connection to a service. */
  readonly wasNeverSent: () => boolean;
  /** The call is over. */
  readonly onOver: () => void;
}

interface Waiter<Message> {
  readonly resolve: (result: IteratorResult<Message, undefined>) => void;
  readonly reject: (error: Error) => void;
}

/**
 * The messages of one stream RPC, to be read once with `for await`. It ends when the service ends it with OK, and throws
 * ShardkeepError otherwise; leaving the loop cancels the stream. Several `next()` at once are answered in their order. Of a
 * reader that is slow a few messages wait here, and then the service is held back.
 */
export class MessageStream<Message> implements AsyncIterableIterator<Message, undefined> {
  private readonly buffered: Message[] = [];
  /** Who asked for what has not come yet. */
  private readonly waiters: Waiter<Message>[] = [];
  private ended = false;
  private failure: Error | undefined;

  constructor(
    private readonly call: ClientReadableStream<Message>,
    { signal, wasNeverSent, onOver }: MessageStreamOptions,
  ) {
    const cancel = (): void => {
      this.cancel();
    };
    let status: StatusObject | undefined;
    let readAll = false;
    const over = (): void => {
      if (status === undefined || !readAll) return;
      signal?.removeEventListener('abort', cancel);
      const { code, details } = status;
      if (code === Code.OK) this.finish(undefined);
      else if (isOfConnection(status) && !wasNeverSent()) this.finish(outcomeUnknown(details));
      else this.finish(errorOfStatus(status));
    };
    call.on('data', (message: Message) => {
      this.receive(message);
    });
    call.on('end', () => {
      readAll = true;
      over();
    });
    call.on('status', (final: StatusObject) => {
      status = final;
      onOver();
      over();
    });
    // 'status' tells the same
    call.on('error', () => undefined);
    signal?.addEventListener('abort', cancel, { once: true });
    if (signal?.aborted === true) this.cancel();
  }

  /** Gives the stream up: the loop that reads it throws CancelledError. */
  cancel(): void {
    this.abandon(shardkeepError(Code.CANCELLED, 'cancelled'));
  }

  next(): Promise<IteratorResult<Message, undefined>> {
    const message = this.buffered.shift();
    if (message !== undefined) {
      if (this.buffered.length === 0 && this.call.isPaused()) this.call.resume();
      return Promise.resolve({ done: false, value: message });
    }
    if (this.failure !== undefined) {
      const { failure } = this;
      this.failure = undefined;
      return Promise.reject(failure);
    }
    if (this.ended) return Promise.resolve({ done: true, value: undefined });
    return new Promise((resolve, reject) => {
      this.waiters.push({ resolve, reject });
    });
  }

  return(): Promise<IteratorResult<Message, undefined>> {
    // whoever waits for a message is told of the end, and of no failure
    this.abandon(undefined);
    this.buffered.length = 0;
    this.failure = undefined;
    return Promise.resolve({ done: true, value: undefined });
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  private abandon(failure: Error | undefined): void {
    if (this.ended) return;
    this.finish(failure);
    this.buffered.length = 0;
    this.call.resume();
    // grpc-js does not reset a call that is cancelled in the turn in which it began
    process.nextTick(() => {
      this.call.cancel();
    });
  }

  private receive(message: Message): void {
    if (this.ended) return;
    const waiter = this.waiters.shift();
    if (waiter !== undefined) {
      waiter.resolve({ done: false, value: message });
      return;
    }
    this.buffered.push(message);
    if (this.buffered.length >= MAX_BUFFERED) this.call.pause();
  }

  /** The first who waits is told how it ended, the others that it has. */
  private finish(failure: Error | undefined): void {
    if (this.ended) return;
    this.ended = true;
    const told = failure === undefined ? undefined : this.waiters.shift();
    if (failure !== undefined && told !== undefined) told.reject(failure);
    else this.failure = failure;
    for (const { resolve } of this.waiters.splice(0)) resolve({ done: true, value: undefined });
  }
}

/** A stream RPC in both directions. */
export class DuplexMessageStream<Request, Message> extends MessageStream<Message> {
  constructor(
    private readonly duplex: ClientDuplexStream<Request, Message>,
    /** Makes what a caller gave a whole message. */
    private readonly read: (request: unknown) => Request,
    options: MessageStreamOptions,
  ) {
    super(duplex, options);
  }

  /**
   * Sends one request; false: the service does not read as fast as this, and what is sent waits in memory. Throws
   * InvalidArgumentError for what is no request, and the stream goes on; FailedPreconditionError after `end`.
   */
  write(request: Request): boolean {
    if (this.duplex.writableEnded) throw shardkeepError(Code.FAILED_PRECONDITION, 'the stream was ended');
    return this.duplex.write(this.read(request));
  }

  /** Nothing more will be sent; the service ends the stream when it has answered. */
  end(): void {
    this.duplex.end();
  }
}
