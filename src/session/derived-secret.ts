import { Buffer } from 'node:buffer';
import { hkdfSync, randomBytes } from 'node:crypto';

/**
 * Secrets that Redis can help to find again and cannot tell: HKDF-SHA256 of something that only the caller has, with a salt
 * that lies in Redis. docs/decisions/0013-derived-successors.md says why.
 */

const BYTES = 32;
/** Fixed for ever: data in Redis is found again by them. */
const ROTATION = 'shardkeep session secret by rotation';
const REQUEST = 'shardkeep session secret by request id';

export function newSalt(): Buffer {
  return randomBytes(BYTES);
}

/** The secret that follows another one. */
export function successorOf(secret: Buffer, salt: Buffer): Buffer {
  return Buffer.from(hkdfSync('sha256', secret, salt, ROTATION, BYTES));
}

/** The secret of a session that was created with a request id. */
export function secretOfRequest(requestId: string, salt: Buffer): Buffer {
  return Buffer.from(hkdfSync('sha256', requestId, salt, REQUEST, BYTES));
}
