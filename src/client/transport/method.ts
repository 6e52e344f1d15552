import { invalidArgument, ShardkeepError } from '../errors.js';
import type { ByteWriter } from '../../wire/byte-writer.js';
import type { OptionNames } from '../arguments.js';

/** One unary RPC as the client calls it. */
export interface ClientMethod {
  /** `package.Service/Method`. */
  readonly name: string;
  /** Of a whole message: no field is absent that has a default. */
  readonly encode: (request: object) => Buffer;
  /** Reads the response that is a part of `bytes`. */
  readonly decode: (bytes: Buffer, from: number, to: number) => unknown;
  /** Writes a request without building its bytes first. */
  readonly requestWriter: RequestWriter<object> | undefined;
}

export interface RequestWriter<Request> {
  readonly length: (request: Request) => number;
  readonly write: (request: Request, writer: ByteWriter) => void;
}

/** What ts-proto generates for a method of a service. */
export interface MethodDefinition {
  readonly path: string;
  readonly requestStream: boolean;
  readonly responseStream: boolean;
  readonly requestSerialize: (request: never) => Buffer;
  readonly requestDeserialize: (bytes: Buffer) => unknown;
  readonly responseDeserialize: (bytes: Buffer) => unknown;
}

export type ServiceDefinition = Readonly<Record<string, MethodDefinition>>;

export type RequestOf<Method extends MethodDefinition> = ReturnType<Method['requestDeserialize']>;
export type ResponseOf<Method extends MethodDefinition> = ReturnType<Method['responseDeserialize']>;

export interface CallOptions {
  /** How long to wait for the answer, above 0, also Infinity; the client's default where it is absent. */
  readonly timeoutMs?: number;
  /** Gives the call up: it fails with CANCELLED, and a write may or may not have happened. */
  readonly signal?: AbortSignal;
  /** A second try of this request does no harm, as when it has a `requestId`. Known by itself of RPCs the proto calls safe. */
  readonly retrySafe?: boolean;
}

export const CALL_OPTIONS: OptionNames<CallOptions> = { timeoutMs: true, signal: true, retrySafe: true };

/** What an encoder threw. */
export function noMessage({ name }: ClientMethod, error: unknown): ShardkeepError {
  if (error instanceof ShardkeepError) return error;
  return invalidArgument(`the request is no message of ${name}: ${String(error)}`);
}

export function clientMethod(definition: MethodDefinition): ClientMethod {
  return {
    name: definition.path.slice(1),
    encode: definition.requestSerialize as (request: object) => Buffer,
    decode: (bytes, from, to) => definition.responseDeserialize(bytes.subarray(from, to)),
    requestWriter: undefined,
  };
}
