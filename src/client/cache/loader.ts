import { status as Code } from '@grpc/grpc-js';
import { shardkeepError } from '../errors.js';

/** What a loader is told. */
export interface LoadContext {
  readonly key: string;
  /** Aborts when nobody waits for the value any more: `maxLoadMs` is over, or the client closes. */
  readonly signal: AbortSignal;
}

/** Asks the source. Undefined or null: it has nothing. */
export type Loader<Value> = (context: LoadContext) => Promise<Value | null | undefined> | Value | null | undefined;

export interface RunOptions {
  readonly maxLoadMs: number;
  /** Aborts when the client closes. */
  readonly closing: AbortSignal;
}

/** Runs a loader, but not for ever: fails with DeadlineExceededError after `maxLoadMs`, with CancelledError when closing. */
export function runLoader<Value>(
  key: string,
  loader: Loader<Value>,
  { maxLoadMs, closing }: RunOptions,
): Promise<Value | null | undefined> {
  if (closing.aborted) return Promise.reject(shardkeepError(Code.CANCELLED, 'the client is closed'));
  return new Promise((resolve, reject) => {
    const controller = new AbortController();
    const giveUp = (code: Code, message: string): void => {
      const error = shardkeepError(code, message);
      over();
      controller.abort(error);
      reject(error);
    };
    const timer = setTimeout(() => {
      giveUp(Code.DEADLINE_EXCEEDED, `the loader of a key took longer than ${String(maxLoadMs)} ms`);
    }, maxLoadMs);
    const close = (): void => {
      giveUp(Code.CANCELLED, 'the client was closed');
    };
    closing.addEventListener('abort', close, { once: true });
    const over = (): void => {
      clearTimeout(timer);
      closing.removeEventListener('abort', close);
    };
    // a loader that throws before it answers a promise fails like one that rejects
    new Promise<Value | null | undefined>((begin) => {
      begin(loader({ key, signal: controller.signal }));
    })
      .then(resolve, reject)
      .finally(over);
  });
}
