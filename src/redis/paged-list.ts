import { performance } from 'node:perf_hooks';
import type { Call } from './call.js';
import { listedMark, type ListPlace } from './list-token.js';
import type { PagedScan } from './paged-scan.js';
import { rest } from './scan.js';

export interface PageRequest {
  /** Items at most. */
  readonly pageSize: number;
  readonly place: ListPlace;
}

export interface Page<Item> {
  readonly items: readonly Item[];
  /** Undefined: that was all. */
  readonly next: ListPlace | undefined;
}

/** What is listed. */
export interface Listing<Item> {
  /** What the names begin with. */
  readonly prefix: string;
  readonly scan: PagedScan;
  /** What a key of Redis is of; undefined: nothing that is listed. */
  readonly nameOf: (redisKey: Buffer) => string | undefined;
  /** Undefined: not to be listed. */
  readonly read: (name: string) => Promise<Item | undefined>;
}

/** Items read in one step: so many scripts take Redis 1 ms. */
const BATCH = 64;
/** Keys of Redis that a step of a list looks at; more while it finds nothing. */
const MIN_SCANNED = 100;
const MAX_SCANNED = 1_000;
/** Together about 100,000 keys: a page of a Redis full of other things ends by itself, and soon. */
const MAX_STEPS = 100;
const MAX_PAGE_MS = 1_000;
/** Of the time that a call has, what is left for the rest of its answer. */
const SPARE = 0.25;

/** A bounded part of the way through the keys of Redis, so also nothing where more follows. */
export async function listPage<Item>(
  { prefix, scan, nameOf, read }: Listing<Item>,
  { pageSize, place }: PageRequest,
  call: Call,
): Promise<Page<Item>> {
  const stopAt = Math.min(performance.now() + MAX_PAGE_MS, stopOf(call));
  const items: Item[] = [];
  let next: ListPlace = place;
  let scanned = MIN_SCANNED;
  for (let steps = 0; steps < MAX_STEPS && !call.ended; steps++) {
    const startedAt = performance.now();
    const step = await scan.step(next.scan, scanned);
    // each once: a step may show a key twice, while the table is being resized
    const found = [...new Set(step.keys.flatMap((redisKey) => nameOf(redisKey) ?? []))];
    const matching = found.filter((name) => name.startsWith(prefix));
    const listed = new Set(next.listed);
    for (let from = 0; from < matching.length; from += BATCH) {
      const batch = matching.slice(from, from + BATCH).filter((name) => !listed.has(listedMark(name)));
      for (const { name, item } of await Promise.all(batch.map(async (name) => ({ name, item: await read(name) })))) {
        if (item === undefined) continue;
        if (items.length === pageSize) return { items, next: { scan: step.at, listed: [...listed] } };
        items.push(item);
        listed.add(listedMark(name));
      }
    }
    if (step.next === undefined) return { items, next: undefined };
    next = { scan: step.next, listed: [] };
    if (items.length === pageSize || performance.now() >= stopAt) break;
    scanned = matching.length === 0 ? Math.min(MAX_SCANNED, scanned * 2) : MIN_SCANNED;
    await rest(startedAt);
  }
  return { items, next };
}

/** When to end, so that the answer comes in time. */
export function stopOf({ deadlineAt }: Call): number {
  const now = performance.now();
  return now + (deadlineAt - now) * (1 - SPARE);
}
