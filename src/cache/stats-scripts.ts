import { luaScript, UnexpectedReplyError } from '../redis/lua-script.js';
import { ReplyReader } from '../redis/reply.js';
import { COUNTER, COUNTER_NAMES, type CounterName } from './stats.js';

const from = import.meta.url;

export const addStatsScript = luaScript({
  file: './lua/add-stats.lua',
  from,
  keys: ['stats', 'hotEven', 'hotOdd'],
  args: ['process', 'batch', 'gatheredMs', 'counts', '...hotKeys'],
  parse: (reply): void => {
    const reader = new ReplyReader(reply);
    const status = reader.text();
    reader.end();
    if (status !== 'ADDED' && status !== 'KNOWN') throw new UnexpectedReplyError(status);
  },
});

export type CounterValues = Readonly<Record<CounterName, number>>;

/** Whole numbers up to 2^53 with commas between them; a counter that the list does not have is 0. */
function toValues(list: string): CounterValues {
  if (!/^(?:\d{1,16}(?:,\d{1,16})*)?$/.test(list)) throw new UnexpectedReplyError('no list of counters');
  const found = list.split(',').map(Number);
  return Object.fromEntries(COUNTER_NAMES.map((name) => [name, found[COUNTER[name]] ?? 0])) as CounterValues;
}

export interface CountedMinute {
  /** Unix ms of Redis's clock. */
  readonly startMs: number;
  readonly counts: CounterValues;
}

export interface CountedStats {
  /** Since when was counted, Unix ms of Redis's clock. */
  readonly sinceMs: number;
  readonly total: CounterValues;
  /** The oldest first. */
  readonly minutes: readonly CountedMinute[];
  /** So long the reads of the hot keys were counted. */
  readonly hotWindowMs: number;
  /** The hottest first. */
  readonly hotKeys: readonly { readonly key: string; readonly reads: number }[];
}

export const NOTHING_COUNTED = toValues('');

export const getStatsScript = luaScript({
  file: './lua/get-stats.lua',
  from,
  keys: ['stats', 'hotEven', 'hotOdd'],
  args: ['minutes', 'hotKeyLimit'],
  /** Undefined: nothing was counted for long. */
  parse: (reply): CountedStats | undefined => {
    const reader = new ReplyReader(reply);
    const status = reader.text();
    if (status === 'NOTHING') {
      reader.end();
      return undefined;
    }
    if (status !== 'STATS') throw new UnexpectedReplyError(status);
    const [sinceMs, total, hotWindowMs] = [reader.number(), toValues(reader.text()), reader.number()];
    const minutes: CountedMinute[] = [];
    for (let left = reader.number(); left > 0; left--) {
      minutes.push({ startMs: reader.number(), counts: toValues(reader.text()) });
    }
    const hotKeys: { key: string; reads: number }[] = [];
    while (reader.remaining > 0) hotKeys.push({ key: reader.text(), reads: reader.number() });
    return { sinceMs, total, minutes, hotWindowMs, hotKeys };
  },
});

export const statsScripts = [addStatsScript, getStatsScript];
