import { expect, test } from '@jest/globals';
import { checkOptions, either, flag, oneOf, shape, thing } from '../../src/client/option-checks.js';
import { InvalidArgumentError } from '../../src/client/index.js';
import { nameOf } from '../../src/client/name-of.js';

/** What a refusal says of what came: enough to find it, and nothing that is a secret. */

test.each<[unknown, string]>([
  [7, '7'],
  [NaN, 'NaN'],
  [5n, '5n'],
  [10n ** 40n, 'a bigint'],
  [true, 'true'],
  [undefined, 'undefined'],
  [null, 'null'],
  ['s3cret', 'a string'],
  [Symbol('s3cret'), 'a symbol'],
  [() => 's3cret', 'a function'],
  [{ token: 's3cret' }, 'an object'],
  [['s3cret'], 'a list'],
  [Buffer.from('s3cret'), 'bytes'],
  [new Map([['token', 's3cret']]), 'a Map'],
])('%p is called %s', (value, name) => {
  expect(nameOf(value)).toBe(name);
});

const logger = either(oneOf(false), thing('a logger', 'warn'));
const tls = either(flag, shape<{ ca: string }>({ ca: flag }));

/** By option what it has to be. */
function problemsOf(options: object): readonly string[] {
  try {
    checkOptions('x', options, { logger, tls });
  } catch (error) {
    if (error instanceof InvalidArgumentError) return error.fields;
    throw error;
  }
  return [];
}

test('of several that a value could be, all are told, or what is wrong within the one it is', () => {
  expect(logger(5)).toEqual([{ at: '', mustBe: 'false, or a logger' }]);
  expect(tls('yes')).toEqual([{ at: '', mustBe: 'true or false, or an object' }]);
  expect(tls({ ca: 5 })).toEqual([{ at: 'ca', mustBe: 'true or false' }]);
  expect(problemsOf({ logger: 5, tls: { ca: 5 } })).toEqual(['logger', 'tls.ca']);
  expect(problemsOf({ logger: false, tls: { ca: true } })).toEqual([]);
});
