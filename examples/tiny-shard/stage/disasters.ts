import type { Database } from '../database.js';
import type { TradeWrite, WriteReply } from '../protocol.js';
import { nowUs } from './evidence.js';
import type { Player } from './player.js';
import type { ShardProcess } from './shard-process.js';

/** What happens to shards between locking two inventories and writing them. */

export interface Disaster {
  /** The shard it happened to. */
  readonly shard: string;
  readonly tradeId: string;
  /** From the disaster until another shard had locked and written one of the two inventories. */
  readonly takenOverAfterMs: number;
  /** What came of the write under the old fencing token. */
  readonly lateWrite: WriteReply;
}

/** Several times the lease and what a shard waits for a lock. */
const PATIENCE_US = 15_000_000;

interface Cast {
  readonly victim: ShardProcess;
  readonly survivor: ShardProcess;
  readonly players: readonly Player[];
  readonly database: Database;
}

/**
 * Stops a shard beyond its lease, as a long garbage collection would, lets another shard trade the same inventories, and
 * wakes it: it goes on where it was and writes, not knowing that its locks have lapsed.
 */
export async function pauseBeyondLease({ victim, survivor, players, database }: Cast): Promise<Disaster> {
  const { write, proceed } = await victim.holdNextWrite();
  const lateWrite = database.outcomeOf(write.tradeId);
  const startedUs = nowUs();
  victim.pause();
  try {
    // waits in the pipe of the stopped process
    proceed();
    await tradeInstead(write, survivor, players);
  } finally {
    victim.resume();
  }
  const takenOverAfterMs = (nowUs() - startedUs) / 1_000;
  return { shard: victim.name, tradeId: write.tradeId, takenOverAfterMs, lateWrite: await lateWrite };
}

/**
 * Kills a shard that holds two locks, waits until they have lapsed and another shard has traded one of the inventories,
 * and then delivers what the dead shard was about to write, as a slow network would.
 */
export async function killWhileTrading({ victim, survivor, players, database }: Cast): Promise<Disaster> {
  const { write } = await victim.holdNextWrite();
  const startedUs = nowUs();
  await victim.kill();
  await tradeInstead(write, survivor, players);
  const takenOverAfterMs = (nowUs() - startedUs) / 1_000;
  return { shard: victim.name, tradeId: write.tradeId, takenOverAfterMs, lateWrite: database.write(write) };
}

/** Has one of the two players trade with the other through the other shard, as often as it takes. */
async function tradeInstead(write: TradeWrite, survivor: ShardProcess, players: readonly Player[]): Promise<void> {
  const [giver, partner] = write.rows.map(({ userId }) => players.find((each) => each.userId === userId));
  if (giver === undefined || partner === undefined) throw new Error('a trade of players who are not there');
  const giveUpAtUs = nowUs() + PATIENCE_US;
  let [asks, other] = [giver, partner];
  while (nowUs() < giveUpAtUs) {
    const sessionToken = asks.session?.sessionToken ?? '';
    const { status } = await survivor.peer.ask('act', { sessionToken, action: asks.trade(other.userId) });
    if (status === 'traded') return;
    // one of them may have been banned since
    if (status === 'session_over') [asks, other] = [other, asks];
  }
  throw new Error(`nobody could trade what ${write.shard} had locked`);
}
