import { mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Logger } from 'pino';
import { ConfigError } from './config-error.js';
import type { PoliciesSource } from './policies-source.js';
import { PoliciesWatch } from './policies-watch.js';

/** A copy of the policies file as it was when it could last be used, for workers that are started while it cannot. */
export class PoliciesCopy {
  readonly path: string;
  private readonly folder = mkdtempSync(join(tmpdir(), 'shardkeep-policies-'));
  private readonly watch: PoliciesWatch;

  constructor(source: PoliciesSource, logger: Logger) {
    this.path = join(this.folder, 'policies.yaml');
    this.write(source.text);
    this.watch = new PoliciesWatch({
      path: source.path,
      text: source.text,
      onChange: (content) => {
        if (typeof content === 'string' && isUsable(source, content)) this.write(content);
      },
      logger,
    });
    // however this process ends
    process.once('exit', () => {
      rmSync(this.folder, { recursive: true, force: true });
    });
    this.watch.start();
  }

  /** Whoever reads it sees it whole. */
  private write(text: string): void {
    writeFileSync(`${this.path}.new`, text);
    renameSync(`${this.path}.new`, this.path);
  }
}

/** What is wrong with it the workers say. */
function isUsable(source: PoliciesSource, text: string): boolean {
  try {
    source.parse(text);
    return true;
  } catch (error) {
    if (error instanceof ConfigError) return false;
    throw error;
  }
}
