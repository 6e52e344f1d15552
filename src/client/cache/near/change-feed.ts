import { performance } from 'node:perf_hooks';
import type { WatchRequest, WatchResponse } from '../../../gen/shardkeep/cache/v1/cache.js';
import type { Logger } from '../../logger.js';
import { WatchRequests, type WatchedKind } from './watch-requests.js';

/** CacheService.Watch, as the client's `rpc.cache` has it. */
export interface WatchRpc {
  watch(): WatchCall;
}

export interface WatchCall extends AsyncIterable<WatchResponse> {
  write(request: Partial<WatchRequest>): boolean;
  cancel(): void;
}

export interface ChangeFeedEvents {
  /** Watched keys and tags that were changed, or may have been. */
  onChanged(keys: readonly string[], tags: readonly string[]): void;
  /** Everything that was read before may be old. */
  onResync(): void;
  /** As `onResync`, and nothing is watched any more. */
  onLost(): void;
}

/**
 * So long after a question was sent its answer vouches for what is kept. It bounds what a service that froze or a connection
 * that died without a sign can do; the service itself finds out within as much when its Redis does.
 */
const TRUST_MS = 3_000;
/** How often the service is asked whether it has told everything. */
const ASK_MS = 1_000;
/** A stream without a word for so long is given up: the service sends one every 10 seconds, if need be of nothing. */
const SILENCE_MS = 15_000;
const BACKOFF_BASE_MS = 50;
const BACKOFF_MAX_MS = 5_000;
/** A stream that lasted so long was a good one. */
const GOOD_STREAM_MS = 10_000;
/** The number of a request that is not sent yet. */
const NOT_SENT = Number.POSITIVE_INFINITY;

interface Question {
  readonly request: number;
  readonly sentAt: number;
}

/**
 * One stream of Watch, opened again when it ends. Its requests are numbered from 1, on each stream anew.
 *
 * Every request is a question too. The service answers in order: when it says that a request is in force and has nothing left
 * to tell, it has told all it knew when the request was sent. A request without names is just that question.
 */
export class ChangeFeed {
  private stream: WatchCall | undefined;
  /** The numbers of the requests that added what is watched. */
  private readonly watched: Readonly<Record<WatchedKind, Map<string, number>>> = { key: new Map(), tag: new Map() };
  private readonly unsent = new WatchRequests();
  private isFlushScheduled = false;
  /** Of requests that were sent on this stream. */
  private sent = 0;
  private inForce = 0;
  private readonly questions: Question[] = [];
  private vouchedAt = Number.NEGATIVE_INFINITY;
  private heardAt = 0;
  private openedAt = 0;
  private failures = 0;
  private isOutageTold = false;
  private beat: NodeJS.Timeout | undefined;
  private reopenTimer: NodeJS.Timeout | undefined;
  private closed = false;

  constructor(
    private readonly rpc: WatchRpc,
    private readonly logger: Logger,
    private readonly events: ChangeFeedEvents,
  ) {}

  /** Once. */
  start(): void {
    this.beat = setInterval(() => {
      this.lookAfter();
    }, ASK_MS).unref();
    this.open();
  }

  /** Whether names can be watched. */
  get isOpen(): boolean {
    return this.stream !== undefined;
  }

  /** Whether all changes of what is in force were told, as of a short while ago. */
  get isTrusted(): boolean {
    return this.inForce > 0 && performance.now() - this.vouchedAt < TRUST_MS;
  }

  /** Of the names whose requests are numbered up to this, changes are told. */
  get requestsInForce(): number {
    return this.inForce;
  }

  get size(): number {
    return this.watched.key.size + this.watched.tag.size;
  }

  /** The number of the request that added a name; infinite where that was not sent, or the name is not watched. */
  requestOf(kind: WatchedKind, name: string): number {
    return this.watched[kind].get(name) ?? NOT_SENT;
  }

