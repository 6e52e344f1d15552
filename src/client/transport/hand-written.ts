import { Buffer } from 'node:buffer';
import type { GetRequest, GetResponse } from '../../gen/shardkeep/cache/v1/cache.js';
import type {
  GetSessionRequest,
  SessionClient,
  ValidateSessionRequest,
} from '../../gen/shardkeep/session/v1/session.js';
import { invalidArgument } from '../errors.js';
import { ByteReader } from '../../wire/byte-reader.js';
import { LENGTH_DELIMITED, VARINT, varintLength } from '../../wire/byte-writer.js';
import { textLength, writeText } from '../../wire/fields.js';
import type { ClientMethod, RequestWriter } from './method.js';

/** Messages of the RPCs that are called most, read and written by hand. A test holds them to the generated code. */

const ENTRY = 1;
const ENTRY_VALUE = 1;
const ENTRY_TTL_MS = 2;
const ENTRY_CREATED_AT_MS = 3;
const ENTRY_VERSION = 4;
const ENTRY_STALE = 5;
const ENTRY_TAGS = 6;
const ENTRY_FRESH_TTL_MS = 7;

/** Of a request whose only field is a text with the number 1. */
function singleTextWriter<Request>(
  textOf: (request: Partial<Request>) => string | undefined,
): RequestWriter<Partial<Request>> {
  return {
    length: (request) => {
      const length = Buffer.byteLength(textOf(request) ?? '');
      return 1 + varintLength(length) + length;
    },
    write: (request, writer) => {
      writer.tag(1, LENGTH_DELIMITED);
      writer.text(textOf(request) ?? '');
    },
  };
}

const CONSISTENCY = 2;

/** As the generated code does, 0 is left out. */
function enumerationLength(value = 0): number {
  // what is no varint would damage the frame, and with it the calls beside this one
  if (!Number.isInteger(value) || value < 0) throw new RangeError(`no value of an enum: ${String(value)}`);
  return value === 0 ? 0 : 1 + varintLength(value);
}

const keyWriter = singleTextWriter<GetRequest>(({ key }) => key);
const getRequestWriter: RequestWriter<Partial<GetRequest>> = {
  length: (request) => keyWriter.length(request) + enumerationLength(request.consistency),
  write: (request, writer) => {
    keyWriter.write(request, writer);
    if (enumerationLength(request.consistency) === 0) return;
    writer.tag(CONSISTENCY, VARINT);
    writer.varint(request.consistency ?? 0);
  },
};
const getSessionRequestWriter = singleTextWriter<GetSessionRequest>(({ sessionId }) => sessionId);

const CLIENT = 2;
const CLIENT_IP = 1;
const CLIENT_USER_AGENT = 2;
const CLIENT_DEVICE_ID = 3;
const MAX_AUTH_AGE_MS = 3;

const sessionTokenWriter = singleTextWriter<ValidateSessionRequest>(({ sessionToken }) => sessionToken);
const validateSessionRequestWriter: RequestWriter<Partial<ValidateSessionRequest>> = {
  length: (request) => {
    const { client, maxAuthAgeMs } = request;
    const clientLength = client === undefined ? 0 : clientFieldsLength(client);
    return (
      sessionTokenWriter.length(request) +
      (client === undefined ? 0 : 1 + varintLength(clientLength) + clientLength) +
      (maxAuthAgeMs === undefined ? 0 : 1 + varintLength(wholeNumber(maxAuthAgeMs)))
    );
  },
  write: (request, writer) => {
    const { client, maxAuthAgeMs } = request;
    sessionTokenWriter.write(request, writer);
    if (client !== undefined) {
      writer.tag(CLIENT, LENGTH_DELIMITED);
      writer.varint(clientFieldsLength(client));
      writeText(writer, CLIENT_IP, client.ip);
      writeText(writer, CLIENT_USER_AGENT, client.userAgent);
      writeText(writer, CLIENT_DEVICE_ID, client.deviceId);
    }
    if (maxAuthAgeMs !== undefined) {
      writer.tag(MAX_AUTH_AGE_MS, VARINT);
      writer.varint(wholeNumber(maxAuthAgeMs));
    }
  },
};

function clientFieldsLength({ ip, userAgent, deviceId }: SessionClient): number {
  return textLength(ip) + textLength(userAgent) + textLength(deviceId);
}

function wholeNumber(value: bigint): number {
  // as above: what the writer cannot write would damage the frame
  if (value < 0n || value > BigInt(Number.MAX_SAFE_INTEGER))
    throw invalidArgument('maxAuthAgeMs must be 0 to 2^53 - 1', ['maxAuthAgeMs']);
  return Number(value);
}

function decodeGetResponse(bytes: Buffer, from: number, to: number): GetResponse {
  const reader = new ByteReader(bytes, from, to);
  let entry: GetResponse['entry'];
  while (reader.hasMore) {
    const tag = reader.varint();
    if (tag === ((ENTRY << 3) | LENGTH_DELIMITED)) entry = readEntry(reader);
    else reader.skipField(tag);
  }
  return { entry };
}

const NO_BYTES = Buffer.alloc(0);

function readEntry(reader: ByteReader): NonNullable<GetResponse['entry']> {
  const end = reader.endOfLengthDelimited();
  let value: Buffer = NO_BYTES;
  let ttlMs: bigint | undefined;
  let createdAtMs = 0;
  let version = 0;
  let stale = false;
  let freshTtlMs: bigint | undefined;
  const tags: string[] = [];
  while (reader.position < end) {
    const tag = reader.varint();
    switch (tag) {
      case (ENTRY_VALUE << 3) | LENGTH_DELIMITED:
        // a copy, because whoever keeps a view keeps the whole frame
        value = reader.copyOfBytes();
        break;
      case (ENTRY_TTL_MS << 3) | VARINT:
        ttlMs = BigInt(reader.varint());
        break;
      case (ENTRY_CREATED_AT_MS << 3) | VARINT:
        createdAtMs = reader.varint();
        break;
      case (ENTRY_VERSION << 3) | VARINT:
        version = reader.varint();
        break;
      case (ENTRY_STALE << 3) | VARINT:
        stale = reader.varint() !== 0;
        break;
      case (ENTRY_TAGS << 3) | LENGTH_DELIMITED:
        tags.push(reader.text());
        break;
      case (ENTRY_FRESH_TTL_MS << 3) | VARINT:
        freshTtlMs = BigInt(reader.varint());
        break;
      default:
        reader.skipField(tag);
    }
  }
  return { value, ttlMs, createdAtMs: BigInt(createdAtMs), version: BigInt(version), stale, tags, freshTtlMs };
}

/** By the RPC's name. */
export const HAND_WRITTEN: Readonly<Record<string, Partial<ClientMethod>>> = {
  'shardkeep.cache.v1.CacheService/Get': { requestWriter: getRequestWriter, decode: decodeGetResponse },
  'shardkeep.session.v1.SessionService/GetSession': { requestWriter: getSessionRequestWriter },
  'shardkeep.session.v1.SessionService/ValidateSession': { requestWriter: validateSessionRequestWriter },
};
