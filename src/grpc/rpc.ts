import type { CallContext } from './call-context.js';
import { checkerOf, type Rules } from './rules.js';

/** One unary RPC as the transports see it: bytes in, bytes out, and what to do in between. */
export interface Rpc {
  /** `package.Service/Method`. */
  readonly name: string;
  /** `package.Service`. */
  readonly service: string;
  readonly decode: (bytes: Buffer) => unknown;
  readonly encode: (response: unknown) => Buffer;
  /** Throws INVALID_FIELD naming every wrong field. */
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

/** A service's RPCs: for each the rules of its request and its handler. A missing RPC or field does not compile. */
export type Implementation<Service> = {
  readonly [Method in keyof Service]: {
    readonly rules: Rules<RequestOf<Service[Method]>>;
    /** What no single field can tell; runs after the rules and throws INVALID_FIELD. */
    readonly check?: (request: RequestOf<Service[Method]>) => void;
    readonly handle: (
      request: RequestOf<Service[Method]>,
      context: CallContext,
    ) => Promise<ResponseOf<Service[Method]>>;
  };
};

export function implement<Service extends ServiceDefinition>(
  service: Service,
  implementation: Implementation<Service>,
): readonly Rpc[] {
  return Object.entries(service).map(([method, { path, requestDeserialize, responseSerialize }]) => {
    const { rules, check, handle } = implementation[method as keyof Service];
    const checkFields = checkerOf(rules);
    const name = path.slice(1);
    return {
      name,
      service: name.slice(0, name.indexOf('/')),
      decode: requestDeserialize,
      encode: responseSerialize as (response: unknown) => Buffer,
      check: (request) => {
        checkFields(request as never);
        check?.(request as never);
      },
      handle: handle as Rpc['handle'],
    };
  });
}
