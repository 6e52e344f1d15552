import { monotonicUs, readCpuProfile } from '../harness/cpu-profile.js';
import { LoadProcess } from '../harness/programs.js';
import { interleave } from '../harness/rounds.js';
import { sampleLoad, sampleSpan, type Sample } from '../harness/sample.js';
import { cpuOf, sampleTable } from '../harness/sample-table.js';
import { atMost, type Table } from '../harness/section.js';
import { startService, startStandalone, type BenchRedis } from '../harness/servers.js';
import { spread } from '../harness/statistics.js';
import type { Suite, SuiteContext } from '../harness/suite.js';
import type { LoadPlan } from '../programs/protocol.js';

const IN_FLIGHT = 256;
const GET_GOAL_US = 5;
const SCRIPT_GOAL_US = 12;
const TOP = 10;

const WORKLOADS = {
  get: 'Get',
  set: 'Set',
  validateSession: 'ValidateSession',
  checkRateLimit: 'CheckRateLimit',
} as const;
type Workload = keyof typeof WORKLOADS;
const NAMES = Object.keys(WORKLOADS) as Workload[];

export const cpu: Suite = {
  name: 'cpu',
  run: async (context) => {
    const { scope, pace } = context;
    const redis = await startStandalone(scope);
    const service = await startService(scope, { redis });
    const variants: Record<string, () => Promise<Sample>> = {};
    for (const workload of NAMES) {
      const client = await LoadProcess.start(scope, plan(workload, service.address));
      const watched = { client: [client.pid], service: [service.pid], redis: redis.pids };
      variants[workload] = () => sampleLoad([client], watched, { ...pace, inFlight: IN_FLIGHT });
    }
    const samples = (await interleave(pace.rounds, variants)) as Record<Workload, Sample[]>;
    await service.stop();
    const profiles: Table[] = [];
    for (const workload of ['get', 'validateSession'] as const) {
      profiles.push(...(await profile(context, redis, workload)));
    }
    return {
      title: 'CPU time of the service',
      notes: [
        `One client process with ${IN_FLIGHT} pipelined calls in flight over a unix socket. Get and ValidateSession are ` +
          'plain reads, which share a command; so do the scripts of the others, up to 32.',
        'The profiles are of `node --cpu-prof` in runs of their own, cut to the loaded time. Shares are of ' +
          'self time, V8 and native code included; µs/op are shares of the CPU time that the process used meanwhile.',
      ],
      goals: NAMES.map((workload) =>
        atMost(
          `service CPU µs per ${WORKLOADS[workload]}`,
          workload === 'get' ? GET_GOAL_US : SCRIPT_GOAL_US,
          spread(cpuOf(samples[workload], 'service')),
          ' µs',
        ),
      ),
      tables: [
        sampleTable(
          `${IN_FLIGHT} calls in flight`,
          NAMES.map((workload) => ({ name: WORKLOADS[workload], samples: samples[workload] })),
        ),
        ...profiles,
      ],
      plots: [],
    };
  },
};

function plan(workload: Workload, address: string): LoadPlan {
  return {
    target: 'service-pipeline',
    address,
    workload,
    keyCount: 1_000,
    valueBytes: 200,
    connections: 1,
    latencies: false,
  };
}

/** Where the time of one call goes. */
async function profile({ scope, pace, say }: SuiteContext, redis: BenchRedis, workload: Workload): Promise<Table[]> {
  say(`profile of ${WORKLOADS[workload]}`);
  const folder = await scope.folder();
  const nodeArgs = ['--cpu-prof', '--cpu-prof-interval=200', `--cpu-prof-dir=${folder}`];
  const service = await startService(scope, { redis, nodeArgs });
  const client = await LoadProcess.start(scope, plan(workload, service.address));
  await client.warm(IN_FLIGHT, pace.warmUpMs * 3);
  const fromUs = monotonicUs();
  const { cpuUs } = await sampleSpan({ service: [service.pid] }, async () => [
    await client.measure(pace.measureMs * 2),
  ]);
  const toUs = monotonicUs();
  await client.stop();
  await service.stop();
  const { busyUs, functions } = await readCpuProfile(folder, { fromUs, toUs });
  const cells = (where: string, selfUs: number): string[] => [
    where,
    `${((100 * selfUs) / busyUs).toFixed(1)} %`,
    ((selfUs / busyUs) * (cpuUs.service ?? 0)).toFixed(2),
  ];
  const byFile = new Map<string, number>();
  for (const { where, name, selfUs } of functions) {
    const file = where === 'V8' ? `V8 ${name}` : where.replace(/:\d+$/, '');
    byFile.set(file, (byFile.get(file) ?? 0) + selfUs);
  }
  const files = [...byFile].sort(([, a], [, b]) => b - a);
  return [
    {
      title: `Where the service’s time goes in ${WORKLOADS[workload]}: the first ${TOP} functions by self time`,
      columns: ['function', 'where', 'share', 'µs/op'],
      rows: functions.slice(0, TOP).map(({ name, where, selfUs }) => [name, ...cells(where, selfUs)]),
    },
    {
      title: `The same by file`,
      columns: ['file', 'share', 'µs/op'],
      rows: files.slice(0, TOP).map(([file, selfUs]) => cells(file, selfUs)),
    },
  ];
}
