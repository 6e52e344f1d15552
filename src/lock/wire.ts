import {
  AcquireLockRequest,
  AcquireLockStatus,
  ReleaseLockRequest,
  type LockOwnershipStatus,
} from '../gen/shardkeep/lock/v1/lock.js';
import type { ResponseWriter } from '../grpc/rpc.js';
import type { ByteReader } from '../wire/byte-reader.js';
import { LENGTH_DELIMITED, VARINT, varintLength } from '../wire/byte-writer.js';
import { numberLength, textLength, writeNumber, writeText } from '../wire/fields.js';
import { plainReader } from '../wire/plain-message.js';

/** Requests and responses of AcquireLock and ReleaseLock by hand. A test holds them to the generated code. */

const RESOURCES = 1;
const TTL_MS = 2;
const OWNER = 3;
const REQUEST_ID = 4;
const RELEASED_TOKEN = 2;

const STATUS = 1;
const LOCK_TOKEN = 2;
const GRANTS = 3;
const EXPIRES_AT_MS = 4;
const GRANT_RESOURCE = 1;
const GRANT_FENCING_TOKEN = 2;

export const decodeAcquireLockRequest = plainReader<AcquireLockRequest>(readAcquire, AcquireLockRequest);
export const decodeReleaseLockRequest = plainReader<ReleaseLockRequest>(readRelease, ReleaseLockRequest);

function readAcquire(reader: ByteReader): AcquireLockRequest | undefined {
  const request: AcquireLockRequest = { resources: [], ttlMs: undefined, owner: '', requestId: '' };
  while (reader.hasMore) {
    switch (reader.varint()) {
      case (RESOURCES << 3) | LENGTH_DELIMITED:
        request.resources.push(reader.text());
        break;
      case (TTL_MS << 3) | VARINT:
        request.ttlMs = BigInt(reader.varint());
        break;
      case (OWNER << 3) | LENGTH_DELIMITED:
        request.owner = reader.text();
        break;
      case (REQUEST_ID << 3) | LENGTH_DELIMITED:
        request.requestId = reader.text();
        break;
      default:
        return undefined;
    }
  }
  return request;
}

function readRelease(reader: ByteReader): ReleaseLockRequest | undefined {
  const request: ReleaseLockRequest = { resources: [], lockToken: '' };
  while (reader.hasMore) {
    switch (reader.varint()) {
      case (RESOURCES << 3) | LENGTH_DELIMITED:
        request.resources.push(reader.text());
        break;
      case (RELEASED_TOKEN << 3) | LENGTH_DELIMITED:
        request.lockToken = reader.text();
        break;
      default:
        return undefined;
    }
  }
  return request;
}

/** An AcquireLockResponse of status GRANTED, with its one grant. */
export interface Granted {
  readonly resource: string;
  readonly lockToken: string;
  /** Below 2^53. */
  readonly fencingToken: number;
  readonly expiresAtMs: number;
}

/** A grant, or the encoded message of another outcome. */
export const acquireLockResponseWriter: ResponseWriter<Granted | Uint8Array> = {
  length: (answer) => {
    if (answer instanceof Uint8Array) return answer.length;
    const length = grantLength(answer);
    return (
      numberLength(AcquireLockStatus.GRANTED) +
      textLength(answer.lockToken) +
      (1 + varintLength(length) + length) +
      numberLength(answer.expiresAtMs)
    );
  },
  write: (answer, writer) => {
    if (answer instanceof Uint8Array) {
      writer.raw(answer);
      return;
    }
    writeNumber(writer, STATUS, AcquireLockStatus.GRANTED);
    writeText(writer, LOCK_TOKEN, answer.lockToken);
    writer.tag(GRANTS, LENGTH_DELIMITED);
    writer.varint(grantLength(answer));
    writeText(writer, GRANT_RESOURCE, answer.resource);
    writeNumber(writer, GRANT_FENCING_TOKEN, answer.fencingToken);
    writeNumber(writer, EXPIRES_AT_MS, answer.expiresAtMs);
  },
};

function grantLength({ resource, fencingToken }: Granted): number {
  return textLength(resource) + numberLength(fencingToken);
}

export const releaseLockResponseWriter: ResponseWriter<LockOwnershipStatus> = {
  length: (status) => numberLength(status),
  write: (status, writer) => {
    writeNumber(writer, STATUS, status);
  },
};
