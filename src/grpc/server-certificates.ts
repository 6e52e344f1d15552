import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import type { SecureContextOptions, TlsOptions } from 'node:tls';
import type { Logger } from 'pino';
import type { MetricDefinition } from '../admin/metrics.js';
import { ConfigError } from '../config/config-error.js';
import { MIN_TLS_VERSION, readTlsMaterial, type TlsMaterial, type TlsPlan } from '../config/tls-files.js';

/** Files are looked at rather than watched: a mounted secret changes by links to folders, of which no event tells. */
const LOOK_MS = 2_000;
/** Forward secret and authenticated, as HTTP/2 asks for; the first three are those of TLS 1.3. */
const CIPHERS = [
  ...['TLS_AES_128_GCM_SHA256', 'TLS_AES_256_GCM_SHA384', 'TLS_CHACHA20_POLY1305_SHA256'],
  ...['ECDHE-ECDSA-AES128-GCM-SHA256', 'ECDHE-RSA-AES128-GCM-SHA256', 'ECDHE-ECDSA-AES256-GCM-SHA384'],
  ...['ECDHE-RSA-AES256-GCM-SHA384', 'ECDHE-ECDSA-CHACHA20-POLY1305', 'ECDHE-RSA-CHACHA20-POLY1305'],
].join(':');
/** Whoever connects and says nothing is gone after that. */
const HANDSHAKE_TIMEOUT_MS = 10_000;

/**
 * The certificates of the API: those of the files, also when these are replaced. A pair that does not fit, or cannot be read,
 * changes nothing: it may be half written, and the one before is better than none.
 */
export class ServerCertificates {
  /** Changes of the files, by what became of them. */
  readonly reloads = { applied: 0, refused: 0 };
  private readonly listeners = new Set<(context: SecureContextOptions) => void>();
  private material: TlsMaterial;
  /** What was in the files when they were last looked at. */
  private seen: string;
  /** It was no good, but a second look may find it complete. */
  private inDoubt = false;
  private timer: NodeJS.Timeout | undefined;

  /** Throws ConfigError when the files will not do. */
  constructor(
    private readonly plan: TlsPlan,
    private readonly logger: Logger,
  ) {
    this.material = readTlsMaterial(plan);
    this.seen = fingerprintOf([this.material.cert, this.material.key, this.material.clientCa]);
  }

  /** Unix milliseconds. */
  get expiresAtMs(): number {
    return this.material.expiresAtMs;
  }

  /** For `tls.createServer`. */
  get serverOptions(): TlsOptions {
    const { clientCaFile, requireClientCert } = this.plan;
    return {
      ...this.context,
      ALPNProtocols: ['h2'],
      requestCert: clientCaFile !== undefined,
      rejectUnauthorized: requireClientCert,
      handshakeTimeout: HANDSHAKE_TIMEOUT_MS,
    };
  }

  /** Calls back with the next certificates, for `setSecureContext`; connections that are open keep theirs. */
  onChange(listener: (context: SecureContextOptions) => void): void {
    this.listeners.add(listener);
  }

  start(): void {
    this.timer ??= setInterval(() => void this.look(), LOOK_MS).unref();
  }

  close(): void {
    clearInterval(this.timer);
    this.listeners.clear();
  }

  private get context(): SecureContextOptions {
    const { cert, key, clientCa } = this.material;
    return { cert, key, ca: clientCa, minVersion: MIN_TLS_VERSION, ciphers: CIPHERS, honorCipherOrder: true };
  }

  private async look(): Promise<void> {
    const { certFile, keyFile, clientCaFile } = this.plan;
    const paths = [certFile, keyFile, ...(clientCaFile === undefined ? [] : [clientCaFile])];
    const contents = await Promise.all(paths.map((path) => readFile(path).catch(() => undefined)));
    const found = fingerprintOf(contents);
    if (found !== this.seen) this.reload(found, { complain: false });
    else if (this.inDoubt) this.reload(found, { complain: true });
  }

  private reload(found: string, { complain }: { readonly complain: boolean }): void {
    this.seen = found;
    try {
      const next = readTlsMaterial(this.plan);
      if (next.expiresAtMs <= Date.now()) throw new ConfigError(['TLS_CERT_FILE: the certificate has expired']);
      this.material = next;
    } catch (error) {
      this.inDoubt = !complain;
      if (complain) this.refuse(error);
      return;
    }
    this.inDoubt = false;
    const { context } = this;
    for (const listener of this.listeners) listener(context);
    this.reloads.applied++;
    this.logger.info({ expiresAt: new Date(this.material.expiresAtMs).toISOString() }, 'certificates replaced');
  }

  private refuse(error: unknown): void {
    const problems = error instanceof ConfigError ? error.problems : [String(error)];
    for (const problem of problems) this.logger.error({ problem }, 'bad certificate files');
    this.logger.error('certificates refused, those before them stay');
    this.reloads.refused++;
  }
}

/** Without TLS they have no values. */
export function certificateMetrics(certificates: ServerCertificates | undefined): readonly MetricDefinition[] {
  return [
    {
      name: 'shardkeep_tls_certificate_expires_timestamp_seconds',
      type: 'gauge',
      help: 'When the certificate of the API ends, in Unix time.',
      acrossWorkers: 'min',
      values: () => (certificates === undefined ? [] : [{ labels: {}, value: certificates.expiresAtMs / 1_000 }]),
    },
    {
      name: 'shardkeep_tls_reloads_total',
      type: 'counter',
      help: 'Changes of the certificate files, by what became of them.',
      values: () =>
        Object.entries(certificates?.reloads ?? {}).map(([result, value]) => ({ labels: { result }, value })),
    },
  ];
}

/** Equal for equal contents of the files, of which some may not be readable. */
function fingerprintOf(contents: readonly (Buffer | undefined)[]): string {
  const digestOf = (content: Buffer): string => createHash('sha256').update(content).digest('base64');
  return contents.map((content) => (content === undefined ? '' : digestOf(content))).join(' ');
}
