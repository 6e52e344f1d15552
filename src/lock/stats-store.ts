import type { Logger } from 'pino';
import type { Call } from '../redis/call.js';
import { keys } from '../redis/keys.js';
import type { Redis } from '../redis/redis.js';
import { getStatsScript, namedCounts, namedStats } from '../redis/stats-scripts.js';
import { StatsSender } from '../redis/stats-sender.js';
import { COUNTER, type CounterValues, type LockStats } from './stats.js';

/** All that is kept by minute. */
const MINUTES = 60;

export interface CountedLocks {
  /** Over the minutes. */
  readonly counts: CounterValues;
  /** How many, with the current one. */
  readonly minutes: number;
  /** Calls that wait now. */
  readonly waiting: number;
  /** Of this minute and the one before, those with the most calls that found them taken first. */
  readonly hottest: readonly { readonly name: string; readonly count: number }[];
}

/** What is counted of the locks of a namespace, by all processes. */
export class LockStatsStore {
  private readonly sender: StatsSender;

  constructor(
    private readonly redis: Redis,
    stats: LockStats,
    logger: Logger,
  ) {
    this.sender = new StatsSender({ redis, keysOf: keys.lockStats, all: () => stats.all(), logger });
  }

  start(): void {
    this.sender.start();
  }

  /** Sends the last of it, as far as Redis takes it now. */
  async close(): Promise<void> {
    await this.sender.close();
  }

  /** With everything that this process counted before. */
  async getLockStats(hottestCount: number, call: Call): Promise<CountedLocks> {
    await this.sender.send();
    const args = { minutes: String(MINUTES), hotLimit: String(hottestCount) };
    const counted = await this.redis.run(getStatsScript.bind(keys.lockStats(call.namespace), args), call);
    const sums: Record<string, number> = { ...namedCounts(COUNTER, []) };
    if (counted === undefined) return { counts: sums as CounterValues, minutes: 0, waiting: 0, hottest: [] };
    for (const { counts } of namedStats(COUNTER, counted).minutes) {
      for (const [name, count] of Object.entries(counts)) sums[name] = (sums[name] ?? 0) + count;
    }
    return {
      counts: sums as CounterValues,
      minutes: counted.minutes.length,
      waiting: counted.ongoing,
      hottest: counted.hot,
    };
  }
}
