import type { SessionServiceService } from '../gen/shardkeep/session/v1/session.js';
import type { Implementation } from '../grpc/rpc.js';
import type { SessionAudit } from './audit.js';
import { countCauses, type SweepStore } from './sweep-store.js';

export interface StatsHandlerOptions {
  readonly sweeps: SweepStore;
  readonly audit: SessionAudit;
}

export function statsMethods({
  sweeps,
  audit,
}: StatsHandlerOptions): Pick<
  Implementation<typeof SessionServiceService>,
  'getSessionStats' | 'cleanupExpiredSessions'
> {
  return {
    getSessionStats: {
      rules: {},
      handle: () => Promise.reject(new Error('not built yet')),
    },
    cleanupExpiredSessions: {
      rules: {},
      handle: async (_, call) => {
        const ended = await sweeps.cleanup(call);
        const sessionIds = ended.map(({ sessionId }) => sessionId);
        if (ended.length > 0) {
          audit.record({ event: 'swept', causes: countCauses(ended), sessionIds, destroyed: 0 }, call);
        }
        return { expiredCount: BigInt(ended.length) };
      },
    },
  };
}
