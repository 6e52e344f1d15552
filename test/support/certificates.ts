import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** A certificate and its key, as files and as PEM. */
export interface Certificate {
  readonly certFile: string;
  readonly keyFile: string;
  readonly cert: Buffer;
  readonly key: Buffer;
}

const NEW_KEY = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes'];
const LOOPBACK_NAMES = ['DNS:localhost', 'IP:127.0.0.1'];

/** Without it there are no certificates, and nothing of TLS can be tried. */
export const hasOpenssl = spawnSync('openssl', ['version']).status === 0;

export interface CertificateOptions {
  /** With fewer than 0 to live it has expired. */
  readonly days?: number;
  /** How long from now it lives, in whole seconds, in the place of `days`. */
  readonly lifetimeMs?: number;
  /** Subject alternative names. */
  readonly names?: readonly string[];
}

/** Signs certificates, for localhost and 127.0.0.1 unless told otherwise; its files are in a folder of their own. */
export class Authority {
  readonly certFile: string;
  private readonly folder = mkdtempSync(join(tmpdir(), 'shardkeep-test-ca-'));
  private count = 0;

  constructor() {
    this.certFile = this.path('ca.crt');
    this.openssl(
      'req',
      '-x509',
      ...NEW_KEY,
      '-days',
      '2',
      '-subj',
      '/CN=test authority',
      '-keyout',
      this.path('ca.key'),
      '-out',
      this.certFile,
    );
  }

  get cert(): Buffer {
    return readFileSync(this.certFile);
  }

  issue(commonName: string, { days = 1, lifetimeMs, names = LOOPBACK_NAMES }: CertificateOptions = {}): Certificate {
    const name = String(++this.count);
    const [certFile, keyFile, request] = [this.path(`${name}.crt`), this.path(`${name}.key`), this.path(`${name}.csr`)];
    this.openssl(
      'req',
      ...NEW_KEY,
      '-subj',
      `/CN=${commonName}`,
      '-addext',
      `subjectAltName=${names.join(',')}`,
      '-keyout',
      keyFile,
      '-out',
      request,
    );
    if (lifetimeMs === undefined) {
      this.openssl(
        ...['x509', '-req', '-in', request, '-CA', this.certFile, '-CAkey', this.path('ca.key'), '-CAcreateserial'],
        ...['-days', String(days), '-copy_extensions', 'copy', '-out', certFile],
      );
    } else this.signUntil(new Date(Date.now() + lifetimeMs), request, certFile);
    return { certFile, keyFile, cert: readFileSync(certFile), key: readFileSync(keyFile) };
  }

  /** A path in its folder. */
  path(name: string): string {
    return join(this.folder, name);
  }

  remove(): void {
    rmSync(this.folder, { recursive: true, force: true });
  }

  /** `x509` knows whole days only. */
  private signUntil(end: Date, request: string, certFile: string): void {
    const [config, database] = [this.path('ca.cnf'), this.path('index.txt')];
    const own = ['[ca]', 'default_ca = own', '[own]', `database = ${database}`, `new_certs_dir = ${this.folder}`];
    const terms = [
      'rand_serial = yes',
      'default_md = sha256',
      'policy = any',
      'copy_extensions = copy',
      'unique_subject = no',
    ];
    writeFileSync(config, [...own, ...terms, '[any]', 'commonName = supplied', ''].join('\n'));
    writeFileSync(database, '');
    const endDate = `${end.toISOString().slice(0, 19).replace(/[-:T]/g, '')}Z`;
    this.openssl(
      ...['ca', '-batch', '-notext', '-config', config, '-cert', this.certFile],
      ...['-keyfile', this.path('ca.key'), '-in', request, '-enddate', endDate, '-out', certFile],
    );
  }

  private openssl(...args: string[]): void {
    execFileSync('openssl', args, { stdio: 'ignore' });
  }
}
