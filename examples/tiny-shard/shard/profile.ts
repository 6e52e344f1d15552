import { CacheKeys } from 'shardkeep/client';
import type { Profile } from '../protocol.js';
import { nowUs } from '../stage/evidence.js';
import type { ShardContext } from './context.js';

/** Short, so that a demonstration of seconds sees misses as well as hits. */
const TTL_MS = 2_000;

/** From the cache, otherwise from the database and into the cache: of all shards that ask, one loads. */
export async function viewProfile(context: ShardContext, userId: string): Promise<Profile> {
  const { shardkeep, host, report } = context;
  const startedUs = nowUs();
  let outcome: 'hit' | 'loaded' = 'hit';
  // while the cache is away this loads: the database still knows
  const profile = await shardkeep.cache.cacheAside<Profile>(
    CacheKeys.user(userId),
    () => {
      outcome = 'loaded';
      return host.ask('loadProfile', userId);
    },
    { ttlMs: TTL_MS },
  );
  report(startedUs, { kind: 'profile_read', outcome });
  if (profile === undefined) throw new Error(`no profile of ${userId}`);
  return profile;
}
