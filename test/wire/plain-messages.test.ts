import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { decodeSetRequest, setResponseWriter } from '../../src/cache/set-wire.js';
import { SetRequest, SetResponse } from '../../src/gen/shardkeep/cache/v1/cache.js';
import {
  AcquireLockRequest,
  AcquireLockResponse,
  AcquireLockStatus,
  LockOwnershipStatus,
  ReleaseLockRequest,
  ReleaseLockResponse,
} from '../../src/gen/shardkeep/lock/v1/lock.js';
import {
  Algorithm,
  CheckRateLimitRequest,
  CheckRateLimitResponse,
  LimitStatus,
} from '../../src/gen/shardkeep/ratelimit/v1/ratelimit.js';
import type { ResponseWriter } from '../../src/grpc/rpc.js';
import {
  acquireLockResponseWriter,
  decodeAcquireLockRequest,
  decodeReleaseLockRequest,
  releaseLockResponseWriter,
} from '../../src/lock/wire.js';
import { checkRateLimitResponseWriter, decodeCheckRateLimitRequest } from '../../src/ratelimit/wire.js';
import { ByteWriter } from '../../src/wire/byte-writer.js';
import type { MessageReader } from '../../src/wire/plain-message.js';

/**
 * Messages whose plain form is read and written by hand: whatever the bytes are, the reader says what the generated code
 * says, or fails where it fails.
 */

const RUNS = { numRuns: 3_000, seed: 20_261_121 };
const words = fc.string({ unit: 'grapheme', maxLength: 20 });
const bytes = fc.uint8Array({ maxLength: 40 }).map((array) => Buffer.from(array));
const int64 = fc.oneof(
  fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }),
  fc.constantFrom(0n, 1n, -1n, 2n ** 53n - 1n, 2n ** 53n, 2n ** 53n + 1n),
);
const int32 = fc.oneof(fc.integer(), fc.constantFrom(0, 1, -1, 2 ** 31 - 1, -(2 ** 31)));

/** Less would mean that most of what is tried is refused. */
const READ_AT_LEAST = 0.5;

/** Right messages one after another (fields said twice), and what becomes of them on a bad day. */
function damaged(right: fc.Arbitrary<Buffer>): fc.Arbitrary<Buffer> {
  return fc.oneof(
    right,
    fc.tuple(right, right).map((parts) => Buffer.concat(parts)),
    fc.tuple(right, bytes).map((parts) => Buffer.concat(parts)),
    fc.tuple(right, fc.nat()).map(([message, at]) => message.subarray(0, at % (message.length + 1))),
    fc.tuple(right, fc.nat(), fc.integer({ min: 1, max: 255 })).map(([message, at, mask]) => {
      const flipped = Buffer.from(message);
      if (flipped.length > 0) flipped[at % flipped.length] = (flipped[at % flipped.length] ?? 0) ^ mask;
      return flipped;
    }),
    bytes,
  );
}

function outcomeOf(read: () => unknown): unknown {
  try {
    return read();
  } catch {
    return 'refused';
  }
}

interface Codec<Message> {
  encode(message: Message): { finish(): Uint8Array };
  decode(bytes: Uint8Array): Message;
}

function readsAsGenerated<Message>(
  reader: MessageReader<Message>,
  codec: Codec<Message>,
  messages: fc.Arbitrary<Message>,
): number {
  const before = Buffer.from('0a03626164', 'hex');
  const behind = Buffer.alloc(300, before);
  let read = 0;
  fc.assert(
    fc.property(damaged(messages.map((message) => Buffer.from(codec.encode(message).finish()))), (message) => {
      const all = Buffer.concat([before, message, behind]);
      const byHand = outcomeOf(() => reader(all, before.length, before.length + message.length));
      expect(byHand).toEqual(outcomeOf(() => codec.decode(message)));
      if (byHand !== 'refused') read++;
    }),
    RUNS,
  );
  return read / RUNS.numRuns;
}

