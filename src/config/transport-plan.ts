import { ConfigError } from './config-error.js';
import { DEFAULTS } from './defaults.js';
import type { EnvironmentSettings } from './environment.js';
import { checkListen, isLocal } from './listen-address.js';
import { readTlsMaterial, type TlsPlan } from './tls-files.js';

/** How much one connection, and all of them, may take of the service. */
export interface ConnectionLimits {
  /** Open connections to the API; one more is closed before a byte of it is read. */
  readonly maxConnections: number;
  /** Calls and streams open at the same time on one connection. */
  readonly maxConnectionStreams: number;
  /** After so long, give or take a tenth, a connection is asked to go; 0: never. */
  readonly maxConnectionAgeMs: number;
  /** A connection without calls is closed after so long; 0: never. */
  readonly maxConnectionIdleMs: number;
  /** Names and values of one call's metadata, and 32 bytes for each. */
  readonly maxMetadataBytes: number;
  /** How long a connection may say nothing before it is asked whether it lives. */
  readonly keepaliveTimeMs: number;
  /** How long it may take to say so. */
  readonly keepaliveTimeoutMs: number;
}

export interface TransportPlan {
  /** Undefined: the API is served in plaintext. */
  readonly tls: TlsPlan | undefined;
  readonly limits: ConnectionLimits;
}

interface Findings {
  readonly problems: string[];
  readonly warnings: string[];
}

/** Who may connect to the API, and how much of it one may take. What will not do is added to the findings. */
export function planTransport(settings: EnvironmentSettings, findings: Findings): TransportPlan {
  const { problems } = findings;
  const listen = settings.GRPC_LISTEN;
  checkListen('GRPC_LISTEN', listen, problems);
  const local = isLocal(listen);
  const tls = planTls(settings, findings);
  const isTlsNamed = settings.TLS_CERT_FILE !== undefined || settings.TLS_KEY_FILE !== undefined;
  if (!isTlsNamed && !local && !settings.ALLOW_PLAINTEXT) {
    problems.push(
      'GRPC_LISTEN: is not of this machine only; set TLS_CERT_FILE and TLS_KEY_FILE, or ALLOW_PLAINTEXT=1 to serve it in plaintext',
    );
  }
  return {
    tls,
    limits: {
      maxConnections: settings.MAX_CONNECTIONS,
      maxConnectionStreams: settings.MAX_CONNECTION_STREAMS,
      // what is on this machine has nowhere else to go
      maxConnectionAgeMs: settings.MAX_CONNECTION_AGE_MS ?? (local ? 0 : DEFAULTS.maxConnectionAgeMs),
      maxConnectionIdleMs: settings.MAX_CONNECTION_IDLE_MS ?? (local ? 0 : DEFAULTS.maxConnectionIdleMs),
      maxMetadataBytes: settings.MAX_METADATA_BYTES,
      keepaliveTimeMs: settings.KEEPALIVE_TIME_MS,
      keepaliveTimeoutMs: settings.KEEPALIVE_TIMEOUT_MS,
    },
  };
}

function planTls(settings: EnvironmentSettings, { problems, warnings }: Findings): TlsPlan | undefined {
  const { TLS_CERT_FILE, TLS_KEY_FILE, TLS_CLIENT_CA_FILE, TLS_CLIENT_CERT } = settings;
  if (TLS_CLIENT_CERT !== undefined && TLS_CLIENT_CA_FILE === undefined) {
    problems.push('TLS_CLIENT_CERT: needs TLS_CLIENT_CA_FILE');
  }
  if (TLS_CERT_FILE === undefined || TLS_KEY_FILE === undefined) {
    if (TLS_CERT_FILE !== undefined) problems.push('TLS_KEY_FILE: is missing beside TLS_CERT_FILE');
    else if (TLS_KEY_FILE !== undefined) problems.push('TLS_CERT_FILE: is missing beside TLS_KEY_FILE');
    else if (TLS_CLIENT_CA_FILE !== undefined)
      problems.push('TLS_CLIENT_CA_FILE: needs TLS_CERT_FILE and TLS_KEY_FILE');
    return undefined;
  }
  const plan: TlsPlan = {
    certFile: TLS_CERT_FILE,
    keyFile: TLS_KEY_FILE,
    clientCaFile: TLS_CLIENT_CA_FILE,
    requireClientCert: TLS_CLIENT_CA_FILE !== undefined && TLS_CLIENT_CERT !== 'optional',
  };
  try {
    // served all the same: the next certificate comes without a restart, and until then clients and metrics tell
    if (readTlsMaterial(plan).expiresAtMs <= Date.now()) warnings.push('TLS_CERT_FILE: the certificate has expired');
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    problems.push(...error.problems);
  }
  return plan;
}
