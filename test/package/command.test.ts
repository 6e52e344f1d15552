import { createHash } from 'node:crypto';
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { expect, test } from '@jest/globals';
import { parse } from 'yaml';
import { environmentSchema } from '../../src/config/environment.js';

/** The command `shardkeep`; that it serves is seen by `make package`, where it is installed. */

function run(...args: readonly string[]): { readonly status: number | null; readonly stdout: string } {
  return spawnSync(process.execPath, ['dist/cli.js', ...args], { encoding: 'utf8' });
}

test('tells its version, that of the package', () => {
  const { version } = JSON.parse(readFileSync('package.json', 'utf8')) as { readonly version: string };
  expect(run('--version')).toMatchObject({ status: 0, stdout: `${version}\n` });
});

test('tells how it is used, by settings that there are', () => {
  const { status, stdout } = run('--help');
  const settings = [...stdout.matchAll(/^ {2}([A-Z_]+) {2}/gm)].map(([, name]) => name);
  expect(status).toBe(0);
  expect(settings.length).toBeGreaterThan(0);
  expect(settings.filter((name) => !(String(name) in environmentSchema.shape))).toEqual([]);
});

test.each([['--port=1'], ['serve']])(
  'refuses %s instead of serving with other settings than were meant',
  (argument) => {
    expect(run(argument).status).toBe(64);
  },
);

test('makes a token of 256 random bits, and the line that lets its bearer in', () => {
  const [first, second] = [run('token'), run('token')];
  expect(first.status).toBe(0);
  const [token = '', line = ''] = first.stdout.split('\n');
  expect(Buffer.from(token, 'base64url')).toHaveLength(32);
  expect(parse(line)).toEqual([{ sha256: createHash('sha256').update(token).digest('hex') }]);
  expect(second.stdout).not.toBe(first.stdout);
  expect(run('token', 'of', 'somebody').status).toBe(64);
});
