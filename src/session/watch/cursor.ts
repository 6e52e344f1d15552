import { createHash } from 'node:crypto';
import { ByteReader } from '../../wire/byte-reader.js';
import { ByteWriter } from '../../wire/byte-writer.js';
import type { Position } from './position.js';
import type { Selection } from './selection.js';
import { streamIdMs, streamIdSequence } from './session-event.js';

/**
 * The cursor of WatchSessions: for each partition of the choice, up to where its events were told. Any service process
 * understands it. It is data of the caller when it comes back, but can only name positions of the caller's own namespace.
 *
 *   1 byte    version
 *   8 bytes   fingerprint of the choice
 *   varint    a moment that the times are told from
 *   for each partition of the choice, ascending:
 *     varint  as-of time, told from that moment
 *     varint  time of the stream id, told from that moment, plus 1; 0: the id is 0-0
 *     varint  sequence of the stream id
 *     varint  seen
 *     varint  created
 *   4 bytes   the first ones of the SHA-256 of all before
 *
 * Of 512 partitions it has at most 13 KB, mostly 7.
 */

/** Where a partition was told up to. */
export interface Place extends Position {
  /** How many sessions were ever created in the partition, or fewer: a Redis that knows of fewer has lost some. */
  readonly createdCount: number;
}

const VERSION = 1;
const CHECKSUM_BYTES = 4;
const PLACE_BYTES = 16;
const NO_EVENT = '0-0';

export function encodeCursor(selection: Selection, places: readonly Place[]): Buffer {
  const { fingerprint } = selection;
  const writer = new ByteWriter(1 + fingerprint.length + 8 + places.length * PLACE_BYTES + CHECKSUM_BYTES);
  const moment = Math.max(0, ...places.map(({ asOfMs }) => asOfMs));
  writer.varint(VERSION);
  writer.raw(fingerprint);
  writer.varint(moment);
  for (const { id, seen, asOfMs, createdCount } of places) {
    writer.varint(signed(moment - asOfMs));
    writer.varint(id === NO_EVENT ? 0 : 1 + signed(moment - streamIdMs(id)));
    writer.varint(streamIdSequence(id));
    writer.varint(seen);
    writer.varint(createdCount);
  }
  const content = writer.take();
  return Buffer.concat([content, checksumOf(content)]);
}

/** One place for each partition of the choice; undefined for what is no cursor of it. */
export function decodeCursor(selection: Selection, cursor: Buffer): Place[] | undefined {
  const { fingerprint, partitions } = selection;
  const content = cursor.subarray(0, -CHECKSUM_BYTES);
  const isWhole = cursor.length > CHECKSUM_BYTES && checksumOf(content).equals(cursor.subarray(-CHECKSUM_BYTES));
  if (!isWhole || content[0] !== VERSION || !content.subarray(1, 1 + fingerprint.length).equals(fingerprint)) {
    return undefined;
  }
  try {
    const reader = new ByteReader(content, 1 + fingerprint.length, content.length);
    const moment = reader.varint();
    const places = partitions.map((): Place => {
      const asOfMs = moment - unsigned(reader.varint());
      const idMs = reader.varint();
      const sequence = reader.varint();
      const id = idMs === 0 ? NO_EVENT : `${String(moment - unsigned(idMs - 1))}-${String(sequence)}`;
      return { id, seen: reader.varint(), asOfMs, createdCount: reader.varint() };
    });
    return reader.hasMore || places.some(({ id }) => id.startsWith('-')) ? undefined : places;
  } catch {
    return undefined;
  }
}

function checksumOf(content: Buffer): Buffer {
  return createHash('sha256').update(content).digest().subarray(0, CHECKSUM_BYTES);
}

/** A whole number, mostly a small one of either sign, as one that is not negative. */
function signed(value: number): number {
  return value >= 0 ? value * 2 : -value * 2 - 1;
}

function unsigned(value: number): number {
  return value % 2 === 0 ? value / 2 : -(value + 1) / 2;
}
