import { Session, SessionEndCause, type DeviceClass, type SessionEnd } from '../gen/shardkeep/session/v1/session.js';
import { decodeIdentifier } from '../redis/keys.js';
import { readUint48, readUint53 } from '../redis/packed.js';
import { UnexpectedReplyError } from '../redis/lua-script.js';
import { deviceClassOfNumber } from './device-class.js';

/** The packed form of a session as `lua/lib/record.lua` describes and writes it. */

const FORMAT = 1;
const RECORD_AT = 1;
const VERSION = 4;
const CREATED_AT = 20;
const LAST_ACTIVE = 26;
const EXPIRES_AT = 32;
const ABSOLUTE_EXPIRES_AT = 38;
const AUTHENTICATED_AT = 44;
const TOUCH_GRANULARITY = 56;
const SECRET_HASH = 60;
const SECRET_HASH_END = 92;
const DEVICE_CLASS = 92;
const USER_LENGTH = 93;
const USER = 95;

/** Of a field between the user and the record: 1 byte type, 2 bytes length. */
const FIELD_HEADER_BYTES = 3;
const FIELD_LENGTH_BYTES = 2;
const FIELD_TERMS = 1;
const FIELD_CLIENT = 2;
const CLIENT_BYTES = 25;
const TERMS_RENEW_BY = 10;
const FIELD_ANNOUNCED = 4;
const ANNOUNCED_REASON = 6;

/** More than the service's copy of Redis's clock can be off, also where Cluster masters differ. */
const CLOCK_MARGIN_MS = 1_000;

/** The fields of a session that the caller gives; kept as protobuf behind the header. */
export type SessionContent = Pick<
  Session,
  'username' | 'roles' | 'permissions' | 'organizationId' | 'characterId' | 'metadata' | 'profile'
>;

export function encodeRecord(content: SessionContent): Buffer {
  const { username, roles, permissions, organizationId, characterId, metadata, profile } = content;
  // picked one by one, because `content` may be a whole Session and the header has the rest
  const fields = { username, roles, permissions, organizationId, characterId, metadata, profile };
  return Buffer.from(Session.encode(Session.fromPartial(fields)).finish());
}

export interface TouchedTimes {
  readonly lastActiveMs: number;
  readonly expiresAtMs: number;
}

/** A live session as Redis holds it; its fields are read from the packed bytes when they are asked for. */
export class PackedSession {
  readonly lastActiveMs: number;
  readonly expiresAtMs: number;

  /** `touched`: the times after a touch that `packed` does not know of. Throws UnexpectedReplyError. */
  constructor(
    readonly sessionId: string,
    readonly packed: Buffer,
    touched?: TouchedTimes,
  ) {
    if (!isSession(packed)) throw new UnexpectedReplyError('no packed session');
    this.lastActiveMs = touched?.lastActiveMs ?? readUint48(packed, LAST_ACTIVE);
    this.expiresAtMs = touched?.expiresAtMs ?? readUint48(packed, EXPIRES_AT);
  }

  /** Where in `packed` the protobuf record begins; it ends where `packed` ends. */
  get recordAt(): number {
    return this.packed.readUInt16BE(RECORD_AT);
  }

  get userId(): string {
    return decodeIdentifier(this.packed.toString('utf8', USER, USER + this.packed.readUInt16BE(USER_LENGTH)));
  }

  get createdAtMs(): number {
    return readUint48(this.packed, CREATED_AT);
  }

  /** 0: none. */
  get absoluteExpiresAtMs(): number {
    return readUint48(this.packed, ABSOLUTE_EXPIRES_AT);
  }

  get authenticatedAtMs(): number {
    return readUint48(this.packed, AUTHENTICATED_AT);
  }

  /** A logical clock in µs, below 2^53. */
  get version(): number {
    return readUint53(this.packed, VERSION);
  }

  get deviceClass(): DeviceClass {
    return deviceClassOfNumber(this.packed[DEVICE_CLASS] ?? 0);
  }

  /** As far as is known here, until when a plain read of the session tells that it is valid. */
  get plainUntilMs(): number {
    const touchDueMs = this.lastActiveMs + this.packed.readUInt32BE(TOUCH_GRANULARITY);
    return Math.min(this.expiresAtMs, touchDueMs) - CLOCK_MARGIN_MS;
  }

