/** Writes a cache entry as `src/cache/lua/lib/entry.lua` documents it, also with what no service writes yet. */

export interface EntryField {
  readonly type: number;
  readonly bytes: Buffer;
}

/** A fence with one mark, kept until the year 2100. */
export const FENCE: EntryField = {
  type: 4,
  bytes: Buffer.from('03bb2cc3d80000112233445566770000000000000007', 'hex'),
};

export interface EntryBytes {
  readonly value?: Buffer;
  /** 1: there is a value. */
  readonly flags?: number;
  readonly version?: bigint;
  readonly createdAtMs?: number;
  readonly expiresAtMs?: number;
  readonly fields?: readonly EntryField[];
}

const FIXED_BYTES = 24;

export function packEntry(entry: EntryBytes): Buffer {
  const { value = Buffer.alloc(0), flags = 1, version = 1n, createdAtMs = 1, expiresAtMs = 0, fields = [] } = entry;
  const packedFields = fields.map(({ type, bytes }) => {
    const head = Buffer.alloc(3);
    head.writeUInt8(type, 0);
    head.writeUInt16BE(bytes.length, 1);
    return Buffer.concat([head, bytes]);
  });
  const header = Buffer.concat([Buffer.alloc(FIXED_BYTES), ...packedFields]);
  header.writeUInt8(1, 0);
  header.writeUInt16BE(header.length, 1);
  header.writeUInt8(flags, 3);
  header.writeBigUInt64BE(version, 4);
  header.writeUIntBE(createdAtMs, 12, 6);
  header.writeUIntBE(expiresAtMs, 18, 6);
  return Buffer.concat([header, value]);
}

/** The fields between the fixed header and the value. */
export function fieldsOf(packed: Buffer): EntryField[] {
  const fields: EntryField[] = [];
  const end = packed.readUInt16BE(1);
  for (let at = FIXED_BYTES; at < end;) {
    const length = packed.readUInt16BE(at + 1);
    fields.push({ type: packed.readUInt8(at), bytes: packed.subarray(at + 3, at + 3 + length) });
    at += 3 + length;
  }
  return fields;
}
