import { setTimeout as sleep } from 'node:timers/promises';
import type { MasterNode } from './connection.js';
import { redisUnavailable } from './errors.js';
import { UnexpectedReplyError } from './lua-script.js';

/** Keys that a page looks at. At 1,000 Redis is busy for less than 1 ms, also where most of its table is empty. */
const MIN_COUNT = 50;
const MAX_COUNT = 1_000;
/** The way to Redis and back is in it, so a page that takes this long kept Redis for less. */
const SLOW_PAGE_MS = 2;

/**
 * The keys of every master that match, page by page, one master after the other. Redis rests after each page for as long
 * as it took, and pages get smaller where it is slow.
 *
 * A key that is there from start to end, and stays on its master, is found at least once; one that comes, goes or moves
 * meanwhile may be found or not. A master that restarts or fails over is gone through anew: a cursor means nothing there.
 * Throws what the command threw when a master is away.
 */
export async function* scanMasters(
  masters: () => readonly MasterNode[],
  match: string,
): AsyncGenerator<readonly Buffer[], void> {
  const done = new Set<string>();
  for (;;) {
    const known = masters();
    if (known.length === 0) throw redisUnavailable('no master is known');
    const master = known.find(({ address }) => !done.has(address));
    if (master === undefined) return;
    const isSame = (): boolean =>
      masters().some(
        ({ address, connectedTimes }) => address === master.address && connectedTimes === master.connectedTimes,
      );
    if (yield* scanMaster(master, isSame, match)) done.add(master.address);
  }
}

/** Answers whether it came to the end: not where the master is no longer the one it was. */
async function* scanMaster(
  master: MasterNode,
  isSame: () => boolean,
  match: string,
): AsyncGenerator<readonly Buffer[], boolean> {
  let count = MIN_COUNT;
  let cursor = '0';
  do {
    const startedAt = performance.now();
    const page = readPage(await master.send(['SCAN', cursor, 'MATCH', match, 'COUNT', String(count)]));
    const tookMs = performance.now() - startedAt;
    if (!isSame()) return false;
    cursor = page.cursor;
    count = tookMs > SLOW_PAGE_MS ? Math.max(MIN_COUNT, count >> 1) : Math.min(MAX_COUNT, count * 2);
    if (page.keys.length > 0) yield page.keys;
    await rest(startedAt, tookMs);
  } while (cursor !== '0');
  return isSame();
}

const MAX_REST_MS = 50;

/**
 * Leaves Redis to others for as long as a step of a long work took: however slow it is, it is ours for half of the time
 * at most.
 */
export async function rest(startedAt: number, tookMs = performance.now() - startedAt): Promise<void> {
  await sleep(Math.min(MAX_REST_MS, Math.ceil(tookMs)));
}

export function readPage(reply: unknown): { readonly cursor: string; readonly keys: readonly Buffer[] } {
  const [cursor, keys] = Array.isArray(reply) ? (reply as readonly unknown[]) : [];
  if (!Buffer.isBuffer(cursor) || !Array.isArray(keys) || !keys.every((key) => Buffer.isBuffer(key))) {
    throw new UnexpectedReplyError('SCAN is no page');
  }
  return { cursor: cursor.toString('latin1'), keys };
}
