import { setImmediate as nextTurn, setTimeout as delay } from 'node:timers/promises';
import { status as Code } from '@grpc/grpc-js';
import type { WatchSessionsResponse } from '../../gen/shardkeep/session/v1/session.js';
import {
  InvalidArgumentError,
  PermissionDeniedError,
  ShardkeepError,
  UnauthenticatedError,
  UnavailableError,
  UnimplementedError,
} from '../errors.js';
import type { Logger } from '../logger.js';
import type { MessageStream } from '../rpc/message-stream.js';

export interface ResumingStreamOptions {
  /** Opens a stream that goes on behind this cursor; throws UnavailableError when the client is closed. */
  readonly open: (cursor: Buffer) => MessageStream<WatchSessionsResponse>;
  /** Empty: from now on. */
  readonly cursor: Buffer;
  readonly logger: Logger;
  /** A stream that says nothing for so long is given up; the service says something every 10 seconds. */
  readonly silenceMs?: number;
}

const SILENCE_MS = 30_000;
/** Before a stream is opened again, doubled for each that says nothing, half of it at random. */
const BASE_DELAY_MS = 50;
const MAX_DELAY_MS = 1_000;

/**
 * The messages of WatchSessions, over as many streams as it takes. Each stream goes on behind the last cursor that came; where
 * none came, the next message says `resync`.
 */
export class ResumingStream {
  private stream: MessageStream<WatchSessionsResponse> | undefined;
  private cursor: Buffer;
  /** A message has come, on this stream or one before. */
  private hasBegun = false;
  /** How the last stream ended, unless by itself. */
  private breach: ShardkeepError | undefined;
  /** Streams that ended since something was said. */
  private failures = 0;
  /** What happened between two streams cannot be told. */
  private hasGap = false;
  private readonly closing = new AbortController();

  constructor(private readonly options: ResumingStreamOptions) {
    this.cursor = options.cursor;
  }

  get isClosed(): boolean {
    return this.closing.signal.aborted;
  }

  /**
   * The next message; undefined when it was closed, or the client was. Throws what another stream cannot heal, and whatever
   * the client's own `token` function throws.
   */
  async next(): Promise<WatchSessionsResponse | undefined> {
    while (!this.isClosed) {
      const stream = this.stream ?? this.open();
      if (stream === undefined) {
        // nothing was waited for, and whoever watches again in a loop would never let go of the event loop
        await nextTurn();
        break;
      }
      const message = await this.read(stream);
      if (message !== undefined) return this.take(message);
      await this.rest();
    }
    return undefined;
  }

  close(): void {
    this.closing.abort();
    this.stream?.cancel();
  }

  /** Undefined: the client is closed. */
  private open(): MessageStream<WatchSessionsResponse> | undefined {
    try {
      this.stream = this.options.open(this.cursor);
    } catch (error) {
      if (error instanceof UnavailableError) return undefined;
      throw error;
    }
    if (this.hasBegun && this.cursor.length === 0) this.hasGap = true;
    return this.stream;
  }

  /** Undefined: the stream is over. */
  private async read(stream: MessageStream<WatchSessionsResponse>): Promise<WatchSessionsResponse | undefined> {
    // a proxy on the way keeps its side of the connection alive when the other is gone
    const timer = setTimeout(() => {
      stream.cancel();
    }, this.options.silenceMs ?? SILENCE_MS);
    try {
      return (await stream.next()).value;
    } catch (error) {
      if (!(error instanceof ShardkeepError) || this.isFinal(error)) throw error;
      this.breach = error;
      return undefined;
    } finally {
      clearTimeout(timer);
    }
  }

  private take(message: WatchSessionsResponse): WatchSessionsResponse {
    this.hasBegun = true;
    if (this.failures > 0) this.options.logger.warn({}, 'the stream of session events is back');
    this.failures = 0;
    if (message.cursor.length > 0) this.cursor = message.cursor;
    const resync = message.resync || this.hasGap;
    this.hasGap = false;
    return { ...message, resync };
  }

  /** A credential may run out under a stream, and the next one has a new one: what counts is how a stream begins. */
  private isFinal(error: ShardkeepError): boolean {
    const isRefusal =
      error instanceof InvalidArgumentError ||
      error instanceof PermissionDeniedError ||
      error instanceof UnauthenticatedError ||
      error instanceof UnimplementedError;
    return isRefusal && (!this.hasBegun || this.failures > 0);
  }

  private async rest(): Promise<void> {
    const { breach: err } = this;
    const failures = this.failures++;
    this.stream = undefined;
    this.breach = undefined;
    if (this.isClosed) return;
    // once an outage, and without a stack, which tells nothing of who watches
    if (failures === 0) {
      const details = err === undefined ? {} : { code: Code[err.code], reason: err.reason, why: err.message };
      this.options.logger.warn(details, 'the stream of session events broke; it is opened again');
    }
    const ceiling = Math.min(BASE_DELAY_MS * 2 ** failures, MAX_DELAY_MS);
    const delayMs = Math.max(err?.retryAfterMs ?? 0, ceiling / 2 + Math.random() * (ceiling / 2));
    await delay(delayMs, undefined, { signal: this.closing.signal }).catch(() => undefined);
  }
}
