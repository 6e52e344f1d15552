const UINT32_SIZE = 0x100000000;

/*
 * Big-endian numbers of a packed record. The caller has checked that the bytes are there; unlike Buffer's own readers
 * these do not, which halves what reading many numbers costs.
 */

/** Six bytes. */
export function readUint48(packed: Buffer, offset: number): number {
  return ((byte(packed, offset) << 8) | byte(packed, offset + 1)) * UINT32_SIZE + readUint32(packed, offset + 2);
}

/** Eight bytes of a number below 2^53, as a logical clock in µs is. */
export function readUint53(packed: Buffer, offset: number): number {
  return readUint32(packed, offset) * UINT32_SIZE + readUint32(packed, offset + 4);
}

function readUint32(packed: Buffer, offset: number): number {
  return (
    ((byte(packed, offset) << 24) |
      (byte(packed, offset + 1) << 16) |
      (byte(packed, offset + 2) << 8) |
      byte(packed, offset + 3)) >>>
    0
  );
}

function byte(packed: Buffer, offset: number): number {
  return packed[offset] ?? 0;
}