  /** 0: the token need not be renewed. */
  get renewByMs(): number {
    const { packed } = this;
    const at = fieldAt(packed, FIELD_TERMS);
    const hasRenewal = at !== undefined && packed.readUInt16BE(at - FIELD_LENGTH_BYTES) > TERMS_RENEW_BY;
    return hasRenewal ? readUint48(packed, at + TERMS_RENEW_BY) : 0;
  }

  /** Undefined: none. */
  get announcedEnd(): SessionEnd | undefined {
    const { packed } = this;
    const at = fieldAt(packed, FIELD_ANNOUNCED);
    if (at === undefined) return undefined;
    const reasonAt = at + ANNOUNCED_REASON + 1;
    const reasonEnd = reasonAt + packed.readUInt8(reasonAt - 1);
    const messageAt = reasonEnd + 2;
    return {
      cause: SessionEndCause.DESTROYED,
      reason: packed.toString('utf8', reasonAt, reasonEnd),
      message: packed.toString('utf8', messageAt, messageAt + packed.readUInt16BE(reasonEnd)),
      endedAtMs: BigInt(readUint48(packed, at)),
    };
  }
}

/**
 * True where the packed session is open to the secret whatever the clocks say: far from its deadline and touched so
 * lately that another touch would not be written. Everything else is for validate-session.lua to decide.
 */
export function isPlainlyValid(packed: Buffer, secretHash: string, nowMs: number): boolean {
  return (
    isSession(packed) &&
    nowMs + CLOCK_MARGIN_MS < readUint48(packed, EXPIRES_AT) &&
    nowMs + CLOCK_MARGIN_MS < readUint48(packed, LAST_ACTIVE) + packed.readUInt32BE(TOUCH_GRANULARITY) &&
    packed.toString('hex', SECRET_HASH, SECRET_HASH_END) === secretHash
  );
}

/** Whether the user proved who they are longer ago; undefined where that depends on the exact time. */
export function isAuthenticationOlder(session: PackedSession, maxAgeMs: number, nowMs: number): boolean | undefined {
  const ageMs = nowMs - session.authenticatedAtMs;
  if (ageMs + CLOCK_MARGIN_MS <= maxAgeMs) return false;
  return ageMs - CLOCK_MARGIN_MS > maxAgeMs ? true : undefined;
}

/** Where whom a session is bound to begins; undefined where it is bound to nobody. */
export function boundClientAt(packed: Buffer): number | undefined {
  const at = fieldAt(packed, FIELD_CLIENT);
  return at !== undefined && at + CLIENT_BYTES <= packed.length ? at : undefined;
}

export function decodeSession(sessionId: string, packed: Buffer, touched?: TouchedTimes): Session {
  const session = new PackedSession(sessionId, packed, touched);
  return {
    ...Session.decode(packed.subarray(session.recordAt)),
    sessionId,
    userId: session.userId,
    createdAtMs: BigInt(session.createdAtMs),
    lastActiveMs: BigInt(session.lastActiveMs),
    expiresAtMs: BigInt(session.expiresAtMs),
    absoluteExpiresAtMs: BigInt(session.absoluteExpiresAtMs),
    authenticatedAtMs: BigInt(session.authenticatedAtMs),
    version: BigInt(session.version),
    renewByMs: BigInt(session.renewByMs),
    announcedEnd: session.announcedEnd,
    deviceClass: session.deviceClass,
  };
}

/** Where the bytes of a field begin; undefined where the session has none. */
function fieldAt(packed: Buffer, wanted: number): number | undefined {
  const recordAt = packed.readUInt16BE(RECORD_AT);
  let at = USER + packed.readUInt16BE(USER_LENGTH);
  while (at + FIELD_HEADER_BYTES <= recordAt) {
    if (packed[at] === wanted) return at + FIELD_HEADER_BYTES;
    at += FIELD_HEADER_BYTES + packed.readUInt16BE(at + 1);
  }
  return undefined;
}

/** Whether the bytes are a session whose parts lie where its header says; any bytes may stand at a key. */
function isSession(packed: Buffer): boolean {
  if (packed.length < USER || packed[0] !== FORMAT) return false;
  const recordAt = packed.readUInt16BE(RECORD_AT);
  return USER + packed.readUInt16BE(USER_LENGTH) <= recordAt && recordAt <= packed.length;
}
