import type { Buffer } from 'node:buffer';

/** How values become bytes. A value that cannot be encoded throws; bytes that cannot be decoded throw. */
export interface Codec {
  /**
   * Written before the bytes, so that a reader knows them: 0 is `json` and no other, 1 MessagePack, yours are 16 to 127.
   * Undefined: bytes as they are, with nothing before them and never compressed, as other programs expect them.
   */
  readonly id: number | undefined;
  readonly encode: (value: unknown) => Uint8Array;
  /** The bytes are the caller's own: what comes out may share them. */
  readonly decode: (bytes: Buffer) => unknown;
}
