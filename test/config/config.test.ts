import { describe, expect, test } from '@jest/globals';
import { loadConfig, type Config } from '../../src/config/config.js';
import { badSettings, problemsOf } from '../support/config.js';
import type { Environment } from '../support/service.js';

const LOCAL = { REDIS_URL: 'redis://redis:7000' };
const SECURE = { NODE_ENV: 'production', REDIS_URL: 'redis://:secret@redis:7000' };

function targetsOf(env: Environment): unknown {
  const { plan } = loadConfig(env).redis;
  return plan.kind === 'external' ? plan.targets : plan.kind;
}

describe('a bad setting is named', () => {
  test.each<[string, Environment]>([
    ['NODE_ENV', { NODE_ENV: 'staging' }],
    ['LOG_LEVEL', { LOG_LEVEL: 'loud' }],
    ['GRPC_LISTEN', { GRPC_LISTEN: '50051' }],
    ['GRPC_LISTEN', { GRPC_LISTEN: 'localhost:65536' }],
    ['GRPC_LISTEN', { GRPC_LISTEN: 'unix:relative.sock' }],
    ['GRPC_LISTEN', { GRPC_LISTEN: 'unix:1234' }],
    ['HEALTH_LISTEN', { HEALTH_LISTEN: 'localhost' }],
    ['REFLECTION', { REFLECTION: 'maybe' }],
    ['SIDECAR', { SIDECAR: '2' }],
    ['MAX_VALUE_BYTES', { MAX_VALUE_BYTES: '0' }],
    ['MAX_VALUE_BYTES', { MAX_VALUE_BYTES: '1MiB' }],
    ['MAX_IN_FLIGHT', { MAX_IN_FLIGHT: '-1' }],
    ['MAX_IN_FLIGHT', { MAX_IN_FLIGHT: '1.5' }],
    ['MAX_IN_FLIGHT', { MAX_IN_FLIGHT: '0x10' }],
    ['DEFAULT_DEADLINE_MS', { DEFAULT_DEADLINE_MS: '0' }],
    ['DEFAULT_DEADLINE_MS', { DEFAULT_DEADLINE_MS: '5000', MAX_DEADLINE_MS: '4999' }],
    ['MAX_DEADLINE_MS', { MAX_DEADLINE_MS: '600001' }],
    ['DRAIN_TIMEOUT_MS', { DRAIN_TIMEOUT_MS: '-1' }],
    ['NAMESPACE', { NAMESPACE: 'Aeturnis' }],
    ['NAMESPACE', { NAMESPACE: 'a:b' }],
    ['NAMESPACE', { NAMESPACE: 'a'.repeat(33) }],
    ['REDIS_KEY_PREFIX', { REDIS_KEY_PREFIX: 'pyramid{1}:' }],
    ['POLICIES_FILE', { POLICIES_FILE: '/nowhere/policies.yaml' }],
    ['LOCK_FENCE_RETENTION_MS', { LOCK_FENCE_RETENTION_MS: 'day' }],
    ['LOCK_REDIS_URLS', { LOCK_REDIS_URLS: 'redis://a,redis://b' }],
    ['LOCK_REDIS_URLS', { LOCK_REDIS_URLS: 'redis://a' }],
    ['LOCK_REDIS_URLS', { LOCK_REDIS_URLS: 'redis://a,redis://b,redis://b:6379' }],
    ['LOCK_REDIS_URLS', { LOCK_REDIS_URLS: 'redis://a,redis://b,redis+cluster://c' }],
    ['LOCK_REDIS_URLS', { LOCK_REDIS_URLS: 'redis://a,redis://b,' }],
    ['LOCK_REDIS_URLS', { LOCK_REDIS_URLS: 'redis://:s@a,redis://b,redis://:s@c', ...SECURE }],
    ['LOCK_QUORUM_MAX_TTL_MS', { LOCK_QUORUM_MAX_TTL_MS: '99' }],
    ['LOCK_QUORUM_MAX_TTL_MS', { LOCK_QUORUM_MAX_TTL_MS: '3600001' }],
    ['LOCK_QUORUM_NODE_TIMEOUT_MS', { LOCK_QUORUM_NODE_TIMEOUT_MS: '0' }],
    ['LOCK_QUORUM_MAX_CLOCK_SKEW_MS', { LOCK_QUORUM_MAX_CLOCK_SKEW_MS: '60001' }],
    ['LOCK_COMPATIBLE', { LOCK_COMPATIBLE: 'redisson', ...LOCAL }],
    // nobody else reaches a Redis inside the service
    ['LOCK_COMPATIBLE', { LOCK_COMPATIBLE: 'redlock' }],
    ['LOCK_REDIS_URLS', { LOCK_COMPATIBLE: 'redlock', LOCK_REDIS_URLS: 'redis://a,redis://b' }],
    ['LOCK_REDIS_URLS', { LOCK_COMPATIBLE: 'redlock', LOCK_REDIS_URLS: 'redis+cluster://a:7000' }],
    ['LOCK_COMPATIBLE_PREFIX', { LOCK_COMPATIBLE: 'redlock', LOCK_COMPATIBLE_PREFIX: 'aeturnis:', ...LOCAL }],
    ['LOCK_COMPATIBLE_PREFIX', { LOCK_COMPATIBLE: 'redlock', LOCK_COMPATIBLE_PREFIX: 'other:lock:{', ...LOCAL }],
    ['NEAR_CACHE_MAX_BYTES', { NEAR_CACHE_MAX_BYTES: '-1' }],
    ['NEAR_CACHE_MAX_BYTES', { NEAR_CACHE_MAX_BYTES: '64MiB' }],
    ['NEAR_CACHE_TTL_MS', { NEAR_CACHE_TTL_MS: '0' }],
    ['NEAR_CACHE_TTL_MS', { NEAR_CACHE_TTL_MS: '600001' }],
    ['REDIS_URL', { REDIS_URL: 'redis' }],
    ['CACHE_REDIS_URL', { CACHE_REDIS_URL: 'http://redis' }],
    ['STATE_REDIS_URL', { STATE_REDIS_URL: 'redis://' }],
    ['LIMIT_REDIS_URL', { LIMIT_REDIS_URL: 'unix:relative' }],
    ['REDIS_HOST', { REDIS_HOST: 'redis', ...LOCAL }],
    ['REDIS_PORT', { REDIS_PORT: '0', REDIS_HOST: 'redis' }],
    ['REDIS_PORT', { REDIS_PORT: 'six', NODE_ENV: 'production', REDIS_PASSWORD: 'secret' }],
    ['REDIS_PORT', { REDIS_PORT: '6379', ...LOCAL }],
    ['REDIS_DB', { REDIS_DB: ' ' }],
    ['REDIS_DB', { REDIS_DB: '1', REDIS_URL: 'redis+cluster://redis:7000' }],
    ['REDIS_URL', { REDIS_URL: 'redis+cluster://redis:7000/1' }],
    ['REDIS_MAX_RETRIES', { REDIS_MAX_RETRIES: '-3' }],
    ['REDIS_TIMEOUT_MS', { REDIS_TIMEOUT_MS: '99' }],
    ['REDIS_URL', { REDIS_URL: 'redis+sentinel://a:26379' }],
    ['LOCK_REDIS_URLS', { LOCK_REDIS_URLS: 'redis://a,redis://b,redis+sentinel://c/m' }],
    ['STATE_REPLICAS', { STATE_REPLICAS: '6', ...LOCAL }],
    // the Redis inside the service has none
    ['STATE_REPLICAS', { STATE_REPLICAS: '1' }],
    ['STATE_REPLICAS_TIMEOUT_MS', { STATE_REPLICAS: '1', STATE_REPLICAS_TIMEOUT_MS: '1000', ...LOCAL }],
    ['STRICT_EVICTION', { STRICT_EVICTION: 'perhaps' }],
    ['EMBEDDED_REDIS', { EMBEDDED_REDIS: '1', ...LOCAL }],
    ['REDIS_SERVER_BIN', { REDIS_SERVER_BIN: '/nowhere/redis-server' }],
    ['EMBEDDED_CACHE_MB', { EMBEDDED_CACHE_MB: '0' }],
    ['EMBEDDED_STATE_MB', { EMBEDDED_STATE_MB: 'all' }],
    ['REDIS_CACHE_TTL', { REDIS_CACHE_TTL: '0' }],
    ['REDIS_CACHE_TTL', { REDIS_CACHE_TTL: '31536001' }],
    ['SESSION_TIMEOUT', { SESSION_TIMEOUT: '1h' }],
    ['MAX_SESSIONS_PER_USER', { MAX_SESSIONS_PER_USER: '1001' }],
  ])('%s in %j', (name, env) => {
    expect(badSettings(env)).toEqual([name]);
  });

  test('together with every other one, in one error', () => {
    const env = {
      NODE_ENV: 'production',
      LOG_LEVEL: 'loud',
      GRPC_LISTEN: 'nowhere',
      NAMESPACE: 'Über',
      POLICIES_FILE: '/nowhere/policies.yaml',
      CACHE_REDIS_URL: 'redis',
      STATE_REDIS_URL: 'redis://state',
      REDIS_DB: 'one',
      DEFAULT_DEADLINE_MS: '70000',
      SESSION_TIMEOUT: 'never',
    };
    const missing = { ...env, STATE_REDIS_URL: '', CACHE_REDIS_URL: '', LIMIT_REDIS_URL: 'redis://limit' };
    const always = [
      'DEFAULT_DEADLINE_MS',
      'GRPC_LISTEN',
      'LOG_LEVEL',
      'NAMESPACE',
      'POLICIES_FILE',
      'REDIS_DB',
      'SESSION_TIMEOUT',
    ];
    expect(badSettings(env)).toEqual([...always, 'CACHE_REDIS_URL'].sort());
    expect(badSettings(missing)).toEqual([...always, 'CACHE_REDIS_URL', 'STATE_REDIS_URL'].sort());
  });

  test('without the password that was given', () => {
    const passwords = { REDIS_PASSWORD: 'open-sesame' };
    const bad = { REDIS_URL: 'redis://:open-sesame@redis:port', STATE_REDIS_URL: 'redis://:open-sesame@redis:1/x' };
    const problems = problemsOf({ ...bad, ...passwords, REDIS_HOST: 'redis', LOG_LEVEL: 'loud' });
    expect(problems.length).toBeGreaterThanOrEqual(4);
    expect(problems.join()).not.toContain('sesame');
  });
});

