import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { decodeGetRequest, getResponseWriter } from '../../src/cache/wire.js';
import { packTags, readEntry } from '../../src/cache/entry.js';
import { HAND_WRITTEN } from '../../src/client/transport/hand-written.js';
import { Consistency, GetRequest, GetResponse } from '../../src/gen/shardkeep/cache/v1/cache.js';
import { PipelineRequest, PipelineResponse } from '../../src/gen/shardkeep/pipeline/v1/pipeline.js';
import {
  beginResponse,
  readAnswerFrame,
  writeDraining,
  writeFailure,
  writeLimits,
  type PipelineLimits,
} from '../../src/wire/answer-frame.js';
import { MalformedMessageError } from '../../src/wire/byte-reader.js';
import { ByteWriter, varintLength } from '../../src/wire/byte-writer.js';
import { beginCall, readRequestFrame, writeCancelledId, writeMethod } from '../../src/wire/request-frame.js';

/** What is read and written by hand is what the generated code reads and writes. */

const RUNS = { numRuns: 300 };
const uint32 = fc.oneof(fc.integer({ min: 0, max: 0xffffffff }), fc.nat({ max: 300 }));
const bytes = fc.uint8Array({ maxLength: 200 }).map((array) => Buffer.from(array));
const call = fc.record({ id: uint32, method: uint32, timeoutMs: uint32, request: bytes });

const requestFrame = fc.record({
  methods: fc.array(fc.string({ unit: 'grapheme', maxLength: 90 }), { maxLength: 5 }),
  calls: fc.array(call, { maxLength: 8 }),
  cancelledIds: fc.array(uint32, { maxLength: 8 }),
});

function written(write: (writer: ByteWriter) => void, initialBytes = 1): Buffer {
  const writer = new ByteWriter(initialBytes);
  write(writer);
  return writer.take();
}

/** Valid fields of any number and type that no message here has. */
const unknownFields = fc
  .array(fc.tuple(fc.integer({ min: 16, max: 1_000 }), fc.constantFrom(0, 1, 2, 5), bytes), { maxLength: 3 })
  .map((fields) =>
    written((writer) => {
      for (const [field, wireType, content] of fields) {
        writer.varint(field * 8 + wireType);
        if (wireType === 0) writer.raw(Buffer.from('ffffffffffffffffff01', 'hex'));
        else if (wireType === 2) writer.bytes(content);
        else writer.raw(Buffer.alloc(wireType === 1 ? 8 : 4, 7));
      }
    }),
  );

describe('a request frame', () => {
  test('is read as the generated code wrote it, unknown fields passed over', () => {
    fc.assert(
      fc.property(requestFrame, unknownFields, (frame, unknown) => {
        const encoded = Buffer.concat([Buffer.from(PipelineRequest.encode(frame).finish()), unknown]);
        const read = readRequestFrame(encoded);
        expect({
          methods: read.methods,
          cancelledIds: read.cancelledIds,
          calls: read.calls.map(({ id, method, timeoutMs, requestFrom, requestTo }) => ({
            ...{ id, method, timeoutMs },
            request: Buffer.from(encoded.subarray(requestFrom, requestTo)),
          })),
        }).toEqual(frame);
      }),
      RUNS,
    );
  });

  test('is written as the generated code reads it', () => {
    fc.assert(
      fc.property(requestFrame, (frame) => {
        const encoded = written((writer) => {
          for (const name of frame.methods) writeMethod(writer, name);
          for (const { id, method, timeoutMs, request } of frame.calls) {
            beginCall(writer, id, method, timeoutMs, request.length);
            writer.raw(request);
          }
          for (const id of frame.cancelledIds) writeCancelledId(writer, id);
        });
        expect(PipelineRequest.decode(encoded)).toEqual(frame);
      }),
      RUNS,
    );
  });

  test('of any bytes, or cut anywhere, is read within its end or refused', () => {
    const cut = fc.tuple(requestFrame, fc.double({ min: 0, max: 1, noNaN: true })).map(([frame, part]) => {
      const whole = Buffer.from(PipelineRequest.encode(frame).finish());
      return whole.subarray(0, Math.floor(whole.length * part));
    });
    fc.assert(
      fc.property(fc.oneof(bytes, cut), (input) => {
        // behind the end lies what another frame left there
        const padded = Buffer.concat([input, Buffer.alloc(64, 0xff)]).subarray(0, input.length);
        let frame;
        try {
          frame = readRequestFrame(padded);
        } catch (error) {
          expect(error).toBeInstanceOf(MalformedMessageError);
          return;
        }
        for (const { requestFrom, requestTo } of frame.calls) {
          expect(requestFrom).toBeLessThanOrEqual(requestTo);
          expect(requestTo).toBeLessThanOrEqual(input.length);
        }
      }),
      { numRuns: 3_000 },
    );
  });
});

