import { Buffer } from 'node:buffer';
import {
  DeviceClass,
  SessionEnd,
  ValidateSessionStatus,
  type ValidateSessionRequest,
} from '../gen/shardkeep/session/v1/session.js';
import type { ResponseWriter } from '../grpc/rpc.js';
import { ByteReader } from '../wire/byte-reader.js';
import { LENGTH_DELIMITED, VARINT, varintLength, type ByteWriter } from '../wire/byte-writer.js';
import { PackedSession } from './record.js';

/**
 * ValidateSessionRequest and ValidateSessionResponse by hand: the record lies in Redis as the fields of the message that
 * are not in the header, so it goes out without being read. A test holds them to the generated code.
 */

const SESSION_TOKEN = 1;
const STATUS = 1;
const SESSION = 2;

const SESSION_ID = 1;
const USER_ID = 2;
const CREATED_AT_MS = 9;
const LAST_ACTIVE_MS = 10;
const EXPIRES_AT_MS = 11;
const ABSOLUTE_EXPIRES_AT_MS = 12;
const AUTHENTICATED_AT_MS = 13;
const VERSION = 14;
const RENEW_BY_MS = 16;
const ANNOUNCED_END = 17;
const DEVICE_CLASS = 18;
/** These three have tags of two bytes. */
const TWO_BYTE_TAG = 2;

export function decodeValidateSessionRequest(bytes: Buffer, from: number, to: number): ValidateSessionRequest {
  const reader = new ByteReader(bytes, from, to);
  let sessionToken = '';
  while (reader.hasMore) {
    const tag = reader.varint();
    if (tag === ((SESSION_TOKEN << 3) | LENGTH_DELIMITED)) sessionToken = reader.text();
    else reader.skipField(tag);
  }
  return { sessionToken, client: undefined, maxAuthAgeMs: undefined };
}

/** A live session, or the encoded message of another outcome. */
export const validateSessionResponseWriter: ResponseWriter<PackedSession | Buffer> = {
  length: (answer) => {
    if (!(answer instanceof PackedSession)) return answer.length;
    const length = sessionLength(answer);
    return 2 + 1 + varintLength(length) + length;
  },
  write: (answer, writer) => {
    if (!(answer instanceof PackedSession)) {
      writer.raw(answer);
      return;
    }
    writer.tag(STATUS, VARINT);
    writer.varint(ValidateSessionStatus.VALID);
    writer.tag(SESSION, LENGTH_DELIMITED);
    writer.varint(sessionLength(answer));
    writeSession(answer, writer);
  },
};

function sessionLength(session: PackedSession): number {
  const { packed } = session;
  return (
    textLength(session.sessionId) +
    textLength(session.userId) +
    (packed.length - session.recordAt) +
    6 +
    varintLength(session.createdAtMs) +
    varintLength(session.lastActiveMs) +
    varintLength(session.expiresAtMs) +
    varintLength(session.absoluteExpiresAtMs) +
    varintLength(session.authenticatedAtMs) +
    varintLength(session.version) +
    (session.renewByMs === 0 ? 0 : TWO_BYTE_TAG + varintLength(session.renewByMs)) +
    announcedEndLength(session) +
    (session.deviceClass === DeviceClass.UNSPECIFIED ? 0 : TWO_BYTE_TAG + 1)
  );
}

/** Few sessions have one, so the generated code may write it. */
function announcedEndLength({ announcedEnd }: PackedSession): number {
  if (announcedEnd === undefined) return 0;
  const length = encodedEnd(announcedEnd).length;
  return TWO_BYTE_TAG + varintLength(length) + length;
}

function encodedEnd(end: SessionEnd): Uint8Array {
  return SessionEnd.encode(end).finish();
}

function textLength(text: string): number {
  const length = Buffer.byteLength(text);
  return 1 + varintLength(length) + length;
}

function writeSession(session: PackedSession, writer: ByteWriter): void {
  const { packed } = session;
  writer.tag(SESSION_ID, LENGTH_DELIMITED);
  writer.text(session.sessionId);
  writer.tag(USER_ID, LENGTH_DELIMITED);
  writer.text(session.userId);
  writer.part(packed, session.recordAt, packed.length);
  writeNumber(writer, CREATED_AT_MS, session.createdAtMs);
  writeNumber(writer, LAST_ACTIVE_MS, session.lastActiveMs);
  writeNumber(writer, EXPIRES_AT_MS, session.expiresAtMs);
  writeNumber(writer, ABSOLUTE_EXPIRES_AT_MS, session.absoluteExpiresAtMs);
  writeNumber(writer, AUTHENTICATED_AT_MS, session.authenticatedAtMs);
  writeNumber(writer, VERSION, session.version);
  if (session.renewByMs !== 0) writeLateNumber(writer, RENEW_BY_MS, session.renewByMs);
  const { announcedEnd } = session;
  if (announcedEnd !== undefined) {
    writer.varint((ANNOUNCED_END << 3) | LENGTH_DELIMITED);
    writer.bytes(encodedEnd(announcedEnd));
  }
  if (session.deviceClass !== DeviceClass.UNSPECIFIED) writeLateNumber(writer, DEVICE_CLASS, session.deviceClass);
}

/** Of a field above 15. */
function writeLateNumber(writer: ByteWriter, field: number, value: number): void {
  writer.varint((field << 3) | VARINT);
  writer.varint(value);
}

function writeNumber(writer: ByteWriter, field: number, value: number): void {
  writer.tag(field, VARINT);
  writer.varint(value);
}
