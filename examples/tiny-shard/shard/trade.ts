import { randomUUID } from 'node:crypto';
import type { LockGrant } from 'shardkeep/client';
import type { EvidenceOf } from '../stage/evidence.js';
import { nowUs } from '../stage/evidence.js';
import type { ShardContext } from './context.js';
import { lockAll, releaseAll } from './locks.js';

export type TradeOutcome = EvidenceOf<'trade_ended'>['outcome'];

export interface TradeRequest {
  readonly giver: string;
  readonly partner: string;
  /** Any whole numbers: which item of the giver, and which of the partner. */
  readonly picks: readonly [number, number];
}

export function inventoryLock(userId: string): string {
  return `inventory:${userId}`;
}

/**
 * Swaps an item of one player for one of another: both inventories are locked, read, and written whole. The locks keep
 * shards from working on the same rows at once; the fencing tokens make that true also for a shard that stalls in the
 * middle, because the database refuses what it sends afterwards.
 */
export async function trade(context: ShardContext, request: TradeRequest): Promise<TradeOutcome> {
  const startedUs = nowUs();
  const outcome = await tradeUnderLocks(context, request);
  context.report(startedUs, { kind: 'trade_ended', outcome });
  return outcome;
}

async function tradeUnderLocks(context: ShardContext, request: TradeRequest): Promise<TradeOutcome> {
  const userIds = [request.giver, request.partner];
  const held = await lockAll(context, userIds.map(inventoryLock));
  if (held === undefined) return 'busy';
  try {
    return await swap(context, request, held.grants);
  } finally {
    await releaseAll(context, held);
  }
}

async function swap(
  { name, host }: ShardContext,
  request: TradeRequest,
  grants: readonly LockGrant[],
): Promise<TradeOutcome> {
  const giver = { userId: request.giver, fencingToken: tokenOf(grants, request.giver) };
  const partner = { userId: request.partner, fencingToken: tokenOf(grants, request.partner) };

  const opened = await host.ask('openForUpdate', [giver, partner]);
  if (opened.status === 'stale') return 'stale';
  const [giverItems = [], partnerItems = []] = opened.inventories;
  if (giverItems.length === 0 || partnerItems.length === 0) return 'empty_handed';
  const given = request.picks[0] % giverItems.length;
  const got = request.picks[1] % partnerItems.length;

  const write = {
    tradeId: randomUUID(),
    shard: name,
    rows: [
      { ...giver, items: giverItems.with(given, partnerItems[got] ?? '') },
      { ...partner, items: partnerItems.with(got, giverItems[given] ?? '') },
    ],
  };
  await host.ask('aboutToWrite', write);
  return (await host.ask('write', write)) === 'written' ? 'traded' : 'stale';
}

function tokenOf(grants: readonly LockGrant[], userId: string): number {
  const grant = grants.find(({ resource }) => resource === inventoryLock(userId));
  if (grant === undefined) throw new Error(`the inventory of ${userId} is not locked`);
  return grant.fencingToken;
}