type Visited = [what: string, ...rest: unknown[]];

function visited(frame: Buffer): Visited[] {
  const seen: Visited[] = [];
  readAnswerFrame(frame, {
    onLimits: (limits) => seen.push(['limits', limits]),
    onAnswer: (id, ok, at, from, to) =>
      seen.push(['answer', id, ok, Buffer.from(at.subarray(from, to)).toString('hex')]),
    onDraining: () => seen.push(['draining']),
  });
  return seen;
}

describe('an answer frame', () => {
  const limits: PipelineLimits = { maxCallsInFlight: 1_024, maxRequestBytes: 262_144, maxFrameBytes: 4_456_448 };
  const answer = fc.record({ id: fc.integer({ min: 1, max: 0xffffffff }), response: bytes });

  test('is written as the generated code reads it, an empty response too', () => {
    fc.assert(
      fc.property(fc.array(answer, { maxLength: 8 }), fc.boolean(), (answers, draining) => {
        const encoded = written((writer) => {
          writeLimits(writer, limits);
          for (const { id, response } of answers) {
            beginResponse(writer, id, response.length);
            writer.raw(response);
          }
          if (draining) writeDraining(writer);
        });
        expect(PipelineResponse.decode(encoded)).toEqual({
          limits,
          answers: answers.map(({ id, response }) => ({ id, outcome: { $case: 'response', value: response } })),
          draining,
        });
      }),
      RUNS,
    );
  });

  test('is read as the generated code wrote it, unknown fields passed over', () => {
    fc.assert(
      fc.property(fc.array(answer, { maxLength: 8 }), fc.boolean(), unknownFields, (answers, draining, unknown) => {
        const message = PipelineResponse.encode({
          limits,
          answers: answers.map(({ id, response }) => ({ id, outcome: { $case: 'response', value: response } })),
          draining,
        }).finish();
        expect(visited(Buffer.concat([message, unknown]))).toEqual([
          ['limits', limits],
          ...answers.map(({ id, response }) => ['answer', id, true, response.toString('hex')]),
          ...(draining ? [['draining']] : []),
        ]);
      }),
      RUNS,
    );
  });

  test('carries a failure as its encoded status', () => {
    const status = Buffer.from('0803120462616420', 'hex');
    const frame = written((writer) => {
      writeFailure(writer, 7, status);
    });
    expect(visited(frame)).toEqual([['answer', 7, false, status.toString('hex')]]);
  });

  test('of any bytes is visited or refused', () => {
    fc.assert(
      fc.property(bytes, (input) => {
        try {
          visited(input);
        } catch (error) {
          expect(error).toBeInstanceOf(MalformedMessageError);
        }
      }),
      { numRuns: 3_000 },
    );
  });
});

