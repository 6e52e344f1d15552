import { ByteWriter } from '../wire/byte-writer.js';
import type { CallContext } from './call-context.js';
import { checkerOf, type Rules } from './rules.js';

/** Writes a response without building its message first; for RPCs where that would cost more than the work. */
export interface ResponseWriter<Result> {
  /** Bytes that `write` will write. */
  readonly length: (result: Result) => number;
  readonly write: (result: Result, writer: ByteWriter) => void;
}

/** One unary RPC as the transports see it: bytes in, bytes out, and what to do in between. */
export interface Rpc {
  /** `package.Service/Method`. */
  readonly name: string;
  /** `package.Service`. */
  readonly service: string;
  /** Reads the request that is a part of `bytes`. */
  readonly decode: (bytes: Buffer, from: number, to: number) => unknown;
  readonly encode: (response: unknown) => Buffer;
  /** Does what `encode` does, into a buffer that is there already. */
  readonly writer: ResponseWriter<unknown> | undefined;
  /** Throws INVALID_FIELD naming the wrong fields. */
  readonly check: (request: unknown) => void;
  readonly handle: (request: unknown, context: CallContext) => Promise<unknown>;
}

/** What ts-proto generates for a service. */
type ServiceDefinition = Readonly<
  Record<
    string,
    {
      readonly path: string;
      readonly requestDeserialize: (bytes: Buffer) => unknown;
      readonly responseSerialize: (response: never) => Buffer;
    }
  >
>;

type RequestOf<Method> = Method extends { requestDeserialize: (bytes: Buffer) => infer Request } ? Request : never;
type ResponseOf<Method> = Method extends { responseDeserialize: (bytes: Buffer) => infer Response } ? Response : never;

interface MethodImplementation<Request, Response> {
  readonly rules: Rules<Request>;
  /** What no single field can tell; runs after the rules and throws INVALID_FIELD. */
  readonly check?: (request: Request) => void;
  readonly handle: (request: Request, context: CallContext) => Promise<Response>;
}

/** An RPC that reads its request and writes its response by hand, for the few that are called most. */
export interface HandWrittenMethod<Request, Result> extends MethodImplementation<Request, Result> {
  readonly decode: (bytes: Buffer, from: number, to: number) => Request;
  readonly writer: ResponseWriter<Result>;
}

const HAND_WRITTEN = Symbol('hand-written');

type AnyHandWrittenMethod<Request> = HandWrittenMethod<Request, never> & { readonly [HAND_WRITTEN]: true };

export function handWritten<Request, Result>(
  method: HandWrittenMethod<Request, Result>,
): AnyHandWrittenMethod<Request> {
  return { ...method, [HAND_WRITTEN]: true } as unknown as AnyHandWrittenMethod<Request>;
}

/** A service's RPCs: for each the rules of its request and its handler. A missing RPC or field does not compile. */
export type Implementation<Service> = {
  readonly [Method in keyof Service]:
    | MethodImplementation<RequestOf<Service[Method]>, ResponseOf<Service[Method]>>
    | AnyHandWrittenMethod<RequestOf<Service[Method]>>;
};

export function implement<Service extends ServiceDefinition>(
  service: Service,
  implementation: Implementation<Service>,
): readonly Rpc[] {
  return Object.entries(service).map(([method, { path, requestDeserialize, responseSerialize }]) => {
    const implemented = implementation[method as keyof Service];
    const { rules, check, handle } = implemented;
    const checkFields = checkerOf(rules);
    const name = path.slice(1);
    const codec =
      HAND_WRITTEN in implemented
        ? { decode: implemented.decode, ...encodingBy(implemented.writer as ResponseWriter<unknown>) }
        : {
            decode: (bytes: Buffer, from: number, to: number) => requestDeserialize(bytes.subarray(from, to)),
            encode: responseSerialize as (response: unknown) => Buffer,
            writer: undefined,
          };
    return {
      name,
      service: name.slice(0, name.indexOf('/')),
      ...codec,
      check: (request) => {
        checkFields(request as never);
        check?.(request as never);
      },
      handle: handle as Rpc['handle'],
    };
  });
}

function encodingBy(writer: ResponseWriter<unknown>): Pick<Rpc, 'encode' | 'writer'> {
  return {
    encode: (response) => {
      const bytes = new ByteWriter(writer.length(response));
      writer.write(response, bytes);
      return bytes.take();
    },
    writer,
  };
}
