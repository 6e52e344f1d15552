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
const ABSENT = 2;

const FIELD_FRESH_UNTIL = 1;
const FIELD_LOAD_MS = 3;
const FIELD_SEQ = 5;
const FIELD_LEASE = 6;
const FIELD_TAGS = 8;
const FIELD_HEAD_BYTES = 3;
const LEASE_TOKEN_BYTES = 16;
const LEASE_UNTIL = 22;

/** The least that a field of a type has, where there is one. */
const FIELD_BYTES: Readonly<Record<number, number>> = {
  [FIELD_FRESH_UNTIL]: 6,
  [FIELD_LOAD_MS]: 4,
  [FIELD_SEQ]: 8,
  [FIELD_LEASE]: 28,
};

const NO_TAGS: readonly string[] = [];

/** An entry as it was read, with the time it has left. */
export class LiveEntry {
  /** Where in `packed` the value begins; it ends where `packed` ends. */
  readonly valueAt: number;
  /** At least 1; undefined: does not expire. */
  readonly ttlMs: number | undefined;
  readonly createdAtMs: number;
  /** A logical clock in µs, below 2^53. */
  readonly version: number;
  /** The source has nothing; there is no value. */
  readonly absent: boolean;
  /** Stale from then on; undefined: fresh to the end. */
  readonly freshUntilMs: number | undefined;
  /** How long the source took when the entry was filled under a lease. */
  readonly loadMs: number | undefined;
  /** The tag clock from before the source was read; 0 for an entry without tags. */
  readonly seq: number = 0;
  readonly tags: readonly string[] = NO_TAGS;
  /** Past the time it is fresh, or invalidated softly. */
  stale: boolean;
  private readonly nowMs: number;

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
    this.absent = packed[FLAGS] === ABSENT;
    this.stale = false;
    this.nowMs = nowMs;
    if (this.valueAt === FIXED_BYTES) return;
    for (let at = FIXED_BYTES; at < this.valueAt;) {
      const from = at + FIELD_HEAD_BYTES;
      const to = from + packed.readUInt16BE(at + 1);
      switch (packed[at]) {
        case FIELD_FRESH_UNTIL:
          this.freshUntilMs = readUint48(packed, from);
          this.stale = nowMs >= this.freshUntilMs;
          break;
        case FIELD_LOAD_MS:
          this.loadMs = packed.readUInt32BE(from);
          break;
        case FIELD_SEQ:
          this.seq = readUint53(packed, from);
          break;
        case FIELD_TAGS:
          this.tags = readTags(packed, from, to);
          break;
        default:
          // of a newer service, or nothing a reader needs
          break;
      }
      at = to;
    }
  }

  get value(): Buffer {
    return this.packed.subarray(this.valueAt);
  }

  /** How long it is still fresh, at least 1; undefined: it is stale, or fresh to the end. */
  get freshTtlMs(): number | undefined {
    return this.stale || this.freshUntilMs === undefined ? undefined : this.freshUntilMs - this.nowMs;
  }
}

function readTags(packed: Buffer, from: number, to: number): string[] {
  const tags: string[] = [];
  for (let at = from; at < to;) {
    const end = at + 1 + (packed[at] ?? 0);
    tags.push(packed.toString('utf8', at + 1, end));
    at = end;
  }
  return tags;
}

/** Tags as an entry holds them, behind the tick of the tag clock; empty for none. */
export function packTags(seq: number, tags: readonly string[]): Buffer | '' {
  if (tags.length === 0) return '';
  const head = Buffer.alloc(8);
  head.writeBigUInt64BE(BigInt(seq));
  return Buffer.concat([head, ...tags.flatMap((tag) => [Buffer.from([Buffer.byteLength(tag)]), Buffer.from(tag)])]);
}

/**
 * Reads an entry; undefined for a header without a value, and where the entry has run out but its key lives on for a
 * lease or a fence. Negative entries (`absent`) are read too. Throws WRONG_TYPE for anything else.
 */
export function readEntry(packed: Buffer, nowMs: number): LiveEntry | undefined {
  if (!isEntry(packed)) throw wrongType();
  if ((packed.readUInt8(FLAGS) & (HAS_VALUE | ABSENT)) === 0) return undefined;
  const expiresAtMs = readUint48(packed, EXPIRES_AT);
  return expiresAtMs !== 0 && expiresAtMs <= nowMs ? undefined : new LiveEntry(packed, nowMs);
}

/** Whether the bytes are an entry whose parts lie where its header says; any bytes may stand at a key. */
function isEntry(packed: Buffer): boolean {
  if (packed.length < FIXED_BYTES || packed[0] !== FORMAT) return false;
  const valueAt = packed.readUInt16BE(VALUE_AT);
  if (valueAt < FIXED_BYTES || valueAt > packed.length) return false;
  let at = FIXED_BYTES;
  while (at + FIELD_HEAD_BYTES <= valueAt) {
    const length = packed.readUInt16BE(at + 1);
    if (length < (FIELD_BYTES[packed[at] ?? 0] ?? 0)) return false;
    at += FIELD_HEAD_BYTES + length;
  }
  return at === valueAt;
}

/** Who loads a packed entry, or what is left of one. */
export interface LeaseState {
  /** Unix ms of Redis's clock; 0: nobody. */
  readonly untilMs: number;
  /** Nobody loads: the last load failed, and the next one waits until then. */
  readonly failed: boolean;
}

const NO_LEASE: LeaseState = { untilMs: 0, failed: false };

export function leaseOf(packed: Buffer): LeaseState {
  const valueAt = packed.readUInt16BE(VALUE_AT);
  for (let at = FIXED_BYTES; at < valueAt;) {
    const from = at + FIELD_HEAD_BYTES;
    if (packed[at] === FIELD_LEASE) {
      const untilMs = readUint48(packed, from + LEASE_UNTIL);
      return { untilMs, failed: packed.subarray(from, from + LEASE_TOKEN_BYTES).every((byte) => byte === 0) };
    }
    at = from + packed.readUInt16BE(at + 1);
  }
  return NO_LEASE;
}

/** Of what `readEntry` has read, also where it answered undefined. */
export function versionOf(packed: Buffer): number {
  return readUint53(packed, VERSION);
}

/** Whether somebody loads, and there is no entry, or only one of `uselessVersion`. Takes any bytes. */
export function isBeingLoaded(packed: Buffer, uselessVersion: number | undefined): boolean {
  if (!isEntry(packed)) return false;
  const hasEntry = (packed.readUInt8(FLAGS) & (HAS_VALUE | ABSENT)) !== 0;
  if (hasEntry && versionOf(packed) !== uselessVersion) return false;
  const { untilMs, failed } = leaseOf(packed);
  return untilMs > 0 && !failed;
}

/** True when an entry that is kept outside Redis has reached its expiry. Only for what `readEntry` has read once. */
export function hasExpired(packed: Buffer, nowMs: number): boolean {
  const expiresAtMs = readUint48(packed, EXPIRES_AT);
  return expiresAtMs !== 0 && expiresAtMs <= nowMs;
}
