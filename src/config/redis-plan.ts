import type { RedisTarget } from '../redis/connection.js';
import { findRedisBinary } from '../redis/embedded.js';
import type { RedisPlan } from '../redis/roles.js';
import type { EnvironmentSettings } from './environment.js';
import { logsIn, withAccess } from './redis-access.js';
import { parseRedisUrl } from './redis-url.js';

/** Where the roles are. Tells what is wrong in `problems`, and then answers undefined. */
export function planRedis(settings: EnvironmentSettings, problems: string[]): RedisPlan | undefined {
  const production = settings.NODE_ENV === 'production';
  const problemsBefore = problems.length;
  const common = commonTarget(settings, problems);
  const targets = {
    cache: roleTarget('CACHE_REDIS_URL', settings, problems) ?? common,
    state: roleTarget('STATE_REDIS_URL', settings, problems) ?? common,
    limit: undefined as RedisTarget | undefined,
  };
  targets.limit = roleTarget('LIMIT_REDIS_URL', settings, problems) ?? targets.state;
  const { cache, state, limit } = targets;
  const unreadable = problems.length > problemsBefore;

  if (cache === undefined && state === undefined && limit === undefined) {
    return unreadable ? undefined : planEmbedded(settings, production, problems);
  }
  if (settings.EMBEDDED_REDIS === true) {
    problems.push('EMBEDDED_REDIS: set together with the address of a Redis; take one away');
  }
  if (cache === undefined || state === undefined || limit === undefined) {
    const missing = Object.entries({ CACHE: cache, STATE: state }).filter(([, target]) => target === undefined);
    for (const [role] of unreadable ? [] : missing) {
      problems.push(`${role}_REDIS_URL: missing; set it, or REDIS_URL for every role`);
    }
    return undefined;
  }
  const open = Object.entries({ cache, state, limit }).filter(([, target]) => !logsIn(target));
  if (production && open.length > 0 && !settings.ALLOW_REDIS_WITHOUT_PASSWORD) {
    problems.push(
      `REDIS_PASSWORD: the Redis for ${open.map(([role]) => role).join(', ')} has no password; ` +
        'in production set one (or REDIS_PASSWORD_FILE), or ALLOW_REDIS_WITHOUT_PASSWORD=1',
    );
  }
  return { kind: 'external', targets: { cache, state, limit } };
}

function planEmbedded(settings: EnvironmentSettings, production: boolean, problems: string[]): RedisPlan | undefined {
  if (settings.EMBEDDED_REDIS === false || (production && settings.EMBEDDED_REDIS !== true)) {
    problems.push('REDIS_URL: missing; set it, or EMBEDDED_REDIS=1 to run a Redis inside the service');
    return undefined;
  }
  const binary = findRedisBinary(settings.REDIS_SERVER_BIN);
  if (binary === undefined) {
    problems.push(
      settings.REDIS_SERVER_BIN === undefined
        ? 'REDIS_URL: missing, and no redis-server or valkey-server is installed to embed'
        : 'REDIS_SERVER_BIN: names no program that can be run',
    );
    return undefined;
  }
  return {
    kind: 'embedded',
    binary,
    dataDir: settings.DATA_DIR,
    cacheMaxMemoryMb: settings.EMBEDDED_CACHE_MB,
    stateMaxMemoryMb: settings.EMBEDDED_STATE_MB,
  };
}

/** The Redis of every role that has none of its own: REDIS_URL, or the seeds' REDIS_HOST and _PORT. */
function commonTarget(settings: EnvironmentSettings, problems: string[]): RedisTarget | undefined {
  const { REDIS_HOST, REDIS_PORT, REDIS_DB } = settings;
  if (settings.REDIS_URL !== undefined) {
    const named = { REDIS_HOST, REDIS_PORT };
    for (const [name, value] of Object.entries(named)) {
      if (value !== undefined) problems.push(`${name}: set together with REDIS_URL; take one away`);
    }
    return withSeedSettings(parseTarget('REDIS_URL', settings.REDIS_URL, problems), settings, problems);
  }
  if (REDIS_HOST === undefined && REDIS_PORT === undefined) return undefined;
  const target: RedisTarget = {
    topology: 'standalone',
    tls: false,
    host: REDIS_HOST ?? 'localhost',
    port: REDIS_PORT ?? 6_379,
    database: REDIS_DB ?? 0,
  };
  return withAccess(target, settings);
}

function roleTarget(
  name: 'CACHE_REDIS_URL' | 'STATE_REDIS_URL' | 'LIMIT_REDIS_URL',
  settings: EnvironmentSettings,
  problems: string[],
): RedisTarget | undefined {
  const url = settings[name];
  return url === undefined ? undefined : withSeedSettings(parseTarget(name, url, problems), settings, problems);
}

export function parseTarget(name: string, url: string, problems: string[]): RedisTarget | undefined {
  try {
    return parseRedisUrl(url);
  } catch (error) {
    problems.push(`${name}: ${error instanceof Error ? error.message : String(error)}`);
    return undefined;
  }
}

/** What is set of the login, of TLS and of the database holds for every URL that names none. */
export function withSeedSettings(
  target: RedisTarget | undefined,
  settings: EnvironmentSettings,
  problems: string[],
): RedisTarget | undefined {
  const { REDIS_DB } = settings;
  if (target === undefined) return undefined;
  const login: RedisTarget = withAccess(
    target.topology === 'sentinel' ? { ...target, ...sentinelLogin(settings) } : target,
    settings,
  );
  if (REDIS_DB === undefined) return login;
  if (login.topology === 'cluster') {
    if (REDIS_DB !== 0) problems.push('REDIS_DB: a Cluster has no databases; take it away');
    return login;
  }
  return login.database === 0 ? { ...login, database: REDIS_DB } : login;
}

function sentinelLogin({ REDIS_SENTINEL_USERNAME, REDIS_SENTINEL_PASSWORD }: EnvironmentSettings) {
  return {
    ...(REDIS_SENTINEL_USERNAME === undefined ? {} : { sentinelUsername: REDIS_SENTINEL_USERNAME }),
    ...(REDIS_SENTINEL_PASSWORD === undefined ? {} : { sentinelPassword: REDIS_SENTINEL_PASSWORD }),
  };
}
