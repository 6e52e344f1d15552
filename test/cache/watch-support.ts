import { CacheServiceService, type WatchRequest, type WatchResponse } from '../../src/gen/shardkeep/cache/v1/cache.js';
import type { TestChannel } from '../support/client.js';
import { openStream, type TestStream } from '../support/stream-client.js';

/** A stream of Watch as a caller keeps it: what it asked for, and what came. */
export class Watching {
  readonly stream: TestStream<WatchRequest, WatchResponse>;
  private requests = 0n;
  private seen = 0;

  constructor(channel: TestChannel) {
    this.stream = openStream(channel, CacheServiceService.watch);
  }

  /** Sends a request and waits until it is in force. */
  async add(request: Partial<WatchRequest>): Promise<this> {
    this.send(request);
    await this.untilInForce();
    return this;
  }

  send(request: Partial<WatchRequest>): void {
    this.requests++;
    this.stream.send(request);
  }

  /** Waits for a message that was not looked at yet and says that all requests are in force. */
  untilInForce(): Promise<WatchResponse> {
    return this.until(({ requestsInForce }) => requestsInForce === this.requests);
  }

  untilKey(key: string): Promise<WatchResponse> {
    return this.until(({ keys }) => keys.includes(key));
  }

  /** The next message that matches, behind those that were looked at before. */
  async until(matches: (message: WatchResponse) => boolean): Promise<WatchResponse> {
    for (;;) {
      await this.stream.untilMessages(this.seen + 1);
      const message = this.stream.messages[this.seen++];
      if (message !== undefined && matches(message)) return message;
    }
  }

  /** The keys of all messages so far. */
  get toldKeys(): string[] {
    return this.stream.messages.flatMap(({ keys }) => keys);
  }

  get resyncs(): number {
    return this.stream.messages.filter(({ resync }) => resync).length;
  }

  /** Where the stream is now. */
  get cursor(): Buffer {
    return this.stream.messages.findLast(({ cursor }) => cursor.length > 0)?.cursor ?? Buffer.alloc(0);
  }
}
