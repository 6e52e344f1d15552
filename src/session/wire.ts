import { Buffer } from 'node:buffer';
import {
  DeviceClass,
  SessionEnd,
  ValidateSessionRequest,
  ValidateSessionStatus,
  type SessionClient,
  type SessionClientField,
} from '../gen/shardkeep/session/v1/session.js';
import type { ResponseWriter } from '../grpc/rpc.js';
import type { ByteReader } from '../wire/byte-reader.js';
import { LENGTH_DELIMITED, VARINT, varintLength, type ByteWriter } from '../wire/byte-writer.js';
import { plainReader } from '../wire/plain-message.js';
import type { PackedSession } from './record.js';
import type { OpenedSession } from './token-store.js';

/**
 * ValidateSessionRequest and ValidateSessionResponse by hand: the record lies in Redis as the fields of the message that
 * are not in the header, so it goes out without being read. A test holds them to the generated code.
 */

const SESSION_TOKEN = 1;
const CLIENT = 2;
const MAX_AUTH_AGE_MS = 3;
const CLIENT_IP = 1;
const CLIENT_USER_AGENT = 2;
const CLIENT_DEVICE_ID = 3;

const STATUS = 1;
const SESSION = 2;
const CHANGED_CLIENT_FIELDS = 4;

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

export const decodeValidateSessionRequest = plainReader<ValidateSessionRequest>(
  readPlainRequest,
  ValidateSessionRequest,
);

function readPlainRequest(reader: ByteReader): ValidateSessionRequest | undefined {
  let sessionToken = '';
  let client: SessionClient | undefined;
  let maxAuthAgeMs: bigint | undefined;
  while (reader.hasMore) {
    switch (reader.varint()) {
      case (SESSION_TOKEN << 3) | LENGTH_DELIMITED:
        sessionToken = reader.text();
        break;
      case (CLIENT << 3) | LENGTH_DELIMITED:
        client = readPlainClient(reader);
        if (client === undefined) return undefined;
        break;
      case (MAX_AUTH_AGE_MS << 3) | VARINT:
        maxAuthAgeMs = BigInt(reader.varint());
        break;
      default:
        return undefined;
    }
  }
  return { sessionToken, client, maxAuthAgeMs };
}

function readPlainClient(reader: ByteReader): SessionClient | undefined {
  const end = reader.endOfLengthDelimited();
  let ip = '';
  let userAgent = '';
  let deviceId = '';
  while (reader.position < end) {
    switch (reader.varint()) {
      case (CLIENT_IP << 3) | LENGTH_DELIMITED:
        ip = reader.text();
        break;
      case (CLIENT_USER_AGENT << 3) | LENGTH_DELIMITED:
        userAgent = reader.text();
        break;
      case (CLIENT_DEVICE_ID << 3) | LENGTH_DELIMITED:
        deviceId = reader.text();
        break;
      default:
        return undefined;
    }
  }
  return reader.position === end ? { ip, userAgent, deviceId } : undefined;
}

/** An opened session, or the encoded message of another outcome. */
export const validateSessionResponseWriter: ResponseWriter<OpenedSession | Buffer> = {
  length: (answer) => {
    if (Buffer.isBuffer(answer)) return answer.length;
    const length = sessionLength(answer.session);
    const fields = answer.changedFields.length;
    return 2 + 1 + varintLength(length) + length + (fields === 0 ? 0 : 2 + fields);
  },
  write: (answer, writer) => {
    if (Buffer.isBuffer(answer)) {
      writer.raw(answer);
      return;
    }
    const { status, session, changedFields } = answer;
    writer.tag(STATUS, VARINT);
    writer.varint(status === 'valid' ? ValidateSessionStatus.VALID : ValidateSessionStatus.STEP_UP);
    writer.tag(SESSION, LENGTH_DELIMITED);
    writer.varint(sessionLength(session));
    writeSession(session, writer);
    if (changedFields.length > 0) writeChangedFields(changedFields, writer);
  },
};

/** At most three of one byte each. */
function writeChangedFields(fields: readonly SessionClientField[], writer: ByteWriter): void {
  writer.tag(CHANGED_CLIENT_FIELDS, LENGTH_DELIMITED);
  writer.varint(fields.length);
  for (const field of fields) writer.varint(field);
}

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
