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

function blockAfter(marker: string): string {
  const match = new RegExp(`<!-- ${marker} -->\\n\`\`\`\\w+\\n([\\s\\S]*?)\n\`\`\``).exec(readme);
  if (match?.[1] === undefined) throw new Error(`no block after ${marker}`);
  return match[1];
}

test.each(['examples/hello/hello.ts', 'examples/hello/hello.py'])('shows %s as it is', (file) => {
  expect(blockAfter(file)).toBe(readFileSync(file, 'utf8').trimEnd());
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

test('the TypeScript client runs', async () => {
  const service = await startTestService({ REDIS_URL: sharedRedisUrl('standalone') });
  const { stdout } = await run('node_modules/.bin/tsx', ['examples/hello/hello.ts', service.address]);
  expect(stdout).toMatch(/^ada: fencing token \d+, /);
  await service.stop();
});

const python = pythonWith('grpc', 'grpc_tools');
// grpcio and grpcio-tools are not there on every machine; the test is then counted as skipped
const withPython = python === undefined ? test.skip : test;

withPython('the Python client runs', async () => {
  if (python === undefined) throw new Error('unreachable');
  const service = await startTestService({ REDIS_URL: sharedRedisUrl('standalone') });
  const out = mkdtempSync(join(tmpdir(), 'shardkeep-test-python-'));
  const protos = readdirSync('proto', { recursive: true, encoding: 'utf8' }).filter((file) => file.endsWith('.proto'));
  const flags = ['-I', 'proto', `--python_out=${out}`, `--grpc_python_out=${out}`];
  await run(python, ['-m', 'grpc_tools.protoc', ...flags, ...protos]);
  const env = { ...process.env, PYTHONPATH: out };
  const { stdout } = await run(python, ['examples/hello/hello.py', service.address], { env });
  expect(stdout).toMatch(/^ada: fencing token \d+, /);
  await service.stop();
});
