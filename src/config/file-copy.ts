import { mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/**
 * A copy of a file as it was when it last came into force, for workers that are started while it cannot be used. Every
 * process that puts another into force writes it, before it says so.
 */
export class FileCopy {
  constructor(readonly path: string) {}

  /** A new one, that is gone when this process ends. */
  static create(name: string, text: string): FileCopy {
    const folder = mkdtempSync(join(tmpdir(), `shardkeep-${name}-`));
    // however this process ends
    process.once('exit', () => {
      rmSync(folder, { recursive: true, force: true });
    });
    const copy = new FileCopy(join(folder, `${name}.yaml`));
    copy.write(text);
    return copy;
  }

  /** Whoever reads it sees it whole. */
  write(text: string): void {
    const next = `${this.path}.${String(process.pid)}`;
    writeFileSync(next, text);
    renameSync(next, this.path);
  }
}
