import type { Buffer } from 'node:buffer';
import { ByteReader, MalformedMessageError } from './byte-reader.js';

/** Reads the message that is a part of `bytes`. */
export type MessageReader<Message> = (bytes: Buffer, from: number, to: number) => Message;

/**
 * For messages that mostly have a few of their fields: `readPlain` reads those by hand, and answers undefined where it meets
 * another field or a number out of its range. Then, and where it finds no end, the generated code reads all and decides.
 */
export function plainReader<Message>(
  readPlain: (reader: ByteReader) => Message | undefined,
  generated: { readonly decode: (bytes: Uint8Array) => Message },
): MessageReader<Message> {
  return (bytes, from, to) => readOrNot(readPlain, bytes, from, to) ?? generated.decode(bytes.subarray(from, to));
}

function readOrNot<Message>(
  readPlain: (reader: ByteReader) => Message | undefined,
  bytes: Buffer,
  from: number,
  to: number,
): Message | undefined {
  try {
    return readPlain(new ByteReader(bytes, from, to));
  } catch (error) {
    if (error instanceof MalformedMessageError) return undefined;
    throw error;
  }
}