  /** For a name that is not watched. What is said in one turn of the event loop goes together. */
  add(kind: WatchedKind, name: string): void {
    if (this.stream === undefined) return;
    this.watched[kind].set(name, NOT_SENT);
    this.unsent.add(kind, name);
    this.scheduleFlush();
  }

  remove(kind: WatchedKind, name: string): void {
    if (!this.watched[kind].delete(name)) return;
    this.unsent.remove(kind, name);
    this.scheduleFlush();
  }

  close(): void {
    if (this.closed) return;
    this.closed = true;
    clearInterval(this.beat);
    clearTimeout(this.reopenTimer);
    this.leave();
  }

  private open(): void {
    this.openedAt = this.heardAt = performance.now();
    try {
      this.stream = this.rpc.watch();
    } catch (error) {
      this.lost(error);
      return;
    }
    this.send([{}]);
    void this.read(this.stream);
  }

  private async read(stream: WatchCall): Promise<void> {
    let reason: unknown;
    try {
      for await (const message of stream) {
        if (this.stream !== stream) return;
        this.take(message);
      }
    } catch (error) {
      reason = error;
    }
    if (this.stream === stream) this.lost(reason);
  }

  private take({ keys, tags, resync, requestsInForce, cursor }: WatchResponse): void {
    this.heardAt = performance.now();
    const inForce = Number(requestsInForce);
    // what nobody vouched for in time is not vouched for afterwards: a service that froze may not have caught up yet
    if (resync || inForce < this.inForce || !this.isTrusted) this.events.onResync();
    if (keys.length > 0 || tags.length > 0)
      this.events.onChanged(
        keys,
        tags.map(({ tag }) => tag),
      );
    this.inForce = inForce;
    this.isOutageTold = false;
    // without a cursor more is to come of what happened until now
    if (cursor.length === 0) return;
    for (let [next] = this.questions; next !== undefined && next.request <= inForce; [next] = this.questions) {
      this.vouchedAt = next.sentAt;
      this.questions.shift();
    }
  }

  private lost(reason: unknown): void {
    this.leave();
    if (this.closed) return;
    const isGood = performance.now() - this.openedAt >= GOOD_STREAM_MS;
    this.failures = isGood ? 0 : this.failures + 1;
    const ceiling = Math.min(BACKOFF_BASE_MS * 2 ** this.failures, BACKOFF_MAX_MS);
    const delayMs = ceiling / 2 + Math.random() * (ceiling / 2);
    const details = { err: reason, retryInMs: Math.round(delayMs) };
    this.logger[this.isOutageTold ? 'debug' : 'warn'](details, 'near cache: nothing is kept until Watch answers again');
    this.isOutageTold = true;
    this.reopenTimer = setTimeout(() => {
      this.open();
    }, delayMs).unref();
  }

  private leave(): void {
    const { stream } = this;
    this.stream = undefined;
    stream?.cancel();
    this.watched.key.clear();
    this.watched.tag.clear();
    this.unsent.clear();
    this.questions.length = 0;
    this.sent = 0;
    this.inForce = 0;
    this.events.onLost();
  }

  private send(requests: readonly Partial<WatchRequest>[]): void {
    for (const request of requests) {
      const number = ++this.sent;
      this.questions.push({ request: number, sentAt: performance.now() });
      for (const key of request.addKeys ?? []) this.watched.key.set(key, number);
      for (const tag of request.addTags ?? []) this.watched.tag.set(tag, number);
      this.stream?.write(request);
    }
  }

  private lookAfter(): void {
    const { stream } = this;
    if (stream === undefined) return;
    if (performance.now() - this.heardAt > SILENCE_MS) stream.cancel();
    // one question at a time, and none for nothing
    else if (this.size > 0 && this.sent === this.inForce) this.send([{}]);
  }

  private scheduleFlush(): void {
    if (this.isFlushScheduled) return;
    this.isFlushScheduled = true;
    setImmediate(() => {
      this.isFlushScheduled = false;
      if (this.stream !== undefined) this.send(this.unsent.take());
    });
  }
}
