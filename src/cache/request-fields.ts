import { invalidField } from '../errors.js';
import type { IncrementRequest } from '../gen/shardkeep/cache/v1/cache.js';
import { integer, onlyTrue, oneOf, text } from '../grpc/rules.js';

/** Fields that mean the same in every request of the cache. */

const MAX_TTL_MS = 31_536_000_000n;

/** Keys of this kind must expire (seed convention `temp:{purpose}:{id}`). */
const EPHEMERAL_PREFIX = 'temp:';

export const key = text({ minBytes: 1, maxBytes: 512 });

/** `ttl_ms` and `no_expiry`, the same oneof in every request that has it. */
export type Expiry = IncrementRequest['expiry'];
export const expiry = oneOf<Expiry>({ ttlMs: integer({ min: 1n, max: MAX_TTL_MS }), noExpiry: onlyTrue });

/** 0: no expiry. */
export function ttlMsOf(requested: Expiry, defaultTtlMs: number): number {
  if (requested === undefined) return defaultTtlMs;
  return requested.$case === 'ttlMs' ? Number(requested.value) : 0;
}

export function checkEphemeral(requested: Expiry, cacheKeys: readonly string[]): void {
  if (requested?.$case === 'noExpiry' && cacheKeys.some((name) => name.startsWith(EPHEMERAL_PREFIX))) {
    throw invalidField('no_expiry', 'must not be set for a key that begins with temp:');
  }
}
