import { setTimeout as sleep } from 'node:timers/promises';
import { LockNotAcquiredError, type HeldLock, type ShardkeepClient } from '../../../src/client/index.js';
import { nowMs } from '../history.js';
import { Actor, type Role } from './actor.js';
import type { LockWork } from './lock-actor.js';

const LEASE_MS = 1_500;
const WAIT_MS = 300;
const POLL_MS = 15;

/** Holds locks that the SDK renews, for longer and shorter than their leases. */
export class HolderActor extends Actor {
  private holds = 0;

  constructor(
    role: Role,
    private readonly work: LockWork,
  ) {
    super(role);
  }

  protected async step(): Promise<void> {
    const { work } = this;
    const resource = this.random.pick(work.resources);
    const { answer: lock } = await this.call('lock.hold', {
      details: { key: resource },
      perform: (client) => hold(client, resource),
      read: (held) => (held === 'refused' ? { status: held } : { status: 'granted', token: held.fencingToken }),
      waitMs: WAIT_MS,
    });
    if (lock === undefined || lock === 'refused') return;
    const { fencingToken: token } = lock;
    const holder = `${this.name}-${String(this.holds++)}`;
    const startMs = nowMs();
    const leavesMs = startMs + this.random.between(50, this.random.chance(0.2) ? 2 * LEASE_MS : 300);
    let endMs = startMs;
    // the last moment at which it was told that it holds
    while (!lock.signal.aborted && endMs < leavesMs) {
      work.store.write(resource, token, holder);
      endMs = nowMs();
      await sleep(POLL_MS);
    }
    this.recorder.file.add({ kind: 'held', key: resource, token, startMs, endMs });
    await lock.release();
  }
}

async function hold(client: ShardkeepClient, resource: string): Promise<HeldLock | 'refused'> {
  try {
    return await client.locks.holdLock(resource, { leaseMs: LEASE_MS, waitMs: WAIT_MS });
  } catch (error) {
    if (error instanceof LockNotAcquiredError) return 'refused';
    throw error;
  }
}
