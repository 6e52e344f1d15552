import { readFileSync } from 'node:fs';
import { Client, connectivityState as State, credentials, Metadata, type ChannelCredentials } from '@grpc/grpc-js';
import { ByteReader } from '../wire/byte-reader.js';
import { ByteWriter, VARINT } from '../wire/byte-writer.js';
import { writeText } from '../wire/fields.js';

/** What a check ended with; the numbers are those of grpc_health_probe. */
export const CHECK_EXIT = { serving: 0, badArguments: 1, notConnected: 2, rpcFailed: 3, notServing: 4 } as const;

export interface CheckTls {
  /** PEM files; without one the certificates of the system are trusted. */
  readonly caFile?: string | undefined;
  readonly certFile?: string | undefined;
  readonly keyFile?: string | undefined;
  readonly serverName?: string | undefined;
  readonly verify: boolean;
}

export interface CheckOptions {
  /** '' for the whole, or what gRPC health knows besides. */
  readonly service: string;
  /** For connecting and asking together. */
  readonly timeoutMs: number;
  /** Undefined: plaintext. */
  readonly tls: CheckTls | undefined;
}

export interface CheckResult {
  readonly exit: (typeof CHECK_EXIT)[keyof typeof CHECK_EXIT];
  /** For a person. */
  readonly text: string;
}

const PATH = '/grpc.health.v1.Health/Check';
const PLAINTEXT_REFUSED = 'nobody listens, or it speaks TLS, for which there is --tls';
const TLS_REFUSED = 'nobody listens, it speaks plaintext, or one of both does not take the certificate of the other';
const SERVICE_FIELD = 1;
const STATUS_FIELD = 1;
const STATUSES = ['UNKNOWN', 'SERVING', 'NOT_SERVING', 'SERVICE_UNKNOWN'];

/** Asks `host:port` or `unix:/path` for grpc.health.v1.Health, once. Never throws. */
export async function checkHealth(address: string, options: CheckOptions): Promise<CheckResult> {
  const deadline = Date.now() + options.timeoutMs;
  let channel: ChannelCredentials;
  try {
    channel = credentialsOf(options.tls);
  } catch (error) {
    return { exit: CHECK_EXIT.badArguments, text: `TLS: ${messageOf(error)}` };
  }
  const name = options.tls?.serverName;
  const client = new Client(address, channel, {
    'grpc.enable_http_proxy': 0,
    ...(name === undefined ? {} : { 'grpc.ssl_target_name_override': name }),
  });
  try {
    await connected(client, deadline, options.tls === undefined ? PLAINTEXT_REFUSED : TLS_REFUSED);
    return await ask(client, options.service, deadline);
  } catch (error) {
    return { exit: CHECK_EXIT.notConnected, text: `cannot connect to ${address}: ${messageOf(error)}` };
  } finally {
    client.close();
  }
}

function credentialsOf(tls: CheckTls | undefined): ChannelCredentials {
  if (tls === undefined) return credentials.createInsecure();
  const read = (path: string | undefined): Buffer | null => (path === undefined ? null : readFileSync(path));
  return credentials.createSsl(read(tls.caFile), read(tls.keyFile), read(tls.certFile), {
    rejectUnauthorized: tls.verify,
  });
}

/** Rejects at the first failure: who probes will come again, and wants to know at once. */
function connected(client: Client, deadline: number, refused: string): Promise<void> {
  const channel = client.getChannel();
  return new Promise((resolve, reject) => {
    const look = (): void => {
      const state = channel.getConnectivityState(true);
      if (state === State.READY) resolve();
      else if (state === State.TRANSIENT_FAILURE) reject(new Error(refused));
      else {
        channel.watchConnectivityState(state, deadline, (error) => {
          if (error === undefined) look();
          else reject(new Error('timed out'));
        });
      }
    };
    look();
  });
}

function ask(client: Client, service: string, deadline: number): Promise<CheckResult> {
  const writer = new ByteWriter(64);
  writeText(writer, SERVICE_FIELD, service);
  const request = writer.take();
  return new Promise((resolve) => {
    client.makeUnaryRequest(PATH, identity, statusIn, request, new Metadata(), { deadline }, (error, status) => {
      if (error !== null) resolve({ exit: CHECK_EXIT.rpcFailed, text: error.message });
      else {
        const exit = status === 'SERVING' ? CHECK_EXIT.serving : CHECK_EXIT.notServing;
        resolve({ exit, text: `status: ${status ?? 'UNKNOWN'}` });
      }
    });
  });
}

function identity(bytes: Buffer): Buffer {
  return bytes;
}

function statusIn(bytes: Buffer): string {
  const reader = new ByteReader(bytes, 0, bytes.length);
  let status = 0;
  while (reader.hasMore) {
    const tag = reader.varint();
    if (tag === ((STATUS_FIELD << 3) | VARINT)) status = reader.varint();
    else reader.skipField(tag);
  }
  return STATUSES[status] ?? 'UNKNOWN';
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
