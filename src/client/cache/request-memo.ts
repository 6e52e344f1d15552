import { AsyncLocalStorage } from 'node:async_hooks';
import { AnswersByKey } from './answers-by-key.js';
import { abortionOf, untilAborted } from './until-aborted.js';

/** What was asked for during one request, answered again without asking; in memory, and gone with the request. */
export class RequestMemo {
  private readonly storage = new AsyncLocalStorage<AnswersByKey>();

  /** All that `body` does, and what it calls, shares one memo. */
  run<Result>(body: () => Result): Result {
    return this.storage.run(new AnswersByKey(), body);
  }

  /**
   * `kind` keeps answers of different shapes for one key apart. A failure is not kept. `signal` ends this caller's wait; what is
   * asked for all of the request is asked without it.
   */
  get<Answer>(
    kind: string,
    key: string,
    signal: AbortSignal | undefined,
    ask: (signal: AbortSignal | undefined) => Promise<Answer>,
  ): Promise<Answer> {
    const memo = this.storage.getStore();
    if (memo === undefined) return ask(signal);
    if (signal?.aborted === true) return Promise.reject(abortionOf(signal));
    // a kind has answers of one type for each key, as far as its caller says so
    const known = memo.get(kind, key) as Promise<Answer> | undefined;
    return untilAborted(known ?? this.remember(memo, kind, key, ask(undefined)), signal);
  }

  /** Of this key only answers of this kind stay: they are newer. */
  forgetOthers(kind: string, key: string): void {
    this.storage.getStore()?.forgetOthers(kind, key);
  }

  /** Undefined: all keys. */
  forget(keys: readonly string[] | undefined): void {
    this.storage.getStore()?.forget(keys);
  }

  private remember<Answer>(memo: AnswersByKey, kind: string, key: string, answer: Promise<Answer>): Promise<Answer> {
    memo.set(kind, key, answer);
    answer.catch(() => {
      memo.remove(kind, key, answer);
    });
    return answer;
  }
}