describe('defaults', () => {
  const MINUTE = 60_000;
  test.each([
    ['development', { REDIS_URL: LOCAL.REDIS_URL }, 5 * MINUTE, 60 * MINUTE, 10],
    ['production', SECURE, 60 * MINUTE, 120 * MINUTE, 5],
    ['test', LOCAL, MINUTE, 5 * MINUTE, 2],
  ])('of %s', (environment, env, cacheTtlMs, idleTtlMs, maxSessions) => {
    const config = loadConfig({ ...env, NODE_ENV: environment });
    expect(config.cache.defaultTtlMs).toBe(cacheTtlMs);
    expect(config.profiles.default).toMatchObject({ idle_ttl_ms: idleTtlMs, max_sessions: maxSessions });
  });

  test('hold for an empty setting too', () => {
    const empty = {
      NODE_ENV: '',
      LOG_LEVEL: '',
      NAMESPACE: '',
      REDIS_PORT: '',
      SESSION_TIMEOUT: '',
      CACHE_REDIS_URL: '',
    };
    expect(loadConfig({ ...LOCAL, ...empty })).toEqual(loadConfig(LOCAL));
  });

  test('are a loopback address, the namespace of the game, no own health listener and no near cache', () => {
    expect(loadConfig(LOCAL)).toMatchObject({
      logLevel: 'info',
      namespace: 'aeturnis',
      grpc: { listen: '127.0.0.1:50051', healthListen: undefined, sidecar: false },
      cache: { nearMaxBytes: 0, nearTtlMs: 5_000 },
      warnings: [],
    });
  });

  test.each([
    ['127.0.0.1:1', true],
    ['localhost:1', true],
    ['[::1]:1', true],
    ['unix:/run/shardkeep.sock', true],
    ['0.0.0.0:1', false],
    ['[::]:1', false],
    ['10.0.0.7:1', false],
  ])('turn reflection on %s to %s', (listen, reflection) => {
    const env = { ...LOCAL, GRPC_LISTEN: listen, ALLOW_PLAINTEXT: '1' };
    expect(loadConfig(env).grpc.reflection).toBe(reflection);
    expect(loadConfig({ ...env, REFLECTION: String(!reflection) }).grpc.reflection).toBe(!reflection);
  });

  test('leave room in a message for the largest value', () => {
    expect(loadConfig(LOCAL).grpc.maxMessageBytes).toBe(4_194_304);
    expect(loadConfig({ ...LOCAL, MAX_VALUE_BYTES: '8388608' }).grpc.maxMessageBytes).toBeGreaterThan(8_388_608);
  });
});

