import { AnswersByKey } from './answers-by-key.js';
import { abortionOf, untilAborted } from './until-aborted.js';

/** Callers of one process who ask for the same key at once share one answer. */
export class SharedLoads {
  private readonly running = new AnswersByKey();

  /** `kind` keeps apart who cannot share. `signal` ends this caller's wait only. */
  join<Value>(
    kind: string,
    key: string,
    signal: AbortSignal | undefined,
    ask: () => Promise<Value | undefined>,
  ): Promise<Value | undefined> {
    if (signal?.aborted === true) return Promise.reject(abortionOf(signal));
    const running = this.running.get(kind, key) as Promise<Value | undefined> | undefined;
    const shared = running ?? ask();
    if (running === undefined) {
      this.running.set(kind, key, shared);
      const over = (): void => {
        this.running.remove(kind, key, shared);
      };
      shared.then(over, over);
    }
    return untilAborted(shared, signal);
  }

  /** Who asks from now on asks anew. Undefined: for all keys. */
  forget(keys: readonly string[] | undefined): void {
    this.running.forget(keys);
  }
}
