import { setTimeout as delay } from 'node:timers/promises';
import { Client, credentials, Metadata, status as Code, type ServiceError } from '@grpc/grpc-js';
import { CacheServiceService } from '../../src/gen/shardkeep/cache/v1/cache.js';
import { LockServiceService } from '../../src/gen/shardkeep/lock/v1/lock.js';
import { RateLimitServiceService } from '../../src/gen/shardkeep/ratelimit/v1/ratelimit.js';
import { SessionServiceService } from '../../src/gen/shardkeep/session/v1/session.js';
import { readErrorDetails } from './error-details.js';

/**
 * The four services over the generated definitions: promises, a deadline on every call, and retries only where the
 * contract allows them. This is the file to copy into a game server.
 */

interface Method {
  readonly path: string;
  readonly requestSerialize: (request: never) => Buffer;
  readonly requestDeserialize: (bytes: Buffer) => object;
  readonly responseDeserialize: (bytes: Buffer) => object;
}

/** Fields left out of a request have their proto default, as on the wire. */
type Calls<Service extends Readonly<Record<string, Method>>> = {
  readonly [Name in keyof Service]: (
    request: Partial<ReturnType<Service[Name]['requestDeserialize']>>,
  ) => Promise<ReturnType<Service[Name]['responseDeserialize']>>;
};

export interface Shardkeep {
  readonly cache: Calls<typeof CacheServiceService>;
  readonly sessions: Calls<typeof SessionServiceService>;
  readonly locks: Calls<typeof LockServiceService>;
  readonly rateLimits: Calls<typeof RateLimitServiceService>;
  close(): void;
}

/** A call that failed for good. Expected outcomes (a miss, a held lock, a denial) are answers and never come here. */
export class ShardkeepError extends Error {
  override readonly name = 'ShardkeepError';
  constructor(
    readonly path: string,
    readonly code: Code,
    /** ErrorInfo.reason; '' when there was none. */
    readonly reason: string,
    cause: ServiceError,
  ) {
    super(`${path}: ${Code[code]} ${reason} ${cause.details}`, { cause });
  }
}

/** Of one try. Shorter than what a player puts up with, longer than a garbage collection on a busy machine. */
const DEADLINE_MS = 4_000;
/** Of all tries of one call together: long enough for Redis to be restarted behind the service. */
const PATIENCE_MS = 10_000;
const FIRST_BACKOFF_MS = 50;
const MAX_BACKOFF_MS = 1_000;

/**
 * "Safe to retry" in the contract, also when nobody knows whether the first try landed. AcquireLock belongs here because
 * this program always gives a request_id. Absent are CreateSession (a retry makes another session), CheckRateLimit and
 * Increment (a retry counts again) and Set.
 */
const SAFE_TO_RETRY: ReadonlySet<string> = new Set(
  [
    CacheServiceService.get,
    CacheServiceService.getMany,
    CacheServiceService.delete,
    CacheServiceService.exists,
    CacheServiceService.touch,
    CacheServiceService.getTtl,
    SessionServiceService.validateSession,
    SessionServiceService.getSession,
    SessionServiceService.destroySession,
    SessionServiceService.destroyUserSessions,
    SessionServiceService.listUserSessions,
    LockServiceService.acquireLock,
    LockServiceService.releaseLock,
    LockServiceService.extendLock,
    LockServiceService.getLock,
    RateLimitServiceService.peekRateLimit,
    RateLimitServiceService.resetRateLimit,
    RateLimitServiceService.listPolicies,
  ].map(({ path }) => path),
);

export function connect(address: string): Shardkeep {
  const channel = new Client(address, credentials.createInsecure());
  return {
    cache: callsOf(channel, CacheServiceService),
    sessions: callsOf(channel, SessionServiceService),
    locks: callsOf(channel, LockServiceService),
    rateLimits: callsOf(channel, RateLimitServiceService),
    close: () => {
      channel.close();
    },
  };
}

function callsOf<Service extends Readonly<Record<string, Method>>>(channel: Client, service: Service): Calls<Service> {
  const calls = Object.entries(service).map(([name, method]) => [
    name,
    (request: object) => callWithRetries(channel, method, request),
  ]);
  return Object.fromEntries(calls) as Calls<Service>;
}

async function callWithRetries(channel: Client, method: Method, request: object): Promise<object> {
  const giveUpAtMs = Date.now() + PATIENCE_MS;
  for (let backoffMs = FIRST_BACKOFF_MS; ; backoffMs = Math.min(2 * backoffMs, MAX_BACKOFF_MS)) {
    try {
      return await callOnce(channel, method, request);
    } catch (error) {
      if (!isServiceError(error)) throw error;
      const { reason, retryAfterMs } = readErrorDetails(error);
      // half of it at random: the callers of a service that comes back should not all come at once
      const waitMs = (retryAfterMs ?? backoffMs) * (1 + Math.random() / 2);
      const again = mayRetry(method, { code: error.code, reason, hinted: retryAfterMs !== undefined });
      if (!again || Date.now() + waitMs > giveUpAtMs) throw new ShardkeepError(method.path, error.code, reason, error);
      await delay(waitMs);
    }
  }
}

/** UNAVAILABLE with a hint, and not OUTCOME_UNKNOWN, is shardkeep's word that nothing was done. */
function mayRetry({ path }: Method, failure: { code: Code; reason: string; hinted: boolean }): boolean {
  if (failure.code !== Code.UNAVAILABLE && failure.code !== Code.DEADLINE_EXCEEDED) return false;
  if (SAFE_TO_RETRY.has(path)) return true;
  return failure.code === Code.UNAVAILABLE && failure.hinted && failure.reason !== 'OUTCOME_UNKNOWN';
}

function callOnce(channel: Client, method: Method, request: object): Promise<object> {
  // decoding nothing gives the message of defaults
  const message = { ...method.requestDeserialize(Buffer.alloc(0)), ...request };
  return new Promise((resolve, reject) => {
    channel.makeUnaryRequest(
      method.path,
      (bytes: Buffer) => bytes,
      (bytes: Buffer) => bytes,
      method.requestSerialize(message as never),
      new Metadata(),
      { deadline: Date.now() + DEADLINE_MS },
      (error, reply) => {
        if (error !== null) reject(error);
        else if (reply === undefined) reject(new Error(`${method.path}: neither an error nor a reply`));
        else resolve(method.responseDeserialize(reply));
      },
    );
  });
}

function isServiceError(error: unknown): error is ServiceError {
  return error instanceof Error && 'code' in error && typeof error.code === 'number' && 'metadata' in error;
}
