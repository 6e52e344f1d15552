import type { QuorumPlan } from '../lock/quorum/create-quorum-locks.js';
import type { RedlockPlan } from '../lock/redlock/create-redlock-locks.js';
import { NAME_PATTERN } from '../redis/keys.js';
import type { ReplicaTerms } from '../redis/connection.js';
import type { RedisPlan } from '../redis/roles.js';
import { DEFAULTS, ENVIRONMENT_DEFAULTS } from './defaults.js';
import { environmentSchema, type EnvironmentSettings } from './environment.js';
import { ConfigError } from './config-error.js';
import { namespacesOf, CredentialsSource } from './credentials-source.js';
import type { CredentialsFile } from './credentials.js';
import { checkListen, isListenAddress, isLocal } from './listen-address.js';
import { planLocks } from './lock-plan.js';
import type { FileCopy } from './file-copy.js';
import { PoliciesSource, servedPolicies, type ServedPolicies, type SessionDefaults } from './policies-source.js';
import { checkAccess } from './redis-access.js';
import { planRedis } from './redis-plan.js';
import { planReplicas } from './replicas-plan.js';
import { planTransport, type TransportPlan } from './transport-plan.js';

export { ConfigError } from './config-error.js';

export interface Config extends ServedPolicies {
  readonly logLevel: string;
  /** Whether to log what becomes of sessions. */
  readonly auditLog: boolean;
  /** Processes that serve; above 1 this one only looks after them. */
  readonly workers: number;
  /** Of callers where there is no credentials file, and of what belongs to the process itself. */
  readonly namespace: string;
  /** All that callers work in when the service starts; never none. */
  readonly namespaces: readonly string[];
  /** Where `credentials` came from, and may change; undefined as they are. */
  readonly credentialsSource: CredentialsSource | undefined;
  /** Who may call; undefined: everybody who can reach the service, in `namespace`, and everything. */
  readonly credentials: CredentialsFile | undefined;
  /** `host:port` of the HTTP side port; undefined: there is none. */
  readonly adminListen: string | undefined;
  readonly grpc: {
    /** `host:port` or `unix:/path`. */
    readonly listen: string;
    /** A listener of its own for health; undefined: health is answered on `listen` only. */
    readonly healthListen: string | undefined;
    readonly transport: TransportPlan;
    readonly reflection: boolean;
    /** A sidecar's readiness does not follow Redis: its Pod would lose its players over it. */
    readonly sidecar: boolean;
    readonly readinessGraceMs: number;
    readonly maxInFlight: number;
    readonly maxParked: number;
    /** Calls in flight on one stream of the pipeline. */
    readonly maxStreamCalls: number;
    /** Open streams of stream RPCs, counted apart from calls. */
    readonly maxStreams: number;
    readonly maxMessageBytes: number;
    readonly defaultDeadlineMs: number;
    readonly maxDeadlineMs: number;
    readonly drainTimeoutMs: number;
  };
  readonly redis: {
    readonly plan: RedisPlan;
    readonly maxRetries: number | undefined;
    readonly strictEviction: boolean;
    readonly timeoutMs: number;
    /** For sessions and locks; undefined: the master alone answers for them. */
    readonly stateReplicas: ReplicaTerms | undefined;
    /** From which duration on an operation is logged; 0: none is. */
    readonly slowOperationMs: number;
  };
  readonly cache: {
    readonly defaultTtlMs: number;
    readonly maxValueBytes: number;
    /** Memory of the near cache of this process; 0: there is none. */
    readonly nearMaxBytes: number;
    readonly nearTtlMs: number;
  };
  readonly lock: {
    readonly fenceRetentionMs: number;
    /** At most one of both; none: locks live on the Redis of the role `state`. */
    readonly quorum: QuorumPlan | undefined;
    readonly redlock: RedlockPlan | undefined;
  };
  /** Where the policies came from; undefined: they are those that ship. */
  readonly policiesSource: PoliciesSource | undefined;
  /** Settings that were accepted but do nothing, or not what their name says. */
  readonly warnings: readonly string[];
}

/** A setting says where to listen, and this machine does not let us; another time it may. */
export class ListenError extends Error {
  override readonly name = 'ListenError';
  constructor(setting: string, address: string, cause: Error) {
    super(`${setting}: cannot listen on ${address}: ${cause.message}`, { cause });
  }
}

/** What a message may hold beyond the largest value: keys and framing. */
const MESSAGE_OVERHEAD_BYTES = 262_144;
const SMALLEST_MESSAGE_LIMIT = 4_194_304;

export interface ConfigOptions {
  /** The policies that came into force last. */
  readonly policiesCopy?: FileCopy | undefined;
  /** The credentials that did. */
  readonly credentialsCopy?: FileCopy | undefined;
}

