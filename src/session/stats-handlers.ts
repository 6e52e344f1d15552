import type { SessionServiceService } from '../gen/shardkeep/session/v1/session.js';
import type { Implementation } from '../grpc/rpc.js';

export function statsMethods(
  _: unknown,
): Pick<Implementation<typeof SessionServiceService>, 'getSessionStats' | 'cleanupExpiredSessions'> {
  return {
    getSessionStats: {
      rules: {},
      handle: () => Promise.reject(new Error('not built yet')),
    },
    cleanupExpiredSessions: {
      rules: {},
      handle: () => Promise.reject(new Error('not built yet')),
    },
  };
}
