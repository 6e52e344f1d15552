/** What only admins may call. Written down once more, so that nobody opens an RPC by mistake. */
export const ADMIN_RPCS: ReadonlySet<string> = new Set([
  'shardkeep.cache.v1.CacheService/GetCacheStats',
  'shardkeep.lock.v1.LockService/CleanupExpiredLocks',
  'shardkeep.lock.v1.LockService/ForceReleaseLock',
  'shardkeep.lock.v1.LockService/GetLockStats',
  'shardkeep.ratelimit.v1.RateLimitService/Ban',
  'shardkeep.ratelimit.v1.RateLimitService/GetRateLimitStats',
  'shardkeep.ratelimit.v1.RateLimitService/ListBans',
  'shardkeep.ratelimit.v1.RateLimitService/OverrideRateLimit',
  'shardkeep.ratelimit.v1.RateLimitService/ResetRateLimit',
  'shardkeep.ratelimit.v1.RateLimitService/Unban',
  'shardkeep.session.v1.SessionService/CleanupExpiredSessions',
  'shardkeep.session.v1.SessionService/DestroyAllSessions',
  'shardkeep.session.v1.SessionService/GetSessionStats',
]);
