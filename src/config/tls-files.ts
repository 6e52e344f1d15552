import { createPrivateKey, X509Certificate, type KeyObject } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createSecureContext } from 'node:tls';
import { ConfigError } from './config-error.js';

/** Where the certificates of the API are. */
export interface TlsPlan {
  readonly certFile: string;
  readonly keyFile: string;
  /** Who signs the certificates of clients; undefined: clients are asked for none. */
  readonly clientCaFile: string | undefined;
  /** False: a client may have no certificate, but not a bad one. */
  readonly requireClientCert: boolean;
}

/** What the files hold, in PEM. They fit each other. */
export interface TlsMaterial {
  readonly cert: Buffer;
  readonly key: Buffer;
  readonly clientCa: Buffer | undefined;
  /** When the first certificate of the chain, which is the service's own, ends. Unix milliseconds. */
  readonly expiresAtMs: number;
}

/** Below it lies what browsers and Go gave up in 2020. */
export const MIN_TLS_VERSION = 'TLSv1.2';

const PEM_CERTIFICATE = /-----BEGIN CERTIFICATE-----[\s\S]*?-----END CERTIFICATE-----/g;

/** Reads what the plan names. Throws ConfigError naming each setting whose file will not do; nothing of a key is in it. */
export function readTlsMaterial(plan: TlsPlan): TlsMaterial {
  const problems: string[] = [];
  const cert = readOr(problems, 'TLS_CERT_FILE', plan.certFile);
  const key = readOr(problems, 'TLS_KEY_FILE', plan.keyFile);
  const clientCa =
    plan.clientCaFile === undefined ? undefined : readOr(problems, 'TLS_CLIENT_CA_FILE', plan.clientCaFile);
  const [own] = cert === undefined ? [] : certificatesOf(problems, 'TLS_CERT_FILE', cert);
  if (clientCa !== undefined) certificatesOf(problems, 'TLS_CLIENT_CA_FILE', clientCa);
  const privateKey = key === undefined ? undefined : privateKeyOf(problems, key);
  if (own !== undefined && privateKey !== undefined && !own.checkPrivateKey(privateKey)) {
    problems.push('TLS_KEY_FILE: is not the key of the certificate in TLS_CERT_FILE');
  }
  if (cert === undefined || key === undefined || own === undefined || problems.length > 0) {
    throw new ConfigError(problems);
  }
  const material = { cert, key, clientCa, expiresAtMs: Date.parse(own.validTo) };
  try {
    createSecureContext({ cert, key, ca: clientCa, minVersion: MIN_TLS_VERSION });
  } catch (error) {
    throw new ConfigError([`TLS_CERT_FILE: cannot be used: ${String(error)}`]);
  }
  return material;
}

function readOr(problems: string[], setting: string, path: string): Buffer | undefined {
  try {
    return readFileSync(path);
  } catch (error) {
    problems.push(`${setting}: cannot read it: ${error instanceof Error ? error.message : String(error)}`);
    return undefined;
  }
}

/** All of a chain, or a bundle: of what follows the first one nobody else says that it is broken. */
function certificatesOf(problems: string[], setting: string, pem: Buffer): X509Certificate[] {
  const blocks = pem.toString('latin1').match(PEM_CERTIFICATE) ?? [];
  try {
    if (blocks.length > 0) return blocks.map((block) => new X509Certificate(block));
    problems.push(`${setting}: holds no certificate in PEM`);
  } catch {
    problems.push(`${setting}: holds a certificate that cannot be read`);
  }
  return [];
}

function privateKeyOf(problems: string[], pem: Buffer): KeyObject | undefined {
  try {
    return createPrivateKey(pem);
  } catch {
    problems.push('TLS_KEY_FILE: holds no private key in PEM, or one with a passphrase');
    return undefined;
  }
}
