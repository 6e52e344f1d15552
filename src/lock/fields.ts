import { Buffer } from 'node:buffer';
import {
  AcquireLockResponse,
  AcquireLockStatus,
  LockOwnershipStatus,
  type AcquireLockRequest,
  type LockGrant,
  type LockHolder,
  type LockWaiter,
} from '../gen/shardkeep/lock/v1/lock.js';
import { invalidField } from '../errors.js';
import { anything, integer, list, optional, text, type Rule, type Rules } from '../grpc/rules.js';
import type { AcquireOutcome, AcquireRequest, Grant, Holder, OwnershipOutcome, Waiter } from './backend.js';

/** Rules and shapes that the RPCs of LockService share. */

const DEFAULT_TTL_MS = 10_000n;
const MAX_TTL_MS = 3_600_000n;
const MAX_WAIT_MS = 60_000n;
const MAX_RESOURCES = 16;
const MAX_PERMITS = 1_000_000;

export const resource = text({ minBytes: 1, maxBytes: 512 });
export const resources = list(resource, { min: 1, max: MAX_RESOURCES, unique: true });
export const ttlMs = optional(integer({ min: 1n, max: MAX_TTL_MS }));
const waitMs = integer({ min: 0n, max: MAX_WAIT_MS });
const owner = text({ minBytes: 0, maxBytes: 128 });
const permits = integer({ min: 0, max: MAX_PERMITS });
export const lockToken = text({ minBytes: 32, maxBytes: 32, pattern: /^[A-Za-z0-9_-]{32}$/ });

const presentRequestId = text({ minBytes: 16, maxBytes: 128 });
const requestId: Rule<string> = (value, field, violations) => {
  if (value !== '') presentRequestId(value, field, violations);
};

export const acquireRules: Rules<AcquireLockRequest> = {
  resources,
  ttlMs,
  owner,
  requestId,
  waitMs,
  permits,
  capacity: permits,
  reentrant: anything,
};

/** The fields of an AcquireLockRequest that hang together. */
interface Terms {
  readonly permits: number;
  readonly capacity: number;
  readonly reentrant: boolean;
  readonly owner: string;
}

/** Throws INVALID_FIELD; `path` is where the request stands in a larger one, with a dot behind it. */
export function checkTerms({ permits, capacity, reentrant, owner }: Terms, path = ''): void {
  if (permits > effectiveCapacity(capacity)) throw invalidField(`${path}permits`, 'must not be above the capacity');
  if (permits === 0 && capacity !== 0) {
    throw invalidField(`${path}capacity`, 'must be 0 with permits 0, which are all whatever their number');
  }
  if (reentrant && owner === '') throw invalidField(`${path}owner`, 'must be set for a reentrant lock');
}

export function toAcquireRequest(message: AcquireLockRequest): AcquireRequest {
  return {
    resources: message.resources,
    ttlMs: leaseOf(message.ttlMs),
    waitMs: Number(message.waitMs),
    owner: message.owner,
    requestId: message.requestId,
    permits: message.permits,
    capacity: effectiveCapacity(message.capacity),
    reentrant: message.reentrant,
  };
}

export function leaseOf(requested: bigint | undefined): number {
  return Number(requested ?? DEFAULT_TTL_MS);
}

function effectiveCapacity(capacity: number): number {
  return capacity === 0 ? MAX_PERMITS : capacity;
}

const REFUSED_STATUS = {
  held: AcquireLockStatus.HELD,
  queued: AcquireLockStatus.QUEUED,
  in_delay: AcquireLockStatus.IN_DELAY,
} as const;

export function toAcquireResponse(outcome: AcquireOutcome): AcquireLockResponse {
  if (outcome.status === 'granted') {
    return {
      ...AcquireLockResponse.create(),
      status: AcquireLockStatus.GRANTED,
      lockToken: outcome.lockToken,
      grants: outcome.grants.map(toGrant),
      expiresAtMs: BigInt(outcome.expiresAtMs),
    };
  }
  const { status, resource, holder, waitingCount, delayLeftMs } = outcome;
  return {
    ...AcquireLockResponse.create(),
    status: REFUSED_STATUS[status],
    blockingResource: resource,
    holder: holder && toHolder(holder),
    waitingCount: BigInt(waitingCount),
    delayLeftMs: BigInt(delayLeftMs),
  };
}

function toGrant({ resource, fencingToken, holdCount }: Grant): LockGrant {
  return { resource, fencingToken: BigInt(fencingToken), holdCount };
}

export function toOwnership({ notHeld }: OwnershipOutcome): LockOwnershipStatus {
  return notHeld.length === 0 ? LockOwnershipStatus.DONE : LockOwnershipStatus.NOT_HOLDER;
}

export function toHolder(holder: Holder): LockHolder {
  return {
    owner: holder.owner,
    fencingToken: BigInt(holder.fencingToken),
    acquiredAtMs: BigInt(holder.acquiredAtMs),
    expiresAtMs: BigInt(holder.expiresAtMs),
    ttlMs: BigInt(holder.ttlMs),
    permits: holder.permits,
  };
}

export function toWaiter(waiter: Waiter): LockWaiter {
  return {
    owner: waiter.owner,
    permits: waiter.permits,
    waitingSinceMs: BigInt(waiter.waitingSinceMs),
    givesUpAtMs: BigInt(waiter.givesUpAtMs),
  };
}

/** In the order in which everybody takes them: by the bytes of their names. */
export function sortResources(names: readonly string[]): string[] {
  return [...names].sort((one, other) => Buffer.compare(Buffer.from(one), Buffer.from(other)));
}
