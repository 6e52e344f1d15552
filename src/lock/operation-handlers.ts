import type { LockServiceService } from '../gen/shardkeep/lock/v1/lock.js';
import { anything } from '../grpc/rules.js';
import type { Implementation } from '../grpc/rpc.js';

type Operations = Pick<
  Implementation<typeof LockServiceService>,
  'listLocks' | 'watchLocks' | 'forceReleaseLock' | 'cleanupExpiredLocks' | 'getLockStats'
>;

const later = (): never => {
  throw new RangeError('not there yet');
};

export function operationRpcs(): Operations {
  return {
    listLocks: { rules: { prefix: anything, pageSize: anything, pageToken: anything }, handle: later },
    watchLocks: { rules: { resources: anything, prefix: anything }, onDrain: 'end', handle: later },
    forceReleaseLock: {
      rules: { resource: anything, reason: anything, expectedFencingToken: anything },
      handle: later,
    },
    cleanupExpiredLocks: { rules: {}, handle: later },
    getLockStats: { rules: { hottestCount: anything }, handle: later },
  };
}
