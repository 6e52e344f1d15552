import { invalidArgument } from '../errors.js';

/** Whether this can be the `signal` of a call: absent, or an AbortSignal of whatever realm or library. */
export function isSignal(signal: unknown): boolean {
  if (signal === undefined) return true;
  return typeof signal === 'object' && signal !== null && 'aborted' in signal && 'addEventListener' in signal;
}

/** Throws InvalidArgumentError for what is none. */
export function throwIfNoSignal(signal: unknown): void {
  if (!isSignal(signal)) throw invalidArgument('signal must be an AbortSignal', ['signal']);
}
