import type { Entry } from '../gen/shardkeep/cache/v1/cache.js';
import type { LiveEntry } from './entry.js';

export function toEntry(entry: LiveEntry | undefined): Entry | undefined {
  if (entry === undefined) return undefined;
  return {
    value: entry.value,
    ttlMs: entry.ttlMs === undefined ? undefined : BigInt(entry.ttlMs),
    createdAtMs: BigInt(entry.createdAtMs),
    version: BigInt(entry.version),
    stale: entry.stale,
    tags: [...entry.tags],
    freshTtlMs: entry.freshTtlMs === undefined ? undefined : BigInt(entry.freshTtlMs),
  };
}