describe("the seeds' settings", () => {
  test('REDIS_HOST, _PORT, _PASSWORD and _DB name the Redis of every role', () => {
    const target = {
      topology: 'standalone',
      tls: false,
      host: 'redis.internal',
      port: 6_380,
      password: 'secret',
      database: 3,
    };
    const env = { REDIS_HOST: 'redis.internal', REDIS_PORT: '6380', REDIS_PASSWORD: 'secret', REDIS_DB: '3' };
    expect(targetsOf(env)).toEqual({ cache: target, state: target, limit: target });
    expect(targetsOf({ REDIS_HOST: 'redis' })).toMatchObject({ state: { host: 'redis', port: 6_379, database: 0 } });
    expect(targetsOf({ REDIS_PORT: '7' })).toMatchObject({ state: { host: 'localhost', port: 7 } });
  });

  test('REDIS_PASSWORD and REDIS_DB fill what a URL leaves open', () => {
    const env = { REDIS_PASSWORD: 'secret', REDIS_DB: '3', STATE_REDIS_URL: 'redis://:own@state/7' };
    expect(targetsOf({ ...env, ...LOCAL })).toMatchObject({
      cache: { host: 'redis', password: 'secret', database: 3 },
      state: { host: 'state', password: 'own', database: 7 },
      limit: { host: 'state', password: 'own', database: 7 },
    });
  });

  test.each<[Environment, (config: Config) => unknown, unknown]>([
    [{ REDIS_CACHE_TTL: '90' }, (config) => config.cache.defaultTtlMs, 90_000],
    [{ SESSION_TIMEOUT: '45' }, (config) => config.profiles.default?.idle_ttl_ms, 45_000],
    [{ MAX_SESSIONS_PER_USER: '4' }, (config) => config.profiles.default?.max_sessions, 4],
    [{ MAX_SESSIONS_PER_USER: '4' }, (config) => config.profiles.game?.max_sessions, 4],
    [{ REDIS_MAX_RETRIES: '3' }, (config) => config.redis.maxRetries, 3],
    [{ REDIS_KEY_PREFIX: 'pyramid:dev:' }, (config) => config.namespace, 'pyramid-dev'],
    [{ REDIS_KEY_PREFIX: 'pyramid' }, (config) => config.namespace, 'pyramid'],
    [{ REDIS_KEY_PREFIX: 'pyramid:dev:', NAMESPACE: 'own' }, (config) => config.namespace, 'own'],
  ])('%j is mapped', (env, read, value) => {
    expect(read(loadConfig({ ...LOCAL, ...env }))).toBe(value);
  });

  test('REDIS_ENABLE_OFFLINE_QUEUE is accepted with a warning and changes nothing', () => {
    const { warnings, ...config } = loadConfig({ ...LOCAL, REDIS_ENABLE_OFFLINE_QUEUE: 'true' });
    expect(warnings).toEqual([expect.stringContaining('REDIS_ENABLE_OFFLINE_QUEUE')]);
    expect({ ...config, warnings: [] }).toEqual(loadConfig(LOCAL));
  });
});

