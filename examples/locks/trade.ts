import { randomUUID } from 'node:crypto';
import { connect, type Rpc } from '../../src/client/index.js';
import { AcquireLockStatus } from '../../src/gen/shardkeep/lock/v1/lock.js';

/** Moves an item between two players; nobody else touches either inventory meanwhile. */
async function trade(shardkeep: Rpc, from: string, to: string, item: string): Promise<string> {
  const { locks, cache } = shardkeep;
  const resources = [`inventory:${from}`, `inventory:${to}`];
  // whichever order two trades name them in, they are taken in one order: no deadlock
  const lock = await locks.acquireLock(
    { resources, ttlMs: 5_000n, waitMs: 2_000n, owner: 'trade-1', requestId: randomUUID() },
    { timeoutMs: 3_000 },
  );
  if (lock.status !== AcquireLockStatus.GRANTED)
    return `${lock.blockingResource} is taken by ${lock.holder?.owner ?? 'nobody'}`;
  try {
    for (const { resource, fencingToken } of lock.grants) {
      // should this process stand still now for longer than the lease, the write is refused
      const value = Buffer.from(resource === resources[0] ? 'nothing' : item);
      await cache.set({ key: resource, value, guard: { resource, fencingToken } });
    }
    return `${to} has the ${item}`;
  } finally {
    await locks.releaseLock({ resources, lockToken: lock.lockToken });
  }
}

const shardkeep = connect(process.argv[2] ?? '127.0.0.1:50051');
const trades = [trade(shardkeep.rpc, 'ada', 'bob', 'sword'), trade(shardkeep.rpc, 'bob', 'ada', 'shield')];
for (const outcome of await Promise.all(trades)) console.log(outcome);
await shardkeep.close();
