import { setImmediate as nextTurn } from 'node:timers/promises';
import { DomainError } from '../errors.js';
import type { Call } from '../redis/call.js';
import { cacheKeyOf, cacheScanPattern, keys } from '../redis/keys.js';
import type { Redis } from '../redis/redis.js';
import { rest } from '../redis/scan.js';
import type { KeyPattern } from './key-pattern.js';
import { deleteScript, existsScript } from './scripts.js';
import { COUNTER, type CacheStats } from './stats.js';

/** How far a DeletePattern is. */
export interface PatternProgress {
  /** Keys compared with the pattern. */
  scanned: number;
  /** Keys that match and hold something. */
  matched: number;
  /** Of these, those that are gone now. */
  deleted: number;
}

/** One walks over all keys of Redis: more at once would leave it to nobody else. */
const MAX_RUNNING = 2;
const RETRY_AFTER_MS = 1_000;
/** Keys compared and removed in one step. Redis runs a pipelined batch in one go, and so many scripts take it 1 ms. */
const BATCH = 64;
/** For one batch, where the caller named no deadline; it bounds how long a moving slot is asked again. */
const BATCH_DEADLINE_MS = 5_000;

/** Works on all keys of a namespace that match, on the `cache` Redis. */
export class PatternStore {
  private running = 0;

  constructor(
    private readonly redis: Redis,
    private readonly stats: CacheStats,
  ) {}

  /**
   * Removes the keys that match, or only counts them; `progress` is kept up to date meanwhile. Stops soon after the call
   * ended. Throws OVERLOADED while too many others run, and what Redis makes of a failure: what was done stays done, and
   * is in `progress`.
   */
  async deletePattern(
    pattern: KeyPattern,
    options: { readonly dryRun: boolean; readonly progress: PatternProgress },
    call: Call,
  ): Promise<void> {
    if (this.running >= MAX_RUNNING) {
      throw new DomainError('OVERLOADED', 'too many DeletePatterns run', { retryAfterMs: RETRY_AFTER_MS });
    }
    this.running++;
    try {
      const match = cacheScanPattern(call.namespace, pattern.literalPrefix);
      for await (const page of this.redis.scan(match, call)) await this.workOn(page, pattern, options, call);
    } finally {
      this.running--;
    }
  }

  private async workOn(
    page: readonly Buffer[],
    pattern: KeyPattern,
    { dryRun, progress }: { readonly dryRun: boolean; readonly progress: PatternProgress },
    call: Call,
  ): Promise<void> {
    // a page may show a key twice, while the table is being resized
    const found = new Set(page.flatMap((redisKey) => cacheKeyOf(call.namespace, redisKey) ?? []));
    const compared = [...found].filter((key) => key.startsWith(pattern.literalPrefix));
    for (let from = 0; from < compared.length && !call.ended; from += BATCH) {
      const batch = compared.slice(from, from + BATCH);
      progress.scanned += batch.length;
      const matching = batch.filter((key) => pattern.matches(key));
      if (matching.length === 0) {
        // comparing takes time too
        await nextTurn();
        continue;
      }
      const startedAt = performance.now();
      const outcomes = await Promise.allSettled(matching.map((key) => this.holdsSomething(key, { dryRun }, call)));
      const count = outcomes.filter((outcome) => outcome.status === 'fulfilled' && outcome.value).length;
      progress.matched += count;
      if (!dryRun) {
        progress.deleted += count;
        this.stats.of(call.namespace).count(COUNTER.deletes, count);
      }
      const failed = outcomes.find((outcome) => outcome.status === 'rejected');
      if (failed !== undefined) throw failed.reason;
      await rest(startedAt);
    }
  }

  /** Tells whether a key holds something, or held it until it was removed. */
  private holdsSomething(key: string, { dryRun }: { dryRun: boolean }, call: Call): Promise<boolean> {
    const step: Call = {
      namespace: call.namespace,
      deadlineAt: Math.min(call.deadlineAt, performance.now() + BATCH_DEADLINE_MS),
      get ended() {
        return call.ended;
      },
    };
    const bound = { key: keys.cache(call.namespace, key) };
    if (dryRun) return this.redis.run(existsScript.bind(bound, {}), step);
    return this.redis.run(deleteScript.bind(bound, { guard: '' }), step);
  }
}