describe('in production', () => {
  test('a Redis without password is refused unless allowed', () => {
    const open = { NODE_ENV: 'production', ...LOCAL };
    expect(badSettings(open)).toEqual(['REDIS_PASSWORD']);
    expect(badSettings({ ...open, ALLOW_REDIS_WITHOUT_PASSWORD: '1' })).toEqual([]);
    expect(badSettings({ ...open, REDIS_PASSWORD: 'secret' })).toEqual([]);
    expect(badSettings({ ...SECURE, LIMIT_REDIS_URL: 'redis://limits' })).toEqual(['REDIS_PASSWORD']);
  });

  test('the embedded Redis is refused unless asked for', () => {
    expect(badSettings({ NODE_ENV: 'production' })).toEqual(['REDIS_URL']);
    expect(badSettings({ NODE_ENV: 'production', EMBEDDED_REDIS: '0' })).toEqual(['REDIS_URL']);
    expect(targetsOf({ NODE_ENV: 'production', EMBEDDED_REDIS: '1' })).toBe('embedded');
  });
});

describe('the embedded Redis', () => {
  test('is what runs where none is named', () => {
    expect(loadConfig({ DATA_DIR: '/data', EMBEDDED_CACHE_MB: '64' }).redis.plan).toMatchObject({
      kind: 'embedded',
      dataDir: '/data',
      cacheMaxMemoryMb: 64,
    });
  });

  test('can be forbidden anywhere', () => {
    expect(badSettings({ EMBEDDED_REDIS: 'false' })).toEqual(['REDIS_URL']);
  });
});

