import type { Logger } from 'pino';
import { DomainError } from '../errors.js';
import type { Call } from '../redis/call.js';
import { keys } from '../redis/keys.js';
import { UnexpectedReplyError } from '../redis/lua-script.js';
import type { Redis } from '../redis/redis.js';
import { getStatsScript, namedStats, type CountedStats } from '../redis/stats-scripts.js';
import { StatsSender } from '../redis/stats-sender.js';
import { COUNTER, type CacheStats, type CounterValues } from './stats.js';

/** What every master of the cache's Redis says of itself, added up. */
export interface RedisUse {
  readonly masters: number;
  readonly usedMemoryBytes: number;
  /** 0: a master has no limit. */
  readonly maxMemoryBytes: number;
  /** Since each of them started. */
  readonly evictedKeys: number;
}

export interface StatsReport {
  /** Undefined: nothing was counted for long. */
  readonly counted: CountedStats<CounterValues> | undefined;
  /** Undefined: a master is away. */
  readonly redis: RedisUse | undefined;
}

/** The statistics of a namespace, of all processes. */
export class StatsStore {
  private readonly sender: StatsSender;

  constructor(
    private readonly redis: Redis,
    stats: CacheStats,
    logger: Logger,
  ) {
    this.sender = new StatsSender({ redis, keysOf: keys.cacheStats, all: () => stats.all(), logger });
  }

  start(): void {
    this.sender.start();
  }

  /** Sends the last of it, as far as Redis takes it now. */
  async close(): Promise<void> {
    await this.sender.close();
  }

  /** With everything that this process counted before. */
  async getCacheStats(
    { minutes, hotKeyLimit }: { readonly minutes: number; readonly hotKeyLimit: number },
    call: Call,
  ): Promise<StatsReport> {
    await this.sender.send();
    const args = { minutes: String(minutes), hotLimit: String(hotKeyLimit) };
    const [counted, redis] = await Promise.all([
      this.redis.run(getStatsScript.bind(keys.cacheStats(call.namespace), args), call),
      this.redisUse(call),
    ]);
    return { counted: counted && namedStats(COUNTER, counted), redis };
  }

  private async redisUse(call: Call): Promise<RedisUse | undefined> {
    try {
      const [memory, stats] = await Promise.all([this.redis.info('memory', call), this.redis.info('stats', call)]);
      const limits = memory.map(({ fields }) => numberOf(fields, 'maxmemory'));
      return {
        masters: memory.length,
        usedMemoryBytes: sum(memory.map(({ fields }) => numberOf(fields, 'used_memory'))),
        maxMemoryBytes: limits.includes(0) ? 0 : sum(limits),
        evictedKeys: sum(stats.map(({ fields }) => numberOf(fields, 'evicted_keys'))),
      };
    } catch (error) {
      if (error instanceof DomainError && error.code === 'REDIS_UNAVAILABLE') return undefined;
      throw error;
    }
  }
}

function numberOf(fields: ReadonlyMap<string, string>, name: string): number {
  const value = Number(fields.get(name) ?? Number.NaN);
  if (!Number.isSafeInteger(value)) throw new UnexpectedReplyError(`INFO has no ${name}`);
  return value;
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, number) => total + number, 0);
}
