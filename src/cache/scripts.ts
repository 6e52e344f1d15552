import { refusedGuard } from '../redis/guard.js';
import { luaScript, UnexpectedReplyError } from '../redis/lua-script.js';
import { ReplyReader } from '../redis/reply.js';

const from = import.meta.url;

function parseFlag(reply: unknown): boolean {
  const reader = new ReplyReader(reply);
  const flag = reader.boolean();
  reader.end();
  return flag;
}

export interface SetReply {
  readonly status: 'stored' | 'unmet';
  /** A logical clock in µs, below 2^53. */
  readonly version: number;
}

export const setScript = luaScript({
  file: './lua/set.lua',
  from,
  keys: ['entry'],
  args: ['value', 'ttlMs', 'condition', 'version', 'freshMs', 'tags', 'guard'],
  batched: 32,
  /** Throws OLD_FENCING_TOKEN and TOO_MANY_GUARDS. */
  parse: (reply): SetReply => {
    const reader = new ReplyReader(reply);
    const status = reader.text();
    const version = reader.number();
    reader.end();
    if (status === 'STORED') return { status: 'stored', version };
    if (status === 'UNMET') return { status: 'unmet', version };
    if (status === 'FENCED' || status === 'TOO_MANY_GUARDS') throw refusedGuard(status, BigInt(version));
    throw new UnexpectedReplyError(status);
  },
});

export const deleteScript = luaScript({
  file: './lua/delete.lua',
  from,
  keys: ['key'],
  args: ['guard'],
  batched: 32,
  /** Whether it held something. Throws OLD_FENCING_TOKEN and TOO_MANY_GUARDS. */
  parse: (reply): boolean => {
    const reader = new ReplyReader(reply);
    const status = reader.text();
    const detail = reader.number();
    reader.end();
    if (status === 'DELETED') return detail === 1;
    if (status === 'FENCED' || status === 'TOO_MANY_GUARDS') throw refusedGuard(status, BigInt(detail));
    throw new UnexpectedReplyError(status);
  },
});

export const existsScript = luaScript({
  file: './lua/exists.lua',
  from,
  keys: ['key'],
  args: [],
  batched: 32,
  parse: parseFlag,
});

export const touchScript = luaScript({
  file: './lua/touch.lua',
  from,
  keys: ['key'],
  args: ['ttlMs'],
  batched: 32,
  parse: parseFlag,
});

export type KeyTtl =
  | { readonly status: 'missing' }
  | { readonly status: 'lasting' }
  | { readonly status: 'expiring'; readonly ttlMs: number };

export const getTtlScript = luaScript({
  file: './lua/get-ttl.lua',
  from,
  keys: ['key'],
  args: [],
  batched: 32,
  parse: (reply): KeyTtl => {
    const reader = new ReplyReader(reply);
    const ttlMs = reader.number();
    reader.end();
    if (ttlMs === -2) return { status: 'missing' };
    return ttlMs === -1 ? { status: 'lasting' } : { status: 'expiring', ttlMs: Math.max(1, ttlMs) };
  },
});

export interface IncrementReply {
  readonly status: 'applied' | 'refused' | 'overflow';
  readonly value: bigint;
}

function parseIncrement(reply: unknown): IncrementReply {
  const reader = new ReplyReader(reply);
  const status = reader.text();
  const value = reader.bigint();
  reader.end();
  switch (status) {
    case 'APPLIED':
      return { status: 'applied', value };
    case 'REFUSED':
      return { status: 'refused', value };
    case 'OVERFLOW':
      return { status: 'overflow', value };
    case 'FENCED':
    case 'TOO_MANY_GUARDS':
      throw refusedGuard(status, value);
    default:
      throw new UnexpectedReplyError(status);
  }
}

export const incrementScript = luaScript({
  file: './lua/increment.lua',
  from,
  keys: ['counter'],
  args: ['delta', 'ttlMs', 'floor', 'ceiling'],
  batched: 32,
  parse: parseIncrement,
});

export const incrementOnceScript = luaScript({
  file: './lua/increment-once.lua',
  from,
  keys: ['counter', 'fence', 'request'],
  args: ['delta', 'ttlMs', 'floor', 'ceiling', 'guard', 'rememberMs'],
  /** Throws OLD_FENCING_TOKEN and TOO_MANY_GUARDS. */
  parse: parseIncrement,
});

export const cacheScripts = [
  setScript,
  deleteScript,
  existsScript,
  touchScript,
  getTtlScript,
  incrementScript,
  incrementOnceScript,
];
