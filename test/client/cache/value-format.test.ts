import { randomBytes } from 'node:crypto';
import { gunzipSync } from 'node:zlib';
import { describe, expect, test } from '@jest/globals';
import * as msgpack from '@msgpack/msgpack';
import fc from 'fast-check';
import { ValueFormat } from '../../../src/client/cache/codec/value-format.js';
import { binary, InvalidArgumentError, json, messagePack, type Codec } from '../../../src/client/index.js';

const pack = messagePack(msgpack);

function decoded(format: ValueFormat, bytes: Buffer): unknown {
  const answer = format.decode(bytes);
  if (!answer.isKnown) throw new Error(answer.why);
  return answer.value;
}

function fieldsOf(call: () => unknown): readonly string[] {
  try {
    call();
  } catch (error) {
    if (error instanceof InvalidArgumentError) return error.fields;
  }
  throw new Error('expected an InvalidArgumentError');
}

describe.each([
  ['json', json],
  ['MessagePack', pack],
] as const)('%s', (_, codec) => {
  test('what is written is read, compressed or not, at any schema version', () => {
    fc.assert(
      fc.property(
        // MessagePack's library refuses that name, as a guard of its own
        fc.jsonValue().filter((value) => !JSON.stringify(value).includes('__proto__')),
        fc.integer({ min: 0, max: 2 ** 31 - 1 }),
        fc.constantFrom(0, 64, 1_024, Infinity),
        (value, schemaVersion, compressAboveBytes) => {
          const format = new ValueFormat({ codec, schemaVersion, compressAboveBytes });
          // -0 is 0 in JSON
          expect(JSON.stringify(decoded(format, format.encode(value)))).toBe(JSON.stringify(value));
        },
      ),
    );
  });

  test('bytes of anybody are decoded or refused, and never thrown at the caller', () => {
    const format = new ValueFormat({ codec });
    fc.assert(
      fc.property(fc.uint8Array(), (bytes) => {
        expect(typeof format.decode(Buffer.from(bytes)).isKnown).toBe('boolean');
      }),
    );
  });
});

test('JSON of the first schema version is JSON as it is, so that everybody can read it', () => {
  const value = { name: 'Ada', level: 50 };
  expect(new ValueFormat().encode(value).toString()).toBe(JSON.stringify(value));
  expect(decoded(new ValueFormat(), Buffer.from(' {"written":"by hand"}'))).toEqual({ written: 'by hand' });
});

test('what is long and regular is compressed, and what gains nothing is not', () => {
  const long = { log: 'the dragon is asleep. '.repeat(200) };
  const compressed = new ValueFormat().encode(long);
  expect(compressed.length).toBeLessThan(400);
  expect(JSON.parse(gunzipSync(compressed).toString())).toEqual(long);
  expect(new ValueFormat({ compressAboveBytes: Infinity }).encode(long).length).toBeGreaterThan(4_000);
  const noise = randomBytes(3_000);
  const format = new ValueFormat({ codec: pack });
  expect(format.encode(noise).length).toBeGreaterThan(3_000);
  expect(decoded(format, format.encode(noise))).toEqual(new Uint8Array(noise));
});

test('a value of another schema version is no value, unless it can be migrated', () => {
  const written = new ValueFormat({ schemaVersion: 2 }).encode({ hp: 7 });
  expect(new ValueFormat({ schemaVersion: 3 }).decode(written).isKnown).toBe(false);
  expect(new ValueFormat().decode(written).isKnown).toBe(false);
  const migrate = (value: unknown, version: number): unknown =>
    version === 2 ? { health: (value as { hp: number }).hp } : undefined;
  const format = new ValueFormat({ schemaVersion: 3, migrate });
  expect(decoded(format, written)).toEqual({ health: 7 });
  expect(format.decode(new ValueFormat({ schemaVersion: 1 }).encode({ hp: 7 })).isKnown).toBe(false);
});

