import type { Session } from '../gen/shardkeep/session/v1/session.js';
import { refusedGuard } from '../redis/guard.js';
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
  | {
      readonly status: 'created';
      readonly packed: Buffer;
      /** '': none. */
      readonly replacedSessionId: string;
      readonly evictedSessionIds: string[];
    }
  | { readonly status: 'repeated'; readonly packed: Buffer; readonly sessionId: string; readonly salt: Buffer }
  | { readonly status: 'spent' }
  | { readonly status: 'limit'; readonly liveSessions: Session[] }
  | { readonly status: 'blocked'; readonly blockedUntilMs: number }
  | { readonly status: 'revoked' };

export const createSessionScript = luaScript({
  file: './lua/create-session.lua',
  from,
  keys: ['session', 'user', 'revocation', 'deadlines', 'counters', 'events', 'login'],
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
    'maxOfClass',
    'binding',
    'requestSalt',
    'replacedId',
    'replacedHash',
    '...evictIds',
  ],
  batched: 8,
  parse: (reply): CreateSessionReply => {
    const reader = new ReplyReader(reply);
    const status = reader.text();
    switch (status) {
      case 'CREATED': {
        const packed = reader.bytes();
        const replacedSessionId = reader.text();
        const evictedSessionIds: string[] = [];
        while (reader.remaining > 0) evictedSessionIds.push(reader.text());
        return { status: 'created', packed, replacedSessionId, evictedSessionIds };
      }
      case 'REPEATED':
        return { status: 'repeated', packed: reader.bytes(), sessionId: reader.text(), salt: reader.bytes() };
      case 'SPENT':
        return { status: 'spent' };
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

export const getSessionScript = luaScript({
  file: './lua/get-session.lua',
  from,
  keys: ['session'],
  args: [],
  batched: 32,
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

/** Throws OLD_FENCING_TOKEN, TOO_MANY_GUARDS. */
export const updateSessionScript = luaScript({
  file: './lua/update-session.lua',
  from,
  keys: ['session'],
  args: ['version', 'touch', 'record', 'guard'],
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
      case 'FENCED':
      case 'TOO_MANY_GUARDS':
        throw refusedGuard(status, reader.bigint());
      default:
        throw new UnexpectedReplyError(status);
    }
  },
});

export type ExtendSessionReply =
  | {
      readonly status: 'extended' | 'touched';
      readonly packed: Buffer;
      readonly lastActiveMs: number;
      readonly expiresAtMs: number;
    }
  | { readonly status: 'gone' };

export const extendSessionScript = luaScript({
  file: './lua/extend-session.lua',
  from,
  keys: ['session'],
  args: ['ttlMs'],
  parse: (reply): ExtendSessionReply => {
    const reader = new ReplyReader(reply);
    const status = reader.text();
    switch (status) {
      case 'EXTENDED':
      case 'TOUCHED':
        return {
          status: status === 'EXTENDED' ? 'extended' : 'touched',
          packed: reader.bytes(),
          lastActiveMs: reader.number(),
          expiresAtMs: reader.number(),
        };
      case 'GONE':
        return { status: 'gone' };
      default:
        throw new UnexpectedReplyError(status);
    }
  },
});

export const announceChangeScript = luaScript({
  file: './lua/announce-change.lua',
  from,
  keys: ['session', 'counters', 'events'],
  args: ['sessionId'],
  parse: (reply): 'told' | 'nothing' | 'gone' => {
    const reader = new ReplyReader(reply);
    const status = reader.text();
    reader.end();
    switch (status) {
      case 'TOLD':
        return 'told';
      case 'NOTHING':
        return 'nothing';
      case 'GONE':
        return 'gone';
      default:
        throw new UnexpectedReplyError(status);
    }
  },
});

export const destroySessionScript = luaScript({
  file: './lua/destroy-session.lua',
  from,
  keys: ['session', 'deadlines', 'counters', 'events'],
  args: ['sessionId', 'userPrefix', 'reason', 'message', 'effectiveInMs'],
  parse: (reply): boolean => {
    const reader = new ReplyReader(reply);
    const status = reader.text();
    reader.end();
    if (status === 'DESTROYED') return true;
    if (status === 'GONE' || status === 'UNCHANGED') return false;
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
    'maxEnded',
    'retentionMs',
    'effectiveInMs',
    'cursor',
  ],
  parse: (reply) => {
    const reader = new ReplyReader(reply);
    const step = {
      revokedAtUs: reader.bigint(),
      blockedUntilMs: reader.number(),
      destroyed: reader.number(),
      /** What the next step needs; '': none is needed. */
      cursor: reader.text(),
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
  getSessionScript,
  updateSessionScript,
  extendSessionScript,
  announceChangeScript,
  destroySessionScript,
  destroyUserSessionsScript,
  listUserSessionsScript,
];
