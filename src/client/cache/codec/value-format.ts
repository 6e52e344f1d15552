import { Buffer } from 'node:buffer';
import { types } from 'node:util';
import { gunzipSync, gzipSync } from 'node:zlib';
import { invalidArgument } from '../../errors.js';
import { ByteReader } from '../../../wire/byte-reader.js';
import { ByteWriter } from '../../../wire/byte-writer.js';
import { functionIn, objectIn, wholeNumberIn, type OptionNames } from '../../arguments.js';
import type { Codec } from './codec.js';
import { json } from './json.js';
import { MESSAGE_PACK_ID } from './message-pack.js';

export interface ValueOptions {
  /** JSON by default. */
  readonly codec?: Codec;
  /**
   * The shape of your values, 0 (the default) to 2^31 - 1. A value that was written under another version is a miss, unless
   * `migrate` makes one of this version of it.
   */
  readonly schemaVersion?: number;
  /** Undefined: it cannot be used. */
  readonly migrate?: (value: unknown, writtenVersion: number) => unknown;
  /** Encoded values of more bytes are compressed (gzip) where that makes them smaller; 1,024 by default, Infinity for none. */
  readonly compressAboveBytes?: number;
}

export const VALUE_OPTIONS: OptionNames<ValueOptions> = {
  codec: true,
  schemaVersion: true,
  migrate: true,
  compressAboveBytes: true,
};

/** What became of bytes: a value, or why they are none here. */
export type Decoded = { readonly isKnown: true; readonly value: unknown } | { readonly isKnown: false; why: string };

const DEFAULT_COMPRESS_ABOVE_BYTES = 1_024;
/** Compression is only worth its time where it saves this part. */
const WORTHWHILE = 0.9;
/** Speed, not size: most of what there is to gain comes with the first level. */
const LEVEL = 1;
/** A few bytes can stand for gigabytes. */
const MAX_DECODED_BYTES = 16_777_216;
/** No JSON text begins with one of these. */
const HEADER = 0x01;
const GZIP_1 = 0x1f;
const GZIP_2 = 0x8b;
const MAX_SCHEMA_VERSION = 2 ** 31 - 1;
/** Of codecs of others; those below are this package's, now or later. */
const OWN_IDS = { min: 16, max: 127 };

/**
 * Values as they lie in the cache: the codec's bytes; before them, unless that is plain JSON of schema version 0, 0x01, the
 * codec's id and the schema version as a varint; all of it in gzip where it was compressed. So redis-cli, and a reader in
 * another language, find JSON.
 */
export class ValueFormat {
  readonly codec: Codec;
  private readonly schemaVersion: number;
  private readonly migrate: ValueOptions['migrate'];
  private readonly compressAboveBytes: number;
  /** Undefined: plain JSON, which has none. */
  private readonly header: Buffer | undefined;

  constructor(options: ValueOptions = {}) {
    this.codec = options.codec ?? json;
    this.schemaVersion = options.schemaVersion ?? 0;
    this.migrate = options.migrate;
    this.compressAboveBytes = options.compressAboveBytes ?? DEFAULT_COMPRESS_ABOVE_BYTES;
    const { schemaVersion, compressAboveBytes } = this;
    throwIfNoCodec(this.codec);
    if (!(typeof compressAboveBytes === 'number' && compressAboveBytes >= 0))
      throw invalidArgument('compressAboveBytes must be a number from 0', ['compressAboveBytes']);
    if (this.migrate !== undefined) functionIn(this.migrate, 'migrate');
    if (!Number.isInteger(schemaVersion) || schemaVersion < 0 || schemaVersion > MAX_SCHEMA_VERSION)
      throw invalidArgument('schemaVersion must be a whole number from 0 to 2^31 - 1', ['schemaVersion']);
    const { id } = this.codec;
    if (id === undefined && schemaVersion !== 0)
      throw invalidArgument('bytes as they are have no schema version', ['schemaVersion']);
    this.header = id === undefined || (id === json.id && schemaVersion === 0) ? undefined : headerOf(id, schemaVersion);
  }

