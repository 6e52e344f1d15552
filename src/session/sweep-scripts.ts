import { luaScript, UnexpectedReplyError } from '../redis/lua-script.js';
import { ReplyReader } from '../redis/reply.js';
import { endCauseOf, type EndCause } from './scripts.js';

const from = import.meta.url;

/** A session that this call ended. */
export interface SweptSession {
  readonly sessionId: string;
  readonly cause: EndCause;
}

export const sweepSessionsScript = luaScript({
  file: './lua/sweep-sessions.lua',
  from,
  keys: ['deadlines', 'counters', 'events'],
  args: ['sessionPrefix', 'userPrefix', 'maxLooked'],
  parse: (reply) => {
    const reader = new ReplyReader(reply);
    const swept = {
      /** Unix ms; 0: the partition is empty. */
      nextDueMs: reader.number(),
      more: reader.boolean(),
      destroying: reader.boolean(),
      lagMs: reader.number(),
      ended: [] as SweptSession[],
    };
    while (reader.remaining > 0) {
      swept.ended.push({ sessionId: reader.text(), cause: endCauseOf(reader.number()) });
    }
    return swept;
  },
});

export const revokePartitionScript = luaScript({
  file: './lua/revoke-partition.lua',
  from,
  keys: ['deadlines', 'counters'],
  args: ['reason', 'message'],
  parse: (reply): bigint => {
    const reader = new ReplyReader(reply);
    const notBeforeUs = reader.bigint();
    reader.end();
    return notBeforeUs;
  },
});

/** How far the destruction of a partition's sessions has come; what one step answers the next one is told. */
export interface DestroyPass {
  readonly notBeforeUs: string;
  readonly cursor: string;
  readonly isClean: string;
}

export const destroyPartitionSessionsScript = luaScript({
  file: './lua/destroy-partition-sessions.lua',
  from,
  keys: ['deadlines', 'counters', 'events'],
  args: ['sessionPrefix', 'userPrefix', 'notBeforeUs', 'cursor', 'isClean', 'maxEnded'],
  parse: (reply) => {
    const reader = new ReplyReader(reply);
    const destroyed = reader.number();
    const more = reader.boolean();
    const pass: DestroyPass = {
      notBeforeUs: reader.text(),
      cursor: reader.text(),
      isClean: String(reader.number()),
    };
    reader.end();
    return { destroyed, more, pass };
  },
});

export const renewSweepLeaseScript = luaScript({
  file: './lua/renew-sweep-lease.lua',
  from,
  keys: ['lease'],
  args: ['token', 'leaseMs'],
  /** Whether the process has the lease now. */
  parse: (reply): boolean => {
    const reader = new ReplyReader(reply);
    const status = reader.text();
    reader.end();
    if (status === 'HELD') return true;
    if (status === 'TAKEN' || status === 'FREE') return false;
    throw new UnexpectedReplyError(status);
  },
});

export const sweepScripts = [
  sweepSessionsScript,
  revokePartitionScript,
  destroyPartitionSessionsScript,
  renewSweepLeaseScript,
];
