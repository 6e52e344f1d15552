import { wrongType } from '../redis/errors.js';
import { readUint48, readUint53 } from '../redis/packed.js';

/** The packed form of a cache entry as `lua/lib/entry.lua` writes it; this side only reads it. */

const FORMAT = 1;
const VALUE_AT = 1;
const FLAGS = 3;
const VERSION = 4;
const CREATED_AT = 12;
const EXPIRES_AT = 18;
const FIXED_BYTES = 24;
const HAS_VALUE = 1;

/** An entry as it was read, with the time it has left. */
export class LiveEntry {
  /** Where in `packed` the value begins; it ends where `packed` ends. */
  readonly valueAt: number;
  /** At least 1; undefined: does not expire. */
  readonly ttlMs: number | undefined;
  readonly createdAtMs: number;
  /** A logical clock in µs, below 2^53. */
  readonly version: number;

  /** `nowMs`: Redis's clock, about. */
  constructor(
    readonly packed: Buffer,
    nowMs: number,
  ) {
    this.valueAt = packed.readUInt16BE(VALUE_AT);
    const expiresAtMs = readUint48(packed, EXPIRES_AT);
    this.ttlMs = expiresAtMs === 0 ? undefined : Math.max(1, expiresAtMs - nowMs);
    this.createdAtMs = readUint48(packed, CREATED_AT);
    this.version = readUint53(packed, VERSION);
  }

  get value(): Buffer {
    return this.packed.subarray(this.valueAt);
  }
}

/** Reads an entry; undefined for a header without a value. Throws WRONG_TYPE for anything else. */
export function readEntry(packed: Buffer, nowMs: number): LiveEntry | undefined {
  if (packed.length < FIXED_BYTES || packed[0] !== FORMAT) throw wrongType();
  return (packed.readUInt8(FLAGS) & HAS_VALUE) === 0 ? undefined : new LiveEntry(packed, nowMs);
}

/** True when an entry that is kept outside Redis has reached its expiry. Only for what `readEntry` has read once. */
export function hasExpired(packed: Buffer, nowMs: number): boolean {
  const expiresAtMs = readUint48(packed, EXPIRES_AT);
  return expiresAtMs !== 0 && expiresAtMs <= nowMs;
}
