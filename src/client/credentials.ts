import type { Buffer } from 'node:buffer';
import { credentials, Metadata, type ChannelCredentials } from '@grpc/grpc-js';
import { invalidArgument } from './errors.js';

export interface TlsOptions {
  /** Certificates to trust, PEM; those of the system by default. */
  readonly ca?: Buffer;
  /** What this client shows of itself, PEM; both or none. */
  readonly cert?: Buffer;
  readonly key?: Buffer;
  /** The name that the service's certificate is for, where it is not that of the address. */
  readonly serverName?: string;
}

export interface CredentialOptions {
  /** `true` trusts the certificates of the system. Plaintext by default. */
  readonly tls?: true | TlsOptions;
  /**
   * A bearer token. As a function it is asked for each connection and each call outside the pipeline, so it may change.
   * Refused without TLS, unless the address is a unix socket or of this machine.
   */
  readonly token?: string | (() => string);
}

export interface Credentials {
  readonly channel: ChannelCredentials;
  /** Options of the channel that go with it. */
  readonly channelOptions: Readonly<Record<string, string>>;
  readonly metadata: () => Metadata;
}

const LOCAL = /^(unix:|unix-abstract:|(ipv4:|dns:\/{0,3})?(127\.[\d.]+|localhost)(:\d+)?$|(ipv6:)?\[::1\](:\d+)?$)/;

export function credentialsOf(address: string, { tls, token }: CredentialOptions): Credentials {
  if (token !== undefined && tls === undefined && !LOCAL.test(address))
    throw invalidArgument('a token to another machine needs tls', ['tls']);
  const metadata = (): Metadata => {
    const carried = new Metadata();
    if (token !== undefined) carried.set('authorization', `Bearer ${typeof token === 'string' ? token : token()}`);
    return carried;
  };
  if (tls === undefined) return { channel: credentials.createInsecure(), channelOptions: {}, metadata };
  const { ca, cert, key, serverName } = tls === true ? {} : tls;
  if ((cert === undefined) !== (key === undefined)) throw invalidArgument('cert and key go together', ['tls']);
  return {
    channel: credentials.createSsl(ca ?? null, key ?? null, cert ?? null),
    channelOptions: serverName === undefined ? {} : { 'grpc.ssl_target_name_override': serverName },
    metadata,
  };
}
