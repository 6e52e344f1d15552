import { Buffer } from 'node:buffer';
import type { ScriptArg } from './lua-script.js';

const ARRAY_16 = 0xdc;
const FIX_STR = 0xa0;
const STR_32 = 0xdb;
const ARRAY_HEAD_BYTES = 3;
const STR_32_HEAD_BYTES = 5;
/** Of a string whose head is one byte. */
const MAX_FIX_STR = 31;
const MAX_ITEMS = 0xffff;
/** In UTF-8, of one unit of UTF-16. */
const MAX_BYTES_A_CHAR = 3;

/** A MessagePack array of strings, as the `cmsgpack` of a script reads it. */
export function packStrings(strings: readonly ScriptArg[]): Buffer {
  if (strings.length > MAX_ITEMS) throw new RangeError(`${String(strings.length)} strings are too many`);
  let bytes = ARRAY_HEAD_BYTES;
  for (const string of strings) {
    bytes += STR_32_HEAD_BYTES + (typeof string === 'string' ? MAX_BYTES_A_CHAR : 1) * string.length;
  }
  const packed = Buffer.allocUnsafe(bytes);
  packed[0] = ARRAY_16;
  packed.writeUInt16BE(strings.length, 1);
  let at = ARRAY_HEAD_BYTES;
  for (const string of strings) {
    at = typeof string === 'string' ? writeText(packed, at, string) : writeBytes(packed, at, string);
  }
  return packed.subarray(0, at);
}

function writeBytes(packed: Buffer, at: number, bytes: Buffer): number {
  const from = writeHead(packed, at, bytes.length);
  return from + bytes.copy(packed, from);
}

/** What is short and ASCII, as most of it is, byte by byte: a call into the native encoder costs more. */
function writeText(packed: Buffer, at: number, text: string): number {
  const { length } = text;
  if (length <= MAX_FIX_STR) {
    let index = 0;
    for (; index < length; index++) {
      const code = text.charCodeAt(index);
      if (code > 0x7f) break;
      packed[at + 1 + index] = code;
    }
    if (index === length) {
      packed[at] = FIX_STR | length;
      return at + 1 + length;
    }
  }
  const from = writeHead(packed, at, Buffer.byteLength(text));
  return from + packed.write(text, from, 'utf8');
}

/** Answers where the bytes go. */
function writeHead(packed: Buffer, at: number, length: number): number {
  if (length <= MAX_FIX_STR) {
    packed[at] = FIX_STR | length;
    return at + 1;
  }
  packed[at] = STR_32;
  packed.writeUInt32BE(length, at + 1);
  return at + STR_32_HEAD_BYTES;
}
