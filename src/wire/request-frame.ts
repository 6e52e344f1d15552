import { ByteReader, MalformedMessageError } from './byte-reader.js';
import { LENGTH_DELIMITED, VARINT, varintLength, type ByteWriter } from './byte-writer.js';

/**
 * shardkeep.pipeline.v1.PipelineRequest, written and read by hand: at thousands of calls a frame's worth of generated
 * objects costs more than the calls. The generated code is what the tests compare with.
 */

const METHODS = 1;
const CALLS = 2;
const CANCELLED_IDS = 3;

const CALL_ID = 1;
const CALL_METHOD = 2;
const CALL_TIMEOUT_MS = 3;
const CALL_REQUEST = 4;

/** Calls, and ids given up, in one frame: a frame of the smallest calls would otherwise hold a service for seconds. */
const MAX_CALLS = 4_096;
/** Names in the table of a stream, and so in one frame. */
export const MAX_METHODS = 256;
const MAX_METHOD_CHARS = 256;

/** A call as it stands in a frame; the request's bytes stay where they are. */
export interface FramedCall {
  readonly id: number;
  readonly method: number;
  readonly timeoutMs: number;
  readonly requestFrom: number;
  readonly requestTo: number;
}

export interface RequestFrame {
  readonly methods: readonly string[];
  readonly calls: readonly FramedCall[];
  readonly cancelledIds: readonly number[];
}

/** Throws MalformedMessageError. */
export function readRequestFrame(bytes: Buffer): RequestFrame {
  const reader = new ByteReader(bytes, 0, bytes.length);
  const methods: string[] = [];
  const calls: FramedCall[] = [];
  const cancelledIds: number[] = [];
  while (reader.hasMore) {
    const tag = reader.varint();
    switch (tag) {
      case (CALLS << 3) | LENGTH_DELIMITED:
        if (calls.length === MAX_CALLS) throw new MalformedMessageError('too many calls');
        calls.push(readCall(reader));
        break;
      case (METHODS << 3) | LENGTH_DELIMITED:
        if (methods.length === MAX_METHODS) throw new MalformedMessageError('too many methods');
        methods.push(readMethod(reader));
        break;
      case (CANCELLED_IDS << 3) | LENGTH_DELIMITED: {
        const end = reader.endOfLengthDelimited();
        while (reader.position < end && cancelledIds.length <= MAX_CALLS) cancelledIds.push(reader.uint32());
        if (cancelledIds.length > MAX_CALLS) throw new MalformedMessageError('too many ids');
        if (reader.position !== end) throw new MalformedMessageError('a list ends inside a number');
        break;
      }
      case (CANCELLED_IDS << 3) | VARINT:
        if (cancelledIds.length === MAX_CALLS) throw new MalformedMessageError('too many ids');
        cancelledIds.push(reader.uint32());
        break;
      default:
        reader.skipField(tag);
    }
  }
  return { methods, calls, cancelledIds };
}

function readMethod(reader: ByteReader): string {
  const name = reader.text();
  if (name.length > MAX_METHOD_CHARS) throw new MalformedMessageError('a method name is too long');
  return name;
}

function readCall(reader: ByteReader): FramedCall {
  const end = reader.endOfLengthDelimited();
  let id = 0;
  let method = 0;
  let timeoutMs = 0;
  let requestFrom = 0;
  let requestTo = 0;
  while (reader.position < end) {
    const tag = reader.varint();
    switch (tag) {
      case (CALL_ID << 3) | VARINT:
        id = reader.uint32();
        break;
      case (CALL_METHOD << 3) | VARINT:
        method = reader.uint32();
        break;
      case (CALL_TIMEOUT_MS << 3) | VARINT:
        timeoutMs = reader.uint32();
        break;
      case (CALL_REQUEST << 3) | LENGTH_DELIMITED:
        requestTo = reader.endOfLengthDelimited();
        requestFrom = reader.position;
        reader.position = requestTo;
        break;
      default:
        reader.skipField(tag);
    }
  }
  if (reader.position !== end) throw new MalformedMessageError('a call ends inside a field');
  return { id, method, timeoutMs, requestFrom, requestTo };
}

export function writeMethod(writer: ByteWriter, name: string): void {
  writer.tag(METHODS, LENGTH_DELIMITED);
  writer.text(name);
}

/** Everything of a call but its request, whose bytes the caller writes next. */
export function beginCall(
  writer: ByteWriter,
  id: number,
  method: number,
  timeoutMs: number,
  requestLength: number,
): void {
  // four tags of one byte
  const head = 4 + varintLength(id) + varintLength(method) + varintLength(timeoutMs) + varintLength(requestLength);
  writer.tag(CALLS, LENGTH_DELIMITED);
  writer.varint(head + requestLength);
  writer.tag(CALL_ID, VARINT);
  writer.varint(id);
  writer.tag(CALL_METHOD, VARINT);
  writer.varint(method);
  writer.tag(CALL_TIMEOUT_MS, VARINT);
  writer.varint(timeoutMs);
  writer.tag(CALL_REQUEST, LENGTH_DELIMITED);
  writer.varint(requestLength);
}

export function writeCancelledId(writer: ByteWriter, id: number): void {
  writer.tag(CANCELLED_IDS, VARINT);
  writer.varint(id);
}
