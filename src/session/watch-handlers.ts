import type { SessionServiceService } from '../gen/shardkeep/session/v1/session.js';
import type { Implementation } from '../grpc/rpc.js';
import { anything, bytes, list } from '../grpc/rules.js';
import * as fields from './fields.js';

const MAX_CURSOR_BYTES = 16_384;

export function watchMethods(_: unknown): Pick<Implementation<typeof SessionServiceService>, 'watchSessions'> {
  return {
    watchSessions: {
      rules: {
        userIds: list(fields.userId, { min: 0, max: 256 }),
        sessionIds: list(fields.sessionId, { min: 0, max: 256 }),
        all: anything,
        cursor: bytes({ maxBytes: MAX_CURSOR_BYTES }),
      },
      onDrain: 'end',
      // eslint-disable-next-line require-yield, @typescript-eslint/require-await -- to be built
      handle: async function* () {
        throw new Error('not built yet');
      },
    },
  };
}
