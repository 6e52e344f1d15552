import type { Freshness } from '../../gen/shardkeep/cache/v1/cache.js';
import { invalidArgument } from '../errors.js';
import { nameOf } from '../name-of.js';
import { CALL_OPTIONS, type CallOptions } from '../transport/method.js';
import type { OptionNames, Range } from '../arguments.js';

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

export const EXPIRY_OPTIONS: OptionNames<ExpiryOptions> = { ttlMs: true, noExpiry: true };
export const ENTRY_EXPIRY_OPTIONS: OptionNames<EntryExpiryOptions> = { ...EXPIRY_OPTIONS, staleMs: true };

export type TouchOptions = ExpiryOptions & CallOptions;

export const TOUCH_OPTIONS: OptionNames<TouchOptions> = { ...EXPIRY_OPTIONS, ...CALL_OPTIONS };

export type Expiry =
  { readonly $case: 'ttlMs'; readonly value: bigint } | { readonly $case: 'noExpiry'; readonly value: boolean };

export type EntryExpiry = Expiry | { readonly $case: 'freshness'; readonly value: Freshness };

const MAX_MS = 31_536_000_000;
const ANY_TIME: Range = { min: 1, max: MAX_MS };

export function expiryOf({ ttlMs, noExpiry }: ExpiryOptions): Expiry | undefined {
  if (noExpiry === true) {
    if (ttlMs !== undefined) throw invalidArgument('ttlMs and noExpiry exclude each other', ['ttlMs', 'noExpiry']);
    return { $case: 'noExpiry', value: true };
  }
  return ttlMs === undefined ? undefined : { $case: 'ttlMs', value: wholeTtlMs(ttlMs) };
}

export function entryExpiryOf(options: EntryExpiryOptions): EntryExpiry | undefined {
  const { ttlMs, noExpiry, staleMs = 0 } = options;
  if (staleMs === 0) return expiryOf(options);
  if (ttlMs === undefined) throw invalidArgument('staleMs needs ttlMs', ['staleMs']);
  if (noExpiry === true) throw invalidArgument('staleMs and noExpiry exclude each other', ['staleMs', 'noExpiry']);
  const freshMs = wholeTtlMs(ttlMs);
  return {
    $case: 'freshness',
    value: { freshMs, staleMs: wholeMs(staleMs, 'staleMs', { min: 0, max: MAX_MS - Number(freshMs) }) },
  };
}

function wholeTtlMs(ttlMs: number): bigint {
  if (ttlMs === Infinity) throw invalidArgument('ttlMs must be finite: what shall not expire has noExpiry', ['ttlMs']);
  return wholeMs(ttlMs, 'ttlMs');
}

/** Throws InvalidArgumentError for what is out of range. */
export function wholeMs(value: number, field: string, range: Range = ANY_TIME): bigint {
  return BigInt(roundedMs(value, field, range));
}

/** As `wholeMs`, for times that are reckoned with. A fraction of a millisecond is more than the contract can say. */
export function roundedMs(value: number, field: string, { min, max }: Range = ANY_TIME): number {
  const whole = typeof value === 'number' ? Math.round(value) : NaN;
  if (whole >= min && whole <= max) return whole;
  throw invalidArgument(`${field} must be from ${String(min)} to ${String(max)} milliseconds, not ${nameOf(value)}`, [
    field,
  ]);
}
