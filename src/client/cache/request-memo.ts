import { AsyncLocalStorage } from 'node:async_hooks';
import { AnswersByKey } from './answers-by-key.js';

/** What was asked for during one request, answered again without asking; in memory, and gone with the request. */
export class RequestMemo {
  private readonly storage = new AsyncLocalStorage<AnswersByKey>();

  /** All that `body` does, and what it calls, shares one memo. */
  run<Result>(body: () => Result): Result {
    return this.storage.run(new AnswersByKey(), body);
  }

  /** `kind` keeps answers of different shapes for one key apart. A failure is not kept. */
  get<Answer>(kind: string, key: string, ask: () => Promise<Answer>): Promise<Answer> {
    const memo = this.storage.getStore();
    if (memo === undefined) return ask();
    const known = memo.get(kind, key);
    // a kind has answers of one type for each key, as far as its caller says so
    if (known !== undefined) return known as Promise<Answer>;
    const answer = ask();
    memo.set(kind, key, answer);
    answer.catch(() => {
      memo.remove(kind, key, answer);
    });
    return answer;
  }

  /** Undefined: all keys. */
  forget(keys: readonly string[] | undefined): void {
    this.storage.getStore()?.forget(keys);
  }
}
