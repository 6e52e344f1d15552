import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { decodeGetRequest } from '../../src/cache/wire.js';
import { HAND_WRITTEN } from '../../src/client/transport/hand-written.js';
import { Consistency, GetRequest, GetResponse } from '../../src/gen/shardkeep/cache/v1/cache.js';
import { Failure, PipelineRequest, PipelineResponse } from '../../src/gen/shardkeep/pipeline/v1/pipeline.js';
import { ValidateSessionRequest } from '../../src/gen/shardkeep/session/v1/session.js';
import { decodeValidateSessionRequest } from '../../src/session/wire.js';
import { readAnswerFrame, type PipelineLimits } from '../../src/wire/answer-frame.js';
import { MalformedMessageError } from '../../src/wire/byte-reader.js';
import { readRequestFrame } from '../../src/wire/request-frame.js';

/**
 * Whatever the bytes are, a reader by hand says what the generated one says, or refuses. It may be stricter: a number
 * that is too large for its field, a group and a field that ends outside its message are refused.
 */

const SEED = 20_261_121;
const RUNS = 6_000;

/** A varint as other encoders may write it: with bytes at its end that add nothing. */
function varint(value: bigint, padding = 0): Buffer {
  const bytes: number[] = [];
  let rest = BigInt.asUintN(64, value);
  for (; rest > 0x7fn; rest >>= 7n) bytes.push(Number(rest & 0x7fn) | 0x80);
  bytes.push(Number(rest));
  for (let count = 0; count < padding; count++) {
    bytes[bytes.length - 1] = (bytes.at(-1) ?? 0) | 0x80;
    bytes.push(0);
  }
  return Buffer.from(bytes);
}

const numberOfAnySize = fc
  .tuple(
    fc.oneof(
      fc.constantFrom(0n, 1n, 2n, 127n, 128n, 300n, 0xffff_ffffn, 0x1_0000_0000n, 2n ** 53n - 1n, 2n ** 53n, -1n),
      fc.bigInt({ min: 0n, max: 400n }),
    ),
    fc.oneof({ weight: 12, arbitrary: fc.constant(0) }, fc.constantFrom(1, 4, 9, 12, 170)),
  )
  .map(([value, padding]) => varint(value, padding));

const text = fc.oneof(
  fc.string({ unit: 'grapheme', maxLength: 12 }).map((words) => Buffer.from(words)),
  fc.uint8Array({ maxLength: 12 }).map((bytes) => Buffer.from(bytes)),
  fc.constant(Buffer.from('\u{feff}key')),
);

/** Mostly fields that the messages have, of the types that they have. */
const fields = fc.letrec<{ fields: Buffer; field: Buffer }>((tie) => ({
  fields: fc.array(tie('field'), { maxLength: 5 }).map((all) => Buffer.concat(all)),
  field: fc
    .tuple(
      fc.oneof({ weight: 9, arbitrary: fc.integer({ min: 1, max: 5 }) }, fc.constantFrom(0, 15, 16, 536_870_911)),
      fc.oneof({ weight: 9, arbitrary: fc.constantFrom(0, 2, 2, 2) }, fc.integer({ min: 0, max: 7 })),
      numberOfAnySize,
      fc.oneof({ depthSize: 'small' }, text, tie('fields')),
      fc.oneof({ weight: 20, arbitrary: fc.constant(0) }, fc.constantFrom(-1, 1, 100, 2 ** 31, 2 ** 32)),
      fc.oneof({ weight: 20, arbitrary: fc.constant(0n) }, fc.constantFrom(1n << 32n, 1n << 35n, 1n << 52n)),
      fc.oneof({ weight: 20, arbitrary: fc.constant(0) }, fc.constantFrom(1, 4, 12, 170)),
    )
    .map(([number, wireType, value, content, lengthError, highBits, padding]) => {
      const tag = varint((BigInt(number) << 3n) | BigInt(wireType) | highBits, padding);
      if (wireType === 0) return Buffer.concat([tag, value]);
      if (wireType !== 2) return Buffer.concat([tag, Buffer.alloc(wireType === 1 ? 8 : 4, 7)]);
      return Buffer.concat([tag, varint(BigInt(Math.max(0, content.length + lengthError))), content]);
    }),
})).fields;

