import { luaScript, UnexpectedReplyError } from '../redis/lua-script.js';
import { ReplyReader } from '../redis/reply.js';

const from = import.meta.url;

/** Why a limit denies a call. */
export type Denial = 'over' | 'banned';

/** One limit as a script answers it. */
export interface LimitReply {
  /** Undefined: it does not. */
  readonly denial: Denial | undefined;
  /** Whether it is by a ban that people set: that denies also where the limit only watches. */
  readonly isByPeople: boolean;
  /** Units in use: after the charge, or as they are where nothing was charged. */
  readonly used: number;
  /** How many there can be for this subject. */
  readonly capacity: number;
  readonly retryAfterUs: number;
  readonly resetAtUs: number;
  /**
   * Names the charge for a refund; 0 where nothing was charged. Of a call that was denied: how long a block or a ban goes on,
   * in µs.
   */
  readonly mark: number;
}

/** What a script decided about one call, or several that are alike. */
export interface Decision {
  /** The time of the decision, µs of Redis's clock. */
  readonly nowUs: number;
  /** How many of the calls were admitted. */
  readonly admitted: number;
  /** Units that each of them was charged. */
  readonly units: number;
  /** The limits after that; undefined where none was admitted. */
  readonly limits: readonly LimitReply[];
  /** The limits as those met them that were denied; empty where none was. */
  readonly deniedLimits: readonly LimitReply[];
}

/** Windows of the calendar were asked for that are not those of Redis's clock, µs. */
export interface OtherWindow {
  readonly nowUs: number;
  readonly admitted: undefined;
}

const DENIALS: readonly (Denial | undefined)[] = [undefined, 'over', 'banned', 'banned'];
const BANNED_BY_PEOPLE = 3;

function parseLimit(reader: ReplyReader): LimitReply {
  const over = reader.number();
  return {
    denial: DENIALS[over],
    isByPeople: over === BANNED_BY_PEOPLE,
    used: reader.number(),
    capacity: reader.number(),
    retryAfterUs: reader.number(),
    resetAtUs: reader.number(),
    mark: reader.number(),
  };
}

const LIMIT_FIELDS = 6;

function parseLimits(reader: ReplyReader, count: number): LimitReply[] {
  const limits: LimitReply[] = [];
  for (let index = 0; index < count; index++) limits.push(parseLimit(reader));
  return limits;
}

function parseDecision(reply: unknown): Decision | OtherWindow {
  const reader = new ReplyReader(reply);
  const status = reader.text();
  const nowUs = reader.number();
  if (status === 'CLOCK') return { nowUs, admitted: undefined };
  const units = reader.number();
  if (status === 'ADMITTED') {
    const limits = parseLimits(reader, reader.remaining / LIMIT_FIELDS);
    return { nowUs, admitted: Number.POSITIVE_INFINITY, units, limits, deniedLimits: [] };
  }
  if (status === 'DENIED') {
    const deniedLimits = parseLimits(reader, reader.remaining / LIMIT_FIELDS);
    return { nowUs, admitted: 0, units, limits: [], deniedLimits };
  }
  if (status !== 'PART') throw new UnexpectedReplyError(status);
  const admitted = reader.number();
  const count = reader.remaining / LIMIT_FIELDS / 2;
  return { nowUs, admitted, units, limits: parseLimits(reader, count), deniedLimits: parseLimits(reader, count) };
}

function parseNumber(reply: unknown): number {
  const reader = new ReplyReader(reply);
  const number = reader.number();
  reader.end();
  return number;
}

const parseBoolean = (reply: unknown): boolean => parseNumber(reply) === 1;

/** What became of a reservation: units that its charge is now; undefined when there is no such one, or no more. */
export type ReservationEnd =
  | {
      readonly status: 'settled' | 'refunded';
      /** Units that the charge is now. */
      readonly units: number;
      /** Standings of subjects that something was taken back of. */
      readonly roomMade: readonly string[];
    }
  | undefined;

