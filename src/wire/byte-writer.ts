import { Buffer } from 'node:buffer';
/** Protobuf wire types that the frames use. */
export const VARINT = 0;
export const FIXED64 = 1;
export const LENGTH_DELIMITED = 2;
export const FIXED32 = 5;

/** Longest text that is written byte by byte: a call into the native encoder costs more for these. */
const MAX_INLINE_TEXT = 64;

/** A buffer that had to grow beyond this for one long answer is not kept. */
const MAX_KEPT_BYTES = 131_072;

const TWO_POW_28 = 0x10000000;

/** Bytes that a whole number from 0 to 2^53 takes as a varint. */
export function varintLength(value: number): number {
  if (value >= TWO_POW_28) return 4 + varintLength(Math.floor(value / TWO_POW_28));
  if (value < 0x80) return 1;
  if (value < 0x4000) return 2;
  return value < 0x200000 ? 3 : 4;
}

/** Writes protobuf primitives into one buffer that grows as needed. */
export class ByteWriter {
  private buffer: Buffer;
  private spare: Buffer | undefined;
  private position = 0;

  constructor(initialBytes: number) {
    this.buffer = Buffer.allocUnsafeSlow(initialBytes);
  }

  get length(): number {
    return this.position;
  }

  /** Forgets what was written behind `length`. */
  truncate(length: number): void {
    this.position = length;
  }

  /** Takes what was written and begins anew. The bytes are the caller's, until they are given back by `recycle`. */
  take(): Buffer {
    const taken = this.buffer.subarray(0, this.position);
    this.buffer = this.spare ?? Buffer.allocUnsafeSlow(Math.min(this.buffer.length, MAX_KEPT_BYTES));
    this.spare = undefined;
    this.position = 0;
    return taken;
  }

  /** Takes back bytes that nobody needs any more: a new buffer for each frame would cost more in garbage than the frame. */
  recycle(taken: Buffer): void {
    if (taken.buffer.byteLength <= MAX_KEPT_BYTES) this.spare = Buffer.from(taken.buffer);
  }

  /** A field's tag; field numbers up to 15. */
  tag(field: number, wireType: number): void {
    this.reserve(1);
    this.buffer[this.position++] = (field << 3) | wireType;
  }

  /** A whole number from 0 to 2^53. */
  varint(value: number): void {
    this.reserve(8);
    const { buffer } = this;
    let { position } = this;
    let rest = value;
    // bit operations see 32 bits only, so four bytes' worth is split off at a time
    while (rest >= TWO_POW_28) {
      const low = rest % TWO_POW_28;
      rest = (rest - low) / TWO_POW_28;
      buffer[position++] = (low & 0x7f) | 0x80;
      buffer[position++] = ((low >>> 7) & 0x7f) | 0x80;
      buffer[position++] = ((low >>> 14) & 0x7f) | 0x80;
      buffer[position++] = (low >>> 21) | 0x80;
    }
    while (rest > 0x7f) {
      buffer[position++] = (rest & 0x7f) | 0x80;
      rest >>>= 7;
    }
    buffer[position++] = rest;
    this.position = position;
  }

  /** Bytes as they are, without a length. */
  raw(bytes: Uint8Array): void {
    this.reserve(bytes.length);
    this.buffer.set(bytes, this.position);
    this.position += bytes.length;
  }

  /** A part of other bytes as it is. */
  part(bytes: Buffer, from: number, to: number): void {
    this.reserve(to - from);
    this.position += bytes.copy(this.buffer, this.position, from, to);
  }

  /** Bytes behind their length. */
  bytes(bytes: Uint8Array): void {
    this.varint(bytes.length);
    this.raw(bytes);
  }

  /** Text as UTF-8 behind its length. */
  text(text: string): void {
    if (text.length > MAX_INLINE_TEXT || !this.asciiText(text)) {
      const byteLength = Buffer.byteLength(text);
      this.varint(byteLength);
      this.reserve(byteLength);
      this.position += this.buffer.write(text, this.position, 'utf8');
    }
  }

  /** Writes short ASCII text behind its length; writes nothing and answers false for other text. */
  private asciiText(text: string): boolean {
    const { length } = text;
    this.reserve(length + 1);
    const { buffer, position } = this;
    for (let index = 0; index < length; index++) {
      const code = text.charCodeAt(index);
      if (code > 0x7f) return false;
      buffer[position + 1 + index] = code;
    }
    buffer[position] = length;
    this.position = position + 1 + length;
    return true;
  }

  private reserve(byteLength: number): void {
    const needed = this.position + byteLength;
    if (needed <= this.buffer.length) return;
    const grown = Buffer.allocUnsafeSlow(Math.max(needed, this.buffer.length * 2));
    this.buffer.copy(grown, 0, 0, this.position);
    this.buffer = grown;
  }
}
