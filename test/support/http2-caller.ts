import {
  connect as connectHttp2,
  type ClientHttp2Session,
  type IncomingHttpHeaders,
  type OutgoingHttpHeaders,
} from 'node:http2';
import { connect as connectTcp, type Socket } from 'node:net';

/** HTTP/2 as no gRPC library would speak it. */

/** How one request ended. */
export interface Http2Answer {
  readonly httpStatus: number | undefined;
  /** gRPC's, of the headers or the trailers. */
  readonly grpcStatus: number | undefined;
  /** With which the stream was closed; 0 where all is well. */
  readonly resetCode: number | undefined;
}

export interface Http2Request {
  readonly path: string;
  /** As it is; `grpcMessage` puts the gRPC prefix before one. */
  readonly body?: Buffer;
  readonly headers?: OutgoingHttpHeaders;
  /** False: the request goes on for ever. */
  readonly ends?: boolean;
}

/** A message with gRPC's prefix. */
export function grpcMessage(payload: Buffer, { compressed = false }: { readonly compressed?: boolean } = {}): Buffer {
  const prefix = Buffer.alloc(5);
  prefix.writeUInt8(compressed ? 1 : 0);
  prefix.writeUInt32BE(payload.length, 1);
  return Buffer.concat([prefix, payload]);
}

/** One connection that sends what it is told to. */
export class Http2Caller {
  readonly session: ClientHttp2Session;
  /** Resolves when the connection is over. */
  readonly closed: Promise<void>;

  constructor(address: string) {
    // headers of any size leave
    this.session = connectHttp2(`http://${address}`, { maxSendHeaderBlockLength: 2 ** 24 });
    this.session.on('error', () => undefined);
    this.closed = new Promise((resolve) => {
      this.session.on('close', resolve);
    });
  }

  /** Resolves when the answer has ended, or the stream or the connection has. */
  request({ path, body, headers = {}, ends = true }: Http2Request): Promise<Http2Answer> {
    const stream = this.session.request({
      ...{ ':method': 'POST', ':path': path, 'content-type': 'application/grpc', te: 'trailers' },
      ...headers,
    });
    let httpStatus: number | undefined;
    let grpcStatus: number | undefined;
    const note = (status: unknown): void => {
      if (status !== undefined) grpcStatus = Number(status);
    };
    return new Promise((resolve) => {
      const done = (): void => {
        resolve({ httpStatus, grpcStatus, resetCode: stream.rstCode });
      };
      stream.on('response', (received) => {
        httpStatus = received[':status'];
        note(received['grpc-status']);
      });
      stream.on('trailers', (received: IncomingHttpHeaders) => {
        note(received['grpc-status']);
      });
      stream.on('error', () => undefined);
      stream.on('end', done).on('close', done).resume();
      if (body !== undefined) stream.write(body);
      if (ends) stream.end();
    });
  }

  close(): void {
    this.session.destroy();
  }
}

const PREFACE = Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', 'latin1');

export const FRAME = { data: 0, headers: 1, settings: 4, ping: 6, continuation: 9 } as const;

export function http2Frame(type: number, { flags = 0, stream = 0, payload = Buffer.alloc(0) } = {}): Buffer {
  const header = Buffer.alloc(9);
  header.writeUIntBE(payload.length, 0, 3);
  header.writeUInt8(type, 3);
  header.writeUInt8(flags, 4);
  header.writeUInt32BE(stream, 5);
  return Buffer.concat([header, payload]);
}

/** A TCP connection that writes frames byte by byte as it likes. */
export class RawConnection {
  readonly socket: Socket;
  readonly closed: Promise<void>;

  /** With `preface` it begins as HTTP/2 does. */
  constructor(address: string, { preface = true }: { readonly preface?: boolean } = {}) {
    const colon = address.lastIndexOf(':');
    this.socket = connectTcp(Number(address.slice(colon + 1)), address.slice(0, colon));
    this.socket.on('error', () => undefined);
    this.closed = new Promise((resolve) => {
      this.socket.on('close', () => {
        resolve();
      });
    });
    if (preface) this.socket.write(Buffer.concat([PREFACE, http2Frame(FRAME.settings)]));
  }

  /** Writes it again and again, reading what comes or not, until the other side ends the connection. */
  async flood(piece: Buffer, { reads }: { readonly reads: boolean }): Promise<void> {
    const { socket } = this;
    if (reads) socket.resume();
    const chunk = Buffer.concat(Array.from({ length: 1_000 }, () => piece));
    const write = (): void => {
      if (socket.destroyed) return;
      if (socket.write(chunk)) setImmediate(write);
      else socket.once('drain', write);
    };
    write();
    await this.closed;
  }
}
