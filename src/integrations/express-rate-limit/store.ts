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
  /** A number, or a function of a request, which no store is told of. */
  readonly limit?: unknown;
  /** What `limit` is called in version 6. */
  readonly max?: unknown;
  readonly skipFailedRequests?: boolean;
  readonly skipSuccessfulRequests?: boolean;
}

/** Where hits are counted, and express-rate-limit compares: no limit of the service's is ever reached. */
const UNREACHED = 1_000_000_000;
/** A hit is taken back when its request was answered; as long as Node lets one take to arrive, unless told otherwise. */
const MAX_REQUEST_MS = 300_000;
/**
 * Hits of one key that can be taken back, in a span and each process, where nobody knows the limit: one address must not fill
 * Redis, where each of them is some 500 bytes.
 */
const MAX_RESERVED = 500;
const DEFAULT_TIMEOUT_MS = 250;

/**
 * A Store for express-rate-limit 6 and later that counts hits in all processes together: in windows that begin with the first
 * hit of a key, by Redis's clock. Each limiter needs a store of its own, as with any store.
 *
 * It can say no more than that interface asks for: such windows let up to twice the limit through around the end of one, and
 * who is over the limit is asked for again each time. `createRateLimit` of shardkeep/express does neither.
 *
 * With `skipFailedRequests` or `skipSuccessfulRequests` each hit within the limit is remembered until it can be taken back no
 * more, 5 minutes at most. Where `limit` is a function a store cannot tell which these are: of each key 500 in that time can be
 * taken back, or up to 1,000, in each process, and hits beyond them stay counted until their window is over.
 */
export class ShardkeepRateLimitStore {
  /** Counts are everybody's. */
  readonly localKeys = false;
  readonly prefix: string;
  private readonly rateLimits: ShardkeepClient['rateLimits'];
  private readonly timeoutMs: number;
  private policy: InlineRateLimitPolicy | undefined;
  /** Undefined where each hit is counted: over the limit, too. */
  private limit: number | undefined;
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
  init({ windowMs, limit, max, skipFailedRequests = false, skipSuccessfulRequests = false }: StoreInit): void {
    checkArgument('ShardkeepRateLimitStore', 'windowMs', windowMs, windowLength);
    const isCorrected = skipFailedRequests || skipSuccessfulRequests;
    this.limit = isCorrected ? heldLimit(limit ?? max) : undefined;
    this.policy = { name: 'express-rate-limit', algorithm: 'fixed', limit: this.limit ?? UNREACHED, windowMs };
    this.ttlMs = Math.min(windowMs, MAX_REQUEST_MS);
    const maxReserved = this.limit === undefined ? MAX_RESERVED : Infinity;
    this.recent = isCorrected ? new RecentHits({ spanMs: this.ttlMs, maxReserved }) : undefined;
  }

  /** Undefined where nothing is counted. */
  async get(key: string): Promise<Hits | undefined> {
    const hits = hitsOf(await this.rateLimits.peekRateLimit(this.limitOf(key), { timeoutMs: this.timeoutMs }));
    const totalHits = hits.totalHits + (this.recent?.deniedOf(key, resetAtMsOf(hits)) ?? 0);
    return totalHits === 0 ? undefined : { ...hits, totalHits };
  }

  /** Not tried again when the answer was lost. */
  async increment(key: string): Promise<Hits> {
    const { recent, timeoutMs, ttlMs } = this;
    const limit = this.limitOf(key);
    if (recent?.mayReserve(key) !== true) return hitsOf(await this.rateLimits.checkRateLimit(limit, { timeoutMs }));
    const reservation = await this.rateLimits.reserveRateLimit(limit, { timeoutMs, ttlMs });
    const hits = hitsOf(reservation.decision);
    if (reservation.status === 'reserved') recent.admit(key, resetAtMsOf(hits), reservation.reservationId);
    if (reservation.decision.allowed || this.limit === undefined) return hits;
    // above the limit, whatever the service's own limits have denied
    return { ...hits, totalHits: Math.max(this.limit, hits.totalHits) + recent.deny(key, resetAtMsOf(hits)) };
  }

  /**
   * Takes back the last hit of this process; a window's hits are all alike, and those over the limit go first. Where its window is over there is nothing to take
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

function resetAtMsOf({ resetTime }: Hits): number {
  return resetTime?.getTime() ?? 0;
}

/** What the service is told to hold; undefined where that would not be the limiter's own. 0 is none in version 6. */
function heldLimit(limit: unknown): number | undefined {
  return typeof limit === 'number' && limit >= 1 && limit <= UNREACHED ? Math.floor(limit) : undefined;
}
