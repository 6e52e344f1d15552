import { performance } from 'node:perf_hooks';
import type { MetricDefinition } from '../admin/metrics.js';
import type { SessionStats, SessionStatsStore } from './stats-store.js';

/** It reads the counters of 512 partitions, so not more often. */
const SAMPLE_EVERY_MS = 15_000;
/** While nobody has asked for metrics for so long, none of them is asked of Redis. */
const WANTED_MS = 300_000;
const READ_MS = 2_000;
/** Another process looks after the namespace, or Redis is away: what was told is no news any more. */
const STALE_AFTER_MS = 2 * SAMPLE_EVERY_MS;

interface Sample {
  readonly takenAt: number;
  readonly stats: SessionStats;
}

/**
 * What Redis counts of all sessions of a namespace, for Prometheus. Only the process that sweeps a namespace asks, so that
 * many cost Redis no more than one, and only where somebody reads metrics.
 */
export class SessionSampler {
  private readonly samples = new Map<string, Sample>();
  private wantedUntil = 0;
  private readonly askAt = new Map<string, number>();

  constructor(private readonly store: Pick<SessionStatsStore, 'getSessionStats'>) {}

  /** For the process that sweeps a namespace, often: takes a sample when it is time for one. */
  async sweeping(namespace: string): Promise<void> {
    const nowMs = performance.now();
    if (nowMs < (this.askAt.get(namespace) ?? 0) || nowMs > this.wantedUntil) return;
    this.askAt.set(namespace, nowMs + SAMPLE_EVERY_MS);
    try {
      const stats = await this.store.getSessionStats({ namespace, deadlineAt: nowMs + READ_MS, ended: false });
      this.samples.set(namespace, { takenAt: performance.now(), stats });
    } catch {
      // it is logged where it happened, and the next sample is soon
    }
  }

  get metrics(): readonly MetricDefinition[] {
    const sampled = (
      name: string,
      type: 'counter' | 'gauge',
      help: string,
      valueOf: (stats: SessionStats) => number,
    ): MetricDefinition => ({
      name: `shardkeep_session_${name}`,
      type,
      // of a namespace one worker tells
      acrossWorkers: 'max',
      help,
      values: () => {
        const nowMs = performance.now();
        this.wantedUntil = nowMs + WANTED_MS;
        return [...this.samples]
          .filter(([, { takenAt }]) => nowMs - takenAt < STALE_AFTER_MS)
          .map(([namespace, { stats }]) => ({ labels: { namespace }, value: valueOf(stats) }));
      },
    });
    return [
      sampled('active', 'gauge', 'Sessions that live now.', ({ active }) => active),
      sampled('users', 'gauge', 'Users who have some.', ({ users }) => users),
      sampled('extensions_total', 'counter', 'Deadlines that ExtendSession moved.', ({ extended }) => extended),
      sampled('lifetimes_total', 'counter', 'Sessions that ended and told how long they lived.', ({ timed }) => timed),
      sampled('lifetime_seconds_total', 'counter', 'How long these lived, together.', ({ livedMs }) => livedMs / 1_000),
    ];
  }
}
