import { expect, test } from '@jest/globals';
import fc from 'fast-check';
import { InvalidArgumentError } from '../../src/client/index.js';
import { HAND_WRITTEN } from '../../src/client/transport/hand-written.js';
import {
  SessionClientField,
  ValidateSessionRequest,
  ValidateSessionResponse,
  ValidateSessionStatus,
} from '../../src/gen/shardkeep/session/v1/session.js';
import { encodeIdentifier } from '../../src/redis/keys.js';
import { encodeRecord, PackedSession } from '../../src/session/record.js';
import { decodeValidateSessionRequest, validateSessionResponseWriter } from '../../src/session/wire.js';
import { ByteWriter } from '../../src/wire/byte-writer.js';

/** ValidateSession by hand, on both ends, against the generated code. */

const RUNS = { numRuns: 500 };
const text = fc.string({ unit: 'grapheme', maxLength: 90 });
const validateWriter = HAND_WRITTEN['shardkeep.session.v1.SessionService/ValidateSession']?.requestWriter;

function written(write: (writer: ByteWriter) => void): Buffer {
  const writer = new ByteWriter(1);
  write(writer);
  return writer.take();
}

test('a request is written by the client and read by the service as by the generated code', () => {
  const request = fc.record({
    sessionToken: text,
    client: fc.option(fc.record({ ip: text, userAgent: text, deviceId: text }), { nil: undefined }),
    maxAuthAgeMs: fc.option(fc.bigInt({ min: 0n, max: 2n ** 53n - 1n }), { nil: undefined }),
  });
  // field 100, bytes
  const unknown = Buffer.from('a20603616263', 'hex');
  fc.assert(
    fc.property(request, (message) => {
      const byHand = written((writer) => validateWriter?.write(message, writer));
      expect(validateWriter?.length(message)).toBe(byHand.length);
      expect(ValidateSessionRequest.decode(byHand)).toEqual(message);
      const generated = Buffer.from(ValidateSessionRequest.encode(message).finish());
      for (const encoded of [byHand, generated, Buffer.concat([generated, unknown])]) {
        const within = Buffer.concat([Buffer.from('xx'), encoded, Buffer.from('yy')]);
        expect(decodeValidateSessionRequest(within, 2, within.length - 2)).toEqual(message);
      }
    }),
    RUNS,
  );
});

test.each([-1n, 2n ** 53n])('an age of %d fails the call that has it, and damages no frame', (maxAuthAgeMs) => {
  expect(() => validateWriter?.length({ sessionToken: 'x', maxAuthAgeMs })).toThrow(InvalidArgumentError);
});

const time = fc.integer({ min: 0, max: 2 ** 47 });
const numbers = fc.record({
  ...{ createdAtMs: time, lastActiveMs: time, expiresAtMs: time, absoluteExpiresAtMs: time, authenticatedAtMs: time },
  renewByMs: fc.oneof(fc.constant(0), time),
  version: fc.integer({ min: 0, max: Number.MAX_SAFE_INTEGER }),
});
type Numbers = typeof numbers extends fc.Arbitrary<infer Value> ? Value : never;

/** As `src/session/lua/lib/record.lua` describes it, with another field before the one that is looked for, or without. */
function packSession(times: Numbers, deviceClass: number, bound: boolean, user: Buffer, record: Buffer): Buffer {
  const uint = (value: number, bytes: number): Buffer => {
    const packed = Buffer.alloc(bytes);
    packed.writeUIntBE(value, 0, bytes);
    return packed;
  };
  const version = Buffer.alloc(8);
  version.writeBigUInt64BE(BigInt(times.version));
  const client = bound ? Buffer.concat([uint(2, 1), uint(25, 2), Buffer.alloc(25, 7)]) : Buffer.alloc(0);
  const terms = Buffer.concat([uint(1, 1), uint(16, 2), Buffer.alloc(10), uint(times.renewByMs, 6)]);
  const { createdAtMs, lastActiveMs, expiresAtMs, absoluteExpiresAtMs, authenticatedAtMs } = times;
  return Buffer.concat([
    ...[uint(1, 1), uint(95 + user.length + client.length + terms.length, 2), uint(0, 1), version, Buffer.alloc(8)],
    ...[createdAtMs, lastActiveMs, expiresAtMs, absoluteExpiresAtMs, authenticatedAtMs, 0].map((ms) => uint(ms, 6)),
    ...[uint(0, 4), Buffer.alloc(32), uint(deviceClass, 1), uint(user.length, 2)],
    ...[user, client, terms, record],
  ]);
}

test('an opened session is answered as the generated code reads it', () => {
  const answer = fc.record({
    status: fc.constantFrom('valid' as const, 'step_up' as const),
    changedFields: fc.subarray([SessionClientField.IP, SessionClientField.USER_AGENT, SessionClientField.DEVICE_ID]),
    deviceClass: fc.constantFrom(0, 1, 2, 3, 4),
    bound: fc.boolean(),
    metadata: fc.uniqueArray(fc.tuple(text, text), { maxLength: 3, selector: ([key]) => key }),
  });
  fc.assert(
    fc.property(numbers, answer, text, (times, { status, changedFields, deviceClass, bound, metadata }, words) => {
      const content = {
        ...{ username: words, roles: ['a'], permissions: [], organizationId: '', characterId: '', profile: 'p' },
        metadata: new Map(metadata),
      };
      const user = Buffer.from(encodeIdentifier(words));
      const session = new PackedSession('id', packSession(times, deviceClass, bound, user, encodeRecord(content)));
      const opened = { status, session, changedFields };
      const byHand = written((writer) => {
        validateSessionResponseWriter.write(opened, writer);
      });
      expect(validateSessionResponseWriter.length(opened)).toBe(byHand.length);
      expect(ValidateSessionResponse.decode(byHand)).toEqual({
        status: status === 'valid' ? ValidateSessionStatus.VALID : ValidateSessionStatus.STEP_UP,
        session: {
          ...{ ...content, sessionId: 'id', userId: words, deviceClass, announcedEnd: undefined },
          ...Object.fromEntries(Object.entries(times).map(([name, value]) => [name, BigInt(value)])),
        },
        end: undefined,
        changedClientFields: changedFields,
      });
    }),
    RUNS,
  );
});
