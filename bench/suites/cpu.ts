import { LoadProcess } from '../harness/programs.js';
import { interleave } from '../harness/rounds.js';
import { sampleLoad, type Sample } from '../harness/sample.js';
import { cpuOf, sampleTable } from '../harness/sample-table.js';
import { atMost, type Table } from '../harness/section.js';
import { startService, startStandalone } from '../harness/servers.js';
import { spread } from '../harness/statistics.js';
import type { Suite } from '../harness/suite.js';
import type { LoadPlan } from '../programs/protocol.js';
import { profileService } from './service-profile.js';

const IN_FLIGHT = 256;
const GET_GOAL_US = 5;
const SCRIPT_GOAL_US = 12;

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
      const tables = await profileService(context, WORKLOADS[workload], {
        inFlight: IN_FLIGHT,
        start: (nodeArgs) => startService(scope, { redis, nodeArgs }),
        load: ({ address }) => LoadProcess.start(scope, plan(workload, address)),
      });
      profiles.push(...tables);
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
