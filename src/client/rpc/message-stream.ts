import { status as Code, type ClientDuplexStream, type ClientReadableStream, type StatusObject } from '@grpc/grpc-js';
import { errorOfStatus, outcomeUnknown, shardkeepError } from '../errors.js';

/** What may wait for the reader before the service is told to hold back. */
const MAX_BUFFERED = 64;

export interface MessageStreamOptions {
  readonly signal?: AbortSignal | undefined;
  /** The call is over. */
  readonly onOver: () => void;
}

interface Waiter<Message> {
  readonly resolve: (result: IteratorResult<Message, undefined>) => void;
  readonly reject: (error: Error) => void;
}

/**
 * The messages of one stream RPC, to be read once with `for await`. It ends when the service ends it with OK, and throws
 * ShardkeepError otherwise; leaving the loop cancels the stream.
 */
export class MessageStream<Message> implements AsyncIterableIterator<Message, undefined> {
  private readonly buffered: Message[] = [];
  private waiter: Waiter<Message> | undefined;
  private ended = false;
  private failure: Error | undefined;

  constructor(
    private readonly call: ClientReadableStream<Message>,
    { signal, onOver }: MessageStreamOptions,
  ) {
    const cancel = (): void => {
      this.cancel();
    };
    let status: StatusObject | undefined;
    let readAll = false;
    const over = (): void => {
      if (status === undefined || !readAll) return;
      signal?.removeEventListener('abort', cancel);
      this.finish(status.code === Code.OK ? undefined : errorOfStream(status));
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
    if (this.ended) return;
    this.finish(shardkeepError(Code.CANCELLED, 'cancelled'));
    this.buffered.length = 0;
    this.call.resume();
    // grpc-js does not reset a call that is cancelled in the turn in which it began
    process.nextTick(() => {
      this.call.cancel();
    });
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
      this.waiter = { resolve, reject };
    });
  }

  return(): Promise<IteratorResult<Message, undefined>> {
    this.cancel();
    this.failure = undefined;
    return Promise.resolve({ done: true, value: undefined });
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  private receive(message: Message): void {
    if (this.ended) return;
    const { waiter } = this;
    if (waiter !== undefined) {
      this.waiter = undefined;
      waiter.resolve({ done: false, value: message });
      return;
    }
    this.buffered.push(message);
    if (this.buffered.length >= MAX_BUFFERED) this.call.pause();
  }

  private finish(failure: Error | undefined): void {
    if (this.ended) return;
    this.ended = true;
    const { waiter } = this;
    this.waiter = undefined;
    if (waiter === undefined) this.failure = failure;
    else if (failure === undefined) waiter.resolve({ done: true, value: undefined });
    else waiter.reject(failure);
  }
}

/** A stream RPC in both directions. */
export class DuplexMessageStream<Request, Message> extends MessageStream<Message> {
  constructor(
    private readonly duplex: ClientDuplexStream<Request, Message>,
    options: MessageStreamOptions,
  ) {
    super(duplex, options);
  }

  /** Sends one request; false: the service does not read as fast as this, and what is sent waits in memory. */
  write(request: Request): boolean {
    return this.duplex.write(request);
  }

  /** Nothing more will be sent; the service ends the stream when it has answered. */
  end(): void {
    this.duplex.end();
  }
}

/** A connection that broke under a stream says UNAVAILABLE without a word of the service. */
function errorOfStream(status: StatusObject): Error {
  const untold = status.code === Code.UNAVAILABLE && Object.keys(status.metadata.getMap()).length === 0;
  return untold ? outcomeUnknown(status.details) : errorOfStatus(status);
}
