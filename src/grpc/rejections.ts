import type { MetricDefinition } from '../admin/metrics.js';

/** Why a connection, a call or its answer was turned away before it could cost more. */
export const REJECT_REASONS = [
  /** As many connections are open as may be. */
  'connections',
  /** The TLS handshake failed: plaintext, no certificate or a bad one. */
  'tls',
  /** The metadata of the call is too large. */
  'metadata',
  /** The request was not complete in the longest time that a call has. */
  'slow_request',
  /** The caller does not take its answers. */
  'slow_reader',
  /** As many calls or streams are at work as may be: of the service, of a connection or of a stream of the pipeline. */
  'overload',
  /** The service is going away. */
  'draining',
  /** A request on the pipeline that has to go unary. */
  'size',
] as const;

export type RejectReason = (typeof REJECT_REASONS)[number];

/** Counts what was turned away, by reason. */
export class Rejections {
  readonly metric: MetricDefinition;
  private readonly counts: Record<RejectReason, number>;

  constructor() {
    this.counts = Object.fromEntries(REJECT_REASONS.map((reason) => [reason, 0])) as Record<RejectReason, number>;
    this.metric = {
      name: 'shardkeep_rpc_rejected_total',
      type: 'counter',
      help: 'Connections, calls and answers that were turned away, by reason.',
      values: () => Object.entries(this.counts).map(([reason, value]) => ({ labels: { reason }, value })),
    };
  }

  count(reason: RejectReason): void {
    this.counts[reason]++;
  }
}
