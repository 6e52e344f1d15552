import type { Freshness } from '../../gen/shardkeep/cache/v1/cache.js';
import { invalidArgument } from '../errors.js';

/** How long something lives. Without any of these: the service's default for its environment. */
export interface ExpiryOptions {
  /** Milliseconds from now, 1 to 31,536,000,000 (365 days). */
  readonly ttlMs?: number;
  /** Until it is deleted or evicted; not for keys that begin with `temp:`. */
  readonly noExpiry?: true;
}

export interface EntryExpiryOptions extends ExpiryOptions {
  /** After `ttlMs` the entry may be served stale for so long, while one caller loads it anew or where loading fails; 0 by default. */
  readonly staleMs?: number;
}

export type Expiry =
  { readonly $case: 'ttlMs'; readonly value: bigint } | { readonly $case: 'noExpiry'; readonly value: boolean };

export type EntryExpiry = Expiry | { readonly $case: 'freshness'; readonly value: Freshness };

export function expiryOf({ ttlMs, noExpiry }: ExpiryOptions): Expiry | undefined {
  if (noExpiry === true) {
    if (ttlMs !== undefined) throw invalidArgument('ttlMs and noExpiry exclude each other', ['ttlMs', 'noExpiry']);
    return { $case: 'noExpiry', value: true };
  }
  return ttlMs === undefined ? undefined : { $case: 'ttlMs', value: wholeMs(ttlMs, 'ttlMs') };
}

export function entryExpiryOf(options: EntryExpiryOptions): EntryExpiry | undefined {
  const { ttlMs, staleMs = 0 } = options;
  if (staleMs === 0) return expiryOf(options);
  if (ttlMs === undefined) throw invalidArgument('staleMs needs ttlMs', ['staleMs']);
  return {
    $case: 'freshness',
    value: { freshMs: wholeMs(ttlMs, 'ttlMs'), staleMs: wholeMs(staleMs, 'staleMs') },
  };
}

/** A fraction of a millisecond is more than the contract can say; it is left to the service to say what is out of range. */
export function wholeMs(value: number, field: string): bigint {
  if (!Number.isFinite(value)) throw invalidArgument(`${field} must be a number of milliseconds`, [field]);
  return BigInt(Math.round(value));
}
