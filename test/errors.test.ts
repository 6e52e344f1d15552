import { readFileSync } from 'node:fs';
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

const rows: readonly Row[] = readFileSync(new URL('../docs/errors.md', import.meta.url), 'utf8')
  .split('\n')
  .filter((line) => line.startsWith('| `'))
  .map((line) => {
    const [code = '', status = '', meaning = '', advice = ''] = line
      .slice(1)
      .split('|')
      .map((cell) => cell.trim().replace(/^`(\w+)`$/, '$1'));
    return { code, status, meaning, advice };
  });

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
