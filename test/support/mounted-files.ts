import { cpSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** Files that stay where they are while what they hold is replaced, as those of a mounted secret. */
export class MountedFiles {
  private readonly folder = mkdtempSync(join(tmpdir(), 'shardkeep-test-mounted-'));

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

  private path(name: string): string {
    return join(this.folder, name);
  }
}
