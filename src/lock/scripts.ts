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

/** What a script found over that nobody released: so many leases; absent: none. */
export interface FoundLost {
  readonly lost?: number;
}

/** What `read` makes of a reply behind which the leases may stand that were found over. */
function lostParser<Reply extends object>(
  read: (status: string, reader: ReplyReader) => Reply,
): (reply: unknown) => Reply & FoundLost {
  return parser((status, reader) => {
    const answer = read(status, reader);
    return reader.remaining === 0 ? answer : { ...answer, lost: reader.number() };
  });
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
    'takesOver',
    'fenceRetentionMs',
  ],
  batched: 32,
  parse: lostParser((status, reader): AcquireReply => {
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
  args: ['lockToken', 'ticket', 'ttlMs', 'fenceRetentionMs'],
  batched: 32,
  parse: lostParser((status, reader): ClaimReply => {
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
  parse: lostParser(readRefused),
});

export interface ReleaseReply {
  /** How long the token had held the lock; undefined where it did not. */
  readonly heldMs: number | undefined;
}

export const releaseLockScript = luaScript({
  file: './lua/release-lock.lua',
  from,
  keys: ['lock'],
  args: ['lockToken', 'fenceRetentionMs'],
  batched: 32,
  parse: lostParser((status, reader): ReleaseReply => ({ heldMs: isDone(status) ? reader.number() : undefined })),
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

/** How a lock stands, and when that changes. */
export interface LockStateReply extends LockState {
  /** After this time a lease, a wait or the delay ends, of which nobody may be told; 0: never. */
  readonly changesInMs: number;
  /** So long ago the latest lease ended that nobody has cleared yet; 0: there is none. */
  readonly endedMsAgo: number;
}

export const getLockScript = luaScript({
  file: './lua/get-lock.lua',
  from,
  keys: ['lock'],
  args: ['maxListed'],
  batched: 16,
  parse: (reply): LockStateReply => {
    const reader = new ReplyReader(reply);
    const state = {
      fence: reader.number(),
      delayLeftMs: reader.number(),
      holderCount: reader.number(),
      waitingCount: reader.number(),
      changesInMs: reader.number(),
      endedMsAgo: reader.number(),
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

export interface ForceReleaseReply {
  /** Whether it was done: not where another fencing token was expected. */
  readonly released: boolean;
  /** The highest fencing token now. */
  readonly fence: number;
  /** Leases that were found over. */
  readonly lost: number;
  readonly holderCount: number;
  /** Of these, as many as were to be listed. */
  readonly holders: readonly Holder[];
}

export const forceReleaseLockScript = luaScript({
  file: './lua/force-release-lock.lua',
  from,
  keys: ['lock'],
  args: ['reason', 'expectedFencingToken', 'maxListed', 'afterLeases', 'fenceRetentionMs'],
  parse: parser((status, reader): ForceReleaseReply => {
    const fence = reader.number();
    if (status === 'OTHER_TOKEN') return { released: false, fence, lost: 0, holderCount: 0, holders: [] };
    if (status !== 'RELEASED') throw new UnexpectedReplyError(status);
    const [lost, holderCount] = [reader.number(), reader.number()];
    const holders: Holder[] = [];
    while (reader.remaining > 0) holders.push(readHolder(reader));
    return { released: true, fence, lost, holderCount, holders };
  }),
});

export interface CleanupReply {
  readonly expiredHolders: number;
  readonly expiredWaiters: number;
  /** Of the holders, those that had taken the lock up. */
  readonly lost: number;
}

export const cleanupLockScript = luaScript({
  file: './lua/cleanup-lock.lua',
  from,
  keys: ['lock'],
  args: ['fenceRetentionMs'],
  batched: 16,
  parse: parser((status, reader): CleanupReply => {
    if (status !== 'CLEARED') throw new UnexpectedReplyError(status);
    return { expiredHolders: reader.number(), expiredWaiters: reader.number(), lost: reader.number() };
  }),
});

export const lockScripts = [
  acquireLockScript,
  claimLockScript,
  cancelWaitScript,
  releaseLockScript,
  giveBackLockScript,
  extendLockScript,
  getLockScript,
  forceReleaseLockScript,
  cleanupLockScript,
];
