import { invalidArgument, type ShardkeepError } from '../errors.js';

const MAX_TIMEOUT_MS = 0xffffffff;

/** Whether this can be the `timeoutMs` of a call: absent, or above 0. */
export function isTimeout(timeoutMs: unknown): boolean {
  return timeoutMs === undefined || (typeof timeoutMs === 'number' && timeoutMs > 0);
}

/** What a call with another one fails with. */
export function noTimeout(): ShardkeepError {
  return invalidArgument('timeoutMs must be a number above 0', ['timeoutMs']);
}

/** Throws InvalidArgumentError for what is no timeout. */
export function throwIfNoTimeout(timeoutMs: unknown): void {
  if (!isTimeout(timeoutMs)) throw noTimeout();
}

/** Whole, from 1, and no longer than a frame of the pipeline can carry (which is 49 days). */
export function wholeTimeoutMs(timeoutMs: number): number {
  return Math.min(Math.max(1, Math.ceil(timeoutMs)), MAX_TIMEOUT_MS);
}
