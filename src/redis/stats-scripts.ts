import { luaScript, UnexpectedReplyError } from './lua-script.js';
import { ReplyReader } from './reply.js';

const from = import.meta.url;

export const addStatsScript = luaScript({
  file: './lua/add-stats.lua',
  from,
  keys: ['stats', 'hotEven', 'hotOdd'],
  args: ['process', 'batch', 'gatheredMs', 'counts', 'ongoing', 'parts', '...hot'],
  parse: (reply): void => {
    const reader = new ReplyReader(reply);
    const status = reader.text();
    reader.end();
    if (status !== 'ADDED' && status !== 'KNOWN') throw new UnexpectedReplyError(status);
  },
});

/** Counters by place. */
type Places = readonly number[];

/** Whole numbers up to 2^53 with commas between them. */
function toPlaces(list: string): Places {
  if (!/^(?:\d{1,16}(?:,\d{1,16})*)?$/.test(list)) throw new UnexpectedReplyError('no list of counters');
  return list === '' ? [] : list.split(',').map(Number);
}

/** Counters by place, of each part of a namespace. */
type Parts = ReadonlyMap<string, Places>;

/** What `add-stats.lua` takes. Names have no spaces and no colons. */
export function partsArgument(parts: Iterable<readonly [name: string, counts: Float64Array]>): string {
  return Array.from(parts, ([name, counts]) => `${name}:${counts.join(',')}`).join(' ');
}

function toParts(text: string): Parts {
  const parts = new Map<string, Places>();
  if (text === '') return parts;
  for (const part of text.split(' ')) {
    const colon = part.indexOf(':');
    if (colon < 1) throw new UnexpectedReplyError('no name of a part');
    parts.set(part.slice(0, colon), toPlaces(part.slice(colon + 1)));
  }
  return parts;
}

/** What was counted of a namespace, by all processes. */
export interface CountedStats<Counts> {
  /** Since when was counted, Unix ms of Redis's clock. */
  readonly sinceMs: number;
  readonly total: Counts;
  /** The oldest first; each by its start, Unix ms of Redis's clock. */
  readonly minutes: readonly { readonly startMs: number; readonly counts: Counts; readonly parts: Parts }[];
  /** How much of something goes on in all processes, at most 10 s ago. */
  readonly ongoing: number;
  /** So long the hot names were counted. */
  readonly hotWindowMs: number;
  /** The hottest first. */
  readonly hot: readonly { readonly name: string; readonly count: number }[];
}

export const getStatsScript = luaScript({
  file: './lua/get-stats.lua',
  from,
  keys: ['stats', 'hotEven', 'hotOdd'],
  args: ['minutes', 'hotLimit'],
  /** Undefined: nothing was counted for long. */
  parse: (reply): CountedStats<Places> | undefined => {
    const reader = new ReplyReader(reply);
    const status = reader.text();
    if (status === 'NOTHING') {
      reader.end();
      return undefined;
    }
    if (status !== 'STATS') throw new UnexpectedReplyError(status);
    const [sinceMs, total, hotWindowMs] = [reader.number(), toPlaces(reader.text()), reader.number()];
    const ongoing = reader.number();
    const minutes: { startMs: number; counts: Places; parts: Parts }[] = [];
    for (let left = reader.number(); left > 0; left--) {
      minutes.push({ startMs: reader.number(), counts: toPlaces(reader.text()), parts: toParts(reader.text()) });
    }
    const hot: { name: string; count: number }[] = [];
    while (reader.remaining > 0) hot.push({ name: reader.text(), count: reader.number() });
    return { sinceMs, total, minutes, ongoing, hotWindowMs, hot };
  },
});

export const statsScripts = [addStatsScript, getStatsScript];

/** Counters by their names; one that the list does not have is 0. */
export function namedCounts<Name extends string>(
  places: Readonly<Record<Name, number>>,
  counts: Places,
): Readonly<Record<Name, number>> {
  const named = Object.entries<number>(places).map(([name, place]) => [name, counts[place] ?? 0]);
  return Object.fromEntries(named) as Record<Name, number>;
}

export function namedStats<Name extends string>(
  places: Readonly<Record<Name, number>>,
  stats: CountedStats<Places>,
): CountedStats<Readonly<Record<Name, number>>> {
  return {
    ...stats,
    total: namedCounts(places, stats.total),
    minutes: stats.minutes.map((minute) => ({ ...minute, counts: namedCounts(places, minute.counts) })),
  };
}
