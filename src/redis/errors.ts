import { ClientClosedError, ClientOfflineError, ErrorReply } from 'redis';
import { DomainError } from '../errors.js';
import { isRefused, isRefusedInScript } from './refusals.js';

/** How long a caller should wait before asking a Redis again that is away. */
const RETRY_AFTER_MS = 250;

/** The first word of an error reply, such as OOM or WRONGTYPE; '' for errors that are no reply. */
export function replyCode(error: unknown): string {
  return error instanceof ErrorReply ? (/^[A-Z]+/.exec(error.message)?.[0] ?? '') : '';
}

/**
 * The slot is on its way to another master and this command needs keys of both sides. Nothing was done. The second form
 * is what a script gets that looks at a derived key there.
 */
export function isSlotMoving(error: unknown): boolean {
  return (
    error instanceof ErrorReply &&
    (replyCode(error) === 'TRYAGAIN' || error.message.includes('Script attempted to access a non local key'))
  );
}

/** node-redis refused a command at once: Redis knows nothing of it. */
export function neverSent(error: unknown): boolean {
  return error instanceof ClientOfflineError || error instanceof ClientClosedError || isQueueFull(error);
}

/** node-redis has no class for its full command queue. */
function isQueueFull(error: unknown): boolean {
  return error instanceof Error && error.message === 'The queue is full';
}

const COUNTED_REPLIES = [
  ...[
    'ASK',
    'BUSY',
    'CLUSTERDOWN',
    'CROSSSLOT',
    'ERR',
    'LOADING',
    'MASTERDOWN',
    'MISCONF',
    'MOVED',
    'NOAUTH',
    'NOPERM',
  ],
  ...['NOREPLICAS', 'NOSCRIPT', 'OOM', 'READONLY', 'TRYAGAIN', 'WRONGPASS', 'WRONGTYPE'],
] as const;

/** What a failed command is counted as: the first word of the reply, or what happened to the connection. */
export const FAILURE_KINDS = [...COUNTED_REPLIES, 'not_sent', 'lost', 'other'] as const;
export type FailureKind = (typeof FAILURE_KINDS)[number];

const COUNTED = new Map<string, FailureKind>(COUNTED_REPLIES.map((code) => [code, code]));

/** `not_sent`: there was no connection, or too many commands waited; `lost`: it broke before the reply came. */
export function failureKind(error: unknown): FailureKind {
  if (error instanceof ErrorReply) return COUNTED.get(replyCode(error)) ?? 'other';
  return neverSent(error) ? 'not_sent' : 'lost';
}

const UNAVAILABLE_REPLIES = new Set([
  // what is left of a redirection when node-redis has followed as many as it may
  'ASK',
  'BUSY',
  'CLUSTERDOWN',
  'LOADING',
  'MASTERDOWN',
  'MISCONF',
  'MOVED',
  'NOREPLICAS',
  'READONLY',
  'TRYAGAIN',
  'UNBLOCKED',
]);

export function redisUnavailable(message: string, cause?: unknown): DomainError {
  return new DomainError('REDIS_UNAVAILABLE', message, { retryAfterMs: RETRY_AFTER_MS, cause });
}

/**
 * Turns what node-redis throws into a domain error. An error reply means that Redis refused, so nothing was done; a
 * connection that broke means that a write may have happened. A right that the user of Redis lacks is nothing that a caller
 * did, and is mended without a restart, as an outage. What is left (CROSSSLOT, a script's own error) is a bug and passes as
 * it is, to end as INTERNAL.
 */
export function toDomainError(error: unknown, { readOnly }: { readOnly: boolean }): unknown {
  if (error instanceof DomainError) return error;
  if (error instanceof ErrorReply) {
    const code = replyCode(error);
    if (code === 'OOM') return new DomainError('REDIS_OUT_OF_MEMORY', 'Redis is out of memory', { cause: error });
    if (code === 'WRONGTYPE') return wrongType(error);
    if (UNAVAILABLE_REPLIES.has(code) || isSlotMoving(error)) {
      return redisUnavailable('Redis cannot serve this key now', error);
    }
    if (isRefusedInScript(error) && !readOnly) return outcomeUnknown('Redis refused a part of the write', error);
    if (isRefused(error)) return redisUnavailable('Redis refuses what the service asks', error);
    return error;
  }
  if (!(error instanceof Error)) return error;
  if (isQueueFull(error)) {
    return new DomainError('OVERLOADED', 'too many commands wait for Redis', {
      retryAfterMs: RETRY_AFTER_MS,
      cause: error,
    });
  }
  if (neverSent(error) || readOnly) {
    return redisUnavailable('Redis is away', error);
  }
  return outcomeUnknown('the connection to Redis broke; the write may or may not have happened', error);
}

function outcomeUnknown(message: string, cause: unknown): DomainError {
  return new DomainError('OUTCOME_UNKNOWN', message, { retryAfterMs: RETRY_AFTER_MS, cause });
}

/** The write is done, but could be lost with its master. */
export function tooFewReplicas(): DomainError {
  return new DomainError('OUTCOME_UNKNOWN', 'too few replicas have the write; it may or may not be kept', {
    retryAfterMs: RETRY_AFTER_MS,
  });
}

export function wrongType(cause?: unknown): DomainError {
  return new DomainError('WRONG_TYPE', 'the key holds another kind of thing', { cause });
}