/** Right messages, and what becomes of them on a bad day. */
function damaged(right: fc.Arbitrary<Buffer>): fc.Arbitrary<Buffer> {
  return fc.oneof(
    right,
    fields,
    fc.tuple(right, fields).map((parts) => Buffer.concat(parts)),
    fc.tuple(right, fc.nat()).map(([bytes, at]) => bytes.subarray(0, at % (bytes.length + 1))),
    fc.tuple(right, fc.nat(), fc.integer({ min: 1, max: 255 })).map(([bytes, at, mask]) => {
      const flipped = Buffer.from(bytes);
      if (flipped.length > 0) flipped[at % flipped.length] = (flipped[at % flipped.length] ?? 0) ^ mask;
      return flipped;
    }),
    fc.uint8Array({ maxLength: 40 }).map((bytes) => Buffer.from(bytes)),
  );
}

/** What a reader makes of the part of a buffer; all around it lies what another message left there. */
function withinOthers<Read>(bytes: Buffer, read: (all: Buffer, from: number, to: number) => Read): Read {
  const before = Buffer.from('0a03626164', 'hex');
  const behind = Buffer.alloc(300, before);
  return read(Buffer.concat([before, bytes, behind]), before.length, before.length + bytes.length);
}

/** Holds the reader by hand to the generated one; answers what part of all it was given it did read. */
function sameAsGenerated(
  right: fc.Arbitrary<Buffer>,
  byHand: (bytes: Buffer) => unknown,
  generated: (bytes: Buffer) => unknown,
): number {
  let readByHand = 0;
  fc.assert(
    fc.property(damaged(right), (bytes) => {
      let result: unknown;
      try {
        result = byHand(bytes);
      } catch (error) {
        // one that leaves what is unusual to the generated code fails as that does
        if (!(error instanceof MalformedMessageError)) expect(() => generated(bytes)).toThrow();
        return;
      }
      readByHand++;
      expect(result).toEqual(generated(bytes));
    }),
    { numRuns: RUNS, seed: SEED },
  );
  return readByHand / RUNS;
}

/** Of Answer.failure. */
const FAILURE_TAG = 0x1a;

const uint32 = fc.oneof(fc.integer({ min: 0, max: 0xffffffff }), fc.nat({ max: 300 }));
const payload = fc.uint8Array({ maxLength: 20 }).map((bytes) => Buffer.from(bytes));

/** Less would mean that most of what is tried is refused at its first byte. */
const READ_AT_LEAST = 0.25;

test('a request frame', () => {
  const right = fc
    .record({
      methods: fc.array(fc.string({ unit: 'grapheme', maxLength: 20 }), { maxLength: 3 }),
      calls: fc.array(fc.record({ id: uint32, method: uint32, timeoutMs: uint32, request: payload }), { maxLength: 3 }),
      cancelledIds: fc.array(uint32, { maxLength: 4 }),
    })
    .map((frame) => Buffer.from(PipelineRequest.encode(frame).finish()));
  const read = sameAsGenerated(
    right,
    (bytes) =>
      withinOthers(bytes, (all, from, to) => {
        const { methods, calls, cancelledIds } = readRequestFrame(all.subarray(from, to));
        return {
          ...{ methods, cancelledIds },
          calls: calls.map(({ id, method, timeoutMs, requestFrom, requestTo }) => ({
            ...{ id, method, timeoutMs },
            request: Buffer.from(bytes.subarray(requestFrom, requestTo)),
          })),
        };
      }),
    (bytes) => PipelineRequest.decode(bytes),
  );
  expect(read).toBeGreaterThan(READ_AT_LEAST);
});