function writtenBy<Result>(writer: ResponseWriter<Result>, result: Result): Buffer {
  const buffer = new ByteWriter(1);
  writer.write(result, buffer);
  const written = buffer.take();
  expect(writer.length(result)).toBe(written.length);
  return written;
}

describe('a request is read as by the generated code:', () => {
  test('SetRequest', () => {
    const expiry: fc.Arbitrary<SetRequest['expiry']> = fc.oneof(
      { weight: 4, arbitrary: int64.map((value) => ({ $case: 'ttlMs' as const, value })) },
      fc.constant(undefined),
      fc.constant({ $case: 'noExpiry' as const, value: true }),
      fc.tuple(int64, int64).map(([freshMs, staleMs]) => ({
        $case: 'freshness' as const,
        value: { freshMs, staleMs },
      })),
    );
    const plain = fc.record({
      ...{ key: words, value: bytes, expiry, condition: fc.constant(undefined), tags: fc.constant<string[]>([]) },
      ...{ jitterPercent: fc.constant(0), guard: fc.constant(undefined) },
    });
    const any = fc.record({
      ...{ key: words, value: bytes, expiry, tags: fc.array(words, { maxLength: 3 }), jitterPercent: int32 },
      condition: fc.constantFrom<SetRequest['condition']>(undefined, { $case: 'ifVersion', value: 3n }),
      guard: fc.constantFrom(undefined, { resource: 'r', fencingToken: 7n }),
    });
    const read = readsAsGenerated<SetRequest>(
      decodeSetRequest,
      SetRequest,
      fc.oneof({ weight: 3, arbitrary: plain }, any),
    );
    expect(read).toBeGreaterThan(READ_AT_LEAST);
  });

  test('CheckRateLimitRequest', () => {
    const inline = fc.record({
      ...{ name: words, algorithm: fc.constant(Algorithm.SLIDING_EXACT), limit: int32, windowMs: int64 },
      burst: fc.option(int32, { nil: undefined }),
    });
    // what is not written by hand is left to the generated code
    const rarely = <Value>(value: fc.Arbitrary<Value>): fc.Arbitrary<Value | undefined> =>
      fc.oneof({ weight: 9, arbitrary: fc.constant(undefined) }, value);
    const rare = fc.constantFrom(false, false, false, false, true);
    const policy = fc.oneof(
      { weight: 4, arbitrary: words.map((value) => ({ $case: 'policyName' as const, value })) },
      fc.constant(undefined),
      inline.map((value) => ({ $case: 'inlinePolicy' as const, value })),
    );
    const request = fc.record({
      limits: fc.array(
        fc.record({
          ...{ subject: words, policy, cost: rarely(int32), role: rarely(words) },
          subjects: rarely(fc.record({ byKind: fc.constant(new Map([['ip', '::1']])) })),
        }),
        { maxLength: 3 },
      ),
      cost: fc.option(int32, { nil: undefined }),
      ...{ minCost: rarely(int32), chargeDenied: rare, requestId: fc.constantFrom('', '', '', 'x'), wantHeaders: rare },
    });
    const read = readsAsGenerated<CheckRateLimitRequest>(decodeCheckRateLimitRequest, CheckRateLimitRequest, request);
    expect(read).toBeGreaterThan(READ_AT_LEAST);
  });

  test('AcquireLockRequest and ReleaseLockRequest', () => {
    const resources = fc.array(words, { maxLength: 3 });
    const acquires = readsAsGenerated<AcquireLockRequest>(
      decodeAcquireLockRequest,
      AcquireLockRequest,
      fc.record({
        ...{ resources, ttlMs: fc.option(int64, { nil: undefined }), owner: words, requestId: words },
        ...{ waitMs: int64, permits: int32, capacity: int32, reentrant: fc.boolean() },
      }),
    );
    const releases = readsAsGenerated<ReleaseLockRequest>(
      decodeReleaseLockRequest,
      ReleaseLockRequest,
      fc.record({ resources, lockToken: words }),
    );
    expect(Math.min(acquires, releases)).toBeGreaterThan(READ_AT_LEAST);
  });
});

