import { EventEmitter } from 'node:events';
import type { Worker } from 'node:cluster';
import { expect, test } from '@jest/globals';
import { Metrics, type MetricDefinition } from '../../src/admin/metrics.js';
import { WorkerMetrics } from '../../src/worker-metrics.js';

/** How what several workers tell becomes one answer. */

/** A worker that answers at once with what its metrics say. */
class AnsweringWorker extends EventEmitter {
  private readonly metrics = new Metrics();

  constructor(definitions: readonly MetricDefinition[]) {
    super();
    for (const definition of definitions) this.metrics.register(definition);
  }

  send(_question: string, sent: (error: Error | null) => void): void {
    sent(null);
    void this.metrics.registry.getMetricsAsJSON().then((metrics) => {
      this.emit('message', { kind: 'metrics', metrics });
    });
  }
}

function workerWith(value: number): AnsweringWorker {
  const values = () => [{ labels: {}, value }];
  const define = (name: string, rest: Pick<MetricDefinition, 'type' | 'acrossWorkers'>): MetricDefinition => ({
    name,
    help: name,
    values,
    ...rest,
  });
  return new AnsweringWorker([
    define('calls_total', { type: 'counter' }),
    define('streams', { type: 'gauge' }),
    define('evicted_total', { type: 'counter', acrossWorkers: 'max' }),
    define('delay', { type: 'gauge', acrossWorkers: 'max' }),
    define('serving', { type: 'gauge', acrossWorkers: 'min' }),
  ]);
}

async function toldBy(metrics: WorkerMetrics): Promise<Record<string, number>> {
  const lines = (await metrics.text()).split('\n').filter((line) => line !== '' && !line.startsWith('#'));
  return Object.fromEntries(lines.map((line) => line.split(' ')).map(([name = '', value]) => [name, Number(value)]));
}

test('what each worker counts is added up, and what all of them see is told once', async () => {
  const metrics = new WorkerMetrics();
  const workers = [workerWith(3), workerWith(5)];
  for (const worker of workers) metrics.add(worker as unknown as Worker);
  expect(await toldBy(metrics)).toEqual({ calls_total: 8, streams: 8, evicted_total: 5, delay: 5, serving: 3 });

  workers[1]?.emit('disconnect');
  expect(await toldBy(metrics)).toEqual({ calls_total: 8, streams: 3, evicted_total: 3, delay: 3, serving: 3 });
});
