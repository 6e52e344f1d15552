import { once } from 'node:events';
import { connect } from 'node:http2';

/** The 5 bytes before a gRPC message: not compressed, and its length. */
export function frame(message: Uint8Array): Buffer {
  const prefix = Buffer.alloc(5);
  prefix.writeUInt32BE(message.length, 1);
  return Buffer.concat([prefix, message]);
}

export interface RawAnswer {
  readonly grpcStatus: string;
  readonly body: Buffer;
}

/** Sends over HTTP/2 the very bytes that h2load sends, and reads what it does not: the status in the trailers. */
export async function callRaw(origin: string, path: string, body: Buffer): Promise<RawAnswer> {
  const session = connect(origin);
  try {
    const stream = session.request({
      ':method': 'POST',
      ':path': path,
      'content-type': 'application/grpc',
      te: 'trailers',
    });
    let grpcStatus = '';
    const readStatus = (headers: Readonly<Record<string, unknown>>): void => {
      if (typeof headers['grpc-status'] === 'string') grpcStatus = headers['grpc-status'];
    };
    // an answer without a message carries its status in the headers
    stream.on('response', readStatus).on('trailers', readStatus);
    const chunks: Buffer[] = [];
    stream.on('data', (chunk: Buffer) => chunks.push(chunk));
    stream.end(body);
    await once(stream, 'end');
    return { grpcStatus, body: Buffer.concat(chunks) };
  } finally {
    session.close();
  }
}
