import { CheckRateLimitRequest, type Limit, type LimitState } from '../gen/shardkeep/ratelimit/v1/ratelimit.js';
import type { ResponseWriter } from '../grpc/rpc.js';
import type { ByteReader } from '../wire/byte-reader.js';
import { LENGTH_DELIMITED, VARINT, varintLength, type ByteWriter } from '../wire/byte-writer.js';
import { numberLength, textLength, writeNumber, writeText } from '../wire/fields.js';
import { plainReader } from '../wire/plain-message.js';

/** CheckRateLimitRequest and CheckRateLimitResponse by hand. A test holds them to the generated code. */

const LIMITS = 1;
const COST = 2;
const LIMIT_SUBJECT = 1;
const LIMIT_POLICY_NAME = 2;
const MAX_INT32 = 0x7fffffff;

const ALLOWED = 1;
const RETRY_AFTER_MS = 2;
const STATES = 3;
const ATOMIC = 4;
const STATE_SUBJECT = 1;
const STATE_POLICY = 2;
const STATE_STATUS = 3;
const STATE_LIMIT = 4;
const STATE_REMAINING = 5;
const STATE_RETRY_AFTER_MS = 6;
const STATE_RESET_AT_MS = 7;

export const decodeCheckRateLimitRequest = plainReader<CheckRateLimitRequest>(readPlainCheck, CheckRateLimitRequest);

/** Limits under named policies, and a cost. */
function readPlainCheck(reader: ByteReader): CheckRateLimitRequest | undefined {
  const limits: Limit[] = [];
  let cost: number | undefined;
  while (reader.hasMore) {
    switch (reader.varint()) {
      case (LIMITS << 3) | LENGTH_DELIMITED: {
        const limit = readNamedLimit(reader);
        if (limit === undefined) return undefined;
        limits.push(limit);
        break;
      }
      case (COST << 3) | VARINT:
        cost = reader.varint();
        if (cost > MAX_INT32) return undefined;
        break;
      default:
        return undefined;
    }
  }
  return { limits, cost };
}

function readNamedLimit(reader: ByteReader): Limit | undefined {
  const end = reader.endOfLengthDelimited();
  let subject = '';
  let policy: Limit['policy'];
  while (reader.position < end) {
    switch (reader.varint()) {
      case (LIMIT_SUBJECT << 3) | LENGTH_DELIMITED:
        subject = reader.text();
        break;
      case (LIMIT_POLICY_NAME << 3) | LENGTH_DELIMITED:
        policy = { $case: 'policyName', value: reader.text() };
        break;
      default:
        return undefined;
    }
  }
  return reader.position === end ? { subject, policy } : undefined;
}

/** A LimitState whose numbers are whole and below 2^53. */
export type PlainLimitState = Omit<LimitState, 'retryAfterMs' | 'resetAtMs'> & {
  readonly retryAfterMs: number;
  readonly resetAtMs: number;
};

export interface PlainCheckRateLimitResponse {
  readonly allowed: boolean;
  readonly retryAfterMs: number;
  readonly limits: readonly PlainLimitState[];
  readonly atomic: boolean;
}

export const checkRateLimitResponseWriter: ResponseWriter<PlainCheckRateLimitResponse> = {
  length: ({ allowed, retryAfterMs, limits, atomic }) => {
    let bytes = numberLength(Number(allowed)) + numberLength(retryAfterMs) + numberLength(Number(atomic));
    for (const state of limits) {
      const length = stateLength(state);
      bytes += 1 + varintLength(length) + length;
    }
    return bytes;
  },
  write: ({ allowed, retryAfterMs, limits, atomic }, writer) => {
    writeNumber(writer, ALLOWED, Number(allowed));
    writeNumber(writer, RETRY_AFTER_MS, retryAfterMs);
    for (const state of limits) {
      writer.tag(STATES, LENGTH_DELIMITED);
      writer.varint(stateLength(state));
      writeState(writer, state);
    }
    writeNumber(writer, ATOMIC, Number(atomic));
  },
};

function stateLength(state: PlainLimitState): number {
  return (
    textLength(state.subject) +
    textLength(state.policy) +
    numberLength(state.status) +
    numberLength(state.limit) +
    numberLength(state.remaining) +
    numberLength(state.retryAfterMs) +
    numberLength(state.resetAtMs)
  );
}

function writeState(writer: ByteWriter, state: PlainLimitState): void {
  writeText(writer, STATE_SUBJECT, state.subject);
  writeText(writer, STATE_POLICY, state.policy);
  writeNumber(writer, STATE_STATUS, state.status);
  writeNumber(writer, STATE_LIMIT, state.limit);
  writeNumber(writer, STATE_REMAINING, state.remaining);
  writeNumber(writer, STATE_RETRY_AFTER_MS, state.retryAfterMs);
  writeNumber(writer, STATE_RESET_AT_MS, state.resetAtMs);
}
