/**
 * The one catalogue of errors that can reach a caller. Stores and handlers throw DomainError; `grpc/status.ts` alone
 * turns a code into a gRPC status. A code is answered as `google.rpc.ErrorInfo.reason`, so it never changes its meaning
 * and is never used again once retired. `docs/errors.md` lists the same codes (a test compares).
 */
export const ERROR_CODES = [
  /** A field of the request is wrong; nothing was done. */
  'INVALID_FIELD',
  /** The key holds another kind of thing; nothing was done. */
  'WRONG_TYPE',
  /** The pattern begins with a wildcard, so it could match everything; nothing was done. */
  'BROAD_PATTERN',
  /** The counter would leave the signed 64-bit range; nothing was done. */
  'COUNTER_OVERFLOW',
  /** A metadata value to increment is no 64-bit integer, or the sum would not be one; nothing was done. */
  'NOT_AN_INTEGER',
  /** A later holder of the lock or the character has written what the guard protects; nothing was done. */
  'OLD_FENCING_TOKEN',
  /** As many other resources guard the key or the session as can; nothing was done. */
  'TOO_MANY_GUARDS',
  /** The session plays or waits for as many characters as it may; nothing was done. */
  'TOO_MANY_CHARACTERS',
  /** A reentrant owner asks for more permits than it holds; nothing was done. */
  'LOCK_UPGRADE',
  /** Locks live on a quorum of masters, or are those of redlock, which cannot do this; nothing was done. */
  'LOCK_MODE',
  /** The session is not there or has ended. */
  'SESSION_NOT_FOUND',
  /** The session has another version than expected; nothing was done. */
  'VERSION_MISMATCH',
  /** Slots that a stream held were reset, or their lease ran out. */
  'SLOTS_LOST',
  /** The rate policy of the RPC denied the call; nothing was done. */
  'RATE_LIMITED',
  /** The service has as many calls or streams in flight as it may; nothing was done. */
  'OVERLOADED',
  /** The request is too large for the pipeline, and nothing was done; or a read's answer is larger than a message may be. */
  'MESSAGE_TOO_LARGE',
  /** The metadata of the call is larger than it may be; nothing was done. */
  'METADATA_TOO_LARGE',
  /** The service is going away; nothing was done, or a stream that was open ended. */
  'DRAINING',
  /** Redis could not be asked; nothing was done. */
  'REDIS_UNAVAILABLE',
  /** The connection to Redis broke after a write was sent: it may or may not have happened. */
  'OUTCOME_UNKNOWN',
  /** Redis is out of memory; nothing was done. */
  'REDIS_OUT_OF_MEMORY',
] as const;

export type ErrorCode = (typeof ERROR_CODES)[number];

/** One wrong field of a request; `field` is its path in the proto, such as `limits[2].policy_name`. */
export interface FieldViolation {
  readonly field: string;
  readonly description: string;
}

export interface DomainErrorOptions {
  /** What the caller should know beyond the code; keys in snake_case. Never a value, a token or a credential. */
  readonly metadata?: Readonly<Record<string, string>>;
  /** When a retry can succeed. */
  readonly retryAfterMs?: number;
  readonly violations?: readonly FieldViolation[];
  /** What happened inside; logged, never sent. */
  readonly cause?: unknown;
}

export class DomainError extends Error {
  override readonly name = 'DomainError';
  readonly metadata: Readonly<Record<string, string>>;
  readonly retryAfterMs: number | undefined;
  readonly violations: readonly FieldViolation[];

  constructor(
    readonly code: ErrorCode,
    message: string,
    options: DomainErrorOptions = {},
  ) {
    super(message, { cause: options.cause });
    this.metadata = options.metadata ?? {};
    this.retryAfterMs = options.retryAfterMs;
    this.violations = options.violations ?? [];
  }
}

/** The error of one wrong field. */
export function invalidField(field: string, description: string): DomainError {
  return new DomainError('INVALID_FIELD', `${field}: ${description}`, { violations: [{ field, description }] });
}

/** The error of a read whose answer no message may hold. */
export function answerTooLarge(): DomainError {
  return new DomainError('MESSAGE_TOO_LARGE', 'the answer is larger than a message may be; ask for less at once');
}
