import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import protobuf from 'protobufjs';

/** The contract as its .proto files tell it, to go through every field and to send what no generated client would. */

/** A message by the names of its fields in the proto. */
export type Plain = Record<string, unknown>;

export interface ProtoRpc {
  /** `package.Service/Method`. */
  readonly name: string;
  readonly request: protobuf.Type;
  /** A request is answered by one message; or the RPC is a stream, of responses or both ways. */
  readonly isUnary: boolean;
}

/** Carries the RPCs of the others and has requests of no kind of its own. */
const CARRIER = 'shardkeep.pipeline.v1.PipelineService/Pipeline';

const PROTO_DIR = fileURLToPath(new URL('../../proto', import.meta.url));

function loadRoot(): protobuf.Root {
  const root = new protobuf.Root();
  root.resolvePath = (_, target) => (/^(?:shardkeep|envoy)\//.test(target) ? join(PROTO_DIR, target) : target);
  const files = readdirSync(PROTO_DIR, { recursive: true, encoding: 'utf8' }).filter((file) => file.endsWith('.proto'));
  root.loadSync(files, { keepCase: true }).resolveAll();
  return root;
}

function rpcsIn(namespace: protobuf.NamespaceBase): ProtoRpc[] {
  return namespace.nestedArray.flatMap((nested) => {
    if (nested instanceof protobuf.Service) {
      const rpcs = nested.methodsArray.map((method) => {
        method.resolve();
        const { resolvedRequestType: request, requestStream, responseStream } = method;
        if (request === null) throw new Error(`${method.fullName} has no request`);
        const isUnary = requestStream !== true && responseStream !== true;
        return { name: `${nested.fullName.slice(1)}/${method.name}`, request, isUnary };
      });
      return rpcs.filter(({ name }) => name !== CARRIER);
    }
    return nested instanceof protobuf.Namespace ? rpcsIn(nested) : [];
  });
}

/** Every RPC of every service, but the pipeline that carries them. */
export const protoRpcs: readonly ProtoRpc[] = rpcsIn(loadRoot());
export const unaryRpcs = protoRpcs.filter(({ isUnary }) => isUnary);

/** A string of two bytes that `encode` turns into bytes that are no UTF-8. */
export const BAD_UTF8 = '~~';
const BAD_UTF8_BYTES = Buffer.from([0xc3, 0x28]);

export function encode(type: protobuf.Type, message: Plain): Buffer {
  const bytes = Buffer.from(type.encode(message).finish());
  for (let at = bytes.indexOf(BAD_UTF8); at >= 0; at = bytes.indexOf(BAD_UTF8)) BAD_UTF8_BYTES.copy(bytes, at);
  return bytes;
}

/** A field or a oneof somewhere in a request. */
export interface Place {
  readonly rpc: ProtoRpc;
  /** `package.Message.field`. */
  readonly id: string;
  /** Its name in its message. */
  readonly name: string;
  /** Its path in the request up to its message, such as `limits[0].inline_policy.`; '' for the request's own fields. */
  readonly prefix: string;
  /** The message it is in. */
  readonly of: (request: Plain) => Plain;
  /** The other fields of its oneof: setting this one takes those away. */
  readonly excludes: readonly string[];
}

/** Every field and oneof of a request, through nested messages (of a repeated one through its first item). */
export function placesOf(rpc: ProtoRpc): Place[] {
  return placesIn(rpc, rpc.request, '', (request) => request);
}

function placesIn(rpc: ProtoRpc, type: protobuf.Type, prefix: string, of: Place['of']): Place[] {
  const messageId = type.fullName.slice(1);
  const place = (name: string, excludes: readonly string[]): Place => ({
    ...{ rpc, id: `${messageId}.${name}`, name, prefix, of, excludes },
  });
  // the oneof of a proto3 `optional` is not one of the contract
  const oneofs = type.oneofsArray.filter(({ name }) => !name.startsWith('_'));
  const fields = type.fieldsArray.flatMap((field) => {
    const { name, resolvedType } = field.resolve();
    const siblings = field.partOf?.fieldsArray.map((other) => other.name).filter((other) => other !== name) ?? [];
    const own = place(name, siblings);
    if (!(resolvedType instanceof protobuf.Type) || field instanceof protobuf.MapField) return [own];
    const inner = (request: Plain): Plain => {
      const value = of(request)[name];
      return (Array.isArray(value) ? value[0] : value) as Plain;
    };
    return [own, ...placesIn(rpc, resolvedType, `${prefix}${name}${field.repeated ? '[0]' : ''}.`, inner)];
  });
  const groups = oneofs.map((oneof) =>
    place(
      oneof.name,
      oneof.fieldsArray.map(({ name }) => name),
    ),
  );
  return [...fields, ...groups];
}
