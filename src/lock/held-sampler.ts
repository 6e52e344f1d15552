import { performance } from 'node:perf_hooks';
import type { MetricDefinition } from '../admin/metrics.js';
import type { LockOperationStore } from './operation-store.js';

const SAMPLE_EVERY_MS = 60_000;
/** While nobody has asked for metrics for so long, Redis is not asked. */
const WANTED_MS = 300_000;
/** Of all time: a count walks over all keys of Redis. */
const PART_OF_TIME = 0.01;
const COUNT_MS = 2_000;

interface Sample {
  readonly held: number;
  /** On the clock of `performance.now()`. */
  readonly validUntil: number;
}

/** How many locks of a namespace are held, for Prometheus. Only one process of all should ask. */
export class HeldSampler {
  private readonly samples = new Map<string, Sample>();
  private wantedUntil = 0;
  private readonly askAt = new Map<string, number>();

  constructor(private readonly store: Pick<LockOperationStore, 'countHeld'>) {}

  /** For the process that looks after a namespace, often: counts when it is time to. */
  async lookAfter(namespace: string): Promise<void> {
    const startedAt = performance.now();
    if (startedAt < (this.askAt.get(namespace) ?? 0) || startedAt > this.wantedUntil) return;
    this.askAt.set(namespace, Number.POSITIVE_INFINITY);
    let restMs = SAMPLE_EVERY_MS;
    try {
      const counted = await this.store.countHeld({ namespace, deadlineAt: startedAt + COUNT_MS, ended: false });
      restMs = Math.max(SAMPLE_EVERY_MS, (performance.now() - startedAt) / PART_OF_TIME);
      const validUntil = performance.now() + 2 * restMs;
      // half a count would look like locks that were released
      if (counted.complete) this.samples.set(namespace, { held: counted.held, validUntil });
    } catch {
      // it is logged where it happened
    } finally {
      this.askAt.set(namespace, performance.now() + restMs);
    }
  }

  get metrics(): readonly MetricDefinition[] {
    return [
      {
        name: 'shardkeep_lock_held',
        type: 'gauge',
        // of a namespace one worker tells
        acrossWorkers: 'max',
        help: 'Resources that somebody holds.',
        values: () => {
          const nowMs = performance.now();
          this.wantedUntil = nowMs + WANTED_MS;
          return [...this.samples]
            .filter(([, { validUntil }]) => nowMs < validUntil)
            .map(([namespace, { held }]) => ({ labels: { namespace }, value: held }));
        },
      },
    ];
  }
}
