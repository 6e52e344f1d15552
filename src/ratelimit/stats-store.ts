import type { Logger } from 'pino';
import type { Call } from '../redis/call.js';
import { keys } from '../redis/keys.js';
import type { Redis } from '../redis/redis.js';
import { getStatsScript, namedCounts } from '../redis/stats-scripts.js';
import { StatsSender } from '../redis/stats-sender.js';
import { COUNTER, deniedOf, type CounterValues, type RateLimitStats } from './stats.js';

/** All that is kept by minute. */
const MINUTES = 60;

export interface CountedPolicies {
  /** Over the minutes, in the order of their names. */
  readonly policies: readonly { readonly policy: string; readonly counts: CounterValues }[];
  /** How many, with the current one. */
  readonly minutes: number;
  /** Of this minute and the one before, those that were denied most first. */
  readonly hottest: readonly { readonly policy: string; readonly subject: string; readonly denied: number }[];
}

/** What is counted of the rate limits of a namespace, by all processes. */
export class RateLimitStatsStore {
  private readonly sender: StatsSender;

  constructor(
    private readonly redis: Redis,
    stats: RateLimitStats,
    logger: Logger,
  ) {
    this.sender = new StatsSender({ redis, keysOf: keys.rateLimitStats, all: () => stats.all(), logger });
  }

  start(): void {
    this.sender.start();
  }

  /** Sends the last of it, as far as Redis takes it now. */
  async close(): Promise<void> {
    await this.sender.close();
  }

  /** With everything that this process counted before. */
  async getRateLimitStats(hottestCount: number, call: Call): Promise<CountedPolicies> {
    await this.sender.send();
    const args = { minutes: String(MINUTES), hotLimit: String(hottestCount) };
    const counted = await this.redis.run(getStatsScript.bind(keys.rateLimitStats(call.namespace), args), call);
    if (counted === undefined) return { policies: [], minutes: 0, hottest: [] };
    const sums = new Map<string, number[]>();
    for (const { parts } of counted.minutes) {
      for (const [policy, counts] of parts) {
        const sum = sums.get(policy) ?? [];
        sums.set(policy, sum);
        counts.forEach((count, place) => {
          sum[place] = (sum[place] ?? 0) + count;
        });
      }
    }
    return {
      policies: [...sums]
        .sort(([one], [other]) => (one < other ? -1 : 1))
        .map(([policy, sum]) => ({ policy, counts: namedCounts(COUNTER, sum) })),
      minutes: counted.minutes.length,
      hottest: counted.hot.flatMap(({ name, count }) => {
        const denied = deniedOf(name);
        return denied === undefined ? [] : [{ ...denied, denied: count }];
      }),
    };
  }
}
