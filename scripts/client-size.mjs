import { readFileSync, writeFileSync } from 'node:fs';
import { gzipSync } from 'node:zlib';
import { build } from 'esbuild';

/** What `shardkeep/client` weighs in a bundle; said here and in docs/client.md. Bundles what `make build` made. */

const DOCS = 'docs/client.md';
const MARKER = '<!-- make client-size -->';

/** Every bundle has all exports; fewer would say what one program needs. */
const BUNDLES = [
  { name: 'the client alone', options: { packages: 'external' } },
  { name: 'with its dependencies but `@grpc/grpc-js`', options: { external: ['@grpc/grpc-js'] } },
  { name: 'with all of its dependencies', options: {} },
];

async function row({ name, options }) {
  const { outputFiles } = await build({
    entryPoints: ['dist/client/index.js'],
    bundle: true,
    minify: true,
    platform: 'node',
    target: 'node20',
    format: 'cjs',
    write: false,
    ...options,
  });
  const [{ contents }] = outputFiles;
  const kilobytes = (bytes) => `${String(Math.round(bytes / 1_000))} kB`;
  return `| ${name} | ${kilobytes(contents.length)} | ${kilobytes(gzipSync(contents, { level: 9 }).length)} |`;
}

const rows = await Promise.all(BUNDLES.map(row));
const table = ['| bundle | minified | gzip |', '| --- | --- | --- |', ...rows].join('\n');
process.stdout.write(`${table}\n`);

const page = readFileSync(DOCS, 'utf8');
const [before, after, ...more] = page.split(`${MARKER}\n`);
if (after === undefined || more.length > 0) throw new Error(`${DOCS} has not one ${MARKER}`);
// the table ends where its lines do
const rest = after.replace(/^(\|.*\n)*/, '');
writeFileSync(DOCS, `${before}${MARKER}\n${table}\n${rest}`);