export function loadConfig(
  env: Readonly<Record<string, string | undefined>>,
  { policiesCopy, credentialsCopy }: ConfigOptions = {},
): Config {
  const problems: string[] = [];
  const given = Object.fromEntries(Object.entries(env).filter(([, value]) => value !== undefined && value !== ''));
  const settings = readSettings(given, problems);

  const defaults = ENVIRONMENT_DEFAULTS[settings.NODE_ENV];
  const warnings: string[] = [];
  const sessionDefaults = {
    idleTtlMs: settings.SESSION_TIMEOUT === undefined ? defaults.sessionIdleTtlMs : settings.SESSION_TIMEOUT * 1_000,
    maxSessions: settings.MAX_SESSIONS_PER_USER ?? defaults.maxSessionsPerUser,
  };
  const { policiesSource, policies } = readPolicies(settings.POLICIES_FILE, sessionDefaults, {
    policiesCopy,
    problems,
  });
  if (settings.DEFAULT_DEADLINE_MS > settings.MAX_DEADLINE_MS) {
    problems.push('DEFAULT_DEADLINE_MS: must not be above MAX_DEADLINE_MS');
  }
  if (settings.REDIS_ENABLE_OFFLINE_QUEUE !== undefined) {
    warnings.push('REDIS_ENABLE_OFFLINE_QUEUE is ignored: nothing is queued while Redis is away');
  }
  warnings.push(...unusedSettings(settings));
  const transport = planTransport(settings, { problems, warnings });
  if (settings.HEALTH_LISTEN !== undefined) checkListen('HEALTH_LISTEN', settings.HEALTH_LISTEN, problems);
  if (settings.ADMIN_LISTEN !== undefined) {
    checkListen('ADMIN_LISTEN', settings.ADMIN_LISTEN, problems);
    if (settings.ADMIN_LISTEN.startsWith('unix:')) problems.push('ADMIN_LISTEN: must be host:port');
  }
  const namespace = namespaceOf(settings, problems);
  const credentialsSource = readCredentials(settings, credentialsCopy, problems);
  const credentials = credentialsSource?.parse(credentialsSource.text);
  if (credentials !== undefined && settings.NAMESPACE !== undefined && !namespacesOf(credentials).includes(namespace)) {
    warnings.push('NAMESPACE is one that nobody works in: CREDENTIALS_FILE names those of callers');
  }
  const plan = planRedis(settings, problems);
  const stateReplicas = planReplicas(settings, plan, problems);
  const locks = planLocks(settings, namespace, problems);
  if (plan !== undefined) {
    const ofRoles = plan.kind === 'external' ? Object.values(plan.targets) : [];
    const ofLocks = [...(locks.quorum?.targets ?? []), ...(locks.redlock?.targets ?? [])];
    checkAccess(settings, [...ofRoles, ...ofLocks], problems);
  }
  if (problems.length > 0 || plan === undefined) throw new ConfigError([...new Set(problems)]);

  return {
    logLevel: settings.LOG_LEVEL,
    auditLog: settings.AUDIT_LOG,
    workers: settings.WORKERS,
    adminListen: settings.ADMIN_LISTEN,
    namespace,
    namespaces: credentials === undefined ? [namespace] : namespacesOf(credentials),
    credentialsSource,
    credentials,
    grpc: {
      listen: settings.GRPC_LISTEN,
      healthListen: settings.HEALTH_LISTEN,
      transport,
      reflection: settings.REFLECTION ?? isLocal(settings.GRPC_LISTEN),
      sidecar: settings.SIDECAR,
      readinessGraceMs: DEFAULTS.readinessGraceMs,
      maxInFlight: settings.MAX_IN_FLIGHT,
      maxParked: settings.MAX_PARKED,
      maxStreamCalls: settings.MAX_STREAM_CALLS,
      maxStreams: settings.MAX_STREAMS,
      maxMessageBytes: Math.max(SMALLEST_MESSAGE_LIMIT, settings.MAX_VALUE_BYTES + MESSAGE_OVERHEAD_BYTES),
      defaultDeadlineMs: settings.DEFAULT_DEADLINE_MS,
      maxDeadlineMs: settings.MAX_DEADLINE_MS,
      drainTimeoutMs: settings.DRAIN_TIMEOUT_MS,
    },
    redis: {
      plan,
      maxRetries: settings.REDIS_MAX_RETRIES,
      strictEviction: settings.STRICT_EVICTION,
      timeoutMs: settings.REDIS_TIMEOUT_MS,
      stateReplicas,
      slowOperationMs: settings.SLOW_OPERATION_MS,
    },
    cache: {
      defaultTtlMs: settings.REDIS_CACHE_TTL === undefined ? defaults.cacheTtlMs : settings.REDIS_CACHE_TTL * 1_000,
      maxValueBytes: settings.MAX_VALUE_BYTES,
      nearMaxBytes: settings.NEAR_CACHE_MAX_BYTES,
      nearTtlMs: settings.NEAR_CACHE_TTL_MS,
    },
    lock: { fenceRetentionMs: settings.LOCK_FENCE_RETENTION_MS, ...locks },
    ...policies,
    policiesSource,
    warnings,
  };
}