test('a codec reads JSON beside its own, and not what a third one wrote', () => {
  const own: Codec = { ...json, id: 16 };
  const value = [1, 'two', { three: 3 }];
  expect(decoded(new ValueFormat({ codec: pack }), new ValueFormat().encode(value))).toEqual(value);
  expect(new ValueFormat().decode(new ValueFormat({ codec: pack }).encode(value)).isKnown).toBe(false);
  expect(new ValueFormat({ codec: pack }).decode(new ValueFormat({ codec: own }).encode(value)).isKnown).toBe(false);
  expect(decoded(new ValueFormat({ codec: own }), new ValueFormat({ codec: own }).encode(value))).toEqual(value);
});

test.each<[string, unknown, Codec]>([
  ['a promise', Promise.resolve(1), json],
  ['a promise', Promise.resolve(1), pack],
  ['a Map', new Map([['k', 1]]), json],
  ['a Set', new Set([1]), json],
])('%s is no value: nothing of it would be kept', (_, value, codec) => {
  expect(fieldsOf(() => new ValueFormat({ codec }).encode(value))).toEqual(['value']);
});

test('bytes stay as they are, whatever they begin with', () => {
  const format = new ValueFormat({ codec: binary, compressAboveBytes: 0 });
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 3_000 }), fc.constantFrom([], [0x01], [0x1f, 0x8b]), (rest, first) => {
      const bytes = Buffer.from([...first, ...rest]);
      expect(format.encode(bytes)).toEqual(bytes);
      expect(decoded(format, bytes)).toEqual(bytes);
    }),
  );
  expect(format.encode('text')).toEqual(Buffer.from('text'));
});

test.each([
  ['binary', binary],
  ['a codec that answers views', { id: 16, encode: (value: unknown) => value as Buffer, decode: (bytes) => bytes }],
] as const satisfies [string, Codec][])('%s: who changes a value changes only his own', (_, codec) => {
  const format = new ValueFormat({ codec });
  const stored = format.encode(Buffer.from('kept'));
  const before = Buffer.from(stored);
  (decoded(format, stored) as Buffer).fill(0);
  expect(stored).toEqual(before);
  expect(decoded(format, stored)).toEqual(Buffer.from('kept'));
});

test('a few bytes that stand for gigabytes are refused', () => {
  const bomb = new ValueFormat({ compressAboveBytes: 0 }).encode('0'.repeat(80_000_000));
  expect(bomb.length).toBeLessThan(1_000_000);
  expect(new ValueFormat().decode(bomb).isKnown).toBe(false);
});

test.each([
  ['undefined in JSON', {}, undefined],
  ['a function in JSON', {}, () => 1],
  ['a bigint in JSON', {}, 1n],
  ['a number as bytes', { codec: binary }, 7],
  ['undefined in MessagePack', { codec: pack }, undefined],
])('%s is refused, naming the value', (_, options, value) => {
  expect(fieldsOf(() => new ValueFormat(options).encode(value))).toEqual(['value']);
});

test.each([
  [{ schemaVersion: -1 }, 'schemaVersion'],
  [{ schemaVersion: 1.5 }, 'schemaVersion'],
  [{ schemaVersion: 2 ** 31 }, 'schemaVersion'],
  [{ codec: binary, schemaVersion: 1 }, 'schemaVersion'],
  [{ codec: { ...json, id: 128 } }, 'codec.id'],
  // what it wrote would be read as plain JSON
  [{ codec: { ...json } }, 'codec.id'],
  [{ codec: { ...json, id: 2 } }, 'codec.id'],
  [{ codec: { ...json, id: 15 } }, 'codec.id'],
  [{ codec: { ...json, id: 16.5 } }, 'codec.id'],
  [{ compressAboveBytes: NaN }, 'compressAboveBytes'],
  [{ compressAboveBytes: -1 }, 'compressAboveBytes'],
])('%j is refused', (options, field) => {
  expect(fieldsOf(() => new ValueFormat(options))).toEqual([field]);
});
