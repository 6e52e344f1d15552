import { Buffer } from 'node:buffer';
import { SetRequest } from '../gen/shardkeep/cache/v1/cache.js';
import type { ResponseWriter } from '../grpc/rpc.js';
import type { ByteReader } from '../wire/byte-reader.js';
import { LENGTH_DELIMITED, VARINT } from '../wire/byte-writer.js';
import { numberLength, writeNumber } from '../wire/fields.js';
import { plainReader } from '../wire/plain-message.js';
import type { SetReply } from './scripts.js';

/** SetRequest and SetResponse by hand. A test holds them to the generated code. */

const KEY = 1;
const VALUE = 2;
const TTL_MS = 3;
const STORED = 1;
const VERSION = 2;

const NOTHING = Buffer.alloc(0);

export const decodeSetRequest = plainReader<SetRequest>(readPlainSet, SetRequest);

/** A key, a value and a time to live. */
function readPlainSet(reader: ByteReader): SetRequest | undefined {
  let key = '';
  let value: Buffer = NOTHING;
  let expiry: SetRequest['expiry'];
  while (reader.hasMore) {
    switch (reader.varint()) {
      case (KEY << 3) | LENGTH_DELIMITED:
        key = reader.text();
        break;
      case (VALUE << 3) | LENGTH_DELIMITED:
        // a view is enough: nobody keeps it
        value = reader.bytes();
        break;
      case (TTL_MS << 3) | VARINT:
        expiry = { $case: 'ttlMs', value: BigInt(reader.varint()) };
        break;
      default:
        return undefined;
    }
  }
  return { key, value, expiry, condition: undefined, tags: [], jitterPercent: 0, guard: undefined };
}

export const setResponseWriter: ResponseWriter<SetReply> = {
  length: ({ status, version }) => numberLength(Number(status === 'stored')) + numberLength(version),
  write: ({ status, version }, writer) => {
    writeNumber(writer, STORED, Number(status === 'stored'));
    writeNumber(writer, VERSION, version);
  },
};
