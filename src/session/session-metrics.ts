import type { MetricDefinition, Sample } from '../admin/metrics.js';
import type { SessionAudit } from './audit.js';
import { FOREIGN_KINDS } from './foreign-tokens.js';
import type { NamespacedForeignTokens } from './namespaced-foreign-tokens.js';
import { END_CAUSES } from './scripts.js';
import type { Sweepers } from './sweepers.js';

export interface SessionMetricsOptions {
  readonly audit: SessionAudit;
  readonly foreignTokens: NamespacedForeignTokens;
  readonly sweepers: Pick<Sweepers, 'endedCount' | 'lagMs'>;
}

/** What this process counts of sessions as Prometheus sees it; what all of them count together tells GetSessionStats. */
export function sessionMetrics({ audit, foreignTokens, sweepers }: SessionMetricsOptions): readonly MetricDefinition[] {
  const metric = (
    name: string,
    type: 'counter' | 'gauge',
    help: string,
    values: () => readonly Sample[],
  ): MetricDefinition => ({ name: `shardkeep_session_${name}`, type, help, values });
  return [
    metric('created_total', 'counter', 'Sessions that this process created.', () => [
      { labels: {}, value: audit.createdCount },
    ]),
    metric('ended_total', 'counter', 'Sessions that this process ended, by cause.', () =>
      END_CAUSES.map((cause) => ({ labels: { cause }, value: audit.ended[cause] })),
    ),
    metric('swept_total', 'counter', 'Of these, sessions that the sweeper of this process ended.', () => [
      { labels: {}, value: sweepers.endedCount },
    ]),
    metric(
      'sweep_lag_seconds',
      'gauge',
      'How late the sweeper of this process ended the latest of its last turn.',
      () => [{ labels: {}, value: sweepers.lagMs / 1_000 }],
    ),
    metric('foreign_tokens_total', 'counter', 'Tokens presented that open nothing, and texts that are none.', () =>
      FOREIGN_KINDS.map((kind) => ({ labels: { kind }, value: foreignTokens.counts[kind] })),
    ),
  ];
}
