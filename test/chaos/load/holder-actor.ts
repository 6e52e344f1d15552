import { setTimeout as sleep } from 'node:timers/promises';
import { LockNotAcquiredError, type HeldLock, type ShardkeepClient } from '../../../src/client/index.js';
import { nowMs } from '../history.js';
import { HoldingActor, WRITE_EVERY_MS } from './holding-actor.js';

const LEASE_MS = 1_500;
const WAIT_MS = 300;

/** Holds locks that the SDK renews, for longer and shorter than their leases. */
export class HolderActor extends HoldingActor {
  protected async step(): Promise<void> {
    const resource = this.resource();
    const { answer: lock } = await this.call('lock.hold', {
      details: { key: resource },
      perform: (client) => holdLock(client, resource),
      read: (held) => (held === 'refused' ? { status: held } : { status: 'granted', token: held.fencingToken }),
      waitMs: WAIT_MS,
    });
    if (lock === undefined || lock === 'refused') return;
    const hold = this.granted(resource, lock.fencingToken);
    const leavesMs = hold.startMs + this.random.between(50, this.random.chance(0.2) ? 2 * LEASE_MS : 300);
    let endMs = hold.startMs;
    // the last moment at which it was told that it holds
    while (!lock.signal.aborted && endMs < leavesMs) {
      this.write(hold);
      endMs = nowMs();
      await sleep(WRITE_EVERY_MS);
    }
    this.believedUntil(endMs, hold);
    await lock.release();
  }
}

async function holdLock(client: ShardkeepClient, resource: string): Promise<HeldLock | 'refused'> {
  try {
    return await client.locks.holdLock(resource, { leaseMs: LEASE_MS, waitMs: WAIT_MS });
  } catch (error) {
    if (error instanceof LockNotAcquiredError) return 'refused';
    throw error;
  }
}