  /** Throws InvalidArgumentError, naming `value`, where the codec cannot encode it. */
  encode(value: unknown): Buffer {
    const encoded = this.encodePlain(value);
    if (this.codec.id === undefined) return encoded;
    const framed = this.header === undefined ? encoded : Buffer.concat([this.header, encoded]);
    if (framed.length <= this.compressAboveBytes) return framed;
    // at once, not later: writes of one tick keep their order
    const compressed = gzipSync(framed, { level: LEVEL });
    return compressed.length < framed.length * WORTHWHILE ? compressed : framed;
  }

  /** Without header and compression, so that equal values have equal bytes: for members of sets and lists. */
  encodePlain(value: unknown): Buffer {
    if (types.isPromise(value)) throw invalidArgument('the value is a promise: await it', ['value']);
    try {
      const bytes = this.codec.encode(value);
      return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    } catch (error) {
      throw invalidArgument(`the value cannot be encoded: ${String(error)}`, ['value']);
    }
  }

  decode(stored: Buffer): Decoded {
    const { codec } = this;
    try {
      if (codec.id === undefined) return { isKnown: true, value: codec.decode(ownCopyOf(stored)) };
      const bytes =
        stored[0] === GZIP_1 && stored[1] === GZIP_2
          ? gunzipSync(stored, { maxOutputLength: MAX_DECODED_BYTES })
          : stored;
      if (bytes[0] !== HEADER) return this.ofVersion(json.decode(bytes), 0);
      const reader = new ByteReader(bytes, 1, bytes.length);
      const id = reader.varint();
      const writtenVersion = reader.varint();
      const decoder = [codec, json].find((candidate) => candidate.id === id);
      if (decoder === undefined) return { isKnown: false, why: `written by the codec with the id ${String(id)}` };
      const encoded = bytes.subarray(reader.position);
      // what comes out of JSON, or was unpacked for this caller, is nobody else's
      const isOwn = decoder === json || bytes !== stored;
      return this.ofVersion(decoder.decode(isOwn ? encoded : ownCopyOf(encoded)), writtenVersion);
    } catch (error) {
      return { isKnown: false, why: `cannot be decoded: ${String(error)}` };
    }
  }

  /** Of what encodePlain wrote. */
  decodePlain(stored: Buffer): Decoded {
    try {
      return { isKnown: true, value: this.codec.decode(stored) };
    } catch (error) {
      return { isKnown: false, why: `cannot be decoded: ${String(error)}` };
    }
  }

  private ofVersion(value: unknown, writtenVersion: number): Decoded {
    if (writtenVersion === this.schemaVersion) return { isKnown: true, value };
    const migrated = this.migrate?.(value, writtenVersion);
    if (migrated === undefined) return { isKnown: false, why: `of schema version ${String(writtenVersion)}` };
    return { isKnown: true, value: migrated };
  }
}

/**
 * Codecs answer views of the bytes, such as `binary`; and these are shared with the near cache, and with answers that came
 * together. So whoever changes a value would change it for all, and one small value would keep a large frame in memory.
 */
function ownCopyOf(bytes: Buffer): Buffer {
  return Buffer.from(bytes);
}

/** Values of JSON have no header, so only this JSON can have its id: what another codec wrote under it could not be told apart. */
function throwIfNoCodec(codec: Codec): void {
  objectIn(codec, 'codec');
  functionIn(codec.encode, 'codec.encode');
  functionIn(codec.decode, 'codec.decode');
  const { id } = codec;
  if (id === undefined || codec === json || id === MESSAGE_PACK_ID) return;
  wholeNumberIn(id, 'codec.id', OWN_IDS);
}

function headerOf(codecId: number, schemaVersion: number): Buffer {
  const writer = new ByteWriter(8);
  writer.varint(HEADER);
  writer.varint(codecId);
  writer.varint(schemaVersion);
  return writer.take();
}
