import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { status as Code } from '@grpc/grpc-js';
import { describe, expect, test } from '@jest/globals';
import { DomainError, ERROR_CODES, invalidField } from '../src/errors.js';
import { CallEndedError, codeOf, toStatus } from '../src/grpc/status.js';

interface Row {
  readonly code: string;
  readonly status: string;
  readonly meaning: string;
  readonly advice: string;
}

const page = readFileSync(new URL('../docs/errors.md', import.meta.url), 'utf8');

/** The cells of a section's table, without its head. */
function cellsOf(section: string): string[][] {
  const [, text = ''] = page.split(`\n## ${section}\n`);
  const lines = (text.split('\n## ')[0] ?? '').split('\n').filter((line) => line.startsWith('| `'));
  return lines.map((line) =>
    line
      .slice(1, -1)
      .split('|')
      .map((cell) => cell.trim()),
  );
}

function rowsOf(section: string): Row[] {
  return cellsOf(section).map((cells) => {
    const [code = '', status = '', meaning = '', advice = ''] = cells.map((cell) => cell.replace(/^`(\w+)`$/, '$1'));
    return { code, status, meaning, advice };
  });
}

const rows = rowsOf('Of the service');
const ofClient = rowsOf('Of the TypeScript client');

/** What is written by hand in a folder of src. */
function sourcesOf(folder: string): string {
  const files = readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .filter((file) => file.endsWith('.ts') && !file.startsWith('gen/'))
    .map((file) => join(folder, file))
    .filter((file) => !CATALOGUES.has(file));
  return files.map((file) => readFileSync(file, 'utf8')).join('\n');
}

/** These name every code without raising any. */
const CATALOGUES: ReadonlySet<string> = new Set(['src/errors.ts', 'src/grpc/status.ts']);

function found(pattern: RegExp, text: string): string[] {
  return [...new Set([...text.matchAll(pattern)].map(([, name = '']) => name))].toSorted();
}

describe('docs/errors.md', () => {
  test('lists exactly the codes that can reach a caller, in their order', () => {
    expect(rows.map(({ code }) => code)).toEqual([...ERROR_CODES]);
  });

  test.each(ERROR_CODES)('tells the gRPC status of %s, what it means and what to do', (code) => {
    const row = rows.find((candidate) => candidate.code === code);
    expect(row?.status).toBe(Code[codeOf(code)]);
    expect(row?.meaning).not.toBe('');
    expect(row?.advice).not.toBe('');
  });

  test('lists no code that nothing raises', () => {
    const sources = sourcesOf('src');
    expect(ERROR_CODES.filter((code) => !sources.includes(`'${code}'`))).toEqual([]);
  });

  test('lists exactly the reasons that the client raises by itself', () => {
    const raised = found(/\breason: '([A-Z_]+)'/g, sourcesOf('src/client') + sourcesOf('src/integrations'));
    expect(ofClient.map(({ code }) => code).toSorted()).toEqual(raised);
    expect(ofClient.filter(({ meaning, advice }) => meaning === '' || advice === '')).toEqual([]);
  });

  test('tells what the statuses mean that the client raises without a reason', () => {
    const raised = found(/(?:shardkeepError|super)\(\s*Code\.([A-Z_]+)/g, sourcesOf('src/client'));
    expect(raised.length).toBeGreaterThan(5);
    const cells = cellsOf('Without a code');
    const told = found(/`([A-Z_]+)`/g, cells.map(([status]) => status).join(' '));
    expect(raised.filter((status) => !told.includes(status))).toEqual([]);
    expect(cells.filter((row) => row.length !== 4 || row.includes(''))).toEqual([]);
  });
});

describe('a status', () => {
  test('tells a deadline and a cancellation before anything else', () => {
    expect(toStatus(new CallEndedError('deadline')).code).toBe(Code.DEADLINE_EXCEEDED);
    expect(toStatus(new CallEndedError('cancelled')).code).toBe(Code.CANCELLED);
  });

  test('of what nobody foresaw is INTERNAL, with the cause for the log and nothing of it for the caller', () => {
    const cause = new TypeError('password of redis is open-sesame');
    const status = toStatus(cause);
    expect(status).toMatchObject({ code: Code.INTERNAL, hiddenCause: cause });
    expect(`${status.message} ${status.details.toString('latin1')}`).not.toContain('sesame');
  });

  test('of a domain error never carries its cause', () => {
    const status = toStatus(new DomainError('REDIS_UNAVAILABLE', 'Redis is away', { cause: new Error('open-sesame') }));
    expect(status.hiddenCause).toBeUndefined();
    expect(status.details.toString('latin1')).not.toContain('sesame');
  });

  test('of a wrong field names the field', () => {
    expect(toStatus(invalidField('limits[2].subject', 'must be set')).details.toString('latin1')).toContain(
      'limits[2].subject',
    );
  });
});