test('an answer frame', () => {
  const limits = fc.record({ maxCallsInFlight: uint32, maxRequestBytes: uint32, maxFrameBytes: uint32 });
  const failure = fc
    .record({ code: fc.integer({ min: 1, max: 16 }), message: fc.string({ maxLength: 9 }) })
    .map((status) => ({ ...status, details: [{ typeUrl: 'type/x', value: Buffer.from('detail') }] }));
  const answer = fc.record({
    id: uint32,
    outcome: fc.oneof(
      payload.map((value) => ({ $case: 'response' as const, value })),
      failure.map((value) => ({ $case: 'failure' as const, value })),
    ),
  });
  const right = fc
    .record({ limits, answers: fc.array(answer, { maxLength: 3 }), draining: fc.boolean() })
    .map((frame) => Buffer.from(PipelineResponse.encode(frame).finish()));

  const byHand = (bytes: Buffer): unknown => {
    let seen: PipelineLimits | undefined;
    let draining = false;
    const answers: unknown[] = [];
    readAnswerFrame(bytes, {
      onLimits: (found) => (seen = found),
      onAnswer: (id, ok, frame, from, to) => {
        const value = frame.subarray(from, to);
        answers.push([id, ok ? Buffer.from(value) : asStatus(value)]);
      },
      onDraining: () => (draining = true),
    });
    return { limits: seen, answers, draining };
  };
  const wellFormed = (bytes: Buffer): boolean => {
    try {
      return bytes.equals(Failure.encode(Failure.decode(bytes)).finish());
    } catch {
      return false;
    }
  };
  const asStatus = (bytes: Buffer): unknown => {
    // the reader by hand passes it on as it is; the generated one reads a damaged one into what comes behind it
    if (!wellFormed(bytes)) throw new MalformedMessageError('no status');
    return Failure.decode(bytes);
  };
  const read = sameAsGenerated(right, byHand, (bytes) => {
    let frame: PipelineResponse;
    try {
      frame = PipelineResponse.decode(bytes);
    } catch (error) {
      // a damaged status that another outcome overrides: only the generated reader looks inside
      if (bytes.includes(FAILURE_TAG)) return byHand(bytes);
      throw error;
    }
    return {
      limits: frame.limits,
      answers: frame.answers.map(({ id, outcome }) => [id, outcome?.value]),
      // a service never takes it back: said once is enough
      draining: frame.draining || (byHand(bytes) as { draining: boolean }).draining,
    };
  });
  expect(read).toBeGreaterThan(READ_AT_LEAST);
});

describe('a message of an RPC:', () => {
  const words = fc.string({ unit: 'grapheme', maxLength: 20 });

  test('GetRequest', () => {
    const read = sameAsGenerated(
      fc
        .tuple(words, fc.constantFrom(0, 1, 2, 3, 300, 2 ** 31 - 1))
        .map(([key, number]) =>
          Buffer.concat([
            GetRequest.encode(GetRequest.fromPartial({ key })).finish(),
            Buffer.of(0x10),
            varint(BigInt(number)),
          ]),
        ),
      (bytes) => withinOthers(bytes, decodeGetRequest),
      (bytes) => {
        const request = GetRequest.decode(bytes);
        // the generated reader leaves a number as it is that the enum does not have
        const known = request.consistency in Consistency;
        return { ...request, consistency: known ? request.consistency : Consistency.UNRECOGNIZED };
      },
    );
    expect(read).toBeGreaterThan(READ_AT_LEAST);
  });

  test('ValidateSessionRequest', () => {
    const read = sameAsGenerated(
      fc
        .record({
          sessionToken: words,
          client: fc.option(fc.record({ ip: words, userAgent: words, deviceId: words }), { nil: undefined }),
          maxAuthAgeMs: fc.option(fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }), { nil: undefined }),
        })
        .map((request) => Buffer.from(ValidateSessionRequest.encode(request).finish())),
      (bytes) => withinOthers(bytes, decodeValidateSessionRequest),
      (bytes) => ValidateSessionRequest.decode(bytes),
    );
    expect(read).toBeGreaterThan(READ_AT_LEAST);
  });

  test('GetResponse', () => {
    const clock = fc.bigInt({ min: 0n, max: 2n ** 53n - 1n });
    const entry = fc.record({
      value: payload,
      ttlMs: fc.option(clock, { nil: undefined }),
      createdAtMs: clock,
      version: clock,
      stale: fc.boolean(),
      tags: fc.array(words, { maxLength: 4 }),
      freshTtlMs: fc.option(clock, { nil: undefined }),
    });
    const decode = HAND_WRITTEN['shardkeep.cache.v1.CacheService/Get']?.decode;
    const read = sameAsGenerated(
      fc
        .record({ entry: fc.option(entry, { nil: undefined }) })
        .map((message) => Buffer.from(GetResponse.encode(message).finish())),
      (bytes) => withinOthers(bytes, (all, from, to) => decode?.(all, from, to)),
      (bytes) => GetResponse.decode(bytes),
    );
    expect(read).toBeGreaterThan(READ_AT_LEAST);
  });
});