function parseEnd(reply: unknown): ReservationEnd {
  const reader = new ReplyReader(reply);
  const status = reader.text();
  if (status === 'NOT_FOUND') return undefined;
  if (status !== 'SETTLED' && status !== 'REFUNDED') throw new UnexpectedReplyError(status);
  const units = reader.number();
  const roomMade = Array.from({ length: reader.remaining }, () => reader.text());
  return { status: status === 'SETTLED' ? 'settled' : 'refunded', units, roomMade };
}

export const checkRateLimitScript = luaScript({
  file: './lua/check-rate-limit.lua',
  from,
  keys: ['...limits'],
  args: ['calls', 'minCost', 'chargeDenied', '...limits'],
  batched: 32,
  parse: parseDecision,
});

export const peekRateLimitScript = luaScript({
  file: './lua/peek-rate-limit.lua',
  from,
  keys: ['...limits'],
  args: ['calls', 'minCost', 'chargeDenied', '...limits'],
  batched: 32,
  parse: parseDecision,
});

export const reserveRateLimitScript = luaScript({
  file: './lua/reserve-rate-limit.lua',
  from,
  keys: ['reservation', '...limits'],
  args: ['ttlMs', 'asked', 'ownCosts', 'calls', 'minCost', 'chargeDenied', '...limits'],
  /** Undefined: the key is of a call that asked for something else. */
  parse: (reply): Decision | OtherWindow | undefined =>
    new ReplyReader(reply).text() === 'OTHER' ? undefined : parseDecision(reply),
});

export const settleRateLimitScript = luaScript({
  file: './lua/settle-rate-limit.lua',
  from,
  keys: ['reservation'],
  args: ['cost', 'isRefund', 'channel'],
  parse: parseEnd,
});

export const refundRateLimitScript = luaScript({
  file: './lua/refund-rate-limit.lua',
  from,
  keys: ['record'],
  args: ['mark', 'chargedUs', 'units', 'standing', 'channel', '...limits'],
  batched: 32,
  parse: parseNumber,
});

export const resetRateLimitScript = luaScript({
  file: './lua/reset-rate-limit.lua',
  from,
  keys: ['standing', 'record'],
  args: ['policy', 'channel'],
  parse: parseBoolean,
});

export const renewConcurrencyScript = luaScript({
  file: './lua/renew-concurrency.lua',
  from,
  keys: ['...records'],
  args: ['holder', '...limits'],
  batched: 32,
  /** Whether all slots are held. */
  parse: parseBoolean,
});

export const overrideRateLimitScript = luaScript({
  file: './lua/override-rate-limit.lua',
  from,
  keys: ['standing'],
  args: ['policy', 'limit', 'ttlMs', 'channel'],
  /** Until when, Unix ms; 0: not any more. */
  parse: parseNumber,
});

export const banScript = luaScript({
  file: './lua/ban.lua',
  from,
  keys: ['standing'],
  args: ['policy', 'ttlMs', 'reason'],
  /** Until when, Unix ms. */
  parse: parseNumber,
});

export const unbanScript = luaScript({
  file: './lua/unban.lua',
  from,
  keys: ['standing'],
  args: ['policy', 'channel'],
  parse: parseBoolean,
});

/** A ban that is not over. */
export interface BanReply {
  /** Its name in the standing; '': all policies. */
  readonly policy: string;
  readonly expiresAtMs: number;
  readonly reason: string;
  /** 0: no ladder's. */
  readonly step: number;
}

export const listBansScript = luaScript({
  file: './lua/list-bans.lua',
  from,
  keys: ['standing'],
  args: [],
  batched: 32,
  parse: (reply): BanReply[] => {
    const reader = new ReplyReader(reply);
    const bans: BanReply[] = [];
    while (reader.remaining > 0) {
      bans.push({
        policy: reader.text(),
        expiresAtMs: reader.number(),
        reason: reader.text(),
        step: reader.number(),
      });
    }
    return bans;
  },
});

export const rateLimitScripts = [
  checkRateLimitScript,
  peekRateLimitScript,
  reserveRateLimitScript,
  settleRateLimitScript,
  refundRateLimitScript,
  resetRateLimitScript,
  renewConcurrencyScript,
  overrideRateLimitScript,
  banScript,
  unbanScript,
  listBansScript,
];
