import { luaScript, UnexpectedReplyError } from '../redis/lua-script.js';
import { ReplyReader } from '../redis/reply.js';

const from = import.meta.url;

/** Who holds a lock, without the token. Times are Unix milliseconds of Redis's clock. */
export interface Holder {
  readonly owner: string;
  readonly fencingToken: bigint;
  readonly acquiredAtMs: number;
  readonly expiresAtMs: number;
  /** At least 1. */
  readonly ttlMs: number;
}

function readHolder(reader: ReplyReader): Holder {
  return {
    owner: reader.text(),
    fencingToken: reader.bigint(),
    acquiredAtMs: reader.number(),
    expiresAtMs: reader.number(),
    ttlMs: reader.number(),
  };
}

export type AcquireReply =
  | {
      readonly status: 'granted';
      readonly lockToken: string;
      /** A logical clock in µs, below 2^53. */
      readonly fencingToken: number;
      readonly expiresAtMs: number;
    }
  | { readonly status: 'held'; readonly holder: Holder };

function readAcquireReply(reader: ReplyReader): AcquireReply {
  const status = reader.text();
  switch (status) {
    case 'GRANTED':
      return {
        status: 'granted',
        lockToken: reader.text(),
        fencingToken: reader.number(),
        expiresAtMs: reader.number(),
      };
    case 'HELD':
      return { status: 'held', holder: readHolder(reader) };
    default:
      throw new UnexpectedReplyError(status);
  }
}

export const acquireLockScript = luaScript({
  file: './lua/acquire-lock.lua',
  from,
  keys: ['lock'],
  args: ['lockToken', 'ttlMs', 'owner', 'requestId', 'fenceRetentionMs'],
  batched: 32,
  parse: (reply): AcquireReply => {
    const reader = new ReplyReader(reply);
    const answer = readAcquireReply(reader);
    reader.end();
    return answer;
  },
});

/** Whether the token held the lock, and the call was done. */
function readOwnership(reader: ReplyReader): boolean {
  const status = reader.text();
  if (status !== 'DONE' && status !== 'NOT_HOLDER') throw new UnexpectedReplyError(status);
  return status === 'DONE';
}

function parseOwnership(reply: unknown): boolean {
  const reader = new ReplyReader(reply);
  const held = readOwnership(reader);
  reader.end();
  return held;
}

export const releaseLockScript = luaScript({
  file: './lua/release-lock.lua',
  from,
  keys: ['lock'],
  args: ['lockToken', 'fenceRetentionMs'],
  batched: 32,
  parse: parseOwnership,
});

export const giveBackLockScript = luaScript({
  file: './lua/give-back-lock.lua',
  from,
  keys: ['lock'],
  args: ['lockToken', 'fenceRetentionMs'],
  parse: parseOwnership,
});

export type ExtendReply = { readonly status: 'done'; readonly expiresAtMs: number } | { readonly status: 'not-holder' };

export const extendLockScript = luaScript({
  file: './lua/extend-lock.lua',
  from,
  keys: ['lock'],
  args: ['lockToken', 'ttlMs', 'fenceRetentionMs'],
  batched: 32,
  parse: (reply): ExtendReply => {
    const reader = new ReplyReader(reply);
    const answer: ExtendReply = readOwnership(reader)
      ? { status: 'done', expiresAtMs: reader.number() }
      : { status: 'not-holder' };
    reader.end();
    return answer;
  },
});

export interface LockState {
  readonly holders: readonly Holder[];
  /** The highest fencing token granted; 0: none is known. */
  readonly fence: bigint;
}

export const getLockScript = luaScript({
  file: './lua/get-lock.lua',
  from,
  keys: ['lock'],
  args: [],
  parse: (reply): LockState => {
    const reader = new ReplyReader(reply);
    const fence = reader.bigint();
    const holders: Holder[] = [];
    while (reader.remaining > 0) holders.push(readHolder(reader));
    return { holders, fence };
  },
});

export const lockScripts = [acquireLockScript, releaseLockScript, giveBackLockScript, extendLockScript, getLockScript];
