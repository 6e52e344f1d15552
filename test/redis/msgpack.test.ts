import { expect, test } from '@jest/globals';
import fc from 'fast-check';
import { packStrings } from '../../src/redis/msgpack.js';
import { rawRedis } from '../support/raw-redis.js';

test('strings are packed as the cmsgpack of a script reads them', async () => {
  const raw = await rawRedis('standalone');
  const text = fc.oneof(
    fc.string({ unit: 'binary', maxLength: 40 }),
    fc.string({ unit: 'grapheme-ascii', minLength: 29, maxLength: 34 }),
    fc.constantFrom('', 'é'.repeat(15), 'é'.repeat(16), `${'x'.repeat(30)}é`, 'x'.repeat(300)),
  );
  const bytes = fc.oneof(
    fc.uint8Array({ maxLength: 40 }).map((array) => Buffer.from(array)),
    fc.constantFrom(Buffer.alloc(31, 0xff), Buffer.alloc(32, 0xff), Buffer.alloc(70_000, 0xdb)),
  );
  await fc.assert(
    fc.asyncProperty(fc.array(fc.oneof(text, bytes), { maxLength: 40 }), async (strings) => {
      const read = await raw.command('EVAL', 'return cmsgpack.unpack(ARGV[1])', '0', packStrings(strings));
      const asBytes = strings.map((string) => (typeof string === 'string' ? Buffer.from(string) : string));
      // in hex, as jest compares the bytes of Buffers one by one
      expect((read as Buffer[]).map((string) => string.toString('hex'))).toEqual(
        asBytes.map((string) => string.toString('hex')),
      );
    }),
    { numRuns: 300 },
  );
  const many = Array.from({ length: 3_000 }, (_, index) => String(index));
  const read = await raw.command('EVAL', 'return #cmsgpack.unpack(ARGV[1])', '0', packStrings(many));
  expect(read).toBe(many.length);
  await raw.close();
});

test('more strings than the format counts are refused', () => {
  expect(() => packStrings(Array.from({ length: 65_536 }, () => ''))).toThrow(RangeError);
});
