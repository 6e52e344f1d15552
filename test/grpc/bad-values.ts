import { BAD_UTF8, type Plain } from '../support/proto.js';

/** Builders of wrong values by kind of field. */

/** One wrong value of a field. */
export interface Bad {
  readonly what: string;
  /** Undefined: the field is left out. */
  readonly value: unknown;
  /** Behind the field's path in what BadRequest names, such as `[1]`; or instead of it, when it begins with `=`. */
  readonly at?: string;
  /** Other fields of the same message that make the value wrong. */
  readonly beside?: Plain;
}

/** The wrong values of a field, or why every value is right. */
export type Row = readonly Bad[] | { readonly right: string };

export const INT64_MIN = '-9223372036854775808';
export const INT64_MAX = '9223372036854775807';

export function text(minBytes: number, maxBytes: number, ...more: readonly string[]): Bad[] {
  return [
    { what: 'one byte too long', value: 'x'.repeat(maxBytes + 1) },
    { what: 'too long in bytes only', value: 'ü'.repeat(Math.floor(maxBytes / 2) + 1) },
    { what: 'U+FFFD', value: '\uFFFD'.padEnd(minBytes, 'x') },
    { what: 'invalid UTF-8', value: BAD_UTF8.padEnd(minBytes, 'x') },
    { what: 'NUL', value: 'a\0b'.padEnd(minBytes, 'x') },
    ...(minBytes === 0 ? [] : [{ what: 'empty', value: '' }]),
    ...(minBytes <= 1 ? [] : [{ what: 'one byte too short', value: 'x'.repeat(minBytes - 1) }]),
    ...more.map((value) => ({ what: JSON.stringify(value), value })),
  ];
}

/** Like text, but empty means something of its own. */
export function textOrEmpty(minBytes: number, maxBytes: number, ...more: readonly string[]): Bad[] {
  return text(minBytes, maxBytes, ...more).filter(({ value }) => value !== '');
}

export function integer(min: bigint, max: bigint, width: 32 | 64 = 64): Bad[] {
  const lowest = width === 64 ? BigInt(INT64_MIN) : -(2n ** 31n);
  const highest = width === 64 ? BigInt(INT64_MAX) : 2n ** 31n - 1n;
  const wire = (value: bigint): unknown => (width === 64 ? String(value) : Number(value));
  const values = [...new Set([min - 1n, -1n, lowest, max + 1n, highest])];
  return values
    .filter((value) => value >= lowest && value <= highest && (value < min || value > max))
    .map((value) => ({ what: String(value), value: wire(value) }));
}

export const enumeration: readonly Bad[] = [
  { what: 'unspecified', value: 0 },
  { what: 'unknown', value: 99 },
];

export const onlyTrue: Bad = { what: 'false', value: false };

/** A list, of texts unless `item` makes the i-th right one. */
export function list(
  items: readonly Bad[],
  limits: { min: number; max: number; unique?: boolean; item?: (index: number) => unknown },
): Bad[] {
  const { min, max, unique = false, item = (index) => `item-${String(index)}` } = limits;
  const at = max > 1 ? 1 : 0;
  return [
    ...items.map(({ what, value }) => ({
      what: `item ${what}`,
      value: at === 1 ? [item(0), value] : [value],
      at: `[${String(at)}]`,
    })),
    { what: 'one item too many', value: Array.from({ length: max + 1 }, (_, index) => item(index)) },
    ...(min === 0 ? [] : [{ what: 'no item', value: [] }]),
    ...(unique ? [{ what: 'an item twice', value: [item(0), item(1), item(0)] }] : []),
  ];
}

/** A map whose keys are texts; `value` is a right one. */
export function map(keys: readonly Bad[], values: readonly Bad[], limits: { max: number; value: unknown }): Bad[] {
  const entries = Array.from({ length: limits.max + 1 }, (_, index) => [`key-${String(index)}`, limits.value] as const);
  return [
    ...keys.map(({ what, value: key }) => ({ what: `key ${what}`, value: { [String(key)]: limits.value } })),
    ...values.map(({ what, value }) => ({ what: `value ${what}`, value: { key: value }, at: '.key' })),
    { what: 'one entry too many', value: Object.fromEntries(entries) },
  ];
}

export function bytes(min: number, max: number): Bad[] {
  return [
    { what: 'one byte too long', value: Buffer.alloc(max + 1) },
    ...(min === 0 ? [] : [{ what: 'one byte too short', value: Buffer.alloc(min - 1) }]),
  ];
}

/** A session id or token: of the wrong length, alphabet, or another spelling of its bytes. */
export function credential(right: string): Bad[] {
  return [
    ...text(1, right.length).filter(({ what }) => what !== 'too long in bytes only'),
    { what: 'too short', value: right.slice(0, -1) },
    { what: 'with a foreign character', value: `+${right.slice(1)}` },
    { what: 'with a blank', value: ` ${right.slice(1)}` },
    { what: 'padded', value: `${right}=` },
  ];
}
