import { Buffer } from 'node:buffer';
import { randomUUID } from 'node:crypto';
import { status as Code } from '@grpc/grpc-js';
import { AcquireLockRequest, HoldLocksAcquire } from '../../gen/shardkeep/lock/v1/lock.js';
import { optionsIn, type OptionNames } from '../arguments.js';
import { invalidArgument, shardkeepError } from '../errors.js';
import { toInt64 } from '../int64.js';
import { throwIfNoSignal } from '../transport/abort-signal.js';

/** How a lock is taken. */
export interface LockTerms {
  /** Who asks, for people who look at the lock; up to 128 bytes. Decides nothing unless `reentrant`. */
  readonly owner?: string;
  /** How many permits to take of each resource, 1 to 1,000,000 and not above `capacity`; all, which is exclusive, by default. */
  readonly permits?: number;
  /**
   * How many permits a resource has, 1 to 1,000,000; 1,000,000 by default. Only with `permits`; all callers of a resource
   * should say the same.
   */
  readonly capacity?: number;
  /**
   * Whether who already holds a resource as this `owner`, having been granted it as reentrant too, takes it once more. Needs
   * an `owner` that is of one caller only.
   */
  readonly reentrant?: boolean;
}

export interface AcquireLockOptions extends LockTerms {
  /** How long the lease lasts unless extended, 1 to 3,600,000 ms; 10,000 by default. */
  readonly ttlMs?: number;
  /** How long to wait in the queue, 0 to 60,000 ms; 0, an answer at once, by default. */
  readonly waitMs?: number;
  /**
   * Your own id in place of the random one that makes retries safe: while a grant lives, the same id answers that same grant.
   * 16 to 128 random bytes, to be kept secret: who knows it can take the lock over.
   */
  readonly requestId?: string;
  /** How long the answer may take beyond `waitMs`; the client's own timeout by default. */
  readonly timeoutMs?: number;
  /** Gives the call up: it leaves the queue, and what it is granted is given back. */
  readonly signal?: AbortSignal;
}

export interface HoldLockOptions extends LockTerms {
  /**
   * How long the lock outlives this process, or a service that nothing is heard of; it is renewed at a third of it. 500 to
   * 60,000 ms; 10,000 by default. An event loop that stands still for longer loses the lock.
   */
  readonly leaseMs?: number;
  /** How long to wait in the queue, 0 to 60,000 ms; 5,000 by default. */
  readonly waitMs?: number;
  /** For how long nobody gets the resources when the lock got lost, without having been released; 0 to 60,000 ms. */
  readonly lockDelayMs?: number;
  /** How long an answer may take beyond `waitMs`; the client's own timeout by default. */
  readonly timeoutMs?: number;
  /** Gives the waiting up: it leaves the queue. A lock that is held does not end with it. */
  readonly signal?: AbortSignal;
}

const TERMS: OptionNames<LockTerms> = { owner: true, permits: true, capacity: true, reentrant: true };
export const ACQUIRE_LOCK_OPTIONS: OptionNames<AcquireLockOptions> = {
  ...TERMS,
  ttlMs: true,
  waitMs: true,
  requestId: true,
  timeoutMs: true,
  signal: true,
};
const HOLD_LOCK_OPTIONS: OptionNames<HoldLockOptions> = {
  ...TERMS,
  leaseMs: true,
  waitMs: true,
  lockDelayMs: true,
  timeoutMs: true,
  signal: true,
};

/** A lock to be held, checked. */
export interface HoldRequest {
  readonly resources: readonly string[];
  readonly terms: LockTerms;
  readonly leaseMs: number;
  readonly waitMs: number;
  readonly lockDelayMs: number;
  /** The same for each try. */
  readonly requestId: string;
}

const DEFAULT_LEASE_MS = 10_000;
const DEFAULT_WAIT_MS = 5_000;
const MIN_LEASE_MS = 500;
/** A stream that breaks keeps its locks for no longer, and it must keep them as long as their holder counts on them. */
const MAX_LEASE_MS = 60_000;
const MAX_WAIT_MS = 60_000;
const MAX_RESOURCES = 16;
const MAX_RESOURCE_BYTES = 512;
const MAX_OWNER_BYTES = 128;
const MAX_PERMITS = 1_000_000;

