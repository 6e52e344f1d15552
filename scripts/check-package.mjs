import { readFileSync, statSync } from 'node:fs';
import { resolve } from 'node:path';
import { performance } from 'node:perf_hooks';
import { differencesOf } from './package/contents.mjs';
import { FreshProject } from './package/fresh-project.mjs';
import { startService } from './started-service.mjs';

/**
 * Uses the packed package as a stranger would: installs it into a project outside of this one, checks the types there as
 * strictly as TypeScript can, serves by its command with a real Redis, and calls that from TypeScript, from JavaScript and
 * from CommonJS.
 *
 *   node scripts/check-package.mjs dist/package/shardkeep-0.1.0.tgz
 */

const COMPILE_LIMIT_MS = 120_000;
const PROGRAM_LIMIT_MS = 60_000;
const CONSUMER = 'test/package/consumer';
const TYPE_PACKAGES = ['typescript', '@types/node'];
const STRICT = {
  strict: true,
  exactOptionalPropertyTypes: true,
  noUncheckedIndexedAccess: true,
  skipLibCheck: false,
  target: 'ES2022',
  types: ['node'],
};

const { name, version, bin, exports, peerDependencies = {}, devDependencies } = readJson('package.json');
const [, , tarball] = process.argv;
const project = new FreshProject(resolve(tarball));

await step('holds what it should', async () => {
  const files = (await project.succeed(['tar', '-tzf', project.tarball], PROGRAM_LIMIT_MS)).trim().split('\n');
  const differences = differencesOf(files.map((file) => file.replace(/^package\//, '')));
  if (differences.length > 0) throw new Error(`it does not hold what it should:\n${differences.join('\n')}`);
  return `${String(files.length)} files, ${String(Math.round(statSync(tarball).size / 1_000))} kB`;
});
await step('installs, without any framework', async () => {
  await project.install(TYPE_PACKAGES);
  return project.installedBy;
});
project.add(`${CONSUMER}/typed.ts`, 'typed.ts');
project.add(`${CONSUMER}/typed.ts`, 'typed-common.cts');
project.add(`${CONSUMER}/plain.mjs`, 'plain.mjs');
project.add(`${CONSUMER}/common.cjs`, 'common.cjs');
await step('compiles, resolved as Node and as bundlers do', () => compile(['typed.ts', 'typed-common.cts']));

const [command] = Object.keys(bin);
await step('tells its version', async () => {
  const told = await project.succeed([project.command(command), '--version'], PROGRAM_LIMIT_MS);
  if (told.trim() !== version) throw new Error(`${command} --version says ${told}`);
});
const service = await startService([project.command(command)]);
const typed = '["ada",7,1,true,"serving"]';
await step('TypeScript calls the service', () => prints(['out/typed.js'], typed));
await step('TypeScript as CommonJS does', () => prints(['out/typed-common.cjs'], typed));
await step('JavaScript does', () => prints(['plain.mjs'], 'axe'));
await step('CommonJS does', () => prints(['common.cjs'], 'bow'));
await step('the service ends in peace', () => service.stop());

const integrations = Object.keys(exports).filter((path) => path !== './client' && path !== './package.json');
if (integrations.length > 0) await step(`with ${integrations.join(', ')}`, checkIntegrations);

/** Each of them beside its framework; what they do is for the tests. */
async function checkIntegrations() {
  const frameworks = Object.keys(peerDependencies);
  const types = frameworks.map((framework) => `@types/${framework}`).filter((each) => each in devDependencies);
  await project.install([...TYPE_PACKAGES, ...frameworks, ...types]);
  const paths = ['./client', ...integrations];
  const imports = paths.map((path, n) => `import * as m${n} from '${name}/${path.slice(2)}';\n`);
  project.write('all.ts', `${imports.join('')}console.log([${paths.map((_, n) => `m${n}`)}].length);\n`);
  await compile(['all.ts']);
  await prints(['out/all.js'], String(paths.length));
}

/** As Node resolves modules, to out/, and as bundlers do; these know no CommonJS of TypeScript. */
async function compile(files) {
  const modules = files.filter((file) => file.endsWith('.ts'));
  await Promise.all([
    runCompiler('tsconfig.node.json', { module: 'NodeNext', outDir: 'out' }, files),
    runCompiler('tsconfig.bundler.json', { module: 'ESNext', moduleResolution: 'bundler', noEmit: true }, modules),
  ]);
}

async function runCompiler(config, options, files) {
  project.write(config, JSON.stringify({ compilerOptions: { ...STRICT, ...options }, files }));
  const tsc = project.resolve('typescript/lib/tsc.js');
  await project.succeed([process.execPath, tsc, '-p', config], COMPILE_LIMIT_MS);
}

/** The whole output, so that a warning fails too. */
async function prints(args, expected) {
  const output = await project.succeed([process.execPath, ...args, service.address], PROGRAM_LIMIT_MS);
  if (output.trim() !== expected) throw new Error(`${args.join(' ')} printed ${output}`);
}

async function step(what, run) {
  const startedMs = performance.now();
  const detail = await run();
  const seconds = ((performance.now() - startedMs) / 1_000).toFixed(1);
  process.stdout.write(`ok ${what}${detail === undefined ? '' : ` (${detail})`}, ${seconds} s\n`);
}

function readJson(file) {
  return JSON.parse(readFileSync(file, 'utf8'));
}
