import { AcquireLockResponse, LockServiceService } from '../gen/shardkeep/lock/v1/lock.js';
import { handWritten, implement, type Rpc } from '../grpc/rpc.js';
import { integer } from '../grpc/rules.js';
import type { LockBackend } from './backend.js';
import * as fields from './fields.js';
import { holdRpcs, type HoldHandlerOptions } from './hold-handlers.js';
import { lockMode } from './lock-mode.js';
import { operationRpcs, type OperationHandlerOptions } from './operation-handlers.js';
import {
  acquireLockResponseWriter,
  decodeAcquireLockRequest,
  decodeReleaseLockRequest,
  releaseLockResponseWriter,
} from './wire.js';

export interface LockHandlerOptions extends HoldHandlerOptions, OperationHandlerOptions {
  readonly locks: LockBackend;
}

export function lockRpcs({ locks, openHoldStream, ...operations }: LockHandlerOptions): readonly Rpc[] {
  return implement(LockServiceService, {
    acquireLock: handWritten({
      decode: decodeAcquireLockRequest,
      rules: fields.acquireRules,
      check: fields.checkTerms,
      handle: async (request, call) => {
        const outcome = await locks.acquireLock(fields.toAcquireRequest(request), call);
        return outcome.status === 'granted'
          ? outcome
          : AcquireLockResponse.encode(fields.toAcquireResponse(outcome)).finish();
      },
      writer: acquireLockResponseWriter,
    }),
    releaseLock: handWritten({
      decode: decodeReleaseLockRequest,
      rules: { resources: fields.resources, lockToken: fields.lockToken },
      handle: ({ resources, lockToken }, call) => locks.releaseLock(resources, lockToken, call),
      writer: releaseLockResponseWriter,
    }),
    extendLock: {
      rules: { resources: fields.resources, lockToken: fields.lockToken, ttlMs: fields.ttlMs },
      handle: async ({ resources, lockToken, ttlMs }, call) => {
        const outcome = await locks.extendLock(resources, lockToken, fields.leaseOf(ttlMs), call);
        const done = outcome.notHeld.length === 0;
        return {
          status: fields.toOwnership(outcome),
          expiresAtMs: BigInt(done ? (outcome.expiresAtMs ?? 0) : 0),
          notHeldResources: [...outcome.notHeld],
        };
      },
    },
    checkFencingToken: {
      rules: { resource: fields.resource, fencingToken: integer({ min: 1n, max: 2n ** 63n - 1n }) },
      handle: async ({ resource, fencingToken }, call) => {
        const { fence } = await locks.getLock(resource, call);
        if (fence === undefined) throw lockMode('fencing tokens');
        return { valid: fencingToken >= BigInt(fence), fencingToken: BigInt(fence) };
      },
    },
    getLock: {
      rules: { resource: fields.resource },
      handle: async ({ resource }, call) => {
        const state = await locks.getLock(resource, call);
        return {
          holders: state.holders.map(fields.toHolder),
          fencingToken: BigInt(state.fence ?? 0),
          waiters: state.waiters.map(fields.toWaiter),
          holderCount: BigInt(state.holderCount),
          waitingCount: BigInt(state.waitingCount),
          delayLeftMs: BigInt(state.delayLeftMs),
        };
      },
    },
    ...holdRpcs({ openHoldStream }),
    ...operationRpcs(operations),
  });
}
