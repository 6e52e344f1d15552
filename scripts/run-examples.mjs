import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { extname, join } from 'node:path';
import { performance } from 'node:perf_hooks';
import { ownEnvironment, runProgram, startService } from './started-service.mjs';

/**
 * Runs every example, each on a service of its own, and expects that it ends with exit code 0 in time. What an example
 * prints is for the tests of the docs; here it is shown where one fails. Arguments: parts of names, to run only those.
 */

const LIMIT_MS = 60_000;
/** The exit code by which scripts/build-go-example.mjs says so. */
const UNAVAILABLE = 3;
const SERVICE = [process.execPath, 'dist/cli.js'];

/** An example is given the address of a service as its one argument, unless it stands here. */
const SPECIAL = {
  'rate-limits/login.ts': { settings: { POLICIES_FILE: 'examples/rate-limits/login-policies.yaml' } },
  'rate-limits/login.py': { settings: { POLICIES_FILE: 'examples/rate-limits/login-policies.yaml' } },
  'tiny-shard/main.ts': { startsItsService: true },
};

/** How a program of a language is started; `unavailable` says why it cannot be. */
const LANGUAGES = {
  '.ts': () => ({ command: (file) => ['node_modules/.bin/tsx', file], env: {} }),
  '.py': once(python),
  '.go': once(go),
};

function python() {
  try {
    execFileSync('python3', ['-c', 'import grpc, grpc_tools, google.rpc.status_pb2'], { stdio: 'ignore' });
  } catch {
    return { unavailable: 'python3 is not there with what examples/python/requirements.txt names' };
  }
  const generated = ownFolder();
  const protos = readdirSync('proto', { recursive: true }).filter((file) => file.endsWith('.proto'));
  const flags = ['-I', 'proto', `--python_out=${generated}`, `--grpc_python_out=${generated}`];
  execFileSync('python3', ['-m', 'grpc_tools.protoc', ...flags, ...protos]);
  return {
    command: (file) => ['python3', file],
    env: { PYTHONPATH: generated, PYTHONDONTWRITEBYTECODE: '1' },
  };
}

/** There is one program in Go, and it is built. */
function go() {
  const program = join(ownFolder(), 'example');
  const built = spawnSync(process.execPath, ['scripts/build-go-example.mjs', program], { encoding: 'utf8' });
  if (built.status === UNAVAILABLE) return { unavailable: built.stderr.trim() };
  if (built.status !== 0) throw new Error(built.stderr);
  return { command: () => [program], env: {} };
}

/** For what is generated; it goes with this process. */
function ownFolder() {
  const folder = mkdtempSync(join(tmpdir(), 'shardkeep-examples-'));
  process.on('exit', () => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

/** Those of a folder that are programs: its `main`, or else each file that no other one there imports. */
function programsIn(folder) {
  const files = readdirSync(join('examples', folder)).filter((file) => extname(file) in LANGUAGES);
  const mains = files.filter((file) => file.startsWith('main.'));
  if (mains.length > 0) return mains.map((file) => join(folder, file));
  const texts = files.map((file) => readFileSync(join('examples', folder, file), 'utf8'));
  const isImported = (file) => {
    const module = file.slice(0, -extname(file).length).replaceAll('.', '\\.');
    const statement = new RegExp(`from '\\./${module}\\.js'|^(from|import) ${module}\\b`, 'm');
    return texts.some((text) => statement.test(text));
  };
  return files.filter((file) => !isImported(file)).map((file) => join(folder, file));
}

/** Answers `ok`, or why it was skipped or has failed. */
async function run(example) {
  const { unavailable, command, env } = LANGUAGES[extname(example)]();
  if (unavailable !== undefined) return { skipped: unavailable };
  const { settings = {}, startsItsService = false } = SPECIAL[example] ?? {};
  const service = startsItsService ? undefined : await startService(SERVICE, settings);
  const args = [...command(join('examples', example)), ...(service === undefined ? [] : [service.address])];
  const { how, output } = await runProgram(args, { limitMs: LIMIT_MS, env: { ...ownEnvironment(), ...env } });
  await service?.stop();
  return how === 0 ? { ok: true } : { failed: `ended with ${String(how)}:\n${output}` };
}

const wanted = process.argv.slice(2);
const folders = readdirSync('examples', { withFileTypes: true }).filter((entry) => entry.isDirectory());
const examples = folders
  .flatMap(({ name }) => programsIn(name))
  .filter((example) => wanted.length === 0 || wanted.some((part) => example.includes(part)));

const counts = { ran: 0, failed: 0, skipped: 0 };
for (const example of examples) {
  const startedMs = performance.now();
  const { skipped, failed } = await run(example).catch((error) => ({ failed: error.message }));
  const seconds = ((performance.now() - startedMs) / 1_000).toFixed(1);
  counts[skipped === undefined ? 'ran' : 'skipped'] += 1;
  if (failed !== undefined) counts.failed += 1;
  const verdict = skipped ?? failed;
  const word = skipped !== undefined ? 'skipped' : failed !== undefined ? 'FAILED' : 'ok';
  process.stdout.write(`${word} ${example}${verdict === undefined ? `, ${seconds} s` : `: ${verdict}`}\n`);
}
process.stdout.write(`${counts.ran} ran, ${counts.failed} failed, ${counts.skipped} skipped\n`);
process.exitCode = counts.failed > 0 || counts.ran + counts.skipped === 0 ? 1 : 0;

function once(make) {
  let made;
  return () => (made ??= make());
}
