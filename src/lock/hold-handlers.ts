import type { LockServiceService } from '../gen/shardkeep/lock/v1/lock.js';
import { anything } from '../grpc/rules.js';
import type { Implementation } from '../grpc/rpc.js';

export function holdRpcs(): Pick<Implementation<typeof LockServiceService>, 'holdLocks'> {
  return {
    holdLocks: {
      rules: { id: anything, action: anything },
      onDrain: 'end',
      handle: () => {
        throw new RangeError('not there yet');
      },
    },
  };
}
