/**
 * Questions and answers between the main process and a shard over node's child-process channel, typed by a contract.
 * It stands in for whatever a real game speaks between clients, shards and its database.
 */

/** Name of each question with what is asked and what is answered. */
type Contract<Names extends string> = Readonly<Record<Names, { readonly ask: unknown; readonly answer: unknown }>>;

export type Handlers<C extends Contract<keyof C & string>> = {
  readonly [Name in keyof C]: (ask: C[Name]['ask']) => C[Name]['answer'] | Promise<C[Name]['answer']>;
};

/** `process` of a child, or the child as its parent sees it. */
interface Channel {
  send?(message: object, done: (error: Error | null) => void): boolean;
  on(event: 'message', listener: (message: unknown) => void): unknown;
  once(event: 'disconnect', listener: () => void): unknown;
}

type Message =
  | { readonly kind: 'ask'; readonly id: number; readonly name: string; readonly ask: unknown }
  | { readonly kind: 'answer'; readonly id: number; readonly answer: unknown }
  | { readonly kind: 'failure'; readonly id: number; readonly message: string };

/** The other side went away before it answered: whether it did what was asked is unknown. */
export class PeerGone extends Error {
  override readonly name = 'PeerGone';
}

/** The id of what wants no answer. */
const NO_ANSWER = 0;

/** One end: asks by the contract `Theirs` and answers by the contract `Ours`. */
export class Peer<Theirs extends Contract<keyof Theirs & string>, Ours extends Contract<keyof Ours & string>> {
  private readonly waiting = new Map<number, { resolve: (answer: unknown) => void; reject: (error: Error) => void }>();
  private lastId = NO_ANSWER;
  private gone = false;

  constructor(
    private readonly channel: Channel,
    private readonly handlers: Handlers<Ours>,
  ) {
    channel.on('message', (message) => {
      // both ends are this program
      this.receive(message as Message);
    });
    channel.once('disconnect', () => {
      this.gone = true;
      for (const { reject } of this.waiting.values()) reject(new PeerGone('the other process is gone'));
      this.waiting.clear();
    });
  }

  ask<Name extends keyof Theirs & string>(name: Name, ask: Theirs[Name]['ask']): Promise<Theirs[Name]['answer']> {
    if (this.gone) return Promise.reject(new PeerGone('the other process is gone'));
    const id = ++this.lastId;
    const answer = new Promise<unknown>((resolve, reject) => {
      this.waiting.set(id, { resolve, reject });
    });
    this.send({ kind: 'ask', id, name, ask });
    return answer;
  }

  /** Asks without wanting an answer. In order with all other messages, and in the pipe when this returns. */
  tell<Name extends keyof Theirs & string>(name: Name, ask: Theirs[Name]['ask']): void {
    if (!this.gone) this.send({ kind: 'ask', id: NO_ANSWER, name, ask });
  }

  private receive(message: Message): void {
    if (message.kind === 'ask') {
      void this.handle(message);
      return;
    }
    const waiting = this.waiting.get(message.id);
    this.waiting.delete(message.id);
    if (message.kind === 'answer') waiting?.resolve(message.answer);
    else waiting?.reject(new Error(message.message));
  }

  private async handle({ id, name, ask }: Message & { kind: 'ask' }): Promise<void> {
    try {
      const handler = this.handlers[name as keyof Ours];
      const answer = await handler(ask);
      if (id !== NO_ANSWER) this.send({ kind: 'answer', id, answer });
    } catch (error) {
      if (id === NO_ANSWER) throw error;
      this.send({
        kind: 'failure',
        id,
        message: error instanceof Error ? (error.stack ?? error.message) : String(error),
      });
    }
  }

  private send(message: Message): void {
    // a channel that breaks says so by 'disconnect', which is where it is handled
    if (!this.gone) this.channel.send?.(message, () => undefined);
  }
}
