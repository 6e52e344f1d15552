import type * as proto from '../../gen/shardkeep/session/v1/session.js';
import { toEndCause, type SessionEndCause } from './session.js';

/** Counted over the life of the namespace's data, whichever service process did it, unless said otherwise. */
export interface SessionStats {
  /** Live, or run out and not noticed yet. */
  readonly activeSessions: number;
  /** Users who have such sessions. */
  readonly activeUsers: number;
  readonly createdCount: number;
  /** In the last whole minute of Redis's clock. */
  readonly createdLastMinute: number;
  /** How many ended in which way. */
  readonly ended: Readonly<Record<SessionEndCause, number>>;
  /** How long the ended ones had lived on average. */
  readonly meanDurationMs: number;
  readonly extendedCount: number;
  readonly rotatedCount: number;
  /** Tokens presented to this service process since its start that never opened anything: somebody may be guessing. */
  readonly foreignTokenCount: number;
  /** Who presented most of them to this process in the last 5 to 10 minutes, the most first, at most 10. */
  readonly foreignTokenSources: readonly ForeignTokenSource[];
}

export interface ForeignTokenSource {
  /** The `client.ip` of the calls, else the address of the gRPC peer. */
  readonly source: string;
  readonly count: number;
}

export function toSessionStats(response: proto.GetSessionStatsResponse): SessionStats {
  return {
    activeSessions: Number(response.activeSessions),
    activeUsers: Number(response.activeUsers),
    createdCount: Number(response.createdCount),
    createdLastMinute: Number(response.createdLastMinute),
    ended: toEnded(response.ended),
    meanDurationMs: Number(response.meanDurationMs),
    extendedCount: Number(response.extendedCount),
    rotatedCount: Number(response.rotatedCount),
    foreignTokenCount: Number(response.foreignTokenCount),
    foreignTokenSources: response.foreignTokenSources.map(({ source, count }) => ({ source, count: Number(count) })),
  };
}

function toEnded(counts: readonly proto.SessionEndCount[]): Record<SessionEndCause, number> {
  const ended: Record<SessionEndCause, number> = {
    destroyed: 0,
    evicted: 0,
    expired_idle: 0,
    expired_absolute: 0,
    expired_renewal: 0,
    theft: 0,
    unknown: 0,
  };
  for (const { cause, count } of counts) ended[toEndCause(cause)] += Number(count);
  return ended;
}
