import type { InlineRateLimitPolicy, ShardkeepClient } from '../../client/index.js';
import {
  checkArgument,
  checkOptions,
  clientWithRateLimits,
  duration,
  optional,
  textUpTo,
  type OptionChecks,
} from '../../client/option-checks.js';
import { windowLength } from '../http/rate-limit-checks.js';
import { subjectOf } from '../http/subject.js';
import { RecentHits } from './recent-hits.js';

export interface ShardkeepRateLimitStoreOptions {
  readonly client: Pick<ShardkeepClient, 'rateLimits'>;
  /** In front of keys; `rl:` by default. Limiters of one prefix and window count together where their keys are the same. */
  readonly prefix?: string | undefined;
  /** How long a request waits for its count, above 0; 250 by default. Then it is an error, for `passOnStoreError` to decide. */
  readonly timeoutMs?: number | undefined;
}

const CHECKS: OptionChecks<ShardkeepRateLimitStoreOptions> = {
  client: clientWithRateLimits,
  prefix: optional(textUpTo(Infinity)),
  timeoutMs: optional(duration),
};

/** What express-rate-limit calls ClientRateLimitInfo. */
export interface Hits {
  totalHits: number;
  resetTime: Date | undefined;
}

/** As far as a store is concerned; of express-rate-limit's Options. */
export interface StoreInit {
  readonly windowMs: number;
  readonly skipFailedRequests?: boolean;
  readonly skipSuccessfulRequests?: boolean;
}

/** Hits are counted, and express-rate-limit compares: no limit of the service's is ever reached. */
const UNREACHED = 1_000_000_000;
/** A hit is taken back when its request was answered; as long as Node lets one take to arrive, unless told otherwise. */
const MAX_REQUEST_MS = 300_000;
const DEFAULT_TIMEOUT_MS = 250;

/**
 * A Store for express-rate-limit 6 and later that counts hits in all processes together: in windows that begin with the first
 * hit of a key, by Redis's clock. Each limiter needs a store of its own, as with any store.
 *
 * It can say no more than that interface asks for: such windows let up to twice the limit through around the end of one, and
 * who is over the limit is asked for and counted again each time. `createRateLimit` of shardkeep/express does neither.
 */
export class ShardkeepRateLimitStore {
  /** Counts are everybody's. */
  readonly localKeys = false;
  readonly prefix: string;
  private readonly rateLimits: ShardkeepClient['rateLimits'];
  private readonly timeoutMs: number;
  private policy: InlineRateLimitPolicy | undefined;
  /** Undefined where nothing is ever taken back. */
  private recent: RecentHits | undefined;
  private ttlMs = 0;

  /** Throws InvalidArgumentError for options that are wrong or misspelt. */
  constructor(options: ShardkeepRateLimitStoreOptions) {
    checkOptions('ShardkeepRateLimitStore', options, CHECKS);
    const { client, prefix = 'rl:', timeoutMs = DEFAULT_TIMEOUT_MS } = options;
    this.rateLimits = client.rateLimits;
    this.prefix = prefix;
    this.timeoutMs = timeoutMs;
  }

  /** Called by express-rate-limit. Throws InvalidArgumentError for a `windowMs` below 10 or above 30 days. */
  init({ windowMs, skipFailedRequests = false, skipSuccessfulRequests = false }: StoreInit): void {
    checkArgument('ShardkeepRateLimitStore', 'windowMs', windowMs, windowLength);
    this.policy = { name: 'express-rate-limit', algorithm: 'fixed', limit: UNREACHED, windowMs };
    this.ttlMs = Math.min(windowMs, MAX_REQUEST_MS);
    this.recent = skipFailedRequests || skipSuccessfulRequests ? new RecentHits(this.ttlMs) : undefined;
  }

  /** Undefined where nothing is counted. */
  async get(key: string): Promise<Hits | undefined> {
    const hits = hitsOf(await this.rateLimits.peekRateLimit(this.limitOf(key), { timeoutMs: this.timeoutMs }));
    return hits.totalHits === 0 ? undefined : hits;
  }

  /** Not tried again when the answer was lost. */
  async increment(key: string): Promise<Hits> {
    const { recent, timeoutMs, ttlMs } = this;
    const limit = this.limitOf(key);
    if (recent === undefined) return hitsOf(await this.rateLimits.checkRateLimit(limit, { timeoutMs }));
    const reservation = await this.rateLimits.reserveRateLimit(limit, { timeoutMs, ttlMs });
    if (reservation.status === 'reserved') recent.add(key, reservation.reservationId);
    return hitsOf(reservation.decision);
  }

  /**
   * Takes back the last hit of this process; a window's hits are all alike. Where its window is over there is nothing to take
   * back. Throws where the limiter has neither `skipFailedRequests` nor `skipSuccessfulRequests`.
   */
  async decrement(key: string): Promise<void> {
    if (this.recent === undefined)
      throw new Error('nothing is taken back without skipFailedRequests or skipSuccessfulRequests');
    const reservationId = this.recent.take(key);
    if (reservationId !== undefined) await this.rateLimits.refundRateLimit(reservationId);
  }

  async resetKey(key: string): Promise<void> {
    this.recent?.forget(key);
    await this.rateLimits.resetRateLimit(this.limitOf(key));
  }

  private limitOf(key: string): { readonly subject: string; readonly policy: InlineRateLimitPolicy } {
    if (this.policy === undefined) throw new Error('the store belongs to no limiter yet');
    return { subject: subjectOf(`${this.prefix}${key}`), policy: this.policy };
  }
}

function hitsOf({
  limit,
  remaining,
  resetAtMs,
}: {
  limit: number;
  remaining: number;
  resetAtMs: number | undefined;
}): Hits {
  return { totalHits: limit - remaining, resetTime: resetAtMs === undefined ? undefined : new Date(resetAtMs) };
}
