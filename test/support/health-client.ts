import { Metadata, type Client, type ClientReadableStream } from '@grpc/grpc-js';
import { protoPath } from 'grpc-health-check';
import protobuf from 'protobufjs';
import type { TestChannel } from './client.js';

/** A client of grpc.health.v1.Health. */

const root = new protobuf.Root();
root.loadSync(protoPath);
const Request = root.lookupType('grpc.health.v1.HealthCheckRequest');
const Response = root.lookupType('grpc.health.v1.HealthCheckResponse');

export type Serving = 'SERVING' | 'NOT_SERVING' | 'SERVICE_UNKNOWN' | 'UNKNOWN';

function encode(service: string): Buffer {
  return Buffer.from(Request.encode({ service }).finish());
}

function decode(bytes: Buffer): Serving {
  const { status } = Response.toObject(Response.decode(bytes), { enums: String, defaults: true }) as {
    status: Serving;
  };
  return status;
}

export async function checkHealth(channel: TestChannel, service: string): Promise<Serving> {
  return decode(await channel.raw('/grpc.health.v1.Health/Check', encode(service)));
}

/** What Watch answered so far; `ended` once the stream is over. */
export class HealthWatch {
  readonly statuses: Serving[] = [];
  ended = false;
  private readonly stream: ClientReadableStream<Buffer>;

  constructor(client: Client, service: string) {
    const identity = (bytes: Buffer): Buffer => bytes;
    const path = '/grpc.health.v1.Health/Watch';
    this.stream = client.makeServerStreamRequest(path, identity, identity, encode(service), new Metadata());
    this.stream.on('data', (bytes: Buffer) => {
      this.statuses.push(decode(bytes));
    });
    this.stream.on('error', () => {
      this.ended = true;
    });
    this.stream.on('end', () => {
      this.ended = true;
    });
  }

  get last(): Serving | undefined {
    return this.statuses.at(-1);
  }

  cancel(): void {
    this.stream.cancel();
  }
}
