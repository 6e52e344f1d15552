import type { Metadata } from '@grpc/grpc-js';
import { status as Code } from '@grpc/grpc-js';
import { BadRequest, ErrorInfo, RetryInfo, Any } from 'nice-grpc-error-details';
import { ByteReader } from '../wire/byte-reader.js';
import { LENGTH_DELIMITED, VARINT } from '../wire/byte-writer.js';

export interface ShardkeepErrorOptions {
  /** `google.rpc.ErrorInfo.reason`. */
  readonly reason?: string | undefined;
  readonly metadata?: Readonly<Record<string, string>> | undefined;
  readonly retryAfterMs?: number | undefined;
  readonly fields?: readonly string[] | undefined;
}

/**
 * How a call failed. Decide by the class or by `code`, or by `reason` where you need more; the message is for people and
 * changes.
 */
export class ShardkeepError extends Error {
  override readonly name: string = 'ShardkeepError';
  /** A code of docs/errors.md; '' where there is none. */
  readonly reason: string;
  /** What the service tells beyond the reason. */
  readonly metadata: Readonly<Record<string, string>>;
  /** When a retry can succeed, as far as the service knows. */
  readonly retryAfterMs: number | undefined;
  /** The RPC that failed, such as `SessionService/CreateSession`; '' where none was made. */
  readonly rpc: string = '';
  /** The wrong fields of the request, by their paths as this library names them: `ttlMs`, `limits[0].policyName`. */
  readonly fields: readonly string[];

  constructor(
    /** The gRPC status code. */
    readonly code: Code,
    message: string,
    options: ShardkeepErrorOptions = {},
  ) {
    super(`${Code[code]}: ${message}`);
    this.reason = options.reason ?? '';
    this.metadata = options.metadata ?? {};
    this.retryAfterMs = options.retryAfterMs;
    this.fields = options.fields ?? [];
  }
}

/** Given up by the caller's signal; a write may or may not have happened. */
export class CancelledError extends ShardkeepError {
  override readonly name = 'CancelledError';
}

/** No answer in time; a write may or may not have happened. */
export class DeadlineExceededError extends ShardkeepError {
  override readonly name = 'DeadlineExceededError';
}

/** The request is wrong, and nothing was done; `fields` names what. */
export class InvalidArgumentError extends ShardkeepError {
  override readonly name = 'InvalidArgumentError';
}

/** What the call is about is not there, or no more. */
export class NotFoundError extends ShardkeepError {
  override readonly name = 'NotFoundError';
}

/** The state does not allow it, and nothing was done; `reason` says why. */
export class FailedPreconditionError extends ShardkeepError {
  override readonly name = 'FailedPreconditionError';
}

/** Somebody else was faster: read again and decide anew. */
export class AbortedError extends ShardkeepError {
  override readonly name = 'AbortedError';
}

/** Overload, a rate policy of the RPC, too large a message, or a Redis without memory; nothing was done. */
export class ResourceExhaustedError extends ShardkeepError {
  override readonly name = 'ResourceExhaustedError';
}

/** The service, or the Redis behind it, is away. */
export class UnavailableError extends ShardkeepError {
  override readonly name: string = 'UnavailableError';
  /** The connection broke under the call: a write may or may not have happened. Otherwise it has not. */
  get outcomeUnknown(): boolean {
    return this.reason === 'OUTCOME_UNKNOWN';
  }
}

/** The last load of this key failed, in this process or another, and nobody loads before `retryAfterMs`. */
export class LoadFailedError extends UnavailableError {
  override readonly name = 'LoadFailedError';

  constructor(
    readonly key: string,
    retryAfterMs: number,
  ) {
    super(Code.UNAVAILABLE, 'the last load of this key failed', { reason: 'LOAD_FAILED', retryAfterMs });
  }
}

/** No credential, or not a good one. */
export class UnauthenticatedError extends ShardkeepError {
  override readonly name = 'UnauthenticatedError';
}

/** The credential does not allow the call. */
export class PermissionDeniedError extends ShardkeepError {
  override readonly name = 'PermissionDeniedError';
}

/** The service is older than this client. */
export class UnimplementedError extends ShardkeepError {
  override readonly name = 'UnimplementedError';
}

const CLASSES: Readonly<Partial<Record<Code, typeof ShardkeepError>>> = {
  [Code.CANCELLED]: CancelledError,
  [Code.DEADLINE_EXCEEDED]: DeadlineExceededError,
  [Code.INVALID_ARGUMENT]: InvalidArgumentError,
  [Code.NOT_FOUND]: NotFoundError,
  [Code.FAILED_PRECONDITION]: FailedPreconditionError,
  [Code.ABORTED]: AbortedError,
  [Code.RESOURCE_EXHAUSTED]: ResourceExhaustedError,
  [Code.UNAVAILABLE]: UnavailableError,
  [Code.UNAUTHENTICATED]: UnauthenticatedError,
  [Code.PERMISSION_DENIED]: PermissionDeniedError,
  [Code.UNIMPLEMENTED]: UnimplementedError,
};

