import { expect, test } from '@jest/globals';
import { unknownName } from '../src/unknown-name.js';

const ten = Array.from({ length: 10 }, (_, index) => `p${String(index)}`);

test('names what was asked for, and what there is', () => {
  const said = unknownName('policy', 'chatt', ['api', 'chat']);
  for (const name of ['"chatt"', '"api"', '"chat"']) expect(said).toContain(name);
});

test('a name is quoted, so that it cannot pass for more', () => {
  expect(unknownName('policy', 'a"\n; all is well', [])).toContain(JSON.stringify('a"\n; all is well'));
});

test('of a long name 64 characters are told', () => {
  const said = unknownName('policy', 'x'.repeat(65), []);
  expect(said).toContain(`"${'x'.repeat(63)}…"`);
  expect(unknownName('policy', 'x'.repeat(64), [])).toContain(`"${'x'.repeat(64)}"`);
});

test('of the names there are ten are told, and how many more', () => {
  expect(unknownName('policy', 'x', ten)).not.toContain('more');
  const said = unknownName('policy', 'x', [...ten, 'p10', 'p11']);
  for (const name of ten) expect(said).toContain(`"${name}"`);
  expect(said).not.toContain('p10');
  expect(said).toContain('2 more');
});
