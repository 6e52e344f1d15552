import { ShardkeepError } from '../client.js';
import type { Profile } from '../protocol.js';
import { nowUs, type EvidenceOf } from '../stage/evidence.js';
import type { ShardContext } from './context.js';

/** Short, so that a demonstration of seconds sees misses as well as hits. */
const PROFILE_TTL_MS = 2_000n;

type Outcome = EvidenceOf<'profile_read'>['outcome'];

/** Cache-aside: from the cache, otherwise from the database and into the cache for the next one. */
export async function viewProfile(context: ShardContext, userId: string): Promise<Profile> {
  const startedUs = nowUs();
  const { profile, outcome } = await readThrough(context, userId);
  context.report(startedUs, { kind: 'profile_read', outcome });
  return profile;
}

async function readThrough(context: ShardContext, userId: string): Promise<{ profile: Profile; outcome: Outcome }> {
  const { cache } = context.shardkeep;
  const key = `user:${userId}:profile`;
  try {
    const { entry } = await cache.get({ key });
    if (entry !== undefined) return { profile: parseProfile(entry.value), outcome: 'hit' };
    const profile = await context.host.ask('loadProfile', userId);
    // if_absent: when another shard was faster, its entry stays and keeps its expiry
    const { stored } = await cache.set({
      key,
      value: Buffer.from(JSON.stringify(profile)),
      expiry: { $case: 'ttlMs', value: PROFILE_TTL_MS },
      condition: { $case: 'ifAbsent', value: true },
    });
    return { profile, outcome: stored ? 'loaded' : 'lost_race' };
  } catch (error) {
    if (!(error instanceof ShardkeepError)) throw error;
    // a cache may fail; the database still knows
    return { profile: await context.host.ask('loadProfile', userId), outcome: 'cache_down' };
  }
}

function parseProfile(bytes: Buffer): Profile {
  const value: unknown = JSON.parse(bytes.toString('utf8'));
  if (typeof value !== 'object' || value === null) throw new Error('the cached profile is no object');
  if (!('userId' in value && 'level' in value && 'motto' in value)) throw new Error('the cached profile lacks a field');
  const { userId, level, motto } = value;
  if (typeof userId !== 'string' || typeof level !== 'number' || typeof motto !== 'string') {
    throw new Error('a field of the cached profile has the wrong type');
  }
  return { userId, level, motto };
}
