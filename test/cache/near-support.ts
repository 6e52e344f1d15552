import { CacheServiceService, Consistency, type Entry } from '../../src/gen/shardkeep/cache/v1/cache.js';
import type { PromiseClient } from '../support/client.js';
import type { RedisServer } from '../support/redis-server.js';

/** Reads with CONSISTENCY_NEAR, and what they cost Redis. */

export type Cache = PromiseClient<typeof CacheServiceService>;

/** A near cache whose own time never ends a test's wait for a push. */
export const NEAR = { NEAR_CACHE_MAX_BYTES: '8000000', NEAR_CACHE_TTL_MS: '600000' };
export const lasting = { $case: 'noExpiry', value: true } as const;
export const bytes = (text: string): Buffer => Buffer.from(text);
export const ttl = (value: bigint): { $case: 'ttlMs'; value: bigint } => ({ $case: 'ttlMs', value });

export async function near(cache: Cache, key: string): Promise<string | undefined> {
  return (await nearEntry(cache, key))?.value.toString();
}

export async function nearEntry(cache: Cache, key: string): Promise<Entry | undefined> {
  return (await cache.get({ key, consistency: Consistency.NEAR })).entry;
}

/** Reads that Redis has run, of any command that reads a value. */
export async function readsOn(redis: RedisServer): Promise<number> {
  const stats = String(await redis.command('INFO', 'commandstats'));
  return [...stats.matchAll(/^cmdstat_m?get:calls=(\d+)/gm)].reduce((sum, [, calls]) => sum + Number(calls), 0);
}
