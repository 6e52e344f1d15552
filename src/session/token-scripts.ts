import { luaScript, UnexpectedReplyError } from '../redis/lua-script.js';
import { ReplyReader } from '../redis/reply.js';
import { endCauseOf, type EndCause } from './scripts.js';

/** Scripts that are given a secret's hash. */

const from = import.meta.url;

/** How a session ended, told to who knows its secret. */
export interface EndedReply {
  readonly status: 'ended';
  /** The session ended here: the secret must have been stolen. */
  readonly isTheft: boolean;
  readonly cause: EndCause;
  readonly endedAtMs: number;
  readonly reason: string;
  readonly message: string;
}

function readEnded(reader: ReplyReader, isTheft = false): EndedReply {
  const cause = endCauseOf(reader.number());
  return {
    status: 'ended',
    isTheft,
    cause,
    endedAtMs: reader.number(),
    reason: reader.text(),
    message: reader.text(),
  };
}

export type ValidateSessionReply =
  | {
      readonly status: 'valid' | 'step_up';
      readonly packed: Buffer;
      readonly lastActiveMs: number;
      readonly expiresAtMs: number;
    }
  | { readonly status: 'binding'; readonly packed: Buffer }
  | EndedReply
  | { readonly status: 'reused' }
  | { readonly status: 'unknown' };

export const validateSessionScript = luaScript({
  file: './lua/validate-session.lua',
  from,
  keys: ['session'],
  args: ['secretHash', 'client', 'maxAuthAgeMs'],
  batched: 32,
  parse: (reply): ValidateSessionReply => {
    const reader = new ReplyReader(reply);
    const status = reader.text();
    switch (status) {
      case 'VALID':
      case 'STEP_UP':
        return {
          status: status === 'VALID' ? 'valid' : 'step_up',
          packed: reader.bytes(),
          lastActiveMs: reader.number(),
          expiresAtMs: reader.number(),
        };
      case 'BINDING':
        return { status: 'binding', packed: reader.bytes() };
      case 'ENDED':
        return readEnded(reader);
      case 'REUSED':
        return { status: 'reused' };
      case 'UNKNOWN':
        return { status: 'unknown' };
      default:
        throw new UnexpectedReplyError(status);
    }
  },
});

export type RotateSessionReply =
  | { readonly status: 'rotated'; readonly salt: Buffer; readonly packed: Buffer }
  | { readonly status: 'binding'; readonly packed: Buffer }
  | EndedReply
  | { readonly status: 'unknown' };

export const rotateSessionScript = luaScript({
  file: './lua/rotate-session.lua',
  from,
  keys: ['session', 'deadlines', 'counters', 'events'],
  args: ['sessionId', 'userPrefix', 'secretHash', 'salt', 'nextHash', 'proof', 'client'],
  parse: (reply): RotateSessionReply => {
    const reader = new ReplyReader(reply);
    const status = reader.text();
    switch (status) {
      case 'ROTATED':
        return { status: 'rotated', salt: reader.bytes(), packed: reader.bytes() };
      case 'BINDING':
        return { status: 'binding', packed: reader.bytes() };
      case 'ENDED':
      case 'THEFT':
        return readEnded(reader, status === 'THEFT');
      case 'UNKNOWN':
        return { status: 'unknown' };
      default:
        throw new UnexpectedReplyError(status);
    }
  },
});

/** Answers whether this call ended the session. */
export const destroyByTokenScript = luaScript({
  file: './lua/destroy-by-token.lua',
  from,
  keys: ['session', 'deadlines', 'counters', 'events'],
  args: ['sessionId', 'userPrefix', 'secretHash', 'why'],
  parse: (reply): boolean => {
    const reader = new ReplyReader(reply);
    const status = reader.text();
    reader.end();
    if (status === 'DESTROYED') return true;
    if (status === 'KEPT') return false;
    throw new UnexpectedReplyError(status);
  },
});

export const tokenScripts = [validateSessionScript, rotateSessionScript, destroyByTokenScript];
