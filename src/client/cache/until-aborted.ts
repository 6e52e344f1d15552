import { status as Code } from '@grpc/grpc-js';
import { shardkeepError } from '../errors.js';

/** An answer that others share, for one who may give up waiting: then rejects with CancelledError, and the others wait on. */
export function untilAborted<Answer>(answer: Promise<Answer>, signal: AbortSignal | undefined): Promise<Answer> {
  if (signal === undefined) return answer;
  return new Promise((resolve, reject) => {
    const abort = (): void => {
      reject(abortionOf(signal));
    };
    if (signal.aborted) abort();
    else signal.addEventListener('abort', abort, { once: true });
    const settle = (): void => {
      signal.removeEventListener('abort', abort);
    };
    answer.then(resolve, reject).finally(settle);
  });
}

/** What a call fails with whose signal has aborted. */
export function abortionOf(signal: AbortSignal): Error {
  return Object.assign(shardkeepError(Code.CANCELLED, 'cancelled'), { cause: signal.reason as unknown });
}
