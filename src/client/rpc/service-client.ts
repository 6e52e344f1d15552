import { located } from '../errors.js';
import { HAND_WRITTEN } from '../transport/hand-written.js';
import {
  clientMethod,
  type CallOptions,
  type MethodDefinition,
  type RequestOf,
  type ResponseOf,
  type ServiceDefinition,
} from '../transport/method.js';
import { throwIfNoSignal } from '../transport/abort-signal.js';
import type { Transport } from '../transport/transport.js';
import { requestReader } from './request-shape.js';
import type { DuplexMessageStream, MessageStream } from './message-stream.js';
import type { StreamChannel, StreamOptions } from './stream-channel.js';

interface Unary {
  readonly requestStream: false;
  readonly responseStream: false;
}

interface Duplex {
  readonly requestStream: true;
  readonly responseStream: true;
}

type Function<Method extends MethodDefinition> = Method extends Unary
  ? (request: Partial<RequestOf<Method>>, options?: CallOptions) => Promise<ResponseOf<Method>>
  : Method extends Duplex
    ? (options?: StreamOptions) => DuplexMessageStream<Partial<RequestOf<Method>>, ResponseOf<Method>>
    : (request: Partial<RequestOf<Method>>, options?: StreamOptions) => MessageStream<ResponseOf<Method>>;

/**
 * The RPCs of a service as functions, in the messages of the proto. A field that a request leaves out has its default. One
 * that has another type than in the proto fails with InvalidArgumentError, and nothing is sent.
 */
export type ServiceClient<Service extends ServiceDefinition> = {
  readonly [Method in keyof Service]: Function<Service[Method]>;
};

const NO_OPTIONS: CallOptions = {};

export function serviceClient<Service extends ServiceDefinition>(
  service: Service,
  transport: Transport,
  streams: StreamChannel,
): ServiceClient<Service> {
  const functions = Object.entries(service).map(
    ([name, definition]) => [name, functionOf(definition, transport, streams)] as const,
  );
  return Object.fromEntries(functions) as unknown as ServiceClient<Service>;
}

function functionOf(definition: MethodDefinition, transport: Transport, streams: StreamChannel): unknown {
  const generated = clientMethod(definition);
  const read = requestReader(generated.name);
  const stream = { ...definition, encode: generated.encode, read };
  if (definition.requestStream) return (options: StreamOptions = {}) => streams.duplex(stream, options);
  if (definition.responseStream)
    return (request: object, options: StreamOptions = {}) => streams.serverStream(stream, request, options);
  const method = { ...generated, ...HAND_WRITTEN[generated.name] };
  const name = definition.path.slice(definition.path.lastIndexOf('.') + 1);
  return async (request: object, options: CallOptions = NO_OPTIONS) => {
    try {
      throwIfNoSignal(options.signal);
      return await transport.call(method, read(request), options);
    } catch (error) {
      throw located(error, name);
    }
  };
}
