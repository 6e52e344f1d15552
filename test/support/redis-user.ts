import { readFileSync } from 'node:fs';

/**
 * The user of Redis that services under test log in as: the one that ships, so that every test fails which needs a right
 * that operators do not grant. What the tests look at by themselves they look at as the default user.
 */

export const SHIPPED_USERS = new URL('../../docs/operations/redis-users.acl', import.meta.url);
export const SERVICE_USER = 'shardkeep';
export const SERVICE_PASSWORD = 'only-for-tests';

/** Namespaces of tests, in the place of the one that ships. */
const TEST_NAMESPACES = ['t-*', 'aeturnis'];

/** The rules of a user in the file that ships. */
export function shippedRules(user: string): readonly string[] {
  const lines = readFileSync(SHIPPED_USERS, 'utf8').split('\n');
  const rules = lines.map((line) => line.split(' ')).find(([word, name]) => word === 'user' && name === user);
  if (rules === undefined) throw new Error(`no user ${user} ships`);
  return rules.slice(2);
}

/** The rules of the service's user, for these namespaces (or patterns) and a password that tests know. */
export function serviceRules(namespaces: readonly string[] = TEST_NAMESPACES): readonly string[] {
  return shippedRules(SERVICE_USER).flatMap((rule) => {
    if (rule.startsWith('#')) return [`>${SERVICE_PASSWORD}`];
    const pattern = /^([~&])aeturnis:\*$/.exec(rule)?.[1];
    return pattern === undefined ? [rule] : namespaces.map((namespace) => `${pattern}${namespace}:*`);
  });
}

/** Keys of locks that users of npm `redlock` share are outside all namespaces, behind prefixes like this one. */
const REDLOCK_KEYS = '~{t-*';

/** What a redis-server is started with to know the user. */
export function serviceUserFlags(...rules: readonly string[]): readonly string[] {
  return ['--user', SERVICE_USER, ...serviceRules(), REDLOCK_KEYS, ...rules];
}

/** The same for a master whose users of npm `redlock` have no prefix. */
export const BARE_LOCKS = serviceUserFlags('~*');

/** Logs in as it; goes before `host:port` in a URL. */
export const SERVICE_LOGIN = `${SERVICE_USER}:${SERVICE_PASSWORD}@`;

/** The same Redis as the default user, who may do everything. */
export function asOurselves(url: string): string {
  return url.replace(SERVICE_LOGIN, '');
}

const REDIS_SETTING = /^(?:CACHE_|STATE_|LIMIT_)?REDIS_URL$|^LOCK_REDIS_URLS$/;

/**
 * Throws where a service is about to be tested as another user, on a Redis of the tests: it would pass with rights that
 * no operator grants. What names no port of this machine's loopback is no Redis of theirs.
 */
export function mustUseServiceUser(env: Readonly<Record<string, string>>): void {
  for (const [name, urls] of Object.entries(env)) {
    if (!REDIS_SETTING.test(name) || env.REDIS_USERNAME === SERVICE_USER) continue;
    if (/\/\/(?:127\.0\.0\.1|localhost):/.test(urls)) {
      throw new Error(`${name} does not log in as ${SERVICE_USER}; take RedisServer.url, sharedRedisUrl or serviceUrl`);
    }
  }
}
