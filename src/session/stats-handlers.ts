import type { GetSessionStatsResponse, SessionServiceService } from '../gen/shardkeep/session/v1/session.js';
import type { Implementation } from '../grpc/rpc.js';
import type { SessionAudit } from './audit.js';
import { toEndCause } from './end-message.js';
import type { ForeignTokens } from './foreign-tokens.js';
import type { NamespacedForeignTokens } from './namespaced-foreign-tokens.js';
import type { SessionStats, SessionStatsStore } from './stats-store.js';
import { countCauses, type SweepStore } from './sweep-store.js';

export interface StatsHandlerOptions {
  readonly stats: SessionStatsStore;
  readonly sweeps: SweepStore;
  readonly foreignTokens: NamespacedForeignTokens;
  readonly audit: SessionAudit;
}

const MAX_SOURCES = 10;

export function statsMethods({
  stats,
  sweeps,
  foreignTokens,
  audit,
}: StatsHandlerOptions): Pick<
  Implementation<typeof SessionServiceService>,
  'getSessionStats' | 'cleanupExpiredSessions'
> {
  return {
    getSessionStats: {
      access: 'admin',
      rules: {},
      handle: async (_, call) => toResponse(await stats.getSessionStats(call), foreignTokens.of(call.namespace)),
    },
    cleanupExpiredSessions: {
      access: 'admin',
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

function toResponse(stats: SessionStats, foreignTokens: ForeignTokens): GetSessionStatsResponse {
  return {
    activeSessions: BigInt(stats.active),
    activeUsers: BigInt(stats.users),
    createdCount: BigInt(stats.created),
    createdLastMinute: BigInt(stats.createdLastMinute),
    ended: [...stats.ended]
      .filter(([, count]) => count > 0)
      .map(([cause, count]) => ({ cause: toEndCause(cause), count: BigInt(count) })),
    meanDurationMs: BigInt(stats.meanDurationMs),
    extendedCount: BigInt(stats.extended),
    rotatedCount: BigInt(stats.rotated),
    foreignTokenCount: BigInt(foreignTokens.counts.malformed + foreignTokens.counts.unknown),
    foreignTokenSources: foreignTokens.top(MAX_SOURCES).map(({ source, count }) => ({ source, count: BigInt(count) })),
  };
}