/** What ships stands in for a file that cannot be used, while the other settings are looked at. */
function readPolicies(
  path: string | undefined,
  sessionDefaults: SessionDefaults,
  { policiesCopy, problems }: ConfigOptions & { readonly problems: string[] },
): { readonly policiesSource: PoliciesSource | undefined; readonly policies: ServedPolicies } {
  const shipped = servedPolicies(undefined, sessionDefaults);
  if (path === undefined) return { policiesSource: undefined, policies: shipped };
  try {
    const policiesSource = PoliciesSource.read(path, sessionDefaults, policiesCopy);
    return { policiesSource, policies: policiesSource.parse(policiesSource.text) };
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    problems.push(...error.problems);
    return { policiesSource: undefined, policies: shipped };
  }
}

/** Undefined where there is no file, or none that can be used. */
function readCredentials(
  settings: EnvironmentSettings,
  copy: FileCopy | undefined,
  problems: string[],
): CredentialsSource | undefined {
  const { CREDENTIALS_FILE: path, GRPC_LISTEN: listen, ALLOW_ANONYMOUS: allowAnonymous } = settings;
  if (path === undefined) {
    if (!allowAnonymous && isListenAddress(listen) && !isLocal(listen)) {
      problems.push(
        'CREDENTIALS_FILE: must name a file where GRPC_LISTEN is an address that other machines reach, or ' +
          'ALLOW_ANONYMOUS=1 let all of them do everything',
      );
    }
    return undefined;
  }
  try {
    return CredentialsSource.read(path, { copy, oneNamespace: settings.LOCK_COMPATIBLE !== undefined });
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    problems.push(...error.problems);
    return undefined;
  }
}

/** Put in the place of a bad value while the other settings are looked at, so that it does not look like a missing one. */
const STAND_INS: Readonly<Record<string, string>> = { REDIS_PORT: '6379' };

function readSettings(given: Readonly<Record<string, string | undefined>>, problems: string[]): EnvironmentSettings {
  const parsed = environmentSchema.safeParse(given);
  if (parsed.success) return parsed.data;
  const rest = { ...given };
  for (const { path, message } of parsed.error.issues) {
    const name = path.join('.');
    problems.push(`${name}: ${message}`);
    rest[name] = STAND_INS[name];
  }
  return environmentSchema.parse(rest);
}

/** The seeds' REDIS_KEY_PREFIX ends in a colon and may hold some (`pyramid:dev:`); colons inside become dashes. */
function namespaceOf(settings: EnvironmentSettings, problems: string[]): string {
  const prefix = settings.REDIS_KEY_PREFIX?.replace(/:+$/, '').replace(/:+/g, '-');
  const namespace = settings.NAMESPACE ?? prefix ?? DEFAULTS.namespace;
  if (!NAME_PATTERN.test(namespace)) {
    const name = settings.NAMESPACE === undefined ? 'REDIS_KEY_PREFIX' : 'NAMESPACE';
    problems.push(`${name}: must be 1 to 32 of a-z, 0-9, _ and -`);
  }
  return namespace;
}

/** Settings that have no effect beside the others. */
function unusedSettings(settings: EnvironmentSettings): string[] {
  const { REDIS_URL, CACHE_REDIS_URL, STATE_REDIS_URL, REDIS_HOST, REDIS_PORT } = settings;
  const external = [REDIS_URL, CACHE_REDIS_URL, STATE_REDIS_URL, REDIS_HOST, REDIS_PORT].some(
    (setting) => setting !== undefined,
  );
  const unused = external
    ? (['DATA_DIR'] as const)
    : (['REDIS_USERNAME', 'REDIS_PASSWORD', 'REDIS_PASSWORD_FILE', 'REDIS_DB'] as const);
  const reason = external ? 'Redis is not embedded' : 'no Redis is named, so one is embedded';
  const warnings = unused.filter((name) => settings[name] !== undefined).map((name) => `${name} is ignored: ${reason}`);
  if (settings.LOCK_COMPATIBLE_PREFIX !== undefined && settings.LOCK_COMPATIBLE === undefined) {
    warnings.push('LOCK_COMPATIBLE_PREFIX is ignored: LOCK_COMPATIBLE is not set');
  }
  return warnings;
}
