import { setTimeout as sleep } from 'node:timers/promises';
import { nowMs } from '../history.js';
import { HoldingActor, WRITE_EVERY_MS } from './holding-actor.js';

const TTL_MS = 1_500;
const WAIT_MS = 250;
const GUARDED_TTL_MS = 600_000;
/** A holder that never heard that its time is over. */
const ZOMBIE_CHANCE = 0.1;

/** Takes locks that others want too, and writes while it believes to hold them. */
export class LockActor extends HoldingActor {
  protected async step(): Promise<void> {
    const resource = this.resource();
    const askedMs = nowMs();
    const waitMs = this.random.pick([0, WAIT_MS]);
    const { answer } = await this.call('lock.acquire', {
      details: { key: resource },
      perform: (client) => client.locks.acquireLock(resource, { ttlMs: TTL_MS, waitMs }),
      read: (asked) =>
        asked.status === 'granted' ? { status: 'granted', token: asked.lock.fencingToken } : { status: asked.status },
      waitMs,
    });
    if (answer?.status !== 'granted') return;
    const { lock } = answer;
    const hold = this.granted(resource, lock.fencingToken);
    // its lease began when it was asked for at the earliest, and nobody renews it
    const believesUntilMs = askedMs + TTL_MS;
    const leavesMs = hold.startMs + this.random.between(20, 150);
    while (nowMs() < Math.min(leavesMs, believesUntilMs)) {
      this.write(hold);
      await sleep(WRITE_EVERY_MS);
    }
    if (nowMs() < believesUntilMs) await this.guardedWrite(resource, lock.fencingToken);
    this.believedUntil(Math.min(nowMs(), believesUntilMs), hold);
    await this.call('lock.release', {
      details: { key: resource, token: lock.fencingToken },
      perform: (client) => client.locks.releaseLock(lock),
      read: ({ status }) => ({ status }),
    });
    if (!this.random.chance(ZOMBIE_CHANCE)) return;
    await sleep(WAIT_MS);
    this.write(hold);
    await this.guardedWrite(resource, lock.fencingToken);
  }

  /** The same check, made by the service for a key of its cache. */
  private async guardedWrite(resource: string, fencingToken: number): Promise<void> {
    const guard = { resource, fencingToken };
    await this.call('cache.guarded', {
      details: { key: resource, token: fencingToken },
      perform: (client) => client.cache.set(`guarded:${resource}`, 1, { ttlMs: GUARDED_TTL_MS, guard }),
      read: () => ({ status: 'stored' }),
    });
  }
}
