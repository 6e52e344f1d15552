import { failNextTurn } from '../event-loop.js';
import type { MessageStream } from './message-stream.js';

/**
 * The messages of a stream in the client's own words, to be read once with `for await`. Unlike a generator it gives the
 * stream up at once when it is left, also before the first message was asked for and while one is waited for.
 */
export class MappedStream<Message, Told> implements AsyncIterableIterator<Told, undefined> {
  private stream: MessageStream<Message> | undefined;
  private isLeft = false;

  constructor(
    private readonly open: () => MessageStream<Message>,
    private readonly told: (message: Message) => Told,
  ) {}

  /** Opens the stream, which otherwise the first `next()` does. Throws UnavailableError when the client is closed. */
  begin(): this {
    this.stream ??= this.open();
    return this;
  }

  async next(): Promise<IteratorResult<Told, undefined>> {
    if (this.isLeft) return { done: true, value: undefined };
    try {
      this.begin();
    } catch (error) {
      this.isLeft = true;
      return failNextTurn(error as Error);
    }
    const result = await this.stream?.next();
    if (result === undefined || result.done === true) return { done: true, value: undefined };
    return { done: false, value: this.told(result.value) };
  }

  async return(): Promise<IteratorResult<Told, undefined>> {
    this.isLeft = true;
    await this.stream?.return();
    return { done: true, value: undefined };
  }

  [Symbol.asyncIterator](): this {
    return this;
  }
}
