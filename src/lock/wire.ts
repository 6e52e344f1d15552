import {
  AcquireLockRequest,
  AcquireLockStatus,
  LockOwnershipStatus,
  ReleaseLockRequest,
} from '../gen/shardkeep/lock/v1/lock.js';
import type { ResponseWriter } from '../grpc/rpc.js';
import type { ByteReader } from '../wire/byte-reader.js';
import { LENGTH_DELIMITED, VARINT, varintLength } from '../wire/byte-writer.js';
import { numberLength, textLength, writeNumber, writeText } from '../wire/fields.js';
import { plainReader } from '../wire/plain-message.js';
import type { Grant, Granted, OwnershipOutcome } from './backend.js';

/** Requests and responses of AcquireLock and ReleaseLock by hand. A test holds them to the generated code. */

const RESOURCES = 1;
const TTL_MS = 2;
const OWNER = 3;
const REQUEST_ID = 4;
const WAIT_MS = 5;
const PERMITS = 6;
const CAPACITY = 7;
const REENTRANT = 8;
const RELEASED_TOKEN = 2;

const STATUS = 1;
const LOCK_TOKEN = 2;
const GRANTS = 3;
const EXPIRES_AT_MS = 4;
const GRANT_RESOURCE = 1;
const GRANT_FENCING_TOKEN = 2;
const GRANT_HOLD_COUNT = 3;
const NOT_HELD_RESOURCES = 2;

export const decodeAcquireLockRequest = plainReader<AcquireLockRequest>(readAcquire, AcquireLockRequest);
export const decodeReleaseLockRequest = plainReader<ReleaseLockRequest>(readRelease, ReleaseLockRequest);

function readAcquire(reader: ByteReader): AcquireLockRequest | undefined {
  const request = AcquireLockRequest.create();
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
      case (WAIT_MS << 3) | VARINT:
        request.waitMs = BigInt(reader.varint());
        break;
      case (PERMITS << 3) | VARINT:
        request.permits = reader.varint() | 0;
        break;
      case (CAPACITY << 3) | VARINT:
        request.capacity = reader.varint() | 0;
        break;
      case (REENTRANT << 3) | VARINT:
        request.reentrant = reader.varint() !== 0;
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

/** A grant, or the encoded message of another outcome. */
export const acquireLockResponseWriter: ResponseWriter<Granted | Uint8Array> = {
  length: (answer) => {
    if (answer instanceof Uint8Array) return answer.length;
    let length =
      numberLength(AcquireLockStatus.GRANTED) + textLength(answer.lockToken) + numberLength(answer.expiresAtMs);
    for (const grant of answer.grants) {
      const grantBytes = grantLength(grant);
      length += 1 + varintLength(grantBytes) + grantBytes;
    }
    return length;
  },
  write: (answer, writer) => {
    if (answer instanceof Uint8Array) {
      writer.raw(answer);
      return;
    }
    writeNumber(writer, STATUS, AcquireLockStatus.GRANTED);
    writeText(writer, LOCK_TOKEN, answer.lockToken);
    for (const grant of answer.grants) {
      writer.tag(GRANTS, LENGTH_DELIMITED);
      writer.varint(grantLength(grant));
      writeText(writer, GRANT_RESOURCE, grant.resource);
      writeNumber(writer, GRANT_FENCING_TOKEN, grant.fencingToken);
      writeNumber(writer, GRANT_HOLD_COUNT, grant.holdCount);
    }
    writeNumber(writer, EXPIRES_AT_MS, answer.expiresAtMs);
  },
};

function grantLength({ resource, fencingToken, holdCount }: Grant): number {
  return textLength(resource) + numberLength(fencingToken) + numberLength(holdCount);
}

export const releaseLockResponseWriter: ResponseWriter<OwnershipOutcome> = {
  length: ({ notHeld }) => {
    let length = 1 + 1;
    for (const resource of notHeld) length += textLength(resource);
    return length;
  },
  write: ({ notHeld }, writer) => {
    writeNumber(writer, STATUS, notHeld.length === 0 ? LockOwnershipStatus.DONE : LockOwnershipStatus.NOT_HOLDER);
    for (const resource of notHeld) writeText(writer, NOT_HELD_RESOURCES, resource);
  },
};
