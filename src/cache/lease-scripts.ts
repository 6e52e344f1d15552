import { refusedGuard } from '../redis/guard.js';
import { luaScript, UnexpectedReplyError } from '../redis/lua-script.js';
import { ReplyReader } from '../redis/reply.js';

const from = import.meta.url;

export type LeaseReply =
  | { readonly status: 'hit'; readonly packed: Buffer }
  | { readonly status: 'leased'; readonly packed: Buffer | undefined }
  | {
      readonly status: 'stale' | 'loading';
      readonly packed: Buffer | undefined;
      readonly waitMs: number;
      /** Nobody loads: the last load failed, and the next one waits. */
      readonly failed: boolean;
    };

function some(packed: Buffer): Buffer | undefined {
  return packed.length === 0 ? undefined : packed;
}

export const getOrLeaseScript = luaScript({
  file: './lua/get-or-lease.lua',
  from,
  keys: ['entry'],
  args: ['token', 'leaseMs', 'judged', 'judgement'],
  parse: (reply): LeaseReply => {
    const reader = new ReplyReader(reply);
    const status = reader.text();
    const packed = reader.bytes();
    if (status === 'HIT' || status === 'LEASED') {
      reader.end();
      return status === 'HIT' ? { status: 'hit', packed } : { status: 'leased', packed: some(packed) };
    }
    if (status !== 'STALE' && status !== 'LOADING') throw new UnexpectedReplyError(status);
    const waitMs = reader.number();
    const failed = reader.boolean();
    reader.end();
    return { status: status === 'STALE' ? 'stale' : 'loading', packed: some(packed), waitMs, failed };
  },
});

export interface FillReply {
  readonly status: 'filled' | 'leaseLost';
  readonly version: bigint;
}

export const fillScript = luaScript({
  file: './lua/fill.lua',
  from,
  keys: ['entry'],
  args: ['token', 'result', 'value', 'ttlMs', 'freshMs', 'tags', 'guard'],
  /** Throws OLD_FENCING_TOKEN and TOO_MANY_GUARDS. */
  parse: (reply): FillReply => {
    const reader = new ReplyReader(reply);
    const status = reader.text();
    const version = reader.bigint();
    reader.end();
    switch (status) {
      case 'FILLED':
        return { status: 'filled', version };
      case 'LEASE_LOST':
        return { status: 'leaseLost', version };
      case 'FENCED':
      case 'TOO_MANY_GUARDS':
        throw refusedGuard(status, version);
      default:
        throw new UnexpectedReplyError(status);
    }
  },
});

function parseFlag(reply: unknown): boolean {
  const reader = new ReplyReader(reply);
  const flag = reader.boolean();
  reader.end();
  return flag;
}

export const renewLeaseScript = luaScript({
  file: './lua/renew-lease.lua',
  from,
  keys: ['entry'],
  args: ['token', 'leaseMs'],
  parse: parseFlag,
});

export const failLeaseScript = luaScript({
  file: './lua/fail-lease.lua',
  from,
  keys: ['entry'],
  args: ['token', 'retryAfterMs'],
  parse: parseFlag,
});

export const leaseScripts = [getOrLeaseScript, fillScript, renewLeaseScript, failLeaseScript];
