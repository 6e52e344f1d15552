import { Buffer } from 'node:buffer';
import { FIXED32, FIXED64, LENGTH_DELIMITED, VARINT } from './byte-writer.js';

/** The bytes are no protobuf message of the shape they should have. */
export class MalformedMessageError extends Error {
  override readonly name = 'MalformedMessageError';
}

const UINT32_SIZE = 0x100000000;
/** The factor of the tenth byte of a varint is 2^63; no encoder writes an eleventh. */
const FACTOR_BEHIND_A_VARINT = 2 ** 70;

/** Reads protobuf primitives from a part of a buffer; throws MalformedMessageError where the part ends too early. */
export class ByteReader {
  constructor(
    readonly buffer: Buffer,
    public position: number,
    private readonly end: number,
  ) {}

  get hasMore(): boolean {
    return this.position < this.end;
  }

  /** A varint up to 2^53; field numbers, lengths and uint32 fields all are. */
  varint(): number {
    const { buffer, end } = this;
    let { position } = this;
    let byte = position < end ? (buffer[position++] ?? 0) : malformed();
    let value = byte & 0x7f;
    let factor = 0x80;
    while (byte > 0x7f) {
      byte = position < end ? (buffer[position++] ?? 0) : malformed();
      value += (byte & 0x7f) * factor;
      factor *= 0x80;
      if (value > Number.MAX_SAFE_INTEGER || factor > FACTOR_BEHIND_A_VARINT) malformed();
    }
    this.position = position;
    return value;
  }

  uint32(): number {
    const value = this.varint();
    return value < UINT32_SIZE ? value : malformed();
  }

  /** The length of what follows; answers where it ends. */
  endOfLengthDelimited(): number {
    const length = this.varint();
    const end = this.position + length;
    return end <= this.end ? end : malformed();
  }

  /** A view of the bytes behind their length; valid as long as the buffer is. */
  bytes(): Buffer {
    const end = this.endOfLengthDelimited();
    const bytes = this.buffer.subarray(this.position, end);
    this.position = end;
    return bytes;
  }

  /** The bytes behind their length, to keep. */
  copyOfBytes(): Buffer {
    const end = this.endOfLengthDelimited();
    const bytes = Buffer.allocUnsafe(end - this.position);
    this.buffer.copy(bytes, 0, this.position, end);
    this.position = end;
    return bytes;
  }

  text(): string {
    const end = this.endOfLengthDelimited();
    const text = this.buffer.toString('utf8', this.position, end);
    this.position = end;
    return text;
  }

  /** Passes over the value of a field that this side does not know: the other side may be newer. */
  skipField(tag: number): void {
    // field number 0 does not exist, nor does one above 2^29 - 1
    if (tag < 8 || tag >= UINT32_SIZE) malformed();
    switch (tag & 7) {
      case VARINT:
        this.skipVarint();
        return;
      case FIXED64:
        this.advance(8);
        return;
      case LENGTH_DELIMITED:
        this.position = this.endOfLengthDelimited();
        return;
      case FIXED32:
        this.advance(4);
        return;
      default:
        // groups are not part of proto3
        malformed();
    }
  }

  private skipVarint(): void {
    // ten bytes carry 64 bits; a negative int32 has all of them
    for (let length = 0; length < 10; length++) {
      if (this.position >= this.end) malformed();
      if ((this.buffer[this.position++] ?? 0) < 0x80) return;
    }
    malformed();
  }

  private advance(byteLength: number): void {
    if (this.position + byteLength > this.end) malformed();
    this.position += byteLength;
  }
}

function malformed(): never {
  throw new MalformedMessageError('the message cannot be decoded');
}
