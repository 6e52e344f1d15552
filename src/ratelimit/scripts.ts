import { luaScript, UnexpectedReplyError } from '../redis/lua-script.js';
import { ReplyReader } from '../redis/reply.js';

const from = import.meta.url;

/** One limit as a script answers it. */
export interface LimitReply {
  readonly over: boolean;
  /** Units in use: after the charge, or as they are where nothing was charged. */
  readonly used: number;
  readonly retryAfterUs: number;
  readonly resetAtUs: number;
  /** Names the admission for a refund; 0 where nothing was charged. */
  readonly time: number;
}

export interface CheckReply {
  readonly admitted: boolean;
  /** The time of the decision, µs of Redis's clock. */
  readonly nowUs: number;
  readonly limits: readonly LimitReply[];
}

function parseCheck(reply: unknown): CheckReply {
  const reader = new ReplyReader(reply);
  const status = reader.text();
  if (status !== 'ADMITTED' && status !== 'DENIED') throw new UnexpectedReplyError(status);
  const nowUs = reader.number();
  const limits: LimitReply[] = [];
  while (reader.remaining > 0) {
    limits.push({
      over: reader.boolean(),
      used: reader.number(),
      retryAfterUs: reader.number(),
      resetAtUs: reader.number(),
      time: reader.number(),
    });
  }
  return { admitted: status === 'ADMITTED', nowUs, limits };
}

function parseCount(reply: unknown): number {
  const reader = new ReplyReader(reply);
  const count = reader.number();
  reader.end();
  return count;
}

export const checkRateLimitScript = luaScript({
  file: './lua/check-rate-limit.lua',
  from,
  keys: ['...rings'],
  args: ['cost', '...limits'],
  batched: 32,
  parse: parseCheck,
});

export const peekRateLimitScript = luaScript({
  file: './lua/peek-rate-limit.lua',
  from,
  keys: ['...rings'],
  args: ['cost', '...limits'],
  batched: 32,
  parse: parseCheck,
});

export const refundRateLimitScript = luaScript({
  file: './lua/refund-rate-limit.lua',
  from,
  keys: ['ring'],
  args: ['time', 'windowMs'],
  parse: parseCount,
});

export const resetRateLimitScript = luaScript({
  file: './lua/reset-rate-limit.lua',
  from,
  keys: ['ring'],
  args: [],
  parse: (reply) => parseCount(reply) === 1,
});

export const rateLimitScripts = [
  checkRateLimitScript,
  peekRateLimitScript,
  refundRateLimitScript,
  resetRateLimitScript,
];
