import {
  AcquireLockResponse,
  AcquireLockStatus,
  LockOwnershipStatus,
  LockServiceService,
  type LockHolder,
} from '../gen/shardkeep/lock/v1/lock.js';
import { handWritten, implement, type Rpc } from '../grpc/rpc.js';
import { integer, list, optional, text, type Rule } from '../grpc/rules.js';
import type { Holder } from './scripts.js';
import type { LockStore } from './store.js';
import {
  acquireLockResponseWriter,
  decodeAcquireLockRequest,
  decodeReleaseLockRequest,
  releaseLockResponseWriter,
} from './wire.js';

export interface LockHandlerOptions {
  readonly store: LockStore;
}

const DEFAULT_TTL_MS = 10_000n;
const MAX_TTL_MS = 3_600_000n;

const resource = text({ minBytes: 1, maxBytes: 512 });
const oneResource = list(resource, { min: 1, max: 1 });
const ttlMs = optional(integer({ min: 1n, max: MAX_TTL_MS }));
const lockToken = text({ minBytes: 32, maxBytes: 32, pattern: /^[A-Za-z0-9_-]{32}$/ });

const presentRequestId = text({ minBytes: 16, maxBytes: 128 });
const requestId: Rule<string> = (value, field, violations) => {
  if (value !== '') presentRequestId(value, field, violations);
};

export function lockRpcs({ store }: LockHandlerOptions): readonly Rpc[] {
  return implement(LockServiceService, {
    acquireLock: handWritten({
      decode: decodeAcquireLockRequest,
      rules: { resources: oneResource, ttlMs, owner: text({ minBytes: 0, maxBytes: 128 }), requestId },
      handle: async (request, call) => {
        const name = only(request.resources);
        const options = { ttlMs: ttlOf(request.ttlMs), owner: request.owner, requestId: request.requestId };
        const reply = await store.acquireLock(name, options, call);
        switch (reply.status) {
          case 'granted':
            return {
              resource: name,
              lockToken: reply.lockToken,
              fencingToken: reply.fencingToken,
              expiresAtMs: reply.expiresAtMs,
            };
          case 'held':
            return AcquireLockResponse.encode({
              ...AcquireLockResponse.create(),
              status: AcquireLockStatus.HELD,
              blockingResource: name,
              holder: toHolder(reply.holder),
            }).finish();
        }
      },
      writer: acquireLockResponseWriter,
    }),
    releaseLock: handWritten({
      decode: decodeReleaseLockRequest,
      rules: { resources: oneResource, lockToken },
      handle: async (request, call) =>
        toOwnership(await store.releaseLock(only(request.resources), request.lockToken, call)),
      writer: releaseLockResponseWriter,
    }),
    extendLock: {
      rules: { resources: oneResource, lockToken, ttlMs },
      handle: async (request, call) => {
        const leaseMs = ttlOf(request.ttlMs);
        const reply = await store.extendLock(only(request.resources), request.lockToken, leaseMs, call);
        return {
          status: toOwnership(reply.status === 'done'),
          expiresAtMs: reply.status === 'done' ? BigInt(reply.expiresAtMs) : 0n,
        };
      },
    },
    getLock: {
      rules: { resource },
      handle: async (request, call) => {
        const { holders, fence } = await store.getLock(request.resource, call);
        return { holders: holders.map(toHolder), fencingToken: fence };
      },
    },
  });
}

/** The rules let exactly one through. */
function only(resources: readonly string[]): string {
  const [name] = resources;
  if (name === undefined) throw new RangeError('a request without resource passed the rules');
  return name;
}

function ttlOf(requested: bigint | undefined): number {
  return Number(requested ?? DEFAULT_TTL_MS);
}

function toOwnership(held: boolean): LockOwnershipStatus {
  return held ? LockOwnershipStatus.DONE : LockOwnershipStatus.NOT_HOLDER;
}

function toHolder({ owner, fencingToken, acquiredAtMs, expiresAtMs, ttlMs: leftMs }: Holder): LockHolder {
  return {
    owner,
    fencingToken,
    acquiredAtMs: BigInt(acquiredAtMs),
    expiresAtMs: BigInt(expiresAtMs),
    ttlMs: BigInt(leftMs),
  };
}