/** What grpc-js adds where resolving a name has nothing to tell. */
const EMPTY_NOTE = /\s*Resolution note:\s*$/;

/** The error of this code, in the class that is made for it. */
export function shardkeepError(code: Code, message: string, options: ShardkeepErrorOptions = {}): ShardkeepError {
  const ErrorOfCode = CLASSES[code] ?? ShardkeepError;
  return new ErrorOfCode(code, message.replace(EMPTY_NOTE, ''), options);
}

/**
 * Tells which call failed, and in its stack who made it: an answer comes in a turn of the event loop that knows nothing of its
 * callers. To be called where they are awaited.
 */
export function located(error: unknown, rpc: string): unknown {
  if (!(error instanceof ShardkeepError)) return error;
  const code = `${Code[error.code]}: `;
  Object.assign(error, { rpc, message: `${code}${rpc}: ${error.message.slice(code.length)}` });
  Error.captureStackTrace(error, located);
  return error;
}

/** The call was not sent, or is known not to have been started. */
export function notSent(message: string): ShardkeepError {
  return shardkeepError(Code.UNAVAILABLE, message);
}

/** The call cannot be made as it was asked for; nothing was sent. */
export function invalidArgument(message: string, fields: readonly string[] = []): ShardkeepError {
  return shardkeepError(Code.INVALID_ARGUMENT, message, { reason: 'INVALID_FIELD', fields });
}

/** The call was sent and its answer is lost. */
export function outcomeUnknown(message: string): ShardkeepError {
  return shardkeepError(Code.UNAVAILABLE, message, { reason: 'OUTCOME_UNKNOWN' });
}

/** Of a unary call that grpc-js failed. Proxies send details of their own: what cannot be read is as if it were not there. */
export function errorOfStatus(status: { code: Code; details: string; metadata: Metadata }): ShardkeepError {
  const [packed] = status.metadata.get('grpc-status-details-bin');
  const details = Buffer.isBuffer(packed) ? readable(packed) : undefined;
  // code and message are those of the trailers, which everybody on the way has seen
  return shardkeepError(toCode(status.code), status.details, details?.options);
}

/** Of an encoded google.rpc.Status; throws where it is none. */
export function errorOfDetails(status: Buffer): ShardkeepError {
  const { code, message, options } = readDetails(status);
  return shardkeepError(code, message, options);
}

interface StatusDetails {
  readonly code: Code;
  readonly message: string;
  readonly options: ShardkeepErrorOptions;
}

function readable(status: Buffer): StatusDetails | undefined {
  try {
    return readDetails(status);
  } catch {
    return undefined;
  }
}

/** google.rpc.Status: code = 1, message = 2, details = 3. */
function readDetails(status: Buffer): StatusDetails {
  const reader = new ByteReader(status, 0, status.length);
  let code = Code.UNKNOWN;
  let message = '';
  const details: Any[] = [];
  while (reader.hasMore) {
    const tag = reader.varint();
    if (tag === ((1 << 3) | VARINT)) code = toCode(reader.varint());
    else if (tag === ((2 << 3) | LENGTH_DELIMITED)) message = reader.text();
    else if (tag === ((3 << 3) | LENGTH_DELIMITED)) details.push(Any.decode(reader.bytes()));
    else reader.skipField(tag);
  }
  const find = <Detail>(type: string, decode: (bytes: Uint8Array) => Detail): Detail | undefined => {
    const detail = details.find(({ typeUrl }) => typeUrl === `type.googleapis.com/google.rpc.${type}`);
    return detail === undefined ? undefined : decode(detail.value);
  };
  const info = find('ErrorInfo', (bytes) => ErrorInfo.decode(bytes));
  const delay = find('RetryInfo', (bytes) => RetryInfo.decode(bytes))?.retryDelay;
  const violations = find('BadRequest', (bytes) => BadRequest.decode(bytes))?.fieldViolations ?? [];
  const options = {
    reason: info?.reason,
    metadata: info?.metadata,
    retryAfterMs: delay === undefined ? undefined : delay.seconds * 1_000 + delay.nanos / 1_000_000,
    fields: violations.map(({ field }) => inCamelCase(field)),
  };
  return { code, message, options };
}

/** What follows is the caller's own name. */
const MAP_FIELD = /(?:^|[._])(?:by_kind|metadata)(?=[.[])/;

/** A path in the proto as ts-proto names it. */
function inCamelCase(path: string): string {
  const map = MAP_FIELD.exec(path);
  const end = map === null ? path.length : map.index + map[0].length;
  const named = path.slice(0, end).replace(/_([a-z0-9])/g, (_, letter: string) => letter.toUpperCase());
  return named + path.slice(end);
}

/** Those of failures: OK is none. */
const CODES: ReadonlyMap<number, Code> = new Map(
  Object.values(Code)
    .filter((code) => typeof code === 'number' && code !== Code.OK)
    .map((code) => [code, code]),
);

/** A number of the wire as a code; UNKNOWN where it is none. */
export function toCode(code: number): Code {
  return CODES.get(code) ?? Code.UNKNOWN;
}
