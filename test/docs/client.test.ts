import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, jest, test } from '@jest/globals';
import * as sdk from '../../src/client/index.js';
import { sharedRedisUrl, startTestService, type TestService } from '../support/service.js';
import { blocksOf, moduleOf, typeProblemsOf } from './page-blocks.js';

/** docs/client.md names what there is, and its blocks run as they stand there. */

type Prelude = typeof import('./client-prelude.js');

const BLOCKS = join(fileURLToPath(new URL('.', import.meta.url)), `blocks-client-${String(process.pid)}`);
const page = readFileSync('docs/client.md', 'utf8');
const blocks = blocksOf('docs/client.md');

let service: TestService;
let prelude: Prelude;

beforeAll(async () => {
  service = await startTestService({ REDIS_URL: sharedRedisUrl('standalone') });
  process.env.SHARDKEEP_ADDRESS = service.address;
  prelude = await import('./client-prelude.js');
  mkdirSync(BLOCKS, { recursive: true });
  const around = { from: '../client-prelude.js', values: ['shardkeep'] };
  for (const { name, code } of blocks) writeFileSync(fileOf(name), moduleOf(code, around));
});

afterAll(async () => {
  rmSync(BLOCKS, { recursive: true, force: true });
  await prelude.shardkeep.close();
  await service.stop();
});

function fileOf(name: string): string {
  return join(BLOCKS, `${name}.ts`);
}

/** What each block prints. */
const OUTPUT: Readonly<Record<string, readonly (readonly unknown[])[]>> = {
  answers: [
    ['the fight is on,', expect.any(Number)],
    ['wrong:', ['ttlMs']],
  ],
  cache: [
    ['sword', undefined],
    [true, 1],
  ],
  sessions: [['ada', 'plays']],
  locks: [['ada has', 90]],
  'rate-limits': [[true, ['user:ada ok 4', 'guild:9 ok 49']]],
  health: [['serving'], ['now', 'serving']],
  rpc: [['"welcome"']],
};

describe('the blocks', () => {
  test('are all known', () => {
    expect(blocks.map(({ name }) => name).toSorted()).toEqual(Object.keys(OUTPUT).toSorted());
  });

  test.each(blocks.map(({ name }) => name))('%s runs as it stands on the page', async (name) => {
    const log = jest.spyOn(console, 'log').mockReturnValue(undefined);
    try {
      await import(fileOf(name));
      expect(log.mock.calls).toEqual(OUTPUT[name]);
    } finally {
      log.mockRestore();
    }
  });

  test('are right by their types', () => {
    expect(typeProblemsOf(blocks.map(({ name }) => fileOf(name)))).toEqual([]);
  });
});

/** The rows of a section's tables, by the names of methods in their first cell. */
function methodsIn(section: string): string[] {
  const [, text = ''] = page.split(`\n## ${section}\n`);
  const cells = (text.split('\n## ')[0] ?? '')
    .split('\n')
    .filter((line) => line.startsWith('| `'))
    .map((line) => line.split('|')[1] ?? '');
  return cells.flatMap((cell) => [...cell.matchAll(/`(\w+)\(/g)].map(([, name = '']) => name));
}

/** What a class offers; not what is for the client's own close. */
function publicMethodsOf(file: string): string[] {
  const members = readFileSync(file, 'utf8').matchAll(/^ {2}(?:async )?\*?(\w+)(?:<[^(]+>)?\(/gm);
  const names = new Set([...members].map(([, name = '']) => name));
  return [...names].filter((name) => name !== 'constructor' && name !== 'close');
}

test.each([
  ['The cache', 'src/client/cache/cache.ts'],
  ['Sessions', 'src/client/sessions/sessions.ts'],
  ['Locks', 'src/client/locks/locks.ts'],
  ['Rate limits', 'src/client/rate-limits/rate-limits.ts'],
  ['Health', 'src/client/health.ts'],
])('the tables of %s have every method', (section, file) => {
  expect(methodsIn(section).toSorted()).toEqual(publicMethodsOf(file).toSorted());
});

test('every class of errors is in the table', () => {
  const classes = Object.keys(sdk).filter((name) => name.endsWith('Error') && name !== 'ShardkeepError');
  expect(classes.length).toBeGreaterThan(10);
  const rows = page.split('\n').filter((line) => line.startsWith('| `') && line.includes('Error`'));
  expect(classes.filter((name) => !rows.some((row) => (row.split('|')[1] ?? '').includes(`\`${name}\``)))).toEqual([]);
});
