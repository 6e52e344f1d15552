import { execFile } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { expect, test } from '@jest/globals';
import { environmentSchema } from '../../src/config/environment.js';
import { pythonWith } from '../support/python.js';
import { sharedRedisUrl, startTestService } from '../support/service.js';

/** The README says what is. */

const run = promisify(execFile);
const readme = readFileSync('README.md', 'utf8');

function blockAfter(marker: string, page = readme): string {
  const match = new RegExp(`<!-- ${marker} -->\\n\`\`\`\\w+\\n([\\s\\S]*?)\n\`\`\``).exec(page);
  if (match?.[1] === undefined) throw new Error(`no block after ${marker}`);
  return match[1];
}

test.each(['examples/hello/hello.ts', 'examples/hello/hello.py'])('shows %s as it is', (file) => {
  expect(blockAfter(file)).toBe(readFileSync(file, 'utf8').trimEnd());
});

test.each(['examples/cache/load-through.ts', 'examples/cache/watched_cache.py'])('docs/cache.md shows %s', (file) => {
  expect(blockAfter(file, readFileSync('docs/cache.md', 'utf8'))).toBe(readFileSync(file, 'utf8').trimEnd());
});

test.each(['examples/sessions/play.ts', 'examples/sessions/character.ts', 'examples/sessions/kicked.py'])(
  'docs/sessions.md shows %s',
  (file) => {
    expect(blockAfter(file, readFileSync('docs/sessions.md', 'utf8'))).toBe(readFileSync(file, 'utf8').trimEnd());
  },
);

test.each(['examples/locks/trade.ts'])('docs/locks.md shows %s', (file) => {
  expect(blockAfter(file, readFileSync('docs/locks.md', 'utf8'))).toBe(readFileSync(file, 'utf8').trimEnd());
});

test('the table and .env.example name every setting and no other', () => {
  const settings = Object.keys(environmentSchema.shape).toSorted();
  const rows = readme.split('\n').filter((line) => line.startsWith('| `'));
  const named = rows.flatMap((row) => [...(row.split('|')[1] ?? '').matchAll(/`([A-Z_]+)`/g)].map(([, name]) => name));
  const inProse = ['REDIS_KEY_PREFIX'];
  expect([...named, ...inProse].toSorted()).toEqual(settings);
  const example = readFileSync('.env.example', 'utf8');
  const exampled = new Set([...example.matchAll(/^#? ?([A-Z_]+)=/gm)].map(([, name]) => name));
  expect([...exampled].toSorted()).toEqual(settings);
});

/** The standard output of a program that is told where a service is. */
async function outputOf(program: string, args: readonly string[], env = process.env): Promise<string> {
  const service = await startTestService({ REDIS_URL: sharedRedisUrl('standalone') });
  try {
    return (await run(program, [...args, service.address], { env })).stdout;
  } finally {
    await service.stop();
  }
}

test('two trades in opposite directions both come about', async () => {
  const lines = (await outputOf('node_modules/.bin/tsx', ['examples/locks/trade.ts'])).trim().split('\n');
  expect(lines).toEqual(['bob has the sword', 'ada has the shield']);
});

test('the TypeScript client runs', async () => {
  expect(await outputOf('node_modules/.bin/tsx', ['examples/hello/hello.ts'])).toMatch(/^ada: fencing token \d+, /);
});

test('a hundred callers load once', async () => {
  const output = await outputOf('node_modules/.bin/tsx', ['examples/cache/load-through.ts']);
  expect(output).toBe('100 callers, 1 load: board 1\nafter the season: board 2\n');
});

test("a player's evening goes as it is told", async () => {
  const output = await outputOf('node_modules/.bin/tsx', ['examples/sessions/play.ts']);
  expect(output.split('\n')).toEqual([
    "plays: true [ 'player' ]",
    'asked again: true new proof: true',
    'still plays: true Back at six',
    'out: true maintenance Back at six',
    '',
  ]);
});

test('a character is played by one shard', async () => {
  const output = await outputOf('node_modules/.bin/tsx', ['examples/sessions/character.ts']);
  expect(output).toBe('the first shard drops the player\nlevel 7, in the second login\n');
});

const python = pythonWith('grpc', 'grpc_tools');
// grpcio and grpcio-tools are not there on every machine; the tests are then counted as skipped
const withPython = python === undefined ? test.skip : test;

async function outputOfPython(file: string): Promise<string> {
  if (python === undefined) throw new Error('unreachable');
  const out = mkdtempSync(join(tmpdir(), 'shardkeep-test-python-'));
  const protos = readdirSync('proto', { recursive: true, encoding: 'utf8' }).filter((name) => name.endsWith('.proto'));
  const flags = ['-I', 'proto', `--python_out=${out}`, `--grpc_python_out=${out}`];
  await run(python, ['-m', 'grpc_tools.protoc', ...flags, ...protos]);
  return outputOf(python, [file], { ...process.env, PYTHONPATH: out });
}

withPython('the Python client runs', async () => {
  expect(await outputOfPython('examples/hello/hello.py')).toMatch(/^ada: fencing token \d+, /);
});

withPython('a cache in Python is kept true by Watch', async () => {
  expect(await outputOfPython('examples/cache/watched_cache.py')).toBe('sword, then axe, then None; kept: True\n');
});

withPython('a game server in Python hears of a session that ends', async () => {
  const output = await outputOfPython('examples/sessions/kicked.py');
  expect(output).toBe('thrown out: banned\nstill connected: 0\n');
});
