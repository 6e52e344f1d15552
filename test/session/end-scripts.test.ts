import { readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { expect, test } from '@jest/globals';

/** Scripts that end sessions: a derived key that is first read between writes leaves them half done while its slot moves. */

const LUA = fileURLToPath(new URL('../../src/session/lua/', import.meta.url));

test('every script that ends sessions reads their claims before', () => {
  const ending = readdirSync(LUA)
    .filter((file) => file.endsWith('.lua'))
    .map((file) => ({ file, text: readFileSync(LUA + file, 'utf8') }))
    .filter(({ text }) => /\bend_session\(/.test(text));
  expect(ending.length).toBeGreaterThan(2);
  const careless = ending.filter(({ text }) => {
    const reads = text.indexOf('read_characters(');
    return reads < 0 || reads > text.indexOf('end_session(');
  });
  expect(careless.map(({ file }) => file)).toEqual([]);
});
