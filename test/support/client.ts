import {
  Client,
  credentials,
  Metadata,
  status as Code,
  type CallOptions,
  type ChannelCredentials,
  type ServiceError,
} from '@grpc/grpc-js';
import { Any, BadRequest, ErrorInfo, RetryInfo } from 'nice-grpc-error-details';
import { BinaryReader } from '@bufbuild/protobuf/wire';

/** A real gRPC client of a ts-proto service, with promises. */

export interface Method {
  readonly path: string;
  readonly requestStream: boolean;
  readonly responseStream: boolean;
  readonly requestSerialize: (request: never) => Buffer;
  readonly requestDeserialize: (bytes: Buffer) => unknown;
  readonly responseDeserialize: (bytes: Buffer) => unknown;
}

export type RequestOf<M extends Method> = ReturnType<M['requestDeserialize']>;
export type ResponseOf<M extends Method> = ReturnType<M['responseDeserialize']>;

/** The unary RPCs; `openStream` calls the others. */
export type PromiseClient<Service extends Readonly<Record<string, Method>>> = {
  readonly [
    Name in keyof Service as Service[Name] extends { requestStream: false; responseStream: false } ? Name : never
  ]: (request: Partial<RequestOf<Service[Name]>>, options?: CallOptions) => Promise<ResponseOf<Service[Name]>>;
};

/** What a caller shows of itself. */
export interface Caller {
  readonly token?: string | undefined;
  readonly namespace?: string | undefined;
}

export function metadataOf({ token, namespace }: Caller): Metadata {
  const metadata = new Metadata();
  if (token !== undefined) metadata.set('authorization', `Bearer ${token}`);
  if (namespace !== undefined) metadata.set('shardkeep-namespace', namespace);
  return metadata;
}

/** Connects all clients of one test over one channel. */
export class TestChannel {
  readonly client: Client;

  /** Goes with every call. */
  readonly metadata: Metadata;

  constructor(
    address: string,
    channelCredentials: ChannelCredentials = credentials.createInsecure(),
    {
      metadata = new Metadata(),
      serviceConfig = {},
    }: { readonly metadata?: Metadata; readonly serviceConfig?: object } = {},
  ) {
    this.metadata = metadata;
    // a connection of its own: channels of one process to one address would share one
    this.client = new Client(address, channelCredentials, {
      'grpc.use_local_subchannel_pool': 1,
      'grpc.service_config': JSON.stringify(serviceConfig),
    });
  }

  of<Service extends Readonly<Record<string, Method>>>(service: Service): PromiseClient<Service> {
    const entries = Object.entries(service).map(([name, method]): readonly [string, unknown] => [
      name,
      (request: object, options: CallOptions = {}) => this.call(method, request, options),
    ]);
    return Object.fromEntries(entries) as unknown as PromiseClient<Service>;
  }

  /** Sends bytes as they are, for what no generated client would send. */
  raw(path: string, payload: Buffer): Promise<Buffer> {
    return this.send(path, payload, {});
  }

  /** One request as bytes to an RPC of either kind; answers the first message of the answer. */
  async rawRpc({ name, isUnary }: { name: string; isUnary: boolean }, payload: Buffer): Promise<Buffer | undefined> {
    return isUnary ? this.raw(`/${name}`, payload) : (await this.rawStream(`/${name}`, payload, 1))[0];
  }

  close(): void {
    this.client.close();
  }

  /** Like `raw`, to an RPC of any kind: answers the messages of the answer, all of them or so many. */
  rawStream(path: string, payload: Buffer, count = Number.POSITIVE_INFINITY): Promise<Buffer[]> {
    return new Promise((resolve, reject) => {
      const identity = (bytes: Buffer): Buffer => bytes;
      const messages: Buffer[] = [];
      const stream = this.client.makeBidiStreamRequest(path, identity, identity, this.metadata);
      stream.on('data', (message: Buffer) => {
        messages.push(message);
        if (messages.length < count) return;
        resolve(messages);
        stream.cancel();
      });
      stream.on('error', reject);
      stream.on('end', () => {
        resolve(messages);
      });
      stream.end(payload);
    });
  }

  private async call(method: Method, request: object, options: CallOptions): Promise<unknown> {
    // the decoding of nothing is the message of defaults
    const whole = { ...(method.requestDeserialize(Buffer.alloc(0)) as object), ...request };
    const reply = await this.send(method.path, method.requestSerialize(whole as never), options);
    return method.responseDeserialize(reply);
  }

  private send(path: string, payload: Buffer, options: CallOptions): Promise<Buffer> {
    return new Promise((resolve, reject) => {
      const identity = (bytes: Buffer): Buffer => bytes;
      const done = (error: ServiceError | null, reply?: Buffer): void => {
        if (error !== null) reject(error);
        else if (reply === undefined) reject(new Error('no reply'));
        else resolve(reply);
      };
      this.client.makeUnaryRequest(path, identity, identity, payload, this.metadata, options, done);
    });
  }
}

export interface CallFailure {
  readonly code: Code;
  /** ErrorInfo.reason, '' where there is none. */
  readonly reason: string;
  readonly metadata: Readonly<Record<string, string>>;
  /** The fields that BadRequest names. */
  readonly fields: readonly string[];
  readonly retryAfterMs: number | undefined;
}

/** Waits for a call to fail and answers how; fails when it succeeds. */
export async function failureOf(call: Promise<unknown>): Promise<CallFailure> {
  let error: unknown;
  try {
    await call;
  } catch (thrown) {
    error = thrown;
  }
  if (!isServiceError(error)) throw new Error('expected the call to fail with a gRPC status', { cause: error });
  const [packed] = error.metadata.get('grpc-status-details-bin');
  const details = Buffer.isBuffer(packed) ? readDetails(packed) : [];
  const find = <Detail>(type: string, decode: (bytes: Uint8Array) => Detail): Detail | undefined => {
    const detail = details.find(({ typeUrl }) => typeUrl === `type.googleapis.com/google.rpc.${type}`);
    return detail === undefined ? undefined : decode(detail.value);
  };
  const info = find('ErrorInfo', (bytes) => ErrorInfo.decode(bytes));
  const retryDelay = find('RetryInfo', (bytes) => RetryInfo.decode(bytes))?.retryDelay;
  return {
    code: error.code,
    reason: info?.reason ?? '',
    metadata: info?.metadata ?? {},
    fields: find('BadRequest', (bytes) => BadRequest.decode(bytes))?.fieldViolations.map(({ field }) => field) ?? [],
    retryAfterMs: retryDelay === undefined ? undefined : retryDelay.seconds * 1_000 + retryDelay.nanos / 1_000_000,
  };
}

function isServiceError(error: unknown): error is ServiceError {
  return error instanceof Error && 'code' in error && typeof error.code === 'number' && 'metadata' in error;
}

function readDetails(status: Buffer): Any[] {
  const details: Any[] = [];
  const reader = new BinaryReader(status);
  while (reader.pos < reader.len) {
    const [field, wireType] = reader.tag();
    if (field === 3) details.push(Any.decode(reader.bytes()));
    else reader.skip(wireType);
  }
  return details;
}
