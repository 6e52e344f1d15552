import { z } from 'zod';
import { DEFAULTS } from './defaults.js';
import { MAX_TTL_MS } from './common-fields.js';

/** The schema of the environment variables. An empty variable counts as absent. */

// digits only: Number() would take ' ', '0x10' and '1e3' too
const count = (min: number, max: number) =>
  z
    .string()
    .regex(/^-?\d+$/, 'must be a whole number')
    .transform(Number)
    .pipe(z.int().min(min).max(max));
const flag = z.stringbool();
const text = z.string().min(1);
const SECONDS_MAX = MAX_TTL_MS / 1_000;
/** 22 days; a timer of Node's cannot wait longer, less the tenth that ages vary by. */
const MAX_TIMER_MS = 1_900_000_000;

export const environmentSchema = z.object({
  NODE_ENV: z.enum(['development', 'production', 'test']).default('development'),
  LOG_LEVEL: z.enum(['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent']).default(DEFAULTS.logLevel),
  AUDIT_LOG: flag.default(true),

  WORKERS: count(1, 64).default(DEFAULTS.workers),

  GRPC_LISTEN: text.default(DEFAULTS.grpcListen),
  HEALTH_LISTEN: text.optional(),
  ADMIN_LISTEN: text.optional(),
  TLS_CERT_FILE: text.optional(),
  TLS_KEY_FILE: text.optional(),
  TLS_CLIENT_CA_FILE: text.optional(),
  TLS_CLIENT_CERT: z.enum(['require', 'optional']).optional(),
  ALLOW_PLAINTEXT: flag.default(false),
  REFLECTION: flag.optional(),
  SIDECAR: flag.default(false),
  MAX_VALUE_BYTES: count(1, 64 * 1_048_576).default(DEFAULTS.maxValueBytes),
  MAX_IN_FLIGHT: count(1, 1_000_000).default(DEFAULTS.maxInFlight),
  MAX_PARKED: count(0, 1_000_000).default(DEFAULTS.maxParked),
  MAX_STREAM_CALLS: count(1, 1_000_000).default(DEFAULTS.maxStreamCalls),
  MAX_STREAMS: count(1, 1_000_000).default(DEFAULTS.maxStreams),
  MAX_CONNECTIONS: count(1, 1_000_000).default(DEFAULTS.maxConnections),
  MAX_CONNECTION_STREAMS: count(1, 1_000_000).default(DEFAULTS.maxConnectionStreams),
  MAX_CONNECTION_AGE_MS: count(0, MAX_TIMER_MS).optional(),
  MAX_CONNECTION_IDLE_MS: count(0, MAX_TIMER_MS).optional(),
  MAX_METADATA_BYTES: count(256, 1_048_576).default(DEFAULTS.maxMetadataBytes),
  KEEPALIVE_TIME_MS: count(100, MAX_TIMER_MS).default(DEFAULTS.keepaliveTimeMs),
  KEEPALIVE_TIMEOUT_MS: count(100, MAX_TIMER_MS).default(DEFAULTS.keepaliveTimeoutMs),
  DEFAULT_DEADLINE_MS: count(1, 600_000).default(DEFAULTS.defaultDeadlineMs),
  MAX_DEADLINE_MS: count(1, 600_000).default(DEFAULTS.maxDeadlineMs),
  DRAIN_TIMEOUT_MS: count(0, 600_000).default(DEFAULTS.drainTimeoutMs),

  NAMESPACE: text.optional(),
  CREDENTIALS_FILE: text.optional(),
  ALLOW_ANONYMOUS: flag.default(false),
  POLICIES_FILE: text.optional(),
  NEAR_CACHE_MAX_BYTES: count(0, 2 ** 40).default(DEFAULTS.nearCacheMaxBytes),
  NEAR_CACHE_TTL_MS: count(1, 600_000).default(DEFAULTS.nearCacheTtlMs),
  LOCK_FENCE_RETENTION_MS: count(1, MAX_TTL_MS).default(DEFAULTS.lockFenceRetentionMs),
  LOCK_REDIS_URLS: text.optional(),
  LOCK_COMPATIBLE: z.enum(['redlock']).optional(),
  LOCK_COMPATIBLE_PREFIX: z.string().max(128).optional(),
  LOCK_QUORUM_MAX_TTL_MS: count(100, 3_600_000).default(DEFAULTS.lockQuorumMaxTtlMs),
  LOCK_QUORUM_NODE_TIMEOUT_MS: count(1, 10_000).optional(),
  LOCK_QUORUM_MAX_CLOCK_SKEW_MS: count(1, 60_000).default(DEFAULTS.lockQuorumMaxClockSkewMs),

  REDIS_URL: text.optional(),
  CACHE_REDIS_URL: text.optional(),
  STATE_REDIS_URL: text.optional(),
  LIMIT_REDIS_URL: text.optional(),
  REDIS_HOST: text.optional(),
  REDIS_PORT: count(1, 65_535).optional(),
  REDIS_USERNAME: text.optional(),
  REDIS_PASSWORD: text.optional(),
  REDIS_PASSWORD_FILE: text.optional(),
  REDIS_DB: count(0, 1_048_575).optional(),
  REDIS_TLS_CA_FILE: text.optional(),
  REDIS_TLS_CERT_FILE: text.optional(),
  REDIS_TLS_KEY_FILE: text.optional(),
  REDIS_TLS_SERVER_NAME: text.optional(),
  REDIS_MAX_RETRIES: count(0, 1_000).optional(),
  REDIS_TIMEOUT_MS: count(100, 60_000).default(DEFAULTS.redisTimeoutMs),
  REDIS_SENTINEL_USERNAME: text.optional(),
  REDIS_SENTINEL_PASSWORD: text.optional(),
  STATE_REPLICAS: count(0, 5).default(DEFAULTS.stateReplicas),
  STATE_REPLICAS_TIMEOUT_MS: count(10, 10_000).default(DEFAULTS.stateReplicasTimeoutMs),
  SLOW_OPERATION_MS: count(0, 600_000).default(DEFAULTS.slowOperationMs),
  STRICT_EVICTION: flag.default(false),
  ALLOW_REDIS_WITHOUT_PASSWORD: flag.default(false),

  EMBEDDED_REDIS: flag.optional(),
  REDIS_SERVER_BIN: text.optional(),
  DATA_DIR: text.optional(),
  EMBEDDED_CACHE_MB: count(1, 1_048_576).default(DEFAULTS.embeddedCacheMb),
  EMBEDDED_STATE_MB: count(1, 1_048_576).default(DEFAULTS.embeddedStateMb),

  REDIS_CACHE_TTL: count(1, SECONDS_MAX).optional(),
  REDIS_KEY_PREFIX: text.optional(),
  SESSION_TIMEOUT: count(1, SECONDS_MAX).optional(),
  MAX_SESSIONS_PER_USER: count(0, 1_000).optional(),
  REDIS_ENABLE_OFFLINE_QUEUE: z.string().optional(),
});

export type EnvironmentSettings = z.output<typeof environmentSchema>;
