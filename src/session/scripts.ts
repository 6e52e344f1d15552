import type { Session } from '../gen/shardkeep/session/v1/session.js';
import { luaScript, UnexpectedReplyError } from '../redis/lua-script.js';
import { ReplyReader } from '../redis/reply.js';
import { decodeSession } from './record.js';

const from = import.meta.url;

/** In the order of the proto's numbers, from 1. */
export const END_CAUSES = [
  'destroyed',
  'evicted',
  'expired_idle',
  'expired_absolute',
  'expired_renewal',
  'theft',
] as const;
export type EndCause = (typeof END_CAUSES)[number];

/** By its number in a reply; throws UnexpectedReplyError. */
export function endCauseOf(number: number): EndCause {
  const cause = END_CAUSES[number - 1];
  if (cause === undefined) throw new UnexpectedReplyError('unknown cause');
  return cause;
}

function readSessions(reader: ReplyReader): Session[] {
  const sessions: Session[] = [];
  while (reader.remaining > 0) {
    const sessionId = reader.text();
    sessions.push(decodeSession(sessionId, reader.bytes()));
  }
  return sessions;
}

export type CreateSessionReply =
  | { readonly status: 'created'; readonly packed: Buffer; readonly evictedSessionIds: string[] }
  | { readonly status: 'limit'; readonly liveSessions: Session[] }
  | { readonly status: 'blocked'; readonly blockedUntilMs: number }
  | { readonly status: 'revoked' };

export const createSessionScript = luaScript({
  file: './lua/create-session.lua',
  from,
  keys: ['session', 'user', 'revocation', 'deadlines', 'counters', 'events'],
  args: [
    'sessionId',
    'secretHash',
    'user',
    'idleTtlMs',
    'absoluteTtlMs',
    'touchGranularityMs',
    'maxSessions',
    'atLimit',
    'authenticatedAtMs',
    'record',
    'maxListed',
    'rotationGraceMs',
    'renewalTtlMs',
    'deviceClass',
  ],
  parse: (reply): CreateSessionReply => {
    const reader = new ReplyReader(reply);
    const status = reader.text();
    switch (status) {
      case 'CREATED': {
        const packed = reader.bytes();
        const evictedSessionIds: string[] = [];
        while (reader.remaining > 0) evictedSessionIds.push(reader.text());
        return { status: 'created', packed, evictedSessionIds };
      }
      case 'LIMIT':
        return { status: 'limit', liveSessions: readSessions(reader) };
      case 'BLOCKED':
        return { status: 'blocked', blockedUntilMs: reader.number() };
      case 'REVOKED':
        return { status: 'revoked' };
      default:
        throw new UnexpectedReplyError(status);
    }
  },
});

export type ValidateSessionReply =
  | { readonly status: 'valid'; readonly packed: Buffer; readonly lastActiveMs: number; readonly expiresAtMs: number }
  | {
      readonly status: 'ended';
      readonly cause: EndCause;
      readonly endedAtMs: number;
      readonly reason: string;
      readonly message: string;
    }
  | { readonly status: 'unknown' };

export const validateSessionScript = luaScript({
  file: './lua/validate-session.lua',
  from,
  keys: ['session'],
  args: ['secretHash'],
  parse: (reply): ValidateSessionReply => {
    const reader = new ReplyReader(reply);
    const status = reader.text();
    switch (status) {
      case 'VALID':
        return { status: 'valid', packed: reader.bytes(), lastActiveMs: reader.number(), expiresAtMs: reader.number() };
      case 'ENDED': {
        return {
          status: 'ended',
          cause: endCauseOf(reader.number()),
          endedAtMs: reader.number(),
          reason: reader.text(),
          message: reader.text(),
        };
      }
      case 'UNKNOWN':
        return { status: 'unknown' };
      default:
        throw new UnexpectedReplyError(status);
    }
  },
});

export const getSessionScript = luaScript({
  file: './lua/get-session.lua',
  from,
  keys: ['session'],
  args: [],
  parse: (reply): Buffer | undefined => {
    const reader = new ReplyReader(reply);
    const status = reader.text();
    if (status === 'LIVE') return reader.bytes();
    if (status === 'GONE') return undefined;
    throw new UnexpectedReplyError(status);
  },
});

export type UpdateSessionReply =
  | { readonly status: 'updated'; readonly packed: Buffer }
  | { readonly status: 'conflict' }
  | { readonly status: 'gone' };

export const updateSessionScript = luaScript({
  file: './lua/update-session.lua',
  from,
  keys: ['session'],
  args: ['version', 'touch', 'record'],
  parse: (reply): UpdateSessionReply => {
    const reader = new ReplyReader(reply);
    const status = reader.text();
    switch (status) {
      case 'UPDATED':
        return { status: 'updated', packed: reader.bytes() };
      case 'CONFLICT':
        return { status: 'conflict' };
      case 'GONE':
        return { status: 'gone' };
      default:
        throw new UnexpectedReplyError(status);
    }
  },
});

export const destroySessionScript = luaScript({
  file: './lua/destroy-session.lua',
  from,
  keys: ['session', 'deadlines', 'counters', 'events'],
  args: ['sessionId', 'userPrefix', 'reason', 'message'],
  parse: (reply): boolean => {
    const reader = new ReplyReader(reply);
    const status = reader.text();
    reader.end();
    if (status === 'DESTROYED') return true;
    if (status === 'GONE') return false;
    throw new UnexpectedReplyError(status);
  },
});

export const destroyUserSessionsScript = luaScript({
  file: './lua/destroy-user-sessions.lua',
  from,
  keys: ['user', 'revocation', 'deadlines', 'counters', 'events'],
  args: [
    'user',
    'sessionPrefix',
    'keepId',
    'reason',
    'message',
    'blockForMs',
    'revokedAtUs',
    'maxEnded',
    'retentionMs',
  ],
  parse: (reply) => {
    const reader = new ReplyReader(reply);
    const step = {
      revokedAtUs: reader.bigint(),
      blockedUntilMs: reader.number(),
      destroyed: reader.number(),
      more: reader.boolean(),
    };
    reader.end();
    return step;
  },
});

export const listUserSessionsScript = luaScript({
  file: './lua/list-user-sessions.lua',
  from,
  keys: ['user'],
  args: ['sessionPrefix', 'maxListed'],
  parse: (reply) => {
    const reader = new ReplyReader(reply);
    return { totalCount: reader.number(), sessions: readSessions(reader) };
  },
});

export const sessionScripts = [
  createSessionScript,
  validateSessionScript,
  getSessionScript,
  updateSessionScript,
  destroySessionScript,
  destroyUserSessionsScript,
  listUserSessionsScript,
];
