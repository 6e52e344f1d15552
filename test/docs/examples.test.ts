import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from '@jest/globals';

const examples = readdirSync('examples', { recursive: true, encoding: 'utf8' }).filter((file) => file.endsWith('.ts'));

/** What is copied from here into a project has only the package there. */
test('no example imports what the package does not export', () => {
  expect(examples.length).toBeGreaterThan(10);
  const imports = examples.flatMap((file) =>
    [...readFileSync(join('examples', file), 'utf8').matchAll(/ from '([^']+)'/g)].map(
      ([, from]) => `${file}: ${String(from)}`,
    ),
  );
  expect(imports.filter((line) => /\/src\/|\/dist\/|\/gen\//.test(line))).toEqual([]);
});
