import { execFileSync } from 'node:child_process';
import { cpSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** Certificates for tests, by openssl. */

export const hasOpenssl = ((): boolean => {
  try {
    execFileSync('openssl', ['version'], { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
})();

export interface CertificateOptions {
  /** Subject alternative names, such as `DNS:localhost` or `IP:127.0.0.1`. */
  readonly names?: readonly string[];
  /** Below 0: it has expired. */
  readonly days?: number;
}

export interface Certificate {
  readonly certFile: string;
  readonly keyFile: string;
}

const NEW_KEY = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes'];
const LOOPBACK_NAMES = ['DNS:localhost', 'IP:127.0.0.1'];

function openssl(...args: string[]): void {
  execFileSync('openssl', args, { stdio: 'pipe' });
}

/** An authority of its own, with what it has signed, in a folder of its own. */
export class Authority {
  private readonly folder = mkdtempSync(join(tmpdir(), 'shardkeep-test-ca-'));
  private readonly keyFile = join(this.folder, 'ca.key');
  private issued = 0;
  readonly caFile = join(this.folder, 'ca.pem');

  constructor() {
    const subject = ['-subj', '/CN=an authority for tests', '-days', '2'];
    openssl('req', '-x509', ...NEW_KEY, '-keyout', this.keyFile, '-out', this.caFile, ...subject);
  }

  issue({ names = LOOPBACK_NAMES, days = 1 }: CertificateOptions = {}): Certificate {
    const path = join(this.folder, `issued-${String(++this.issued)}`);
    const [keyFile, certFile, request, extensions] = [`${path}.key`, `${path}.pem`, `${path}.csr`, `${path}.ext`];
    openssl('req', ...NEW_KEY, '-keyout', keyFile, '-out', request, '-subj', '/CN=for tests');
    writeFileSync(extensions, `subjectAltName=${names.join(',')}\n`);
    const signer = ['-CA', this.caFile, '-CAkey', this.keyFile, '-CAcreateserial'];
    openssl('x509', '-req', '-in', request, ...signer, '-days', String(days), '-extfile', extensions, '-out', certFile);
    return { certFile, keyFile };
  }

  remove(): void {
    rmSync(this.folder, { recursive: true, force: true });
  }
}

/** Files that stay where they are while what they hold is replaced, as those of a mounted secret. */
export class MountedFiles {
  private readonly folder = mkdtempSync(join(tmpdir(), 'shardkeep-test-mounted-'));

  path(name: string): string {
    return join(this.folder, name);
  }

  /** Answers the path. */
  write(name: string, text: string): string {
    writeFileSync(this.path(name), text);
    return this.path(name);
  }

  /** Answers the path. */
  copy(name: string, from: string): string {
    cpSync(from, this.path(name));
    return this.path(name);
  }

  delete(name: string): void {
    rmSync(this.path(name));
  }

  remove(): void {
    rmSync(this.folder, { recursive: true, force: true });
  }
}
