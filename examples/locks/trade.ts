import { connect, LockNotAcquiredError, type ShardkeepClient } from 'shardkeep/client';

/** Moves an item between two players; nobody else touches either inventory meanwhile. */
async function trade({ locks, cache }: ShardkeepClient, from: string, to: string, item: string): Promise<string> {
  // whichever order two trades name them in, they are taken in one order: no deadlock
  const inventories = [`inventory:${from}`, `inventory:${to}`];
  try {
    return await locks.withLock(inventories, { waitMs: 2_000, owner: 'trade-1' }, async ({ grants }) => {
      for (const guard of grants) {
        // should this process stand still now for longer than the lease, the write is refused
        const value = guard.resource === `inventory:${from}` ? 'nothing' : item;
        await cache.set(guard.resource, value, { guard, noExpiry: true });
      }
      return `${to} has the ${item}`;
    });
  } catch (error) {
    if (!(error instanceof LockNotAcquiredError)) throw error;
    return `${item}: somebody else trades too long`;
  }
}

const shardkeep = connect(process.argv[2] ?? '127.0.0.1:50051');
const trades = [trade(shardkeep, 'ada', 'bob', 'sword'), trade(shardkeep, 'bob', 'ada', 'shield')];
for (const outcome of await Promise.all(trades)) console.log(outcome);
await shardkeep.close();
