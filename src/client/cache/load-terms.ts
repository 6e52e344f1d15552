import type { GetOrLeaseRequest } from '../../gen/shardkeep/cache/v1/cache.js';
import { invalidArgument } from '../errors.js';
import { entryTermsOf, type EntryTerms, type EntryTermsOptions } from './entry-terms.js';
import { ENTRY_EXPIRY_OPTIONS, roundedMs } from './expiry.js';
import type { Loader } from './loader.js';
import { throwIfNoTimeout } from '../transport/timeout.js';
import { wordIn, functionIn, type OptionNames } from '../arguments.js';

export interface CacheAsideOptions<Value = unknown> extends EntryTermsOptions<Value> {
  /**
   * Above 0 and below 1: when less than this part of `ttlMs` is left and somebody asks, one caller of the whole fleet loads anew
   * in the background. A key that nobody asks for runs out.
   */
  readonly refreshThreshold?: number;
  /** Names by which `invalidateByTag` ends the entry; at most 32. As a function of what was loaded. */
  readonly tags?: readonly string[] | ((value: Value) => readonly string[]);
  /** Remembers for so long that the source has nothing; by default that is not remembered. */
  readonly absentTtlMs?: number;
  /** Shortens the times at random by up to so many percent, 0 to 90, so that entries written together do not end together. */
  readonly jitterPercent?: number;
  /** What a caller gets while the entry is stale: the stale value at once, or what is loaded. `serve` by default. */
  readonly whileStale?: 'serve' | 'wait';
  /** After a load that failed nobody loads for so long, in the whole fleet: 1,000 by default, 0 to 600,000. */
  readonly failureBackoffMs?: number;
  /** A load that takes longer fails with DeadlineExceededError; 30,000 by default, 1 to 2,147,483,647 (24 days). */
  readonly maxLoadMs?: number;
  /** How long to wait for somebody else's load before loading beside it; 5,000 by default, 0 to 60,000. */
  readonly waitMs?: number;
  /** Until a loader that died is followed by another one, 1,000 to 600,000; 5,000 by default. It is renewed while a load runs. */
  readonly leaseMs?: number;
  /** The client's by default. */
  readonly timeoutMs?: number;
  /** Ends this caller's wait; the load goes on for the others. */
  readonly signal?: AbortSignal;
}

/** Of `taggedCache`, which has the tags beside them. */
export type TaggedCacheOptions<Value = unknown> = Omit<CacheAsideOptions<Value>, 'tags'>;

export const TAGGED_CACHE_OPTIONS: OptionNames<TaggedCacheOptions> = {
  ...ENTRY_EXPIRY_OPTIONS,
  refreshThreshold: true,
  absentTtlMs: true,
  jitterPercent: true,
  whileStale: true,
  failureBackoffMs: true,
  maxLoadMs: true,
  waitMs: true,
  leaseMs: true,
  timeoutMs: true,
  signal: true,
};
export const CACHE_ASIDE_OPTIONS: OptionNames<CacheAsideOptions> = { ...TAGGED_CACHE_OPTIONS, tags: true };

/** How to ask for an entry, or for the right to load it. */
export interface LeaseTerms {
  readonly key: string;
  readonly early: GetOrLeaseRequest['early'];
  readonly leaseMs: number;
  readonly waitMs: number;
  /** Undefined: the client's. */
  readonly timeoutMs: number | undefined;
  /** So near its end, in milliseconds, the service is to decide who loads anew. */
  readonly refreshMs: number;
}

/** A load with everything that it needs. Where one is made, nothing is wrong that the service would refuse afterwards. */
export interface LoadTerms<Value> extends LeaseTerms {
  readonly loader: Loader<Value>;
  readonly entry: EntryTerms<Value>;
  /** For an entry that says that the source has nothing. */
  readonly absentTtlMs: number;
  readonly servesStale: boolean;
  readonly failureBackoffMs: number;
  readonly maxLoadMs: number;
}

const DEFAULT_LEASE_MS = 5_000;
const DEFAULT_WAIT_MS = 5_000;
const DEFAULT_MAX_LOAD_MS = 30_000;
const DEFAULT_FAILURE_BACKOFF_MS = 1_000;
/** What is not to be remembered is still the answer to those who wait for it now. */
const FORGOTTEN_AT_ONCE_MS = 1;
const SERVES_STALE = { serve: true, wait: false } as const;
const BACKOFF_MS = { min: 0, max: 600_000 };
const WAIT_MS = { min: 0, max: 60_000 };
const LEASE_MS = { min: 1_000, max: 600_000 };
/** What a timer can wait. */
const LOAD_MS = { min: 1, max: 2 ** 31 - 1 };

/** Throws InvalidArgumentError, naming the options that are wrong. */
export function loadTermsOf<Value>(
  key: string,
  loader: Loader<Value>,
  options: CacheAsideOptions<Value>,
): LoadTerms<Value> {
  functionIn(loader, 'loader');
  const { refreshThreshold, whileStale = 'serve', timeoutMs, ttlMs = 0 } = options;
  // with the wait on top a wrong one could be right
  throwIfNoTimeout(timeoutMs);
  return {
    key,
    loader,
    entry: entryTermsOf(key, options),
    early: earlyOf(refreshThreshold),
    refreshMs: ttlMs * (refreshThreshold ?? 0),
    absentTtlMs: roundedMs(options.absentTtlMs ?? FORGOTTEN_AT_ONCE_MS, 'absentTtlMs'),
    servesStale: wordIn(SERVES_STALE, whileStale, 'whileStale'),
    failureBackoffMs: roundedMs(options.failureBackoffMs ?? DEFAULT_FAILURE_BACKOFF_MS, 'failureBackoffMs', BACKOFF_MS),
    maxLoadMs: roundedMs(options.maxLoadMs ?? DEFAULT_MAX_LOAD_MS, 'maxLoadMs', LOAD_MS),
    waitMs: roundedMs(options.waitMs ?? DEFAULT_WAIT_MS, 'waitMs', WAIT_MS),
    leaseMs: roundedMs(options.leaseMs ?? DEFAULT_LEASE_MS, 'leaseMs', LEASE_MS),
    timeoutMs,
  };
}

function earlyOf(refreshThreshold: number | undefined): GetOrLeaseRequest['early'] {
  if (refreshThreshold === undefined) return undefined;
  if (!(typeof refreshThreshold === 'number' && refreshThreshold > 0 && refreshThreshold < 1))
    throw invalidArgument('refreshThreshold must be above 0 and below 1', ['refreshThreshold']);
  return { $case: 'earlyFraction', value: 1 - refreshThreshold };
}
