import { ByteReader, MalformedMessageError } from './byte-reader.js';
import { LENGTH_DELIMITED, VARINT, varintLength, type ByteWriter } from './byte-writer.js';

/** shardkeep.pipeline.v1.PipelineResponse, written and read by hand; see request-frame.ts. */

const LIMITS = 1;
const ANSWERS = 2;
const DRAINING = 3;

const ANSWER_ID = 1;
const ANSWER_RESPONSE = 2;
const ANSWER_FAILURE = 3;

const MAX_CALLS_IN_FLIGHT = 1;
const MAX_REQUEST_BYTES = 2;
const MAX_FRAME_BYTES = 3;

export interface PipelineLimits {
  readonly maxCallsInFlight: number;
  readonly maxRequestBytes: number;
  readonly maxFrameBytes: number;
}

/** Bytes that an answer of so many bytes of payload takes in a frame. */
export function answerLength(id: number, payloadLength: number): number {
  const length = innerLength(id, payloadLength);
  return 1 + varintLength(length) + length;
}

function innerLength(id: number, payloadLength: number): number {
  return 1 + varintLength(id) + 1 + varintLength(payloadLength) + payloadLength;
}

/** Everything of a successful answer but the response itself, whose bytes the caller writes next. */
export function beginResponse(writer: ByteWriter, id: number, responseLength: number): void {
  beginAnswer(writer, ANSWER_RESPONSE, { id, payloadLength: responseLength });
}

/** `status` is an encoded google.rpc.Status. */
export function writeFailure(writer: ByteWriter, id: number, status: Uint8Array): void {
  beginAnswer(writer, ANSWER_FAILURE, { id, payloadLength: status.length });
  writer.raw(status);
}

function beginAnswer(
  writer: ByteWriter,
  field: number,
  { id, payloadLength }: { id: number; payloadLength: number },
): void {
  writer.tag(ANSWERS, LENGTH_DELIMITED);
  writer.varint(innerLength(id, payloadLength));
  writer.tag(ANSWER_ID, VARINT);
  writer.varint(id);
  writer.tag(field, LENGTH_DELIMITED);
  writer.varint(payloadLength);
}

export function writeLimits(writer: ByteWriter, limits: PipelineLimits): void {
  const { maxCallsInFlight, maxRequestBytes, maxFrameBytes } = limits;
  writer.tag(LIMITS, LENGTH_DELIMITED);
  writer.varint(3 + varintLength(maxCallsInFlight) + varintLength(maxRequestBytes) + varintLength(maxFrameBytes));
  writer.tag(MAX_CALLS_IN_FLIGHT, VARINT);
  writer.varint(maxCallsInFlight);
  writer.tag(MAX_REQUEST_BYTES, VARINT);
  writer.varint(maxRequestBytes);
  writer.tag(MAX_FRAME_BYTES, VARINT);
  writer.varint(maxFrameBytes);
}

export function writeDraining(writer: ByteWriter): void {
  writer.tag(DRAINING, VARINT);
  writer.varint(1);
}

/** What a frame of the service may carry; each is called in the order of the frame. */
export interface AnswerFrameVisitor {
  onLimits(limits: PipelineLimits): void;
  /** The bytes from `from` to `to` are the response, or an encoded google.rpc.Status where the call failed. */
  onAnswer(id: number, ok: boolean, frame: Buffer, from: number, to: number): void;
  onDraining(): void;
}

/** Throws MalformedMessageError; what the frame carried before the bad place was visited. */
export function readAnswerFrame(frame: Buffer, visitor: AnswerFrameVisitor): void {
  const reader = new ByteReader(frame, 0, frame.length);
  while (reader.hasMore) {
    const tag = reader.varint();
    switch (tag) {
      case (ANSWERS << 3) | LENGTH_DELIMITED:
        readAnswer(reader, visitor);
        break;
      case (LIMITS << 3) | LENGTH_DELIMITED:
        visitor.onLimits(readLimits(reader));
        break;
      case (DRAINING << 3) | VARINT:
        if (reader.varint() !== 0) visitor.onDraining();
        break;
      default:
        reader.skipField(tag);
    }
  }
}

function readAnswer(reader: ByteReader, visitor: AnswerFrameVisitor): void {
  const end = reader.endOfLengthDelimited();
  let id = 0;
  let ok: boolean | undefined;
  let from = 0;
  let to = 0;
  while (reader.position < end) {
    const tag = reader.varint();
    switch (tag) {
      case (ANSWER_ID << 3) | VARINT:
        id = reader.uint32();
        break;
      case (ANSWER_RESPONSE << 3) | LENGTH_DELIMITED:
      case (ANSWER_FAILURE << 3) | LENGTH_DELIMITED:
        ok = tag >> 3 === ANSWER_RESPONSE;
        to = reader.endOfLengthDelimited();
        from = reader.position;
        reader.position = to;
        break;
      default:
        reader.skipField(tag);
    }
  }
  if (reader.position !== end || ok === undefined) throw new MalformedMessageError('an answer without outcome');
  visitor.onAnswer(id, ok, reader.buffer, from, to);
}

function readLimits(reader: ByteReader): PipelineLimits {
  const end = reader.endOfLengthDelimited();
  const limits = { maxCallsInFlight: 0, maxRequestBytes: 0, maxFrameBytes: 0 };
  while (reader.position < end) {
    const tag = reader.varint();
    switch (tag) {
      case (MAX_CALLS_IN_FLIGHT << 3) | VARINT:
        limits.maxCallsInFlight = reader.uint32();
        break;
      case (MAX_REQUEST_BYTES << 3) | VARINT:
        limits.maxRequestBytes = reader.uint32();
        break;
      case (MAX_FRAME_BYTES << 3) | VARINT:
        limits.maxFrameBytes = reader.uint32();
        break;
      default:
        reader.skipField(tag);
    }
  }
  if (reader.position !== end) throw new MalformedMessageError('the limits end inside a field');
  return limits;
}
