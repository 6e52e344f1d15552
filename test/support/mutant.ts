import { cpSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));

/** One change of the build: `from` occurs once in the file, which is named from dist/. */
export interface Mutation {
  readonly file: string;
  readonly from: string;
  readonly to: string;
}

export interface Mutant {
  /** Its dist/main.js. */
  readonly main: string;
  remove(): void;
}

/** A copy of the build from which a guard was taken: what a test must tell from the product, or it tests nothing. */
export function makeMutant(...mutations: readonly Mutation[]): Mutant {
  const folder = mkdtempSync(join(tmpdir(), 'shardkeep-test-mutant-'));
  cpSync(join(ROOT, 'dist'), join(folder, 'dist'), {
    recursive: true,
    filter: (path) => !path.startsWith(join(ROOT, 'dist/bench')),
  });
  for (const name of ['node_modules', 'proto', 'package.json']) symlinkSync(join(ROOT, name), join(folder, name));
  for (const { file, from, to } of mutations) {
    const path = join(folder, 'dist', file);
    const text = readFileSync(path, 'utf8');
    if (text.split(from).length !== 2) throw new Error(`"${from}" is not once in ${file}`);
    writeFileSync(
      path,
      text.replace(from, () => to),
    );
  }
  return {
    main: join(folder, 'dist/main.js'),
    remove: () => {
      rmSync(folder, { recursive: true, force: true });
    },
  };
}
