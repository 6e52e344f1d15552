import type { WatchCall, WatchRpc } from '../../../src/client/cache/near/change-feed.js';
import { InvalidationMode, WatchRequest, WatchResponse } from '../../../src/gen/shardkeep/cache/v1/cache.js';

const MAX_NAMES_A_REQUEST = 1_024;

/** What happened, and what has to be done when the client is told of it. */
interface Told {
  readonly message: WatchResponse;
  readonly onDelivered: () => void;
}

/** CacheService.Watch of a service that takes requests and delivers messages when the test says so. */
export class ScriptedWatch implements WatchRpc {
  readonly watched = { keys: new Set<string>(), tags: new Set<string>() };
  /** The most names that a stream watched at any time. */
  mostWatched = 0;
  streams = 0;
  private requests: WatchRequest[] = [];
  private taken = 0n;
  private told: Told[] = [];
  private reader: Reader | undefined;

  watch(): WatchCall {
    this.forget();
    this.streams++;
    const reader = new Reader();
    this.reader = reader;
    return {
      write: (request) => {
        if (this.reader === reader) this.requests.push(WatchRequest.fromPartial(request));
        return true;
      },
      cancel: () => {
        reader.end();
      },
      [Symbol.asyncIterator]: () => reader,
    };
  }

  /** Takes the next request and tells that it is in force; answers false where there is none. */
  takeRequest(): boolean {
    const request = this.requests.shift();
    if (request === undefined) return false;
    const { addKeys, removeKeys, addTags, removeTags } = request;
    for (const names of [addKeys, removeKeys, addTags, removeTags]) {
      if (names.length > MAX_NAMES_A_REQUEST || new Set(names).size < names.length) throw new Error('INVALID_ARGUMENT');
    }
    const { keys, tags } = this.watched;
    for (const key of removeKeys) keys.delete(key);
    for (const tag of removeTags) tags.delete(tag);
    for (const key of addKeys) keys.add(key);
    for (const tag of addTags) tags.add(tag);
    this.mostWatched = Math.max(this.mostWatched, keys.size + tags.size);
    this.taken++;
    this.tell({});
    return true;
  }

  tellKey(key: string, onDelivered: () => void): void {
    if (this.watched.keys.has(key)) this.tell({ keys: [key] }, onDelivered);
  }

  tellTag(tag: string, onDelivered: () => void): void {
    if (this.watched.tags.has(tag)) this.tell({ tags: [{ tag, mode: InvalidationMode.HARD }] }, onDelivered);
  }

  /** In place of all that was not delivered yet. */
  tellResync(onDelivered: () => void): void {
    this.told = [];
    if (this.taken > 0n) this.tell({ resync: true }, onDelivered);
  }

  /** Answers false where there is no message. */
  deliver(): boolean {
    const next = this.told.shift();
    if (next === undefined) return false;
    next.onDelivered();
    this.reader?.push(next.message);
    return true;
  }

  /** The stream breaks. */
  break(): void {
    const { reader } = this;
    this.forget();
    reader?.end();
  }

  private tell(message: Partial<WatchResponse>, onDelivered = (): void => undefined): void {
    const whole = { requestsInForce: this.taken, cursor: Buffer.from('here'), ...message };
    this.told.push({ message: WatchResponse.fromPartial(whole), onDelivered });
  }

  private forget(): void {
    this.reader = undefined;
    this.requests = [];
    this.told = [];
    this.taken = 0n;
    this.watched.keys.clear();
    this.watched.tags.clear();
  }
}

class Reader implements AsyncIterator<WatchResponse, undefined> {
  private readonly messages: WatchResponse[] = [];
  private ended = false;
  private wake: () => void = () => undefined;

  push(message: WatchResponse): void {
    this.messages.push(message);
    this.wake();
  }

  end(): void {
    this.ended = true;
    this.wake();
  }

  async next(): Promise<IteratorResult<WatchResponse, undefined>> {
    for (;;) {
      const value = this.messages.shift();
      if (value !== undefined) return { done: false, value };
      if (this.ended) return { done: true, value: undefined };
      await new Promise<void>((resolve) => {
        this.wake = resolve;
      });
    }
  }
}