/** Throws InvalidArgumentError for what no message can carry; the rest is for the service to judge. */
export function toAcquireRequest(resources: readonly string[], options: AcquireLockOptions): AcquireLockRequest {
  const { ttlMs, waitMs = 0, requestId = randomUUID() } = options;
  const { owner = '', permits = 0, capacity = 0, reentrant = false } = options;
  return AcquireLockRequest.fromPartial({
    resources: [...resources],
    ttlMs: ttlMs === undefined ? undefined : toInt64(ttlMs, 'ttlMs'),
    waitMs: toInt64(waitMs, 'waitMs'),
    owner,
    permits,
    capacity,
    reentrant,
    requestId,
  });
}

/**
 * Throws InvalidArgumentError for everything that the service would refuse: on a stream that ends not the call alone, but
 * the stream, and with it every lock of this client.
 */
export function toHoldRequest(resources: readonly string[], options: HoldLockOptions): HoldRequest {
  const { owner = '', permits = 0, capacity = 0, reentrant = false } = optionsIn(options, HOLD_LOCK_OPTIONS);
  const { leaseMs = DEFAULT_LEASE_MS, waitMs = DEFAULT_WAIT_MS, lockDelayMs = 0, signal } = options;
  throwIfNoSignal(signal);
  const wrong = [
    ...wrongResources(resources),
    ...outOfRange('leaseMs', leaseMs, [MIN_LEASE_MS, MAX_LEASE_MS]),
    ...(isText(owner, MAX_OWNER_BYTES)
      ? []
      : [{ field: 'owner', must: `be a text of up to ${String(MAX_OWNER_BYTES)} bytes` }]),
    ...outOfRange('waitMs', waitMs, [0, MAX_WAIT_MS]),
    ...outOfRange('permits', permits, [0, MAX_PERMITS]),
    ...outOfRange('capacity', capacity, [0, MAX_PERMITS]),
    ...outOfRange('lockDelayMs', lockDelayMs, [0, MAX_WAIT_MS]),
    ...(typeof reentrant === 'boolean' ? [] : [{ field: 'reentrant', must: 'be true or false' }]),
  ];
  if (wrong.length > 0) {
    throw invalidArgument(
      wrong.map(({ field, must }) => `${field} must ${must}`).join('; '),
      wrong.map(({ field }) => field),
    );
  }
  if (permits > (capacity === 0 ? MAX_PERMITS : capacity))
    throw invalidArgument('more permits than there are', ['permits']);
  if (permits === 0 && capacity !== 0) throw invalidArgument('a capacity needs permits', ['capacity']);
  if (reentrant && owner === '') throw invalidArgument('a reentrant lock needs an owner', ['owner']);
  const terms = { owner, permits, capacity, reentrant };
  return { resources, terms, leaseMs, waitMs, lockDelayMs, requestId: randomUUID() };
}

/** What a HoldLocks stream is sent. */
export function toHoldLocksAcquire(request: HoldRequest, waitMs: number): HoldLocksAcquire {
  const { resources, terms, leaseMs, lockDelayMs, requestId } = request;
  return HoldLocksAcquire.fromPartial({
    lock: toAcquireRequest(resources, { ...terms, ttlMs: leaseMs, waitMs, requestId }),
    // the service may take the stream for broken while this side does not know yet, and counts on its leases
    disconnectGraceMs: BigInt(leaseMs),
    lockDelayMs: BigInt(lockDelayMs),
    callerRenews: true,
  });
}

export function throwIfAborted(signal: AbortSignal | undefined): void {
  if (signal?.aborted === true) throw shardkeepError(Code.CANCELLED, 'cancelled; no lock was asked for');
}

interface WrongField {
  readonly field: string;
  readonly must: string;
}

function wrongResources(resources: readonly string[]): WrongField[] {
  const isWrong = resources.length === 0 || resources.length > MAX_RESOURCES;
  if (isWrong || new Set(resources).size !== resources.length)
    return [{ field: 'resources', must: `be 1 to ${String(MAX_RESOURCES)} different ones` }];
  return resources.flatMap((resource, index) =>
    resource !== '' && isText(resource, MAX_RESOURCE_BYTES)
      ? []
      : [{ field: `resources[${String(index)}]`, must: `be a text of 1 to ${String(MAX_RESOURCE_BYTES)} bytes` }],
  );
}

function outOfRange(field: string, value: number, [min, max]: readonly [number, number]): WrongField[] {
  if (Number.isSafeInteger(value) && value >= min && value <= max) return [];
  return [{ field, must: `be a whole number, ${String(min)} to ${String(max)}` }];
}

/** A surrogate without its other half is sent as U+FFFD. */
function isText(value: unknown, maxBytes: number): boolean {
  // of plain JavaScript it may be anything
  if (typeof value !== 'string') return false;
  const sent = Buffer.from(value);
  return sent.length <= maxBytes && !/[\0\uFFFD]/.test(sent.toString());
}
