/**
 * Names of keys by one convention, so that who writes and who reads mean the same key. Ids may be anything: `:` and `%` in them
 * are percent-encoded, so that no id makes the key of another thing.
 */
export const CacheKeys = {
  user: (userId: string) => `user:${part(userId)}:profile`,
  settings: (userId: string) => `user:${part(userId)}:settings`,
  achievements: (userId: string) => `user:${part(userId)}:achievements`,
  character: (characterId: string) => `char:${part(characterId)}:data`,
  inventory: (characterId: string) => `char:${part(characterId)}:inventory`,
  skills: (characterId: string) => `char:${part(characterId)}:skills`,
  guild: (guildId: string) => `guild:${part(guildId)}:data`,
  zone: (zoneId: string) => `zone:${part(zoneId)}:data`,
  combat: (combatId: string) => `combat:${part(combatId)}:state`,
  leaderboard: (type: string) => `leaderboard:${part(type)}`,
  /** Keys of this kind must expire: the service refuses `noExpiry` for them. */
  temp: (purpose: string, id: string) => `temp:${part(purpose)}:${part(id)}`,
  /** For limits of your own making; RateLimitService has its own keys. */
  rateLimit: (id: string, action: string) => `ratelimit:${part(id)}:${part(action)}`,
} as const;

function part(id: string): string {
  return id.replaceAll('%', '%25').replaceAll(':', '%3A');
}