describe('a response is written as by the generated code:', () => {
  const whole = fc.oneof(fc.nat({ max: 300 }), fc.integer({ min: 0, max: Number.MAX_SAFE_INTEGER }));

  test('SetResponse', () => {
    fc.assert(
      fc.property(fc.boolean(), whole, (stored, version) => {
        const written = writtenBy(setResponseWriter, { status: stored ? 'stored' : 'unmet', version });
        expect(written).toEqual(SetResponse.encode({ stored, version: BigInt(version) }).finish());
      }),
    );
  });

  test('CheckRateLimitResponse', () => {
    const limit = fc.nat({ max: 2 ** 31 - 1 });
    const state = fc.record({
      ...{ subject: words, policy: words, limit, remaining: limit, retryAfterMs: whole, resetAtMs: whole },
      shadow: fc.boolean(),
      status: fc.constantFrom(LimitStatus.OK, LimitStatus.NEAR, LimitStatus.OVER),
    });
    const response = fc.record({
      ...{ allowed: fc.boolean(), retryAfterMs: whole, atomic: fc.boolean() },
      ...{ granted: limit, degraded: fc.boolean(), policyVersion: words },
      limits: fc.array(state, { maxLength: 3 }),
      headers: fc.option(
        fc.record({
          ...{ rateLimit: words, rateLimitPolicy: words, xRateLimitLimit: words, xRateLimitRemaining: words },
          ...{ xRateLimitReset: words, retryAfter: words },
        }),
        { nil: undefined },
      ),
    });
    fc.assert(
      fc.property(response, (answer) => {
        const generated = CheckRateLimitResponse.encode({
          ...{ ...answer, retryAfterMs: BigInt(answer.retryAfterMs) },
          limits: answer.limits.map((one) => ({
            ...{ ...one, retryAfterMs: BigInt(one.retryAfterMs), resetAtMs: BigInt(one.resetAtMs) },
          })),
        });
        expect(writtenBy(checkRateLimitResponseWriter, answer)).toEqual(generated.finish());
      }),
    );
  });

  test('AcquireLockResponse and ReleaseLockResponse', () => {
    const grant = fc.record({ resource: words, fencingToken: whole, holdCount: fc.nat({ max: 2 ** 31 - 1 }) });
    const outcome = fc.record({
      status: fc.constant('granted' as const),
      ...{ lockToken: words, expiresAtMs: whole, grants: fc.array(grant, { maxLength: 3 }) },
    });
    fc.assert(
      fc.property(outcome, bytes, (granted, other) => {
        const { lockToken, grants, expiresAtMs } = granted;
        const generated = AcquireLockResponse.encode({
          ...AcquireLockResponse.create(),
          ...{ status: AcquireLockStatus.GRANTED, lockToken, expiresAtMs: BigInt(expiresAtMs) },
          grants: grants.map((one) => ({ ...one, fencingToken: BigInt(one.fencingToken) })),
        });
        expect(writtenBy(acquireLockResponseWriter, granted)).toEqual(generated.finish());
        expect(writtenBy(acquireLockResponseWriter, other)).toEqual(other);
      }),
    );
    fc.assert(
      fc.property(
        fc.array(
          words.filter((word) => word !== ''),
          { maxLength: 3 },
        ),
        (notHeldResources) => {
          const status = notHeldResources.length === 0 ? LockOwnershipStatus.DONE : LockOwnershipStatus.NOT_HOLDER;
          const generated = ReleaseLockResponse.encode({ status, notHeldResources });
          expect(writtenBy(releaseLockResponseWriter, { notHeld: notHeldResources })).toEqual(generated.finish());
        },
      ),
    );
  });
});
