import { luaScript, UnexpectedReplyError } from '../../redis/lua-script.js';
import { ReplyReader } from '../../redis/reply.js';

const from = import.meta.url;

/** `not_holder`: with the highest fencing token that is known, 0: none. */
export type RenewReply =
  { readonly status: 'done' | 'taken_over' } | { readonly status: 'not_holder'; readonly fence: number };

export const renewLockScript = luaScript({
  file: '../lua/renew-lock.lua',
  from,
  keys: ['lock'],
  args: ['lockToken', 'stream', 'ttlMs', 'fenceRetentionMs'],
  batched: 32,
  parse: (reply): RenewReply => {
    const reader = new ReplyReader(reply);
    const status = reader.text();
    switch (status) {
      case 'DONE':
        return { status: 'done' };
      case 'TAKEN_OVER':
        return { status: 'taken_over' };
      case 'NOT_HOLDER':
        return { status: 'not_holder', fence: reader.number() };
      default:
        throw new UnexpectedReplyError(status);
    }
  },
});

/** Whether the stream kept the lock. */
export const detachLockScript = luaScript({
  file: '../lua/detach-lock.lua',
  from,
  keys: ['lock'],
  args: ['lockToken', 'stream', 'isClean', 'graceMs', 'fenceRetentionMs'],
  batched: 32,
  parse: (reply): boolean => {
    const status = new ReplyReader(reply).text();
    if (status !== 'DONE' && status !== 'NOT_KEPT') throw new UnexpectedReplyError(status);
    return status === 'DONE';
  },
});

export const holdScripts = [renewLockScript, detachLockScript];
