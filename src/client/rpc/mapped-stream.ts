import { failNextTurn } from '../event-loop.js';
import type { MessageStream } from './message-stream.js';

/**
 * The messages of a stream in the client's own words, to be read once with `for await`. Unlike a generator it gives the
 * stream up at once when it is left, also before the first message was asked for and while one is waited for.
 */
export class MappedStream<Message, Told> implements AsyncIterableIterator<Told, undefined> {
  private stream: MessageStream<Message> | undefined;
  private failure: Error | undefined;
  private isOver = false;

  constructor(
    private readonly open: () => MessageStream<Message>,
    private readonly told: (message: Message) => Told,
  ) {}

  /** Opens the stream, which otherwise the first `next()` does; that is also the one that fails where it cannot be opened. */
  begin(): this {
    try {
      this.stream ??= this.open();
    } catch (error) {
      this.failure = error as Error;
    }
    return this;
  }

  async next(): Promise<IteratorResult<Told, undefined>> {
    if (this.isOver) return { done: true, value: undefined };
    if (this.stream === undefined && this.failure === undefined) this.begin();
    if (this.failure !== undefined) {
      this.isOver = true;
      return failNextTurn(this.failure);
    }
    const result = await this.stream?.next();
    if (result === undefined || result.done === true) return { done: true, value: undefined };
    try {
      return { done: false, value: this.told(result.value) };
    } catch (error) {
      // a loop that fails does not call return()
      await this.return();
      throw error;
    }
  }

  async return(): Promise<IteratorResult<Told, undefined>> {
    this.isOver = true;
    await this.stream?.return();
    return { done: true, value: undefined };
  }

  [Symbol.asyncIterator](): this {
    return this;
  }
}
