import { readdirSync } from 'node:fs';
import { join } from 'node:path';

/** What the package is made of: what runs, the types of what can be imported, the contract, and what tells of it. */

const PAGES = ['package.json', 'README.md', 'CHANGELOG.md', 'LICENSE'];
/** Whoever imports the package sees the types of these; the rest of the service has no importer. */
const TYPED = /^dist\/(client|integrations|gen|wire)\//;

function filesIn(folder, pattern) {
  return readdirSync(folder, { recursive: true }).filter((file) => pattern.test(file));
}

/** Where `files` are not those: what is missing, and what nobody needs, as a test or a file of an earlier build. */
export function differencesOf(files) {
  const modules = filesIn('src', /\.ts$/).map((file) => join('dist', file.replace(/\.ts$/, '')));
  const expected = new Set([
    ...PAGES,
    ...filesIn('proto', /\.proto$/).map((file) => join('proto', file)),
    ...filesIn('src', /\.lua$/).map((file) => join('dist', file)),
    ...modules.map((file) => `${file}.js`),
    ...modules.filter((file) => TYPED.test(file)).map((file) => `${file}.d.ts`),
  ]);
  const given = new Set(files);
  return [
    ...[...expected].filter((file) => !given.has(file)).map((file) => `missing: ${file}`),
    ...[...given].filter((file) => !expected.has(file)).map((file) => `too much: ${file}`),
  ];
}
