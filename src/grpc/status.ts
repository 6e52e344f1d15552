import { BinaryWriter } from '@bufbuild/protobuf/wire';
import { status as Code } from '@grpc/grpc-js';
import { Any, BadRequest, ErrorInfo, RetryInfo } from 'nice-grpc-error-details';
import { DomainError, ERROR_CODES, type ErrorCode } from '../errors.js';
import type { EarlyEnd } from './call-context.js';

/** What ended a call that no domain error did. */
const OTHER_REASONS = ['DEADLINE_EXCEEDED', 'CANCELLED', 'UNIMPLEMENTED', 'INTERNAL'] as const;
type OtherReason = (typeof OTHER_REASONS)[number];

/** All that can keep a call from its answer, for whoever counts. */
export const FAILURE_REASONS = [...ERROR_CODES, ...OTHER_REASONS] as const;
export type FailureReason = (typeof FAILURE_REASONS)[number];

/** A gRPC status as it goes to the caller. */
export interface RpcStatus {
  readonly code: Code;
  readonly reason: FailureReason;
  readonly message: string;
  /** google.rpc.Status with the details, for `grpc-status-details-bin`. */
  readonly details: Buffer;
  /** When a client may send the call again, where the service knows it and not only hopes. */
  readonly pushbackMs: number | undefined;
  /** What happened inside, when the caller may not know it; to be logged once. */
  readonly hiddenCause: unknown;
}

/** The call ran into its deadline, was cancelled, or is a stream that a drain ends. */
export class CallEndedError extends Error {
  override readonly name = 'CallEndedError';
  constructor(readonly reason: EarlyEnd) {
    super(reason);
  }
}

const ERROR_DOMAIN = 'shardkeep';

/** The one place where errors become gRPC statuses: deadline and cancel first, what nobody foresaw last. */
export function toStatus(error: unknown): RpcStatus {
  if (error instanceof CallEndedError) return endStatus(error.reason);
  if (error instanceof DomainError) return domainStatus(error);
  return { ...plainStatus('INTERNAL', 'internal error'), hiddenCause: error };
}

function endStatus(reason: EarlyEnd): RpcStatus {
  switch (reason) {
    case 'deadline':
      return plainStatus('DEADLINE_EXCEEDED', 'the deadline passed; a write may or may not have happened');
    case 'cancelled':
      return plainStatus('CANCELLED', 'the call was cancelled; a write may or may not have happened');
    case 'draining':
      return domainStatus(
        new DomainError('DRAINING', 'the service is going away and ends its streams', { retryAfterMs: 0 }),
      );
  }
}

export function codeOf(code: ErrorCode): Code {
  switch (code) {
    case 'INVALID_FIELD':
      return Code.INVALID_ARGUMENT;
    case 'WRONG_TYPE':
    case 'COUNTER_OVERFLOW':
    case 'NOT_AN_INTEGER':
    case 'OLD_FENCING_TOKEN':
    case 'TOO_MANY_GUARDS':
    case 'TOO_MANY_CHARACTERS':
    case 'LOCK_UPGRADE':
    case 'LOCK_MODE':
    case 'BROAD_PATTERN':
      return Code.FAILED_PRECONDITION;
    case 'SESSION_NOT_FOUND':
      return Code.NOT_FOUND;
    case 'BAD_CREDENTIAL':
      return Code.UNAUTHENTICATED;
    case 'NOT_ALLOWED':
      return Code.PERMISSION_DENIED;
    case 'VERSION_MISMATCH':
    case 'SLOTS_LOST':
      return Code.ABORTED;
    case 'RATE_LIMITED':
    case 'OVERLOADED':
    case 'MESSAGE_TOO_LARGE':
    case 'METADATA_TOO_LARGE':
    case 'REDIS_OUT_OF_MEMORY':
      return Code.RESOURCE_EXHAUSTED;
    case 'DRAINING':
    case 'REDIS_UNAVAILABLE':
    case 'OUTCOME_UNKNOWN':
      return Code.UNAVAILABLE;
  }
}

export function unimplemented(message: string): RpcStatus {
  return plainStatus('UNIMPLEMENTED', message);
}

function domainStatus(error: DomainError): RpcStatus {
  const details = [
    pack('ErrorInfo', ErrorInfo, { reason: error.code, domain: ERROR_DOMAIN, metadata: error.metadata }),
  ];
  if (error.violations.length > 0) {
    details.push(pack('BadRequest', BadRequest, { fieldViolations: [...error.violations] }));
  }
  if (error.retryAfterMs !== undefined) {
    const retryDelay = {
      seconds: Math.floor(error.retryAfterMs / 1_000),
      nanos: Math.round((error.retryAfterMs % 1_000) * 1_000_000),
    };
    details.push(pack('RetryInfo', RetryInfo, { retryDelay }));
  }
  const code = codeOf(error.code);
  return {
    code,
    reason: error.code,
    message: error.message,
    details: encodeStatus(code, error.message, details),
    // an outage has no such time, and all clients would come back at once
    pushbackMs: code === Code.UNAVAILABLE && error.code !== 'DRAINING' ? undefined : error.retryAfterMs,
    hiddenCause: undefined,
  };
}

function plainStatus(reason: OtherReason, message: string): RpcStatus {
  const code = Code[reason];
  const details = encodeStatus(code, message, []);
  return { code, reason, message, details, pushbackMs: undefined, hiddenCause: undefined };
}

/** A detail as google.protobuf.Any, encoded. */
function pack<Message, Partial>(
  type: string,
  codec: {
    fromPartial: (partial: Partial) => Message;
    encode: (message: Message) => { finish: () => Uint8Array };
  },
  detail: Partial,
): Uint8Array {
  const value = codec.encode(codec.fromPartial(detail)).finish();
  return Any.encode(Any.fromPartial({ typeUrl: `type.googleapis.com/google.rpc.${type}`, value })).finish();
}

/** google.rpc.Status: code = 1, message = 2, details = 3. */
function encodeStatus(code: Code, message: string, details: readonly Uint8Array[]): Buffer {
  const writer = new BinaryWriter();
  writer.uint32(8).int32(code);
  writer.uint32(18).string(message);
  for (const detail of details) writer.uint32(26).bytes(detail);
  return Buffer.from(writer.finish());
}
