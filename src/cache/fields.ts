import { invalidField, type FieldViolation } from '../errors.js';
import type { Freshness, Guard as GuardMessage, SetRequest } from '../gen/shardkeep/cache/v1/cache.js';
import { integer, list, message, oneOf, onlyTrue, optional, text, type Rule } from '../grpc/rules.js';
import type { Guard } from '../redis/guard.js';
import type { Lifetime } from './write-options.js';

/** Fields that several requests of CacheService have: their rules, and what the stores take for them. */

export const MAX_TTL_MS = 31_536_000_000n;
export const MAX_KEYS = 256;
const MAX_JITTER_PERCENT = 90;
const MAX_FENCING_TOKEN = BigInt(Number.MAX_SAFE_INTEGER);

/** Keys of this kind must expire (seed convention `temp:{purpose}:{id}`). */
const EPHEMERAL_PREFIX = 'temp:';

export const key = text({ minBytes: 1, maxBytes: 512 });
export const keyList = list(key, { min: 1, max: MAX_KEYS });
export const distinctKeys = list(key, { min: 1, max: MAX_KEYS, unique: true });
export const ttlMs = integer({ min: 1n, max: MAX_TTL_MS });
export const jitterPercent = integer({ min: 0, max: MAX_JITTER_PERCENT });

export const tag = text({ minBytes: 1, maxBytes: 128 });
/** Tags of an entry. */
export const entryTags = list(tag, { min: 0, max: 32, unique: true });
/** Tags to invalidate. */
export const tagList = list(tag, { min: 1, max: 256, unique: true });

const eachFreshness = message<Freshness>({ freshMs: ttlMs, staleMs: integer({ min: 0n, max: MAX_TTL_MS }) });
const freshness: Rule<Freshness> = (value, field, violations) => {
  const before = violations.length;
  eachFreshness(value, field, violations);
  if (violations.length === before && value.freshMs + value.staleMs > MAX_TTL_MS) {
    violations.push({
      field: `${field}.stale_ms`,
      description: `must make at most ${String(MAX_TTL_MS)} with fresh_ms`,
    });
  }
};

/** The expiry of an entry; that of other things has no freshness. */
export type EntryExpiry = SetRequest['expiry'];
export type Expiry = Exclude<EntryExpiry, { $case: 'freshness' }>;

export const expiry = oneOf<Expiry>({ ttlMs, noExpiry: onlyTrue });
export const entryExpiry = oneOf<EntryExpiry>({ ttlMs, noExpiry: onlyTrue, freshness });

export const guard = optional(
  message<GuardMessage>({
    resource: text({ minBytes: 1, maxBytes: 512 }),
    fencingToken: integer({ min: 1n, max: MAX_FENCING_TOKEN }),
  }),
);

/** Throws where something that must expire shall not. */
export function checkEphemeral(requested: EntryExpiry, cacheKeys: readonly string[]): void {
  if (isEphemeralForEver(requested, cacheKeys)) throw invalidField('no_expiry', EPHEMERAL_DESCRIPTION);
}

const EPHEMERAL_DESCRIPTION = 'must not be set for a key that begins with temp:';

export function ephemeralViolation(field: string, requested: EntryExpiry, name: string): FieldViolation | undefined {
  return isEphemeralForEver(requested, [name])
    ? { field: `${field}.no_expiry`, description: EPHEMERAL_DESCRIPTION }
    : undefined;
}

function isEphemeralForEver(requested: EntryExpiry, cacheKeys: readonly string[]): boolean {
  return requested?.$case === 'noExpiry' && cacheKeys.some((name) => name.startsWith(EPHEMERAL_PREFIX));
}

/** The time to live of what has no freshness; 0: no expiry. */
export function ttlOf(requested: Expiry, defaultTtlMs: number): number {
  if (requested === undefined) return defaultTtlMs;
  return requested.$case === 'ttlMs' ? Number(requested.value) : 0;
}

/** How long an entry lives, made shorter by chance by up to so many percent. */
export function lifetimeOf(requested: EntryExpiry, percent: number, defaultTtlMs: number): Lifetime {
  const factor = percent === 0 ? 1 : 1 - (Math.random() * percent) / 100;
  const jittered = (ms: number): number => Math.max(1, Math.round(ms * factor));
  if (requested?.$case === 'freshness') {
    const { freshMs, staleMs } = requested.value;
    const shortFreshMs = jittered(Number(freshMs));
    return { freshMs: shortFreshMs, ttlMs: shortFreshMs + (staleMs === 0n ? 0 : jittered(Number(staleMs))) };
  }
  const ttl = ttlOf(requested, defaultTtlMs);
  return { freshMs: 0, ttlMs: ttl === 0 ? 0 : jittered(ttl) };
}

export function toGuard(message: GuardMessage | undefined): Guard | undefined {
  if (message === undefined) return undefined;
  return { resource: message.resource, fencingToken: Number(message.fencingToken) };
}
