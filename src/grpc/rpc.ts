import { ByteWriter } from '../wire/byte-writer.js';
import type { Call } from '../redis/call.js';
import type { CallContext, EndReason } from './call-context.js';
import type { Principal } from './principal.js';
import { checkerOf, type Rules } from './rules.js';

/** Writes a response without building its message first; for RPCs where that would cost more than the work. */
export interface ResponseWriter<Result> {
  /** Bytes that `write` will write. */
  readonly length: (result: Result) => number;
  readonly write: (result: Result, writer: ByteWriter) => void;
}

/** One RPC as the transports see it: bytes in, bytes out, and what to do in between. */
export type Rpc = UnaryRpc | ServerStreamRpc | BidiStreamRpc;
export type StreamRpc = ServerStreamRpc | BidiStreamRpc;

interface AnyRpc {
  /** `package.Service/Method`. */
  readonly name: string;
  /** `package.Service`. */
  readonly service: string;
  /** `admin`: only for principals that are. */
  readonly access: 'admin' | undefined;
  /** Reads the request that is a part of `bytes`. */
  readonly decode: (bytes: Buffer, from: number, to: number) => unknown;
  readonly encode: (response: unknown) => Buffer;
  /** Throws NOT_ALLOWED where the principal may call the RPC, but not with this request, which is not checked yet. */
  readonly permit: ((request: unknown, principal: Principal) => void) | undefined;
  /** Throws INVALID_FIELD naming the wrong fields. */
  readonly check: (request: unknown) => void;
  /** Told of a request that `check` threw at. */
  readonly refused: ((request: unknown, context: Pick<CallContext, 'peer' | 'namespace'>) => void) | undefined;
}

export interface UnaryRpc extends AnyRpc {
  readonly kind: 'unary';
  /** Does what `encode` does, into a buffer that is there already. */
  readonly writer: ResponseWriter<unknown> | undefined;
  readonly handle: (request: unknown, context: CallContext) => Promise<unknown>;
}

/**
 * What becomes of an open stream when the service goes away. `end`: it ends at once with DRAINING, for streams that
 * last, such as watches. `finish`: it may end its work within the drain's time, for streams that do something.
 */
export type OnDrain = 'end' | 'finish';

export interface ServerStreamRpc extends AnyRpc {
  readonly kind: 'server-stream';
  readonly onDrain: OnDrain;
  readonly holds: boolean;
  readonly handle: (request: unknown, context: StreamContext) => AsyncIterable<unknown>;
}

export interface BidiStreamRpc extends AnyRpc {
  readonly kind: 'bidi-stream';
  readonly onDrain: OnDrain;
  readonly holds: boolean;
  readonly handle: (requests: AsyncIterable<unknown>, context: StreamContext) => AsyncIterable<unknown>;
}

/** What the handler of a stream may know of its call. Its iterator's `return` is called when the call ends. */
export interface StreamContext extends Call {
  readonly principal: Principal;
  /** The address that the call came from, without the port; `unknown` when the stream is gone. */
  readonly peer: string;
  /** Calls back when the call ends, also when it has ended already; once for each stream is what it is made for. */
  whenEnded(listener: (reason: EndReason) => void): void;
  /** True once the service is going away. */
  readonly draining: boolean;
  /** Calls back when the service is going away, also when it is already; never where `onDrain` is `end`. */
  whenDraining(listener: () => void): void;
}

/** What ts-proto generates for a service. */
type ServiceDefinition = Readonly<
  Record<
    string,
    {
      readonly path: string;
      readonly requestStream: boolean;
      readonly responseStream: boolean;
      readonly requestDeserialize: (bytes: Buffer) => unknown;
      readonly responseSerialize: (response: never) => Buffer;
    }
  >
>;

type RequestOf<Method> = Method extends { requestDeserialize: (bytes: Buffer) => infer Request } ? Request : never;
type ResponseOf<Method> = Method extends { responseDeserialize: (bytes: Buffer) => infer Response } ? Response : never;

interface RequestRules<Request> {
  /** Absent: for all principals. */
  readonly access?: 'admin';
  /** Throws NOT_ALLOWED for what only some principals may ask; runs before the rules, of which nothing is known yet. */
  readonly permit?: (request: Request, principal: Principal) => void;
  readonly rules: Rules<Request>;
  /** What no single field can tell; runs after the rules and throws INVALID_FIELD. */
  readonly check?: (request: Request) => void;
  /** Told of a unary request that was refused with INVALID_FIELD; must not throw. */
  readonly onRefused?: (request: Request, context: Pick<CallContext, 'peer' | 'namespace'>) => void;
}

