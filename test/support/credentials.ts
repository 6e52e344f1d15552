import { createHash, randomBytes } from 'node:crypto';
import { mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** A credentials file of one test, and the tokens for it. */

export interface TestToken {
  readonly text: string;
  readonly sha256: string;
}

export function newToken(): TestToken {
  const text = randomBytes(32).toString('base64url');
  return { text, sha256: createHash('sha256').update(text).digest('hex') };
}

export interface TestPrincipal {
  readonly name: string;
  readonly namespaces: readonly string[];
  readonly tokens?: readonly (Pick<TestToken, 'sha256'> & { readonly expires_at?: string })[];
  readonly [setting: string]: unknown;
}

export class CredentialsFile {
  private readonly folder = mkdtempSync(join(tmpdir(), 'shardkeep-test-credentials-'));
  readonly path = join(this.folder, 'credentials.yaml');

  constructor(principals: readonly TestPrincipal[] = []) {
    this.write(principals);
  }

  write(principals: readonly TestPrincipal[]): void {
    // JSON is YAML
    const known = principals.map(({ tokens = [], ...rest }) => ({
      ...rest,
      tokens: tokens.map(({ sha256, expires_at }) => ({ sha256, ...(expires_at !== undefined && { expires_at }) })),
    }));
    this.writeText(JSON.stringify({ principals: known }));
  }

  /** As an editor does: the file is there whole, or not at all. */
  writeText(text: string): void {
    writeFileSync(`${this.path}.new`, text);
    renameSync(`${this.path}.new`, this.path);
  }

  remove(): void {
    rmSync(this.folder, { recursive: true, force: true });
  }
}
