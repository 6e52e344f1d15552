import { luaScript, UnexpectedReplyError } from '../../redis/lua-script.js';
import { ReplyReader } from '../../redis/reply.js';

/** What one node does with locks that npm `redlock` knows too. Times are of its clock. */

const from = import.meta.url;

/** Locks that the asker has. */
export interface TakenReply {
  /** `again`: some of them it had before. */
  readonly status: 'granted' | 'again';
  /** The earliest end. */
  readonly untilMs: number;
  readonly leftMs: number;
}

/** A lock that somebody has. */
export interface HeldReply {
  readonly status: 'held';
  /** Which of the keys asked for, from 0. */
  readonly index: number;
  /** Tells holders apart. */
  readonly holder: string;
  readonly untilMs: number;
  readonly leftMs: number;
}

/** A key that is no lock. */
export interface ForeignReply {
  readonly status: 'foreign';
}

const FOREIGN: ForeignReply = { status: 'foreign' };

/** What `read` makes of a whole reply. */
function parser<Reply>(read: (status: string, reader: ReplyReader) => Reply): (reply: unknown) => Reply {
  return (reply) => {
    const reader = new ReplyReader(reply);
    const answer = read(reader.text(), reader);
    reader.end();
    return answer;
  };
}

function readHeld(index: number, reader: ReplyReader): HeldReply {
  return { status: 'held', index, holder: reader.text(), untilMs: reader.number(), leftMs: reader.number() };
}

export type AcquireReply = TakenReply | HeldReply | ForeignReply;

export const acquireRedlockScript = luaScript({
  file: './lua/acquire-redlock.lua',
  from,
  keys: ['...locks'],
  args: ['lockToken', 'ttlMs'],
  parse: parser((status, reader): AcquireReply => {
    switch (status) {
      case 'GRANTED':
        return { status: 'granted', untilMs: reader.number(), leftMs: reader.number() };
      case 'AGAIN':
        return { status: 'again', untilMs: reader.number(), leftMs: reader.number() };
      case 'HELD':
        return readHeld(reader.number() - 1, reader);
      case 'FOREIGN':
        reader.number();
        return FOREIGN;
      default:
        throw new UnexpectedReplyError(status);
    }
  }),
});

/** For each key whether the token had it. */
export type HadReply = readonly boolean[];

function readHad(status: string, reader: ReplyReader): HadReply {
  if (status !== 'DONE') throw new UnexpectedReplyError(status);
  const had: boolean[] = [];
  while (reader.remaining > 0) had.push(reader.boolean());
  return had;
}

export interface ExtendReply {
  readonly had: HadReply;
  /** The new end of those that it had. */
  readonly untilMs: number;
}

export const extendRedlockScript = luaScript({
  file: './lua/extend-redlock.lua',
  from,
  keys: ['...locks'],
  args: ['lockToken', 'ttlMs'],
  parse: parser((status, reader): ExtendReply => {
    const untilMs = reader.number();
    return { untilMs, had: readHad(status, reader) };
  }),
});

export const releaseRedlockScript = luaScript({
  file: './lua/release-redlock.lua',
  from,
  keys: ['...locks'],
  args: ['lockToken'],
  parse: parser(readHad),
});

export const giveBackRedlockScript = luaScript({
  file: './lua/give-back-redlock.lua',
  from,
  keys: ['...locks'],
  args: ['lockToken', 'untilMs'],
  parse: parser(readHad),
});

export type LockReply = HeldReply | ForeignReply | { readonly status: 'free' };

export const getRedlockScript = luaScript({
  file: './lua/get-redlock.lua',
  from,
  keys: ['lock'],
  args: [],
  parse: parser((status, reader): LockReply => {
    switch (status) {
      case 'HELD':
        return readHeld(0, reader);
      case 'FREE':
        return { status: 'free' };
      case 'FOREIGN':
        return FOREIGN;
      default:
        throw new UnexpectedReplyError(status);
    }
  }),
});

export const redlockScripts = [
  acquireRedlockScript,
  extendRedlockScript,
  releaseRedlockScript,
  giveBackRedlockScript,
  getRedlockScript,
];
