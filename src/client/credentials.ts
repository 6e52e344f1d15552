import { Buffer } from 'node:buffer';
import { X509Certificate } from 'node:crypto';
import { credentials, Metadata, type ChannelCredentials } from '@grpc/grpc-js';
import { invalidArgument } from './errors.js';

export interface TlsOptions {
  /** Certificates to trust, PEM; those of the system by default. */
  readonly ca?: Buffer | string;
  /** What this client shows of itself, PEM; both or none. */
  readonly cert?: Buffer | string;
  readonly key?: Buffer | string;
  /** The name that the service's certificate is for, where it is not that of the address. */
  readonly serverName?: string;
}

export interface CredentialOptions {
  /** `true` trusts the certificates of the system. Plaintext by default. */
  readonly tls?: boolean | TlsOptions;
  /**
   * A bearer token. As a function it is asked for each connection and each call outside the pipeline, so it may change; while
   * it throws the last one is used.
   * Refused without TLS, unless the address is a unix socket or of this machine.
   */
  readonly token?: string | (() => string);
  /** Which of the credential's namespaces to work in; its first by default. */
  readonly namespace?: string;
}

export interface Credentials {
  readonly channel: ChannelCredentials;
  /** Options of the channel that go with it. */
  readonly channelOptions: Readonly<Record<string, string | number>>;
  readonly metadata: () => Metadata;
}

const LOCAL = /^(unix:|(ipv4:|dns:\/{0,3})?(127\.\d+\.\d+\.\d+|localhost)(:\d+)?$|(ipv6:)?\[::1\](:\d+)?$)/;

export function credentialsOf(address: string, { tls = false, token, namespace }: CredentialOptions): Credentials {
  const isLocal = LOCAL.test(address);
  if (token !== undefined && tls === false && !isLocal)
    throw invalidArgument('a token to another machine needs tls', ['tls']);
  const current = typeof token === 'function' ? lastGood(token) : constant(token);
  const metadata = (): Metadata => {
    const carried = new Metadata();
    const bearer = current();
    if (bearer !== undefined) carried.set('authorization', `Bearer ${bearer}`);
    if (namespace !== undefined) carried.set('shardkeep-namespace', namespace);
    return carried;
  };
  // what is on this machine is not reached by way of another one
  const direct = isLocal ? { 'grpc.enable_http_proxy': 0 } : {};
  if (tls === false) return { channel: credentials.createInsecure(), channelOptions: direct, metadata };
  const { ca, cert, key, serverName } = tls === true ? {} : tls;
  if ((cert === undefined) !== (key === undefined)) throw invalidArgument('cert and key go together', ['tls']);
  return {
    channel: channelOf(bytesOf(ca), bytesOf(key), bytesOf(cert)),
    channelOptions: {
      ...direct,
      ...(serverName !== undefined && { 'grpc.ssl_target_name_override': serverName }),
    },
    metadata,
  };
}

function bytesOf(pem: Buffer | string | undefined): Buffer | null {
  return pem === undefined ? null : Buffer.from(pem);
}

function channelOf(ca: Buffer | null, key: Buffer | null, cert: Buffer | null): ChannelCredentials {
  try {
    // what is none is not trusted, and nobody says so
    if (ca !== null) new X509Certificate(ca);
    return credentials.createSsl(ca, key, cert);
  } catch (error) {
    throw invalidArgument(`the certificates or the key cannot be used: ${String(error)}`, ['tls']);
  }
}

/** What a header can carry. */
const TOKEN = /^[\x21-\x7e]+$/;

function constant(token: string | undefined): () => string | undefined {
  if (token !== undefined && !TOKEN.test(token))
    throw invalidArgument('the token is empty, or has characters that no header can carry', ['token']);
  return () => token;
}

/** A file that is being replaced must not end the client, which asks in the middle of connecting. */
function lastGood(token: () => string): () => string | undefined {
  let last: string | undefined;
  return () => {
    try {
      const next = token();
      if (TOKEN.test(next)) last = next;
    } catch {
      // the service will say so if the last one is no good any more
    }
    return last;
  };
}
