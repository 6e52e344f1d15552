import type { Logger } from 'pino';
import type { MetricDefinition } from '../../admin/metrics.js';
import type { StandaloneTarget } from '../../redis/connection.js';
import type { OperationTimer } from '../../redis/operation-timer.js';
import { rememberRunIds } from '../masters/admit-master.js';
import { QuorumCounts } from './counts.js';
import { QuorumMaster } from './master.js';
import { QuorumLocks, type QuorumSettings } from './quorum-locks.js';

/** What is set of a quorum. */
export interface QuorumPlan extends QuorumSettings {
  /** 3 or 5 masters that know nothing of each other. */
  readonly targets: readonly StandaloneTarget[];
}

export interface QuorumOptions extends QuorumPlan {
  readonly namespace: string;
  readonly fenceRetentionMs: number;
  /** Refuse, instead of warn, when votes could be evicted. */
  readonly strictEviction: boolean;
  readonly timer: OperationTimer;
  readonly logger: Logger;
  /** A Redis that this service must not serve from; the process should end with this message. */
  readonly onUnusable: (error: Error) => void;
}

export interface Quorum {
  readonly locks: QuorumLocks;
  readonly metrics: readonly MetricDefinition[];
  /** Begins to connect in the background. */
  connect(): void;
  close(): Promise<void>;
}

/** Locks on a quorum of masters; composes what is in this folder. */
export function createQuorumLocks(options: QuorumOptions): Quorum {
  const { targets, logger, maxTtlMs, maxSkewMs } = options;
  const sameProcess = rememberRunIds();
  const masters = targets.map(
    (target) =>
      new QuorumMaster({
        ...options,
        target,
        quarantineMs: quarantineOf(maxTtlMs, maxSkewMs),
        sameProcess,
      }),
  );
  const counts = new QuorumCounts(masters, logger);
  return {
    locks: new QuorumLocks({ ...options, masters, counts }),
    metrics: counts.metrics(),
    connect: () => {
      for (const master of masters) master.connect();
    },
    close: async () => {
      await Promise.all(masters.map((master) => master.close()));
    },
  };
}

/**
 * How long a master is kept out that may have forgotten something: until the longest lease that it may have voted for is
 * over, and its clock is so far that no proposal it takes is below a token it answered before.
 */
export function quarantineOf(maxTtlMs: number, maxSkewMs: number): number {
  return maxTtlMs + 2 * maxSkewMs + 1;
}
