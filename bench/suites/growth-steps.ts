import { lineChart } from '../harness/line-chart.js';
import { LoadProcess } from '../harness/programs.js';
import { interleave } from '../harness/rounds.js';
import { sampleLoad, type Sample } from '../harness/sample.js';
import { rates } from '../harness/sample-table.js';
import { formatRate, formatRatio, formatUs, type Plot, type Table } from '../harness/section.js';
import { type BenchRedis, type BenchService } from '../harness/servers.js';
import { median, ratio } from '../harness/statistics.js';
import type { SuiteContext } from '../harness/suite.js';
import type { LoadPlan } from '../programs/protocol.js';

/** What one dimension adds to the section. */
export interface Growth {
  readonly note: string;
  readonly tables: readonly Table[];
  readonly plots: readonly Plot[];
}

const IN_FLIGHT = 64;
const ROUNDS = 3;

/** One step of what grows: the SDK and node-redis at its best, in the same rounds. */
export interface Step {
  readonly size: number;
  readonly sdk: readonly Sample[];
  readonly best: readonly Sample[];
}

export interface StepLoad {
  readonly redis: BenchRedis;
  readonly service: BenchService;
  readonly plan: Pick<LoadPlan, 'keyCount' | 'valueBytes' | 'keysExist'>;
}

export async function measureStep(context: SuiteContext, size: number, load: StepLoad): Promise<Step> {
  const { scope, pace } = context;
  const { redis, service } = load;
  const plan = { ...load.plan, workload: 'get', connections: 1, latencies: false } as const;
  const sdk = await LoadProcess.start(scope, { ...plan, target: 'service-pipeline', address: service.address });
  const best = await LoadProcess.start(scope, { ...plan, target: 'by-hand-best', address: redis.url });
  const inFlight = IN_FLIGHT;
  const samples = await interleave(Math.min(ROUNDS, pace.rounds), {
    sdk: () =>
      sampleLoad([sdk], { client: [sdk.pid], service: [service.pid], redis: redis.pids }, { ...pace, inFlight }),
    best: () => sampleLoad([best], { client: [best.pid], redis: redis.pids }, { ...pace, inFlight }),
  });
  await sdk.close();
  await best.close();
  return { size, ...samples };
}

export function stepTable(title: string, unit: string, steps: readonly Step[]): Table {
  return {
    title,
    columns: [unit, 'SDK ops/s', 'node-redis best ops/s', 'service µs/op', 'Redis µs/op', 'ratio of rates (min–max)'],
    rows: steps.map(({ size, sdk, best }) => [
      size.toLocaleString('en-US'),
      formatRate(median(rates(sdk))),
      formatRate(median(rates(best))),
      formatUs(median(sdk.map(({ cpuUs }) => cpuUs.service ?? 0))),
      formatUs(median(sdk.map(({ cpuUs }) => cpuUs.redis ?? 0))),
      formatRatio(ratio(rates(sdk), rates(best))),
    ]),
  };
}

export function stepPlot(name: string, title: string, unit: string, steps: readonly Step[]): Plot {
  const points = (of: 'sdk' | 'best') => steps.map((step) => ({ x: step.size, y: median(rates(step[of])) }));
  const lines = [
    { name: 'SDK', points: points('sdk') },
    { name: 'node-redis best', points: points('best') },
  ];
  return { name, title, svg: lineChart(lines, { title, xLabel: unit, yLabel: 'ops/s' }) };
}
