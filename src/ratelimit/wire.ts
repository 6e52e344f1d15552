import {
  CheckRateLimitRequest,
  type Headers,
  type Limit,
  type LimitState,
} from '../gen/shardkeep/ratelimit/v1/ratelimit.js';
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
const GRANTED = 5;
const DEGRADED = 6;
const POLICY_VERSION = 7;
const HEADERS = 8;
const STATE_SUBJECT = 1;
const STATE_POLICY = 2;
const STATE_STATUS = 3;
const STATE_LIMIT = 4;
const STATE_REMAINING = 5;
const STATE_RETRY_AFTER_MS = 6;
const STATE_RESET_AT_MS = 7;
const STATE_SHADOW = 8;

export const decodeCheckRateLimitRequest = plainReader<CheckRateLimitRequest>(readPlainCheck, CheckRateLimitRequest);

/** Limits of one subject each under named policies, and a cost. */
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
  return { limits, cost, minCost: undefined, chargeDenied: false, requestId: '', wantHeaders: false };
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
  if (reader.position !== end) return undefined;
  return { subject, policy, cost: undefined, role: undefined, subjects: undefined };
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
  readonly granted: number;
  readonly degraded: boolean;
  readonly policyVersion: string;
  readonly headers: Headers | undefined;
}

export const checkRateLimitResponseWriter: ResponseWriter<PlainCheckRateLimitResponse> = {
  length: ({ allowed, retryAfterMs, limits, atomic, granted, degraded, policyVersion, headers }) => {
    let bytes = numberLength(Number(allowed)) + numberLength(retryAfterMs) + numberLength(Number(atomic));
    bytes += numberLength(granted) + numberLength(Number(degraded)) + textLength(policyVersion);
    if (headers !== undefined) {
      const length = headersLength(headers);
      bytes += 1 + varintLength(length) + length;
    }
    for (const state of limits) {
      const length = stateLength(state);
      bytes += 1 + varintLength(length) + length;
    }
    return bytes;
  },
  write: ({ allowed, retryAfterMs, limits, atomic, granted, degraded, policyVersion, headers }, writer) => {
    writeNumber(writer, ALLOWED, Number(allowed));
    writeNumber(writer, RETRY_AFTER_MS, retryAfterMs);
    for (const state of limits) {
      writer.tag(STATES, LENGTH_DELIMITED);
      writer.varint(stateLength(state));
      writeState(writer, state);
    }
    writeNumber(writer, ATOMIC, Number(atomic));
    writeNumber(writer, GRANTED, granted);
    writeNumber(writer, DEGRADED, Number(degraded));
    writeText(writer, POLICY_VERSION, policyVersion);
    if (headers === undefined) return;
    writer.tag(HEADERS, LENGTH_DELIMITED);
    writer.varint(headersLength(headers));
    textsOf(headers).forEach((text, index) => {
      writeText(writer, index + 1, text);
    });
  },
};

/** In the order of their field numbers, which begin with 1. */
function textsOf(headers: Headers): readonly string[] {
  const { rateLimit, rateLimitPolicy, xRateLimitLimit, xRateLimitRemaining, xRateLimitReset, retryAfter } = headers;
  return [rateLimit, rateLimitPolicy, xRateLimitLimit, xRateLimitRemaining, xRateLimitReset, retryAfter];
}

function headersLength(headers: Headers): number {
  return textsOf(headers).reduce((bytes, text) => bytes + textLength(text), 0);
}

function stateLength(state: PlainLimitState): number {
  return (
    textLength(state.subject) +
    textLength(state.policy) +
    numberLength(state.status) +
    numberLength(state.limit) +
    numberLength(state.remaining) +
    numberLength(state.retryAfterMs) +
    numberLength(state.resetAtMs) +
    numberLength(Number(state.shadow))
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
  writeNumber(writer, STATE_SHADOW, Number(state.shadow));
}
