import { createHash, randomBytes } from 'node:crypto';
import { PARTITION_COUNT, partitionOfUser } from '../redis/keys.js';

/**
 * The names of a session. A session id is base64url(2-byte partition ‖ 16 random bytes): it tells where the session
 * lives and opens nothing. A token is the id, a dot and base64url(32 random bytes); Redis holds only the SHA-256 of
 * those 32 bytes (OWASP ASVS 5.0 7.2.3 asks for 128 bits of entropy).
 */

const ID_BYTES = 18;
const ID_CHARS = 24;
const SECRET_BYTES = 32;

export interface NewToken {
  readonly sessionId: string;
  readonly sessionToken: string;
  readonly secretHash: Buffer;
}

export function createToken(userId: string): NewToken {
  const id = randomBytes(ID_BYTES);
  id.writeUInt16BE(partitionOfUser(userId), 0);
  const secret = randomBytes(SECRET_BYTES);
  const sessionId = id.toString('base64url');
  return { sessionId, sessionToken: `${sessionId}.${secret.toString('base64url')}`, secretHash: hash(secret) };
}

/** The partition a session id lives in; undefined for what cannot be an id. */
export function partitionOfSession(sessionId: string): number | undefined {
  const id = decodeExactly(sessionId, ID_BYTES);
  const partition = id?.readUInt16BE(0);
  return partition !== undefined && partition < PARTITION_COUNT ? partition : undefined;
}

/** Takes a token apart; undefined for what cannot be one. */
export function parseToken(token: string): { readonly sessionId: string; readonly secretHash: Buffer } | undefined {
  const sessionId = token.slice(0, ID_CHARS);
  const secret = decodeExactly(token.slice(ID_CHARS + 1), SECRET_BYTES);
  if (token[ID_CHARS] !== '.' || secret === undefined || partitionOfSession(sessionId) === undefined) return undefined;
  return { sessionId, secretHash: hash(secret) };
}

/** Strict base64url: of the right length, and the one spelling of its bytes. */
function decodeExactly(text: string, length: number): Buffer | undefined {
  const bytes = Buffer.from(text, 'base64url');
  return bytes.length === length && bytes.toString('base64url') === text ? bytes : undefined;
}

function hash(secret: Buffer): Buffer {
  return createHash('sha256').update(secret).digest();
}
