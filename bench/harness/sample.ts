import { LatencyHistogram } from './latency-histogram.js';
import { readCpuUs } from './process-cpu.js';
import type { LoadFigures, LoadProcess } from './programs.js';

/** The processes whose CPU time is told apart. */
export type Role = 'client' | 'service' | 'redis';
export type Watched = Readonly<Partial<Record<Role, readonly number[]>>>;

/** What one variant did in one round. */
export interface Sample {
  readonly ratePerSecond: number;
  /** CPU time per operation, by process; a role that the variant has not is absent. */
  readonly cpuUs: Readonly<Partial<Record<Role, number>>>;
  readonly latencies: LatencyHistogram;
}

export interface Load {
  readonly inFlight: number;
  readonly warmUpMs: number;
  readonly measureMs: number;
}

/** Runs the closed loops of all processes at once, `inFlight` calls in each, and measures when all are warm. */
export async function sampleLoad(processes: readonly LoadProcess[], watched: Watched, load: Load): Promise<Sample> {
  await Promise.all(processes.map((process) => process.warm(load.inFlight, load.warmUpMs)));
  const sample = await sampleSpan(watched, () =>
    Promise.all(processes.map((process) => process.measure(load.measureMs))),
  );
  await Promise.all(processes.map((process) => process.stop()));
  return sample;
}

/** Measures CPU time around a span of load. */
export async function sampleSpan(watched: Watched, run: () => Promise<readonly LoadFigures[]>): Promise<Sample> {
  const before = readRoles(watched);
  const figures = await run();
  const after = readRoles(watched);
  const operations = figures.reduce((sum, figure) => sum + figure.operations, 0);
  if (operations === 0) throw new Error('nothing was done in the measured time');
  const latencies = new LatencyHistogram();
  for (const figure of figures) latencies.add(figure.latencies);
  const cpuUs: Partial<Record<Role, number>> = {};
  for (const [role, usedUs] of after) cpuUs[role] = (usedUs - (before.get(role) ?? 0)) / operations;
  return {
    ratePerSecond: figures.reduce((sum, figure) => sum + (figure.operations * 1_000) / figure.durationMs, 0),
    cpuUs,
    latencies,
  };
}

function readRoles(watched: Watched): ReadonlyMap<Role, number> {
  const roles = Object.entries(watched) as [Role, readonly number[]][];
  return new Map(roles.map(([role, pids]) => [role, pids.reduce((sum, pid) => sum + readCpuUs(pid), 0)]));
}