describe('a message by hand', () => {
  const text = fc.string({ unit: 'grapheme', maxLength: 90 });

  const consistencies = fc.constantFrom(Consistency.UNSPECIFIED, Consistency.READ_MASTER, Consistency.NEAR);

  test('GetRequest, on both ends', () => {
    const get = HAND_WRITTEN['shardkeep.cache.v1.CacheService/Get']?.requestWriter;
    fc.assert(
      fc.property(text, consistencies, unknownFields, (words, consistency, unknown) => {
        const request = { key: words, consistency };
        const byHand = written((writer) => get?.write(request, writer));
        expect(get?.length(request)).toBe(byHand.length);
        expect(GetRequest.decode(byHand)).toEqual(request);
        const generated = Buffer.concat([GetRequest.encode(request).finish(), unknown]);
        expect(decodeGetRequest(Buffer.concat([Buffer.from('xx'), generated]), 2, 2 + generated.length)).toEqual(
          request,
        );
      }),
      RUNS,
    );
  });

  test('an enum value that no varint can be fails the call that has it, and damages no frame', () => {
    const get = HAND_WRITTEN['shardkeep.cache.v1.CacheService/Get']?.requestWriter;
    expect(() => get?.length({ key: 'x', consistency: Consistency.UNRECOGNIZED })).toThrow(RangeError);
    expect(get?.length({ key: 'x' })).toBe(3);
  });

  test('GetResponse, on both ends', () => {
    const decode = HAND_WRITTEN['shardkeep.cache.v1.CacheService/Get']?.decode;
    const clock = fc.integer({ min: 0, max: Number.MAX_SAFE_INTEGER });
    const time = fc.integer({ min: 0, max: 2 ** 48 - 1 });
    const tags = fc.array(fc.string({ unit: 'grapheme', minLength: 1, maxLength: 6 }), { maxLength: 4 });
    const NOW_MS = 1_000;
    fc.assert(
      fc.property(
        bytes,
        clock,
        time,
        time,
        time,
        tags,
        (value, version, createdAtMs, expiresAtMs, freshUntilMs, tags) => {
          // behind their tick, which has a field of its own
          const packed = Buffer.from(packTags(1, tags)).subarray(8);
          const tagField = Buffer.concat([Buffer.from([8, packed.length >> 8, packed.length & 0xff]), packed]);
          const header = Buffer.alloc(24);
          header.writeUInt8(1, 0);
          header.writeUInt16BE(24 + 9 + tagField.length, 1);
          header.writeUInt8(1, 3);
          header.writeBigUInt64BE(BigInt(version), 4);
          header.writeUIntBE(createdAtMs, 12, 6);
          header.writeUIntBE(expiresAtMs, 18, 6);
          const freshUntil = Buffer.from([1, 0, 6, 0, 0, 0, 0, 0, 0]);
          freshUntil.writeUIntBE(freshUntilMs, 3, 6);
          const entry = readEntry(Buffer.concat([header, freshUntil, tagField, value]), NOW_MS);
          const encoded = written((writer) => {
            getResponseWriter.write(entry, writer);
          });
          expect(getResponseWriter.length(entry)).toBe(encoded.length);
          const expected = {
            entry: {
              ...{ value, version: BigInt(version), createdAtMs: BigInt(createdAtMs) },
              ttlMs: expiresAtMs === 0 ? undefined : BigInt(expiresAtMs - NOW_MS),
              stale: freshUntilMs <= NOW_MS,
              tags,
              freshTtlMs: freshUntilMs <= NOW_MS ? undefined : BigInt(freshUntilMs - NOW_MS),
            },
          };
          if (expiresAtMs !== 0 && expiresAtMs <= NOW_MS) {
            expect(entry).toBeUndefined();
            return;
          }
          expect(GetResponse.decode(encoded)).toEqual(expected);
          expect(decode?.(encoded, 0, encoded.length)).toEqual(expected);
          const generated = Buffer.from(GetResponse.encode(expected).finish());
          expect(decode?.(generated, 0, generated.length)).toEqual(expected);
        },
      ),
      RUNS,
    );
  });

  test('a varint takes as many bytes as is said beforehand', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: Number.MAX_SAFE_INTEGER }), (value) => {
        const encoded = written((writer) => {
          writer.varint(value);
        });
        expect(encoded.length).toBe(varintLength(value));
        let decoded = 0n;
        encoded.forEach((byte, index) => (decoded |= BigInt(byte & 0x7f) << BigInt(7 * index)));
        expect(decoded).toBe(BigInt(value));
      }),
      RUNS,
    );
  });
});
