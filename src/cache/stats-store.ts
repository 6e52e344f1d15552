import { randomBytes } from 'node:crypto';
import { performance } from 'node:perf_hooks';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Logger } from 'pino';
import { DomainError } from '../errors.js';
import type { Call } from '../redis/call.js';
import { keys } from '../redis/keys.js';
import { UnexpectedReplyError } from '../redis/lua-script.js';
import type { Redis } from '../redis/redis.js';
import { SAMPLE_EVERY } from './hot-keys.js';
import { addStatsScript, getStatsScript, type CountedStats } from './stats-scripts.js';
import type { CacheCounts, CacheStats } from './stats.js';

/** How often what was counted goes to Redis: about, so that a fleet does not send in step. */
const SEND_EVERY_MS = 2_000;
const SEND_DEADLINE_MS = 2_000;
/** How long a service that goes away may take for the last of it. */
const CLOSE_MS = 1_000;
/** Of the keys that a process sampled since the last time, so many of the hottest are sent. */
const SENT_HOT_KEYS = 64;
const PROCESS_ID_BYTES = 9;

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
  readonly counted: CountedStats | undefined;
  /** Undefined: a master is away. */
  readonly redis: RedisUse | undefined;
}

/**
 * Adds what this process counted to the statistics of its namespaces in Redis, every two seconds, and reads them. What a
 * process did not send when it is killed is lost; what it could not send while Redis was away comes later.
 */
export class StatsStore {
  private readonly process = randomBytes(PROCESS_ID_BYTES).toString('base64url');
  private readonly unsent = new Map<string, Unsent>();
  private timer: NodeJS.Timeout | undefined;
  private closed = false;
  private sending: Promise<void> | undefined;
  /** Shared by all who want to have sent what was counted while `sending` was on its way. */
  private sendingNext: Promise<void> | undefined;

  constructor(
    private readonly redis: Redis,
    private readonly stats: CacheStats,
    private readonly logger: Logger,
  ) {}

  start(): void {
    if (this.closed) return;
    const delayMs = SEND_EVERY_MS * (0.75 + Math.random() / 2);
    this.timer = setTimeout(() => {
      void this.sendIfReady().then(() => {
        this.start();
      });
    }, delayMs).unref();
  }

  /** Sends the last of it, as far as Redis takes it now. */
  async close(): Promise<void> {
    this.closed = true;
    clearTimeout(this.timer);
    await Promise.race([this.sendIfReady(), sleep(CLOSE_MS, undefined, { ref: false })]);
  }

  /** With everything that this process counted before. */
  async getCacheStats(
    { minutes, hotKeyLimit }: { readonly minutes: number; readonly hotKeyLimit: number },
    call: Call,
  ): Promise<StatsReport> {
    await this.send();
    const args = { minutes: String(minutes), hotKeyLimit: String(hotKeyLimit) };
    const [counted, redis] = await Promise.all([
      this.redis.run(getStatsScript.bind(keys.cacheStats(call.namespace), args), call),
      this.redisUse(call),
    ]);
    return { counted, redis };
  }

  private async sendIfReady(): Promise<void> {
    if (this.redis.isReady) await this.send();
  }

  /** Sends what was counted before; never fails: what did not arrive is sent the next time. */
  private send(): Promise<void> {
    if (this.sending === undefined) {
      this.sending = this.sendAll().finally(() => {
        this.sending = undefined;
      });
      return this.sending;
    }
    this.sendingNext ??= this.sending.then(() => {
      this.sendingNext = undefined;
      return this.send();
    });
    return this.sendingNext;
  }

  private async sendAll(): Promise<void> {
    await Promise.all([...this.stats.all()].map(([namespace, counts]) => this.sendOf(namespace, counts)));
  }

  private async sendOf(namespace: string, counts: CacheCounts): Promise<void> {
    const unsent = this.unsent.get(namespace) ?? new Unsent(counts);
    this.unsent.set(namespace, unsent);
    try {
      // one that had no answer goes first, and as it was
      if (unsent.isWaiting) await this.sendBatch(namespace, unsent);
      await this.sendBatch(namespace, unsent);
    } catch (error) {
      // what Redis did is logged already
      if (!(error instanceof DomainError)) this.logger.error({ err: error }, 'cache statistics not added');
    }
  }

  private async sendBatch(namespace: string, unsent: Unsent): Promise<void> {
    const batch = unsent.batch();
    if (batch === undefined) return;
    const { number, gatheredMs, counts, hotKeys } = batch;
    const call: Call = { namespace, deadlineAt: performance.now() + SEND_DEADLINE_MS, ended: false };
    await this.redis.run(
      addStatsScript.bind(keys.cacheStats(namespace), {
        process: this.process,
        batch: String(number),
        gatheredMs: String(gatheredMs),
        counts,
        '...hotKeys': hotKeys,
      }),
      call,
    );
    unsent.added();
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

/** An addition as it is sent, again and again until it was answered. */
interface Batch {
  readonly number: number;
  readonly gatheredMs: number;
  readonly counts: string;
  readonly hotKeys: readonly string[];
}

/** What Redis does not know, for sure, of the counts of a namespace. */
class Unsent {
  /** What all batches together have. */
  private readonly inBatches: Float64Array;
  private waiting: Batch | undefined;
  private lastNumber = 0;
  /** Nothing that is in no batch was counted before. */
  private emptyAt: number;

  constructor(private readonly counts: CacheCounts) {
    this.emptyAt = counts.beganAt;
    this.inBatches = new Float64Array(counts.values.length);
  }

  /** Whether a batch was sent, or is to be, and not answered. */
  get isWaiting(): boolean {
    return this.waiting !== undefined;
  }

  /** The one that waits, or a new one with everything that is in none; undefined: nothing was counted. */
  batch(): Batch | undefined {
    this.waiting ??= this.newBatch();
    return this.waiting;
  }

  added(): void {
    this.waiting = undefined;
  }

  private newBatch(): Batch | undefined {
    const { values, hotKeys } = this.counts;
    const nowMs = performance.now();
    const gatheredMs = Math.round(nowMs - this.emptyAt);
    this.emptyAt = nowMs;
    const since = values.map((value, place) => value - (this.inBatches[place] ?? 0));
    if (since.every((count) => count === 0)) return undefined;
    this.inBatches.set(values);
    return {
      number: ++this.lastNumber,
      gatheredMs,
      counts: since.join(','),
      hotKeys: hotKeys.take(SENT_HOT_KEYS).flatMap(({ key, samples }) => [key, String(samples * SAMPLE_EVERY)]),
    };
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