interface MethodImplementation<Request, Response> extends RequestRules<Request> {
  readonly handle: (request: Request, context: CallContext) => Promise<Response>;
}

interface StreamRules<Request> extends RequestRules<Request> {
  readonly onDrain: OnDrain;
  /** True where the end of a stream costs its caller what it holds: it stays where it is when its connection gets old. */
  readonly holds?: boolean;
}

export interface ServerStreamMethod<Request, Response> extends StreamRules<Request> {
  readonly handle: (request: Request, context: StreamContext) => AsyncIterable<Response>;
}

/** The rules hold for each request of the stream; a wrong one ends it. */
export interface BidiStreamMethod<Request, Response> extends StreamRules<Request> {
  readonly handle: (requests: AsyncIterable<Request>, context: StreamContext) => AsyncIterable<Response>;
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

type UnaryMethod<Request, Response> = MethodImplementation<Request, Response> | AnyHandWrittenMethod<Request>;

/** By what the proto says of the method. Streams of requests with one response are not served. */
type ImplementationOf<Method> = Method extends { requestStream: false; responseStream: false }
  ? UnaryMethod<RequestOf<Method>, ResponseOf<Method>>
  : Method extends { requestStream: false; responseStream: true }
    ? ServerStreamMethod<RequestOf<Method>, ResponseOf<Method>>
    : Method extends { requestStream: true; responseStream: true }
      ? BidiStreamMethod<RequestOf<Method>, ResponseOf<Method>>
      : never;

/** A service's RPCs: for each the rules of its request and its handler. A missing RPC or field does not compile. */
export type Implementation<Service> = {
  readonly [Method in keyof Service]: ImplementationOf<Service[Method]>;
};

/** What `implement` sees, where the types of the messages are gone. */
type AnyMessage = Readonly<Record<string, unknown>>;
type AnyMethod =
  UnaryMethod<AnyMessage, unknown> | ServerStreamMethod<AnyMessage, unknown> | BidiStreamMethod<AnyMessage, unknown>;

export function implement<Service extends ServiceDefinition>(
  service: Service,
  implementation: Implementation<Service>,
): readonly Rpc[] {
  return Object.entries(service).map(([method, definition]): Rpc => {
    const implemented = implementation[method as keyof Service] as unknown as AnyMethod;
    const { access, permit, rules, check, onRefused } = implemented;
    const checkFields = checkerOf(rules);
    const name = definition.path.slice(1);
    const rpc: AnyRpc = {
      name,
      service: name.slice(0, name.indexOf('/')),
      access,
      decode: (bytes, from, to) => definition.requestDeserialize(bytes.subarray(from, to)),
      encode: definition.responseSerialize as (response: unknown) => Buffer,
      permit: permit as AnyRpc['permit'],
      check: (request) => {
        checkFields(request as never);
        check?.(request as never);
      },
      refused: onRefused as AnyRpc['refused'],
    };
    if ('onDrain' in implemented) {
      const { onDrain, holds = false } = implemented;
      // the proto says which of the two it is, and the compiler holds the handler to it
      return definition.requestStream
        ? { ...rpc, kind: 'bidi-stream', onDrain, holds, handle: implemented.handle as BidiStreamRpc['handle'] }
        : { ...rpc, kind: 'server-stream', onDrain, holds, handle: implemented.handle as ServerStreamRpc['handle'] };
    }
    const handle = implemented.handle as UnaryRpc['handle'];
    if (!(HAND_WRITTEN in implemented)) return { ...rpc, kind: 'unary', writer: undefined, handle };
    const writer = implemented.writer as ResponseWriter<unknown>;
    return { ...rpc, kind: 'unary', decode: implemented.decode, ...encodingBy(writer), handle };
  });
}

function encodingBy(writer: ResponseWriter<unknown>): Pick<UnaryRpc, 'encode' | 'writer'> {
  return {
    encode: (response) => {
      const bytes = new ByteWriter(writer.length(response));
      writer.write(response, bytes);
      return bytes.take();
    },
    writer,
  };
}
