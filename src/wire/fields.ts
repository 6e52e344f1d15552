import { Buffer } from 'node:buffer';
import { LENGTH_DELIMITED, VARINT, varintLength, type ByteWriter } from './byte-writer.js';

/*
 * Whole fields with a number up to 15. As the generated code does, what is empty, 0 or false is left out.
 */

/** Bytes that a text takes with its field's tag. */
export function textLength(text: string): number {
  const length = Buffer.byteLength(text);
  return length === 0 ? 0 : 1 + varintLength(length) + length;
}

export function writeText(writer: ByteWriter, field: number, text: string): void {
  if (text === '') return;
  writer.tag(field, LENGTH_DELIMITED);
  writer.text(text);
}

/** Bytes that a whole number from 0 to 2^53 takes with its field's tag. */
export function numberLength(value: number): number {
  return value === 0 ? 0 : 1 + varintLength(value);
}

export function writeNumber(writer: ByteWriter, field: number, value: number): void {
  if (value === 0) return;
  writer.tag(field, VARINT);
  writer.varint(value);
}
