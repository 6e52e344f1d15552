import { Buffer } from 'node:buffer';
import { expect, test } from '@jest/globals';
import fc from 'fast-check';
import {
  DeviceClass,
  Session,
  SessionEndCause,
  ValidateSessionResponse,
  ValidateSessionStatus,
  type SessionEnd,
} from '../../src/gen/shardkeep/session/v1/session.js';
import { encodeIdentifier } from '../../src/redis/keys.js';
import { decodeSession, PackedSession } from '../../src/session/record.js';
import { validateSessionResponseWriter } from '../../src/session/wire.js';
import { ByteWriter } from '../../src/wire/byte-writer.js';

/** ValidateSessionResponse is written by hand from the packed record; what comes out is what the generated code says. */

const SESSION_ID = 'A'.repeat(24);
const words = (maxLength: number): fc.Arbitrary<string> => fc.string({ unit: 'grapheme', maxLength });
const timeMs = fc.oneof(fc.integer({ min: 0, max: 2 ** 47 }), fc.constantFrom(0, 1, 127, 128, 2 ** 31, 2 ** 32));

interface Given {
  readonly userId: string;
  readonly username: string;
  readonly metadata: readonly (readonly [string, string])[];
  readonly times: readonly number[];
  readonly version: number;
  readonly renewByMs: number;
  readonly announced: SessionEnd | undefined;
  readonly deviceClass: DeviceClass;
  /** Of types that this service does not know, around those it does. */
  readonly unknownFields: readonly Uint8Array[];
}

const given: fc.Arbitrary<Given> = fc.record({
  userId: words(40),
  username: words(40),
  metadata: fc.array(fc.tuple(words(10), words(20)), { maxLength: 4 }),
  times: fc.array(timeMs, { minLength: 5, maxLength: 5 }),
  version: fc.integer({ min: 0, max: Number.MAX_SAFE_INTEGER }),
  renewByMs: timeMs,
  announced: fc.option(
    fc.record({
      cause: fc.constant(SessionEndCause.DESTROYED),
      reason: words(10).filter((text) => Buffer.byteLength(text) <= 64),
      message: words(60),
      endedAtMs: timeMs.map(BigInt),
    }),
    { nil: undefined },
  ),
  deviceClass: fc.constantFrom(DeviceClass.UNSPECIFIED, DeviceClass.MOBILE, DeviceClass.CONSOLE),
  unknownFields: fc.array(fc.uint8Array({ maxLength: 30 }), { maxLength: 3 }),
});

/** As lua/lib/record.lua lays a session out. */
function pack(session: Given): Buffer {
  const { userId, username, metadata, times, version, renewByMs, announced, deviceClass, unknownFields } = session;
  const user = Buffer.from(encodeIdentifier(userId));
  const terms = Buffer.concat([Buffer.alloc(10), uint(renewByMs, 6)]);
  const fields = Buffer.concat([
    ...unknownFields.map((bytes, index) => field(100 + index, bytes)),
    field(1, terms),
    ...(announced === undefined ? [] : [field(4, packEnd(announced))]),
    ...unknownFields.map((bytes, index) => field(200 + index, bytes)),
  ]);
  const header = Buffer.concat([
    Buffer.from([1]),
    uint(95 + user.length + fields.length, 2),
    Buffer.alloc(1),
    Buffer.alloc(8),
    Buffer.alloc(8),
    ...times.map((time) => uint(time, 6)),
    Buffer.alloc(6 + 4 + 32),
    Buffer.from([deviceClass]),
    uint(user.length, 2),
  ]);
  header.writeBigUInt64BE(BigInt(version), 4);
  const record = Session.encode(Session.fromPartial({ username, metadata: new Map(metadata) })).finish();
  return Buffer.concat([header, user, fields, record]);
}

function packEnd({ endedAtMs, reason, message }: SessionEnd): Buffer {
  const reasonBytes = Buffer.from(reason);
  const messageBytes = Buffer.from(message);
  const head = [uint(Number(endedAtMs), 6), Buffer.from([reasonBytes.length]), reasonBytes];
  return Buffer.concat([...head, uint(messageBytes.length, 2), messageBytes]);
}

function field(type: number, bytes: Uint8Array): Buffer {
  return Buffer.concat([Buffer.from([type]), uint(bytes.length, 2), bytes]);
}

function uint(value: number, length: number): Buffer {
  const bytes = Buffer.alloc(length);
  bytes.writeUIntBE(value, 0, length);
  return bytes;
}

test('a live session is answered as by the generated code, with whatever it holds', () => {
  fc.assert(
    fc.property(given, (session) => {
      const packed = pack(session);
      const answer = { status: 'valid' as const, session: new PackedSession(SESSION_ID, packed), changedFields: [] };
      const writer = new ByteWriter(1);
      validateSessionResponseWriter.write(answer, writer);
      const written = writer.take();
      expect(validateSessionResponseWriter.length(answer)).toBe(written.length);
      const expected = ValidateSessionResponse.fromPartial({
        status: ValidateSessionStatus.VALID,
        session: decodeSession(SESSION_ID, packed),
      });
      expect(ValidateSessionResponse.decode(written)).toEqual(expected);
      const [created, lastActive, expires, absolute, authenticated] = session.times;
      expect(expected.session).toMatchObject({
        sessionId: SESSION_ID,
        userId: session.userId,
        username: session.username,
        metadata: new Map(session.metadata),
        createdAtMs: BigInt(created ?? 0),
        lastActiveMs: BigInt(lastActive ?? 0),
        expiresAtMs: BigInt(expires ?? 0),
        absoluteExpiresAtMs: BigInt(absolute ?? 0),
        authenticatedAtMs: BigInt(authenticated ?? 0),
        version: BigInt(session.version),
        renewByMs: BigInt(session.renewByMs),
        deviceClass: session.deviceClass,
      });
      expect(expected.session?.announcedEnd).toEqual(session.announced);
    }),
    { numRuns: 2_000 },
  );
});
