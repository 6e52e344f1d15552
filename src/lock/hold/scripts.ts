import { luaScript, UnexpectedReplyError } from '../../redis/lua-script.js';
import { ReplyReader } from '../../redis/reply.js';

const from = import.meta.url;

/** `not_holder`: with the highest fencing token that is known, 0: none, and the last ForceReleaseLock that met a stream. */
export type RenewReply =
  | { readonly status: 'done' | 'taken_over' }
  | {
      readonly status: 'not_holder';
      readonly fence: number;
      /** The fence that it set, and the reason it was given. */
      readonly forced: { readonly fence: number; readonly reason: string } | undefined;
    };

function readRenewed(reader: ReplyReader): RenewReply {
  const status = reader.text();
  switch (status) {
    case 'DONE':
      return { status: 'done' };
    case 'TAKEN_OVER':
      return { status: 'taken_over' };
    case 'NOT_HOLDER':
      return {
        status: 'not_holder',
        fence: reader.number(),
        forced: reader.remaining === 0 ? undefined : { fence: reader.number(), reason: reader.text() },
      };
    default:
      throw new UnexpectedReplyError(status);
  }
}

function readDetached(reader: ReplyReader): boolean {
  const status = reader.text();
  if (status !== 'DONE' && status !== 'NOT_KEPT') throw new UnexpectedReplyError(status);
  return status === 'DONE';
}

/** What `read` makes of a whole reply. */
function parser<Reply>(read: (reader: ReplyReader) => Reply): (reply: unknown) => Reply {
  return (reply) => {
    const reader = new ReplyReader(reply);
    const answer = read(reader);
    reader.end();
    return answer;
  };
}

export const renewLockScript = luaScript({
  file: '../lua/renew-lock.lua',
  from,
  keys: ['lock'],
  args: ['lockToken', 'stream', 'ttlMs', 'fenceRetentionMs'],
  batched: 32,
  parse: parser(readRenewed),
});

/** Whether the stream kept the lock. */
export const detachLockScript = luaScript({
  file: '../lua/detach-lock.lua',
  from,
  keys: ['lock'],
  args: ['lockToken', 'stream', 'isClean', 'graceMs', 'fenceRetentionMs'],
  batched: 32,
  parse: parser(readDetached),
});

export const holdScripts = [renewLockScript, detachLockScript];
