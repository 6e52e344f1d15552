import { Buffer } from 'node:buffer';
import type { Codec } from './codec.js';

/** Values are bytes already (Buffer, Uint8Array), and come back as a Buffer of the caller's own; a string is written as UTF-8. */
export const binary: Codec = {
  id: undefined,
  encode: (value) => {
    if (value instanceof Uint8Array) return value;
    if (typeof value === 'string') return Buffer.from(value);
    throw new TypeError('the binary codec takes a Buffer, a Uint8Array or a string');
  },
  decode: (bytes) => bytes,
};