describe('locks of redlock', () => {
  test.each([
    ['the Redis of sessions', LOCAL, 0],
    ['the Cluster of sessions', { REDIS_URL: 'redis+cluster://redis:7000' }, 0],
    ['one master', { LOCK_REDIS_URLS: 'redis://a' }, 1],
    ['three masters', { LOCK_REDIS_URLS: 'redis://a,redis://b,redis://c', ...LOCAL }, 3],
  ])('live on %s', (_, env, masterCount) => {
    const { lock } = loadConfig({ LOCK_COMPATIBLE: 'redlock', LOCK_COMPATIBLE_PREFIX: 'aeturnis-', ...env });
    expect(lock.quorum).toBeUndefined();
    expect(lock.redlock).toMatchObject({ prefix: 'aeturnis-' });
    expect(lock.redlock?.targets).toHaveLength(masterCount);
  });

  test('need to be asked for: a prefix alone is ignored with a warning', () => {
    const { lock, warnings } = loadConfig({ LOCK_COMPATIBLE_PREFIX: 'locks:', ...LOCAL });
    expect(lock.redlock).toBeUndefined();
    expect(warnings.join()).toContain('LOCK_COMPATIBLE_PREFIX');
  });
});

describe('the roles', () => {
  test('can each have a Redis of their own', () => {
    const env = {
      CACHE_REDIS_URL: 'redis://cache',
      STATE_REDIS_URL: 'redis://state',
      LIMIT_REDIS_URL: 'redis://limit',
    };
    expect(targetsOf(env)).toMatchObject({
      cache: { host: 'cache' },
      state: { host: 'state' },
      limit: { host: 'limit' },
    });
  });

  test('must all have one', () => {
    expect(badSettings({ CACHE_REDIS_URL: 'redis://cache' })).toEqual(['STATE_REDIS_URL']);
    expect(badSettings({ STATE_REDIS_URL: 'redis://state' })).toEqual(['CACHE_REDIS_URL']);
    expect(badSettings({ LIMIT_REDIS_URL: 'redis://limit' })).toEqual(['CACHE_REDIS_URL', 'STATE_REDIS_URL']);
  });

  test('may be behind sentinels, whose login is one for all', () => {
    const sentinel = { REDIS_URL: 'redis+sentinel://ada:pw@a:1,b:2/mymaster/3', REDIS_DB: '4' };
    const login = { REDIS_SENTINEL_USERNAME: 'watcher', REDIS_SENTINEL_PASSWORD: 'secret' };
    expect(targetsOf({ ...sentinel, ...login })).toMatchObject({
      state: {
        topology: 'sentinel',
        masterName: 'mymaster',
        database: 3,
        username: 'ada',
        sentinelUsername: 'watcher',
        sentinelPassword: 'secret',
      },
    });
  });

  test('may be on a Cluster, which has only database 0', () => {
    const cluster = { REDIS_URL: 'redis+cluster://a:1,b:2' };
    expect(targetsOf({ ...cluster, REDIS_DB: '0' })).toMatchObject({ state: { topology: 'cluster' } });
    expect(badSettings({ ...LOCAL, STATE_REDIS_URL: cluster.REDIS_URL, REDIS_DB: '2' })).toEqual(['REDIS_DB']);
  });
});

describe('LOCK_REDIS_URLS', () => {
  test('names the masters of a quorum, each with what the URL or REDIS_PASSWORD says', () => {
    const { quorum } = loadConfig({
      ...LOCAL,
      LOCK_REDIS_URLS: 'redis://a, rediss://user:own@b:7001/2,unix:/run/c.sock',
      REDIS_PASSWORD: 'common',
    }).lock;
    expect(quorum).toEqual({
      targets: [
        { topology: 'standalone', tls: false, host: 'a', port: 6_379, database: 0, password: 'common' },
        { topology: 'standalone', tls: true, host: 'b', port: 7_001, database: 2, username: 'user', password: 'own' },
        { topology: 'standalone', tls: false, socketPath: '/run/c.sock', database: 0, password: 'common' },
      ],
      maxTtlMs: 60_000,
      nodeTimeoutMs: undefined,
      maxSkewMs: 500,
    });
  });

  test('is absent by default', () => {
    expect(loadConfig(LOCAL).lock.quorum).toBeUndefined();
  });
});
