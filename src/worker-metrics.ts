import type { Worker } from 'node:cluster';
import { AggregatorRegistry, type Registry } from 'prom-client';
import type { MetricsReport, WorkerMessage, WorkerQuestion } from './worker-message.js';

/** A worker that does not answer in this time is counted by what it said last. */
const ANSWER_WITHIN_MS = 1_000;

/**
 * Puts together what the workers tell: the sum, unless a metric says otherwise. One that went stays in the sums with the
 * counters it said last, so that none falls: Prometheus would take that for a restart of the whole service. What its gauges
 * said is no more, and neither is what it said of something that the others see as well.
 */
export class WorkerMetrics {
  private readonly latest = new Map<Worker, MetricsReport>();
  /** The sum of those that went; a promise, because summing is. */
  private departed: Promise<MetricsReport> = Promise.resolve([]);

  /** Counts a worker in, from now on and for good. */
  add(worker: Worker): void {
    this.latest.set(worker, []);
    worker.on('message', (message: WorkerMessage) => {
      if (message.kind === 'metrics') this.latest.set(worker, message.metrics);
    });
    // comes behind the worker's last message, which an exit may not
    worker.once('disconnect', () => {
      const report = (this.latest.get(worker) ?? []).filter(staysCounted);
      this.latest.delete(worker);
      this.departed = this.departed.then((sum) => sumOf([sum, report]).getMetricsAsJSON());
    });
  }

  /** In Prometheus' text format. */
  async text(): Promise<string> {
    await Promise.all([...this.latest.keys()].map(askForMetrics));
    let pending: Promise<MetricsReport>;
    let departed: MetricsReport;
    do {
      pending = this.departed;
      departed = await pending;
      // one that went meanwhile is neither in this sum nor among the latest
    } while (pending !== this.departed);
    return sumOf([departed, ...this.latest.values()]).metrics();
  }
}

/** prom-client declares numbers for the types, and says words. */
function staysCounted({ type, aggregator }: { readonly type: unknown; readonly aggregator: unknown }): boolean {
  return type !== 'gauge' && aggregator === 'sum';
}

function sumOf(reports: readonly MetricsReport[]): Registry {
  return AggregatorRegistry.aggregate([...reports]);
}

/** Resolves when the worker has said what it counted, has gone, or takes too long. */
function askForMetrics(worker: Worker): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      clearTimeout(timer);
      worker.off('message', onMessage);
      worker.off('disconnect', done);
      resolve();
    };
    const onMessage = ({ kind }: WorkerMessage): void => {
      if (kind === 'metrics') done();
    };
    const timer = setTimeout(done, ANSWER_WITHIN_MS);
    worker.on('message', onMessage);
    worker.once('disconnect', done);
    worker.send({ ask: 'metrics' } satisfies WorkerQuestion, (error) => {
      if (error !== null) done();
    });
  });
}
