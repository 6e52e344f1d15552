import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const ARCHIVE = fileURLToPath(new URL('previous-release.tgz', import.meta.url));
const NODE_MODULES = fileURLToPath(new URL('../../node_modules', import.meta.url));

export interface PreviousRelease {
  /** Its `dist/main.js`, for `startServiceProcess`. */
  readonly main: string;
  remove(): void;
}

/** Unpacks the service as it was released last (`make previous-release`), with the packages of today. */
export function unpackPreviousRelease(): PreviousRelease {
  const folder = mkdtempSync(join(tmpdir(), 'shardkeep-test-previous-'));
  execFileSync('tar', ['-xzf', ARCHIVE, '-C', folder]);
  symlinkSync(NODE_MODULES, join(folder, 'node_modules'));
  return {
    main: join(folder, 'dist/main.js'),
    remove: () => {
      rmSync(folder, { recursive: true, force: true });
    },
  };
}
