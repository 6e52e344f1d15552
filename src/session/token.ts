import { Buffer } from 'node:buffer';
import { hash, randomBytes } from 'node:crypto';
import { PARTITION_COUNT, partitionOfUser } from '../redis/keys.js';

/**
 * The names of a session. A session id is base64url(2-byte partition ‖ 16 random bytes): it tells where the session
 * lives and opens nothing. A token is the id, a dot and base64url(32 random bytes); Redis holds only the SHA-256 of
 * those 32 bytes (OWASP ASVS 5.0 7.2.3 asks for 128 bits of entropy).
 */

const ID_BYTES = 18;
const ID_CHARS = 24;
const SECRET_BYTES = 32;

/** 144 bits fill 24 characters, so any will do. */
const ID = /^[A-Za-z0-9_-]{24}$/;
/** 256 bits leave the last two of 43 characters' bits over: they are 0, or a secret had four spellings. */
const TOKEN = /^[A-Za-z0-9_-]{24}\.[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]$/;

export interface NewToken {
  readonly sessionId: string;
  readonly sessionToken: string;
  /** In hexadecimal. */
  readonly secretHash: string;
}

/** A token that somebody presents. */
export interface PresentedToken {
  readonly sessionId: string;
  readonly secret: Buffer;
  /** In hexadecimal. */
  readonly secretHash: string;
}

/** For a new session of the user. */
export function createToken(userId: string, secret: Buffer = randomBytes(SECRET_BYTES)): NewToken {
  const id = randomBytes(ID_BYTES);
  id.writeUInt16BE(partitionOfUser(userId), 0);
  const sessionId = id.toString('base64url');
  return { sessionId, sessionToken: tokenOf(sessionId, secret), secretHash: hashOf(secret) };
}

export function tokenOf(sessionId: string, secret: Buffer): string {
  return `${sessionId}.${secret.toString('base64url')}`;
}

/** The partition a session id lives in; undefined for what cannot be an id. */
export function partitionOfSession(sessionId: string): number | undefined {
  return ID.test(sessionId) ? leadingPartition(sessionId) : undefined;
}

/** The partition of what is known to be a session id. */
export function partitionOf(sessionId: string): number {
  const partition = partitionOfSession(sessionId);
  if (partition === undefined) throw new RangeError('no session id');
  return partition;
}

export function isToken(text: string): boolean {
  return TOKEN.test(text) && leadingPartition(text) !== undefined;
}

/** Takes a token apart; undefined for what cannot be one. */
export function parseToken(token: string): PresentedToken | undefined {
  if (!isToken(token)) return undefined;
  const secret = Buffer.from(token.slice(ID_CHARS + 1), 'base64url');
  return { sessionId: token.slice(0, ID_CHARS), secret, secretHash: hashOf(secret) };
}

/** The first two bytes of base64url text, where they name a partition. */
function leadingPartition(text: string): number | undefined {
  const partition = Buffer.from(text.slice(0, 4), 'base64url').readUInt16BE(0);
  return partition < PARTITION_COUNT ? partition : undefined;
}

/** Hexadecimal, which costs a quarter of what a Buffer does. */
export function hashOf(secret: Buffer): string {
  return hash('sha256', secret, 'hex');
}
