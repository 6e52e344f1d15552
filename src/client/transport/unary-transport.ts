import { status as Code, type Client, type Metadata } from '@grpc/grpc-js';
import { notSent, shardkeepError } from '../errors.js';
import { failNextTurn } from '../event-loop.js';
import { noMessage, type CallOptions, type ClientMethod } from './method.js';
import { isTimeout, noTimeout, wholeTimeoutMs } from './timeout.js';
import type { Transport } from './transport.js';
import { UnaryCall } from './unary-call.js';

export interface UnaryTransportOptions {
  readonly defaultTimeoutMs: number;
  /** What each call carries, as the credential. */
  readonly metadata: () => Metadata;
}

/** Each call as a unary RPC: for requests too large for the pipeline, and for services or proxies without it. */
export class UnaryTransport implements Transport {
  private readonly inFlight = new Set<Promise<unknown>>();
  private closed = false;

  constructor(
    private readonly client: Client,
    private readonly options: UnaryTransportOptions,
  ) {}

  call(method: ClientMethod, request: object, options: CallOptions): Promise<unknown> {
    if (!isTimeout(options.timeoutMs)) return Promise.reject(noTimeout());
    let payload: Buffer;
    try {
      payload = method.encode(request);
    } catch (error) {
      return Promise.reject(noMessage(method, error));
    }
    return this.send(method, payload, options);
  }

  send(method: ClientMethod, payload: Buffer, options: CallOptions): Promise<unknown> {
    if (this.closed) return failNextTurn(notSent('the client is closed'));
    if (options.signal?.aborted === true) return failNextTurn(shardkeepError(Code.CANCELLED, 'cancelled'));
    const { timeoutMs = this.options.defaultTimeoutMs, signal } = options;
    const answer = new Promise<unknown>((resolve, reject) => {
      new UnaryCall(
        this.client,
        method,
        payload,
        { timeoutMs: wholeTimeoutMs(timeoutMs), signal, metadata: this.options.metadata },
        resolve,
        reject,
      ).send();
    });
    this.inFlight.add(answer);
    const done = (): void => {
      this.inFlight.delete(answer);
    };
    answer.then(done, done);
    return answer;
  }

  async close(): Promise<void> {
    this.closed = true;
    await Promise.allSettled(this.inFlight);
  }
}
