import { performance } from 'node:perf_hooks';
import type { Redis } from '../../redis/redis.js';

const INTERVAL_MS = 1_000;
const READ_MS = 2_000;

/** Counts what Redis evicts, while somebody listens. */
export class EvictionCounter {
  private readonly listeners = new Set<(evicted: number) => void>();
  /** What each master had evicted since its start when it was asked last. */
  private readonly evictedBy = new Map<string, number>();
  private timer: NodeJS.Timeout | undefined;

  constructor(private readonly redis: Pick<Redis, 'info'>) {}

  /** Calls back with how many keys were evicted since the last time. */
  listen(listener: (evicted: number) => void): void {
    this.listeners.add(listener);
    if (this.timer !== undefined) return;
    this.timer = setInterval(() => void this.look(), INTERVAL_MS).unref();
    void this.look();
  }

  forget(listener: (evicted: number) => void): void {
    this.listeners.delete(listener);
    if (this.listeners.size > 0) return;
    clearInterval(this.timer);
    this.timer = undefined;
    this.evictedBy.clear();
  }

  private async look(): Promise<void> {
    const call = { namespace: '', deadlineAt: performance.now() + READ_MS, ended: false };
    // while a master is away nothing is told; what it evicts is told when it is back
    const masters = await this.redis.info('stats', call).catch(() => []);
    if (this.timer === undefined) return;
    let evicted = 0;
    for (const { address, fields } of masters) {
      const total = Number(fields.get('evicted_keys') ?? 0);
      const before = this.evictedBy.get(address);
      // a restarted one begins from 0 again
      if (before !== undefined) evicted += total >= before ? total - before : total;
      this.evictedBy.set(address, total);
    }
    if (evicted > 0) for (const listener of this.listeners) listener(evicted);
  }
}
