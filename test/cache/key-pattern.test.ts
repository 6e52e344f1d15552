import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { KeyPattern, patternProblem } from '../../src/cache/key-pattern.js';
import { cacheKeyOf, cacheScanPattern, keys } from '../../src/redis/keys.js';

/** The definition of a glob, by characters, with no thought of time. */
function matchesByDefinition(pattern: readonly string[], key: readonly string[]): boolean {
  const [first, ...rest] = pattern;
  if (first === undefined) return key.length === 0;
  if (first === '*')
    return matchesByDefinition(rest, key) || (key.length > 0 && matchesByDefinition(pattern, key.slice(1)));
  if (key.length === 0) return false;
  if (first === '?') return matchesByDefinition(rest, key.slice(1));
  if (first !== '\\') return first === key[0] && matchesByDefinition(rest, key.slice(1));
  return rest[0] === key[0] && matchesByDefinition(rest.slice(1), key.slice(1));
}

const CHARACTERS = [
  'a',
  'b',
  'A',
  ':',
  '{',
  '}',
  '%',
  '-',
  '^',
  '*',
  '?',
  '[',
  ']',
  '\\',
  'ü',
  'é',
  '中',
  '😀',
  '😁',
  '\n',
];
const character = fc.constantFrom(...CHARACTERS);
const key = fc.array(character, { minLength: 1, maxLength: 9 }).map((chars) => chars.join(''));
const escaped = (char: string): string => (/[*?[\]\\]/.test(char) ? `\\${char}` : char);
const escapedKey = (text: string): string => Array.from(text, escaped).join('');
const pattern = fc
  .array(
    fc.oneof({ weight: 3, arbitrary: character.map(escaped) }, fc.constantFrom('*', '?', '**', '\\a', '\\ü', '\\😀')),
    { minLength: 1, maxLength: 7 },
  )
  .map((parts) => parts.join(''));

describe('a pattern', () => {
  test('matches what the definition matches', () => {
    fc.assert(
      fc.property(pattern, key, (text, name) => {
        expect(new KeyPattern(text).matches(name)).toBe(matchesByDefinition(Array.from(text), Array.from(name)));
      }),
      { numRuns: 5_000 },
    );
  });

  test('made of a key by putting wildcards in matches that key', () => {
    const cuts = fc.array(fc.tuple(fc.nat(), fc.constantFrom('*', '?')), { maxLength: 4 });
    fc.assert(
      fc.property(key, cuts, (name, wildcards) => {
        const parts = Array.from(name, escaped);
        for (const [at, wildcard] of wildcards) parts[at % parts.length] = wildcard;
        expect(new KeyPattern(parts.join('')).matches(name)).toBe(true);
      }),
      { numRuns: 2_000 },
    );
  });

  test.each([
    ['user:*', 'user:', true],
    ['user:*', 'User:1', false],
    ['user:?', 'user:😀', true],
    ['user:?', 'user:é', true],
    ['user:??', 'user:😀', false],
    ['*😀', '😁😀', true],
    ['a\\*', 'a*', true],
    ['a\\*', 'ab', false],
    ['a\\\\', 'a\\', true],
    ['a{b}%*', 'a{b}%7B', true],
    ['a%7B', 'a{', false],
    ['a**b', 'ab', true],
    ['a', 'ab', false],
  ])('%j on %j: %s', (text, name, matches) => {
    expect(new KeyPattern(text).matches(name)).toBe(matches);
  });

  test.each(['[', ']', 'a[b-c]', 'a\\', '\\', 'a\\\\\\'])('%j is refused', (text) => {
    expect(patternProblem(text)).toEqual(expect.any(String));
    expect(() => new KeyPattern(text)).toThrow(RangeError);
  });

  test.each([
    ['user:*:profile', 'user:'],
    ['a\\*b*', 'a*b'],
    ['*', ''],
    ['?x', ''],
    ['\\??', '?'],
    ['exact', 'exact'],
  ])('%j begins with %j', (text, prefix) => {
    expect(patternProblem(text)).toBeUndefined();
    expect(new KeyPattern(text).literalPrefix).toBe(prefix);
  });

  test('with many wildcards takes no more than the product of the lengths', () => {
    const hostile = new KeyPattern(`${'a*'.repeat(250)}b`);
    const startedAt = performance.now();
    for (let turn = 0; turn < 100; turn++) expect(hostile.matches('a'.repeat(512))).toBe(false);
    // by the definition this would not end before the sun does
    expect(performance.now() - startedAt).toBeLessThan(5_000);
  });
});

describe('what SCAN is asked for', () => {
  test('is one pattern with one wildcard, that every key with the prefix matches as Redis does', () => {
    fc.assert(
      fc.property(key, key, (prefix, rest) => {
        const scanned = cacheScanPattern('ns', prefix);
        const redisKey = keys.cache('ns', prefix + rest);
        const literal = scanned.slice(0, -1).replace(/\\(.)/gs, '$1');
        expect(scanned.endsWith('*')).toBe(true);
        expect(redisKey.startsWith(literal)).toBe(true);
        // nothing else in it means something to Redis
        expect(scanned.slice(0, -1).replace(/\\./gs, '')).not.toMatch(/[*?[\]\\]/);
      }),
      { numRuns: 2_000 },
    );
  });

  test('leads back to the keys of callers, and to nothing else', () => {
    fc.assert(
      fc.property(key, (name) => {
        expect(cacheKeyOf('ns', Buffer.from(keys.cache('ns', name)))).toBe(name);
        expect(cacheKeyOf('other', Buffer.from(keys.cache('ns', name)))).toBeUndefined();
        expect(cacheKeyOf('ns', Buffer.from(keys.lock('ns', name)))).toBeUndefined();
      }),
    );
    const foreign = [
      'ns:cache:{}',
      'ns:cache:{a',
      'ns:cache:a}',
      'ns:cache:{a}b',
      'ns:cache:{a}:{b}',
      'ns:cache:{%41}',
    ];
    const lowerCase = 'ns:cache:{%7b}';
    const noText = Buffer.from([...Buffer.from('ns:cache:{'), 0xff, ...Buffer.from('}')]);
    for (const redisKey of [...foreign, lowerCase].map((text) => Buffer.from(text)).concat(noText)) {
      expect(cacheKeyOf('ns', redisKey)).toBeUndefined();
    }
  });

  test('escapes what is special to Redis', () => {
    expect(cacheScanPattern('ns', 'a*[b]?\\{%')).toBe('ns:cache:{a\\*\\[b\\]\\?\\\\%7B%25*');
    expect(escapedKey('a*')).toBe('a\\*');
  });
});
