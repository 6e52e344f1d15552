import { Session } from '../gen/shardkeep/session/v1/session.js';
import { decodeIdentifier } from '../redis/keys.js';
import { UnexpectedReplyError } from '../redis/lua-script.js';

/** The packed form of a session as `lua/lib/record.lua` describes and writes it. */

const FORMAT = 1;
const RECORD_AT = 1;
const VERSION = 4;
const CREATED_AT = 20;
const LAST_ACTIVE = 26;
const EXPIRES_AT = 32;
const ABSOLUTE_EXPIRES_AT = 38;
const AUTHENTICATED_AT = 44;
const USER_LENGTH = 93;
const USER = 95;

/** The fields of a session that the caller gives; kept as protobuf behind the header. */
export type SessionContent = Pick<
  Session,
  'username' | 'roles' | 'permissions' | 'organizationId' | 'characterId' | 'metadata' | 'profile'
>;

export function encodeRecord(content: SessionContent): Buffer {
  const { username, roles, permissions, organizationId, characterId, metadata, profile } = content;
  // picked one by one, because `content` may be a whole Session and the header has the rest
  const fields = { username, roles, permissions, organizationId, characterId, metadata, profile };
  return Buffer.from(Session.encode(Session.fromPartial(fields)).finish());
}

export function decodeSession(sessionId: string, packed: Buffer): Session {
  if (packed.length < USER || packed[0] !== FORMAT) throw new UnexpectedReplyError('no packed session');
  const time = (offset: number): bigint => BigInt(packed.readUIntBE(offset, 6));
  const record = Session.decode(packed.subarray(packed.readUInt16BE(RECORD_AT)));
  return {
    ...record,
    sessionId,
    userId: decodeIdentifier(packed.toString('utf8', USER, USER + packed.readUInt16BE(USER_LENGTH))),
    createdAtMs: time(CREATED_AT),
    lastActiveMs: time(LAST_ACTIVE),
    expiresAtMs: time(EXPIRES_AT),
    absoluteExpiresAtMs: time(ABSOLUTE_EXPIRES_AT),
    authenticatedAtMs: time(AUTHENTICATED_AT),
    version: packed.readBigUInt64BE(VERSION),
  };
}
