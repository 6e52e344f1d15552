import type { Client, Metadata } from '@grpc/grpc-js';
import { status as Code } from '@grpc/grpc-js';
import type { OptionNames } from '../arguments.js';
import { shardkeepError } from '../errors.js';
import { wasNeverSent, type CallPeer } from '../transport/lost-call.js';
import { throwIfNoSignal } from '../transport/abort-signal.js';
import type { ClientMethod, MethodDefinition } from '../transport/method.js';
import { DuplexMessageStream, MessageStream, type MessageStreamOptions } from './message-stream.js';

export interface StreamOptions {
  /** Gives the stream up. */
  readonly signal?: AbortSignal | undefined;
}

export const STREAM_OPTIONS: OptionNames<StreamOptions> = { signal: true };

/** One stream RPC as the client calls it. */
export interface StreamMethod extends Pick<MethodDefinition, 'path' | 'responseDeserialize'> {
  readonly encode: ClientMethod['encode'];
  /** Makes what a caller gave a whole message; throws InvalidArgumentError. */
  readonly read: (request: unknown) => object;
}

/** Opens stream RPCs, and gives up those that are open when the client closes. */
export class StreamChannel {
  private readonly open = new Set<MessageStream<unknown>>();
  private closed = false;

  constructor(
    private readonly client: Client,
    /** What each stream carries, as the credential. */
    private readonly metadata: () => Metadata,
  ) {}

  serverStream(method: StreamMethod, given: object, { signal }: StreamOptions): MessageStream<unknown> {
    const { path, encode, responseDeserialize, read } = method;
    const request = read(given);
    throwIfNoSignal(signal);
    this.throwIfClosed();
    return this.track((onOver) => {
      const call = this.client.makeServerStreamRequest(path, encode, responseDeserialize, request, this.metadata());
      return new MessageStream(call, { signal, onOver, wasNeverSent: this.askerOf(call) });
    });
  }

  duplex(method: StreamMethod, { signal }: StreamOptions): DuplexMessageStream<object, unknown> {
    const { path, encode, responseDeserialize, read } = method;
    throwIfNoSignal(signal);
    this.throwIfClosed();
    return this.track((onOver) => {
      const call = this.client.makeBidiStreamRequest(path, encode, responseDeserialize, this.metadata());
      return new DuplexMessageStream(call, read, { signal, onOver, wasNeverSent: this.askerOf(call) });
    });
  }

  close(): void {
    this.closed = true;
    for (const stream of this.open) stream.cancel();
  }

  private askerOf(call: CallPeer): MessageStreamOptions['wasNeverSent'] {
    return () => wasNeverSent(call, this.client);
  }

  private throwIfClosed(): void {
    if (this.closed) throw shardkeepError(Code.UNAVAILABLE, 'the client is closed');
  }

  private track<Stream extends MessageStream<unknown>>(
    begin: (onOver: MessageStreamOptions['onOver']) => Stream,
  ): Stream {
    const stream = begin(() => {
      this.open.delete(stream);
    });
    this.open.add(stream);
    return stream;
  }
}
