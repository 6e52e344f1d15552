import { Buffer } from 'node:buffer';
import { Consistency, type GetRequest } from '../gen/shardkeep/cache/v1/cache.js';
import type { ResponseWriter } from '../grpc/rpc.js';
import { ByteReader } from '../wire/byte-reader.js';
import { LENGTH_DELIMITED, VARINT, varintLength } from '../wire/byte-writer.js';
import type { LiveEntry } from './entry.js';

/** GetRequest and GetResponse by hand: Get is called more than everything else. A test holds them to the generated code. */

const KEY = 1;
const CONSISTENCY = 2;
/** By their numbers. */
const CONSISTENCIES = [Consistency.UNSPECIFIED, Consistency.READ_MASTER, Consistency.NEAR] as const;
const ENTRY = 1;
const ENTRY_VALUE = 1;
const ENTRY_TTL_MS = 2;
const ENTRY_CREATED_AT_MS = 3;
const ENTRY_VERSION = 4;
const ENTRY_STALE = 5;
const ENTRY_TAGS = 6;
const ENTRY_FRESH_TTL_MS = 7;

export function decodeGetRequest(bytes: Buffer, from: number, to: number): GetRequest {
  const reader = new ByteReader(bytes, from, to);
  const request: GetRequest = { key: '', consistency: Consistency.UNSPECIFIED };
  while (reader.hasMore) {
    const tag = reader.varint();
    if (tag === ((KEY << 3) | LENGTH_DELIMITED)) request.key = reader.text();
    else if (tag === ((CONSISTENCY << 3) | VARINT)) {
      request.consistency = CONSISTENCIES[reader.uint32()] ?? Consistency.UNRECOGNIZED;
    } else reader.skipField(tag);
  }
  return request;
}

export const getResponseWriter: ResponseWriter<LiveEntry | undefined> = {
  length: (entry) => {
    if (entry === undefined) return 0;
    const length = entryLength(entry);
    return 1 + varintLength(length) + length;
  },
  write: (entry, writer) => {
    if (entry === undefined) return;
    const { packed, valueAt, ttlMs } = entry;
    writer.tag(ENTRY, LENGTH_DELIMITED);
    writer.varint(entryLength(entry));
    // as the generated code does, an empty value is left out
    if (packed.length > valueAt) {
      writer.tag(ENTRY_VALUE, LENGTH_DELIMITED);
      writer.varint(packed.length - valueAt);
      writer.part(packed, valueAt, packed.length);
    }
    if (ttlMs !== undefined) {
      writer.tag(ENTRY_TTL_MS, VARINT);
      writer.varint(ttlMs);
    }
    writer.tag(ENTRY_CREATED_AT_MS, VARINT);
    writer.varint(entry.createdAtMs);
    writer.tag(ENTRY_VERSION, VARINT);
    writer.varint(entry.version);
    if (entry.stale) {
      writer.tag(ENTRY_STALE, VARINT);
      writer.varint(1);
    }
    for (const tag of entry.tags) {
      writer.tag(ENTRY_TAGS, LENGTH_DELIMITED);
      writer.text(tag);
    }
    const { freshTtlMs } = entry;
    if (freshTtlMs !== undefined) {
      writer.tag(ENTRY_FRESH_TTL_MS, VARINT);
      writer.varint(freshTtlMs);
    }
  },
};

function entryLength(entry: LiveEntry): number {
  const { packed, valueAt, ttlMs, freshTtlMs } = entry;
  const valueLength = packed.length - valueAt;
  return (
    (valueLength === 0 ? 0 : 1 + varintLength(valueLength) + valueLength) +
    (ttlMs === undefined ? 0 : 1 + varintLength(ttlMs)) +
    1 +
    varintLength(entry.createdAtMs) +
    1 +
    varintLength(entry.version) +
    (entry.stale ? 2 : 0) +
    (entry.tags.length === 0 ? 0 : tagsLength(entry.tags)) +
    (freshTtlMs === undefined ? 0 : 1 + varintLength(freshTtlMs))
  );
}

function tagsLength(tags: readonly string[]): number {
  let length = 0;
  for (const tag of tags) {
    const bytes = Buffer.byteLength(tag);
    length += 1 + varintLength(bytes) + bytes;
  }
  return length;
}
