import { readdirSync, readFileSync } from 'node:fs';
import { totalmem } from 'node:os';
import {
  constants,
  monitorEventLoopDelay,
  performance,
  PerformanceObserver,
  type IntervalHistogram,
  type PerformanceEntry,
} from 'node:perf_hooks';
import { getHeapStatistics } from 'node:v8';
import { Histogram } from './histogram.js';
import type { AcrossWorkers, MetricDefinition } from './metrics.js';

/** A timer that comes late tells of the delay; this often it is looked at. */
const DELAY_RESOLUTION_MS = 10;
const GC_BUCKETS_MS = [1, 5, 10, 50, 100, 500, 1_000];
const GC_KINDS: Readonly<Record<number, string>> = {
  [constants.NODE_PERFORMANCE_GC_MINOR]: 'minor',
  [constants.NODE_PERFORMANCE_GC_MAJOR]: 'major',
  [constants.NODE_PERFORMANCE_GC_INCREMENTAL]: 'incremental',
  [constants.NODE_PERFORMANCE_GC_WEAKCB]: 'weak_callbacks',
};
const NS_A_SECOND = 1e9;
const US_A_SECOND = 1e6;

/** What this process takes of its machine, from now on. */
export function processMetrics(version: string): readonly MetricDefinition[] {
  const measures = (
    type: 'counter' | 'gauge',
    acrossWorkers: AcrossWorkers,
  ): ((name: string, help: string, valueOf: () => number | undefined) => MetricDefinition) => {
    return (name, help, valueOf) => ({
      name: `shardkeep_process_${name}`,
      type,
      acrossWorkers,
      help,
      values: () => {
        const value = valueOf();
        return value === undefined ? [] : [{ labels: {}, value }];
      },
    });
  };
  const [counter, summed, ofTheWorst] = [
    measures('counter', 'sum'),
    measures('gauge', 'sum'),
    measures('gauge', 'max'),
  ] as const;
  const [memoryLimit, maxFds] = [memoryLimitBytes(), maxOpenFds()];
  return [
    {
      name: 'shardkeep_build_info',
      type: 'gauge',
      acrossWorkers: 'max',
      help: 'Always 1; which version runs, and on which Node.',
      values: () => [{ labels: { version, node: process.version }, value: 1 }],
    },
    counter('cpu_seconds_total', 'Time of a core that was used.', cpuSeconds),
    summed('resident_memory_bytes', 'Memory in use.', () => process.memoryUsage.rss()),
    ofTheWorst('memory_limit_bytes', 'What the container may use.', () => memoryLimit),
    ofTheWorst('heap_used_bytes', 'Objects of JavaScript.', () => getHeapStatistics().used_heap_size),
    ofTheWorst('heap_limit_bytes', 'How much they may be.', () => getHeapStatistics().heap_size_limit),
    ofTheWorst('external_memory_bytes', 'Buffers outside the heap.', () => process.memoryUsage().external),
    ofTheWorst('open_fds', 'Open files and sockets.', openFds),
    ofTheWorst('max_fds', 'How many may be open.', () => maxFds),
    ofTheWorst('start_time_seconds', 'When it started, in Unix seconds.', () => performance.timeOrigin / 1_000),
    ofTheWorst(
      'event_loop_delay_p99_seconds',
      'How late the event loop is, but for the latest 1 %.',
      eventLoopDelaySeconds((delays) => delays.percentile(99)),
    ),
    ofTheWorst(
      'event_loop_delay_max_seconds',
      'How late the event loop was at most.',
      eventLoopDelaySeconds((delays) => delays.max),
    ),
    ofTheWorst('event_loop_utilization', 'Part of the time in which the event loop works.', eventLoopUtilization()),
    gcMetric(),
  ];
}

function cpuSeconds(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / US_A_SECOND;
}

/** Undefined where nothing limits it but the machine. */
function memoryLimitBytes(): number | undefined {
  const limit = process.constrainedMemory();
  return limit > 0 && limit < totalmem() ? limit : undefined;
}

/** Undefined where the system does not tell. */
function openFds(): number | undefined {
  try {
    return readdirSync('/proc/self/fd').length;
  } catch {
    return undefined;
  }
}

function maxOpenFds(): number | undefined {
  try {
    const soft = /^Max open files\s+(\d+)/m.exec(readFileSync('/proc/self/limits', 'utf8'))?.[1];
    return soft === undefined ? undefined : Number(soft);
  } catch {
    return undefined;
  }
}

/** How late timers were since the last look; each value begins anew when it was asked for. */
function eventLoopDelaySeconds(of: (delays: IntervalHistogram) => number): () => number {
  const delays = monitorEventLoopDelay({ resolution: DELAY_RESOLUTION_MS });
  delays.enable();
  return () => {
    const seconds = of(delays) / NS_A_SECOND - DELAY_RESOLUTION_MS / 1_000;
    delays.reset();
    return Math.max(0, seconds);
  };
}

/** Since the last look. */
function eventLoopUtilization(): () => number {
  let before = performance.eventLoopUtilization();
  return () => {
    const now = performance.eventLoopUtilization();
    const { utilization } = performance.eventLoopUtilization(now, before);
    before = now;
    return Number.isFinite(utilization) ? utilization : 0;
  };
}

function gcMetric(): MetricDefinition {
  const name = 'shardkeep_process_gc_duration_seconds';
  const kinds = new Map(Object.values(GC_KINDS).map((kind) => [kind, new Histogram(GC_BUCKETS_MS)]));
  new PerformanceObserver((list) => {
    for (const entry of list.getEntries()) kinds.get(kindOf(entry))?.add(entry.duration);
  }).observe({ entryTypes: ['gc'] });
  return {
    name,
    type: 'histogram',
    help: 'How long the garbage collector kept the process from its work, by kind.',
    values: () => [...kinds].flatMap(([kind, durations]) => durations.samples(name, { kind })),
  };
}

function kindOf(entry: PerformanceEntry): string {
  // what the types do not know
  const detail: unknown = 'detail' in entry ? entry.detail : undefined;
  const kind: unknown = typeof detail === 'object' && detail !== null && 'kind' in detail ? detail.kind : undefined;
  return (typeof kind === 'number' ? GC_KINDS[kind] : undefined) ?? '';
}
