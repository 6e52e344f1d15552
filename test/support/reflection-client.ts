import { fileURLToPath } from 'node:url';
import { Metadata, type Client } from '@grpc/grpc-js';
import protobuf from 'protobufjs';

/** A client of grpc.reflection.v1.ServerReflection. */

const PROTO = '../../node_modules/@grpc/reflection/build/proto/grpc/reflection/v1/reflection.proto';
const root = new protobuf.Root();
root.loadSync(fileURLToPath(new URL(PROTO, import.meta.url)));
const Request = root.lookupType('grpc.reflection.v1.ServerReflectionRequest');
const Response = root.lookupType('grpc.reflection.v1.ServerReflectionResponse');

export interface ReflectionAnswer {
  readonly listServicesResponse?: { readonly service: readonly { readonly name: string }[] };
  readonly fileDescriptorResponse?: { readonly fileDescriptorProto: readonly Uint8Array[] };
}

/** Asks one question and answers the answer. */
export function reflect(
  client: Client,
  question: Readonly<Record<string, string>>,
  metadata = new Metadata(),
): Promise<ReflectionAnswer> {
  return new Promise((resolve, reject) => {
    const identity = (bytes: Buffer): Buffer => bytes;
    const path = '/grpc.reflection.v1.ServerReflection/ServerReflectionInfo';
    const stream = client.makeBidiStreamRequest(path, identity, identity, metadata);
    stream.on('data', (bytes: Buffer) => {
      resolve(Response.toObject(Response.decode(bytes)));
      stream.cancel();
    });
    stream.on('error', reject);
    stream.write(Buffer.from(Request.encode(question).finish()));
  });
}
