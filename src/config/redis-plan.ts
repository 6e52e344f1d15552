import type { QuorumPlan } from '../lock/quorum/create-quorum-locks.js';
import { describeTarget, type RedisTarget, type StandaloneTarget } from '../redis/connection.js';
import { findRedisBinary } from '../redis/embedded.js';
import type { RedisPlan } from '../redis/roles.js';
import type { EnvironmentSettings } from './environment.js';
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
  const open = Object.entries({ cache, state, limit }).filter(([, target]) => target.password === undefined);
  if (production && open.length > 0 && !settings.ALLOW_REDIS_WITHOUT_PASSWORD) {
    problems.push(
      `REDIS_PASSWORD: the Redis for ${open.map(([role]) => role).join(', ')} has no password; ` +
        'in production set one, or ALLOW_REDIS_WITHOUT_PASSWORD=1',
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

/** The Redis of every role that has none of its own: REDIS_URL, or the seeds' REDIS_HOST, _PORT, _PASSWORD and _DB. */
function commonTarget(settings: EnvironmentSettings, problems: string[]): RedisTarget | undefined {
  const { REDIS_HOST, REDIS_PORT, REDIS_PASSWORD, REDIS_DB } = settings;
  if (settings.REDIS_URL !== undefined) {
    const named = { REDIS_HOST, REDIS_PORT };
    for (const [name, value] of Object.entries(named)) {
      if (value !== undefined) problems.push(`${name}: set together with REDIS_URL; take one away`);
    }
    return withSeedSettings(parseTarget('REDIS_URL', settings.REDIS_URL, problems), settings, problems);
  }
  if (REDIS_HOST === undefined && REDIS_PORT === undefined) return undefined;
  return {
    topology: 'standalone',
    tls: false,
    host: REDIS_HOST ?? 'localhost',
    port: REDIS_PORT ?? 6_379,
    database: REDIS_DB ?? 0,
    ...(REDIS_PASSWORD === undefined ? {} : { password: REDIS_PASSWORD }),
  };
}

function roleTarget(
  name: 'CACHE_REDIS_URL' | 'STATE_REDIS_URL' | 'LIMIT_REDIS_URL',
  settings: EnvironmentSettings,
  problems: string[],
): RedisTarget | undefined {
  const url = settings[name];
  return url === undefined ? undefined : withSeedSettings(parseTarget(name, url, problems), settings, problems);
}

/** The masters of LOCK_REDIS_URLS; undefined where there is none. Tells what is wrong in `problems`. */
export function planQuorum(settings: EnvironmentSettings, problems: string[]): QuorumPlan | undefined {
  if (settings.LOCK_REDIS_URLS === undefined) return undefined;
  const problem = (message: string): void => {
    problems.push(`LOCK_REDIS_URLS: ${message}`);
  };
  const problemsBefore = problems.length;
  const targets: StandaloneTarget[] = [];
  for (const url of settings.LOCK_REDIS_URLS.split(',').map((part) => part.trim())) {
    const target = withSeedSettings(parseTarget('LOCK_REDIS_URLS', url, problems), settings, problems);
    if (target?.topology === 'cluster') problem('must name masters that know nothing of each other, no Cluster');
    else if (target !== undefined) targets.push(target);
  }
  if (problems.length > problemsBefore) return undefined;
  if (targets.length !== 3 && targets.length !== 5) {
    problem(
      `must name 3 or 5 masters, not ${String(targets.length)}: 1 has no majority to lose one of, ` +
        'and an even number can lose no more of them than one less',
    );
  }
  if (new Set(targets.map(describeTarget)).size < targets.length) problem('names a master twice');
  const isOpen = targets.some(({ password }) => password === undefined);
  if (settings.NODE_ENV === 'production' && isOpen && !settings.ALLOW_REDIS_WITHOUT_PASSWORD) {
    problem('a master has no password; in production set one, or ALLOW_REDIS_WITHOUT_PASSWORD=1');
  }
  return {
    targets,
    maxTtlMs: settings.LOCK_QUORUM_MAX_TTL_MS,
    nodeTimeoutMs: settings.LOCK_QUORUM_NODE_TIMEOUT_MS,
    maxSkewMs: settings.LOCK_QUORUM_MAX_CLOCK_SKEW_MS,
  };
}

function parseTarget(name: string, url: string, problems: string[]): RedisTarget | undefined {
  try {
    return parseRedisUrl(url);
  } catch (error) {
    problems.push(`${name}: ${error instanceof Error ? error.message : String(error)}`);
    return undefined;
  }
}

/** REDIS_PASSWORD and REDIS_DB hold for every URL that names none. */
function withSeedSettings(
  target: RedisTarget | undefined,
  { REDIS_PASSWORD, REDIS_DB }: EnvironmentSettings,
  problems: string[],
): RedisTarget | undefined {
  if (target === undefined) return undefined;
  const login =
    target.password === undefined && REDIS_PASSWORD !== undefined ? { ...target, password: REDIS_PASSWORD } : target;
  if (REDIS_DB === undefined) return login;
  if (login.topology === 'cluster') {
    if (REDIS_DB !== 0) problems.push('REDIS_DB: a Cluster has no databases; take it away');
    return login;
  }
  return login.database === 0 ? { ...login, database: REDIS_DB } : login;
}
