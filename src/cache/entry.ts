import { wrongType } from '../redis/errors.js';

/** The packed form of a cache entry as `lua/lib/entry.lua` writes it; this side only reads it. */

const FORMAT = 1;
const FIXED_BYTES = 24;
const HAS_VALUE = 1;

export interface CacheEntry {
  readonly value: Buffer;
  readonly version: bigint;
  readonly createdAtMs: number;
  /** Undefined: does not expire. */
  readonly expiresAtMs: number | undefined;
}

/** Reads an entry; undefined for a header without a value. Throws WRONG_TYPE for anything else. */
export function readEntry(packed: Buffer): CacheEntry | undefined {
  if (packed.length < FIXED_BYTES || packed[0] !== FORMAT) throw wrongType();
  const valueAt = packed.readUInt16BE(1);
  const flags = packed.readUInt8(3);
  if ((flags & HAS_VALUE) === 0) return undefined;
  const expiresAtMs = packed.readUIntBE(18, 6);
  return {
    value: packed.subarray(valueAt),
    version: packed.readBigUInt64BE(4),
    createdAtMs: packed.readUIntBE(12, 6),
    expiresAtMs: expiresAtMs === 0 ? undefined : expiresAtMs,
  };
}
