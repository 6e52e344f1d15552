import { types } from 'node:util';

/** What a bigint of 64 bits needs. */
const MAX_DIGITS = 32;

/**
 * What somebody gave, for the message that refuses it. A string may be a token, and is never repeated; what is inside of other
 * things is not either.
 */
export function nameOf(value: unknown): string {
  switch (typeof value) {
    case 'undefined':
    case 'boolean':
    case 'number':
      return String(value);
    case 'bigint': {
      const digits = `${String(value)}n`;
      return digits.length > MAX_DIGITS ? 'a bigint' : digits;
    }
    case 'object':
      return nameOfObject(value);
    default:
      return `a ${typeof value}`;
  }
}

function nameOfObject(value: object | null): string {
  if (value === null) return 'null';
  if (Array.isArray(value)) return 'a list';
  if (types.isUint8Array(value)) return 'bytes';
  if (types.isMap(value)) return 'a Map';
  return 'an object';
}
