import { status as Code, type CallOptions, type ClientDuplexStream } from '@grpc/grpc-js';
import type { Method, RequestOf, ResponseOf, TestChannel } from './client.js';

/** A call of a stream RPC, as a generated client would make it. */
export class TestStream<Request, Response> {
  /** What has come so far. */
  readonly messages: Response[] = [];
  /** All messages when the stream ended well; rejects with the ServiceError when it did not. */
  readonly result: Promise<readonly Response[]>;
  private readonly stream: ClientDuplexStream<Request, Response>;
  private readonly watchers = new Set<() => void>();
  private over = false;

  constructor(
    channel: TestChannel,
    private readonly method: Method,
    options: CallOptions,
  ) {
    // a client of one request is one of many that sends only one
    this.stream = channel.client.makeBidiStreamRequest(
      method.path,
      method.requestSerialize as (request: Request) => Buffer,
      method.responseDeserialize as (bytes: Buffer) => Response,
      channel.metadata,
      options,
    );
    this.stream.on('data', (message: Response) => {
      this.messages.push(message);
      this.notify();
    });
    this.result = new Promise((resolve, reject) => {
      this.stream.on('error', reject);
      this.stream.on('end', () => {
        resolve(this.messages);
      });
    });
    const ended = (): void => {
      this.over = true;
      this.notify();
    };
    this.result.then(ended, ended);
  }

  /** The gRPC code that the stream ended with. */
  async code(): Promise<Code> {
    return this.result.then(
      () => Code.OK,
      (error: unknown) => (error as { readonly code: Code }).code,
    );
  }

  send(request: Partial<Request>): void {
    // the decoding of nothing is the message of defaults
    this.stream.write({ ...(this.method.requestDeserialize(Buffer.alloc(0)) as Request), ...request });
  }

  /** Sends nothing more. */
  halfClose(): void {
    this.stream.end();
  }

  cancel(): void {
    this.stream.cancel();
  }

  /** Reads nothing until `resume`. */
  pause(): void {
    this.stream.pause();
  }

  resume(): void {
    this.stream.resume();
  }

  /** Waits until so many messages have come; rejects when the stream ends without them. */
  untilMessages(count: number): Promise<void> {
    return new Promise((resolve, reject) => {
      const look = (): void => {
        if (this.messages.length >= count) resolve();
        else if (this.over) reject(new Error(`the stream ended after ${String(this.messages.length)} messages`));
        else return;
        this.watchers.delete(look);
      };
      this.watchers.add(look);
      look();
    });
  }

  private notify(): void {
    for (const watcher of [...this.watchers]) watcher();
  }
}

/** Opens a stream; fields that are left out have their defaults. Without a request it is for the caller to send them. */
export function openStream<M extends Method>(
  channel: TestChannel,
  method: M,
  request?: Partial<RequestOf<M>>,
  options: CallOptions = {},
): TestStream<RequestOf<M>, ResponseOf<M>> {
  const stream = new TestStream<RequestOf<M>, ResponseOf<M>>(channel, method, options);
  if (request !== undefined) {
    stream.send(request);
    stream.halfClose();
  }
  return stream;
}
