import { luaScript, UnexpectedReplyError } from '../redis/lua-script.js';
import { ReplyReader } from '../redis/reply.js';
import type { Holder, LockState, Waiter } from './backend.js';

const from = import.meta.url;

function readHolder(reader: ReplyReader): Holder {
  return {
    owner: reader.text(),
    fencingToken: reader.number(),
    acquiredAtMs: reader.number(),
    expiresAtMs: reader.number(),
    ttlMs: reader.number(),
    permits: reader.number(),
  };
}

export interface GrantedReply {
  readonly status: 'granted';
  /** A logical clock in µs, below 2^53. */
  readonly fencingToken: number;
  readonly expiresAtMs: number;
  readonly holdCount: number;
}

/** Why a lock is not granted now. */
export interface RefusedReply {
  readonly status: 'held' | 'queued' | 'in_delay';
  readonly waitingCount: number;
  readonly delayLeftMs: number;
  readonly holder: Holder | undefined;
}

export interface WaitingReply {
  readonly status: 'waiting';
  readonly ticket: string;
  /** After this time something may change that nobody tells of; 0: never. */
  readonly changesInMs: number;
}

export type AcquireReply = GrantedReply | RefusedReply | WaitingReply | { readonly status: 'upgrade' };

function readGranted(reader: ReplyReader): GrantedReply {
  return {
    status: 'granted',
    fencingToken: reader.number(),
    expiresAtMs: reader.number(),
    holdCount: reader.number(),
  };
}

function readRefused(status: string, reader: ReplyReader): RefusedReply {
  const waitingCount = reader.number();
  const delayLeftMs = reader.number();
  switch (status) {
    case 'HELD':
      return { status: 'held', waitingCount, delayLeftMs, holder: readHolder(reader) };
    case 'QUEUED':
      return { status: 'queued', waitingCount, delayLeftMs, holder: undefined };
    case 'IN_DELAY':
      return { status: 'in_delay', waitingCount, delayLeftMs, holder: undefined };
    default:
      throw new UnexpectedReplyError(status);
  }
}

/** What `read` makes of a whole reply. */
function parser<Reply>(read: (status: string, reader: ReplyReader) => Reply): (reply: unknown) => Reply {
  return (reply) => {
    const reader = new ReplyReader(reply);
    const answer = read(reader.text(), reader);
    reader.end();
    return answer;
  };
}

export const acquireLockScript = luaScript({
  file: './lua/acquire-lock.lua',
  from,
  keys: ['lock'],
  args: [
    'lockToken',
    'ttlMs',
    'owner',
    'permits',
    'capacity',
    'reentrant',
    'hasRequest',
    'waitMs',
    'channel',
    'call',
    'stream',
    'delayMs',
    'fenceRetentionMs',
  ],
  batched: 32,
  parse: parser((status, reader): AcquireReply => {
    switch (status) {
      case 'GRANTED':
        return readGranted(reader);
      case 'WAITING':
        return { status: 'waiting', ticket: reader.text(), changesInMs: reader.number() };
      case 'UPGRADE':
        return { status: 'upgrade' };
      default:
        return readRefused(status, reader);
    }
  }),
});

export type ClaimReply =
  GrantedReply | { readonly status: 'waiting'; readonly changesInMs: number } | { readonly status: 'gone' };

export const claimLockScript = luaScript({
  file: './lua/claim-lock.lua',
  from,
  keys: ['lock'],
  args: ['lockToken', 'ticket', 'call', 'ttlMs', 'fenceRetentionMs'],
  batched: 32,
  parse: parser((status, reader): ClaimReply => {
    switch (status) {
      case 'GRANTED':
        return readGranted(reader);
      case 'WAITING':
        return { status: 'waiting', changesInMs: reader.number() };
      case 'GONE':
        return { status: 'gone' };
      default:
        throw new UnexpectedReplyError(status);
    }
  }),
});

export const cancelWaitScript = luaScript({
  file: './lua/cancel-wait.lua',
  from,
  keys: ['lock'],
  args: ['lockToken', 'ticket', 'call', 'fenceRetentionMs'],
  parse: parser(readRefused),
});

/** How long the token had held the lock; undefined where it did not. */
export const releaseLockScript = luaScript({
  file: './lua/release-lock.lua',
  from,
  keys: ['lock'],
  args: ['lockToken', 'fenceRetentionMs'],
  batched: 32,
  parse: parser((status, reader): number | undefined => (isDone(status) ? reader.number() : undefined)),
});

/** Whether the token held the lock. */
export const giveBackLockScript = luaScript({
  file: './lua/give-back-lock.lua',
  from,
  keys: ['lock'],
  args: ['lockToken', 'fenceRetentionMs'],
  parse: parser(isDone),
});

/** The new end of the lease; undefined where the token does not hold the lock. */
export const extendLockScript = luaScript({
  file: './lua/extend-lock.lua',
  from,
  keys: ['lock'],
  args: ['lockToken', 'ttlMs', 'fenceRetentionMs'],
  batched: 32,
  parse: parser((status, reader): number | undefined => (isDone(status) ? reader.number() : undefined)),
});

function isDone(status: string): boolean {
  if (status !== 'DONE' && status !== 'NOT_HOLDER') throw new UnexpectedReplyError(status);
  return status === 'DONE';
}

export const getLockScript = luaScript({
  file: './lua/get-lock.lua',
  from,
  keys: ['lock'],
  args: ['maxListed'],
  parse: (reply): LockState => {
    const reader = new ReplyReader(reply);
    const state = {
      fence: reader.number(),
      delayLeftMs: reader.number(),
      holderCount: reader.number(),
      waitingCount: reader.number(),
    };
    const listedHolders = reader.number();
    const holders = Array.from({ length: listedHolders }, () => readHolder(reader));
    const waiters: Waiter[] = [];
    while (reader.remaining > 0) {
      waiters.push({
        owner: reader.text(),
        permits: reader.number(),
        waitingSinceMs: reader.number(),
        givesUpAtMs: reader.number(),
      });
    }
    return { ...state, holders, waiters };
  },
});

export const lockScripts = [
  acquireLockScript,
  claimLockScript,
  cancelWaitScript,
  releaseLockScript,
  giveBackLockScript,
  extendLockScript,
  getLockScript,
];
