import { LoadProcess } from '../harness/programs.js';
import { interleave } from '../harness/rounds.js';
import { sampleLoad, type Sample } from '../harness/sample.js';
import { quantiles, rates, sampleTable } from '../harness/sample-table.js';
import { atLeast, formatMs } from '../harness/section.js';
import { startService, startStandalone } from '../harness/servers.js';
import { median, ratio } from '../harness/statistics.js';
import type { Suite } from '../harness/suite.js';
import { MIX } from '../programs/fixtures.js';
import type { LoadPlan, TargetName } from '../programs/protocol.js';

const GOAL = 1;
const GAME_SERVERS = 2;
const IN_FLIGHT_EACH = 128;
const QUANTILES = [0.5, 0.99, 0.999];

export const mixed: Suite = {
  name: 'mixed',
  run: async ({ scope, pace }) => {
    const redis = await startStandalone(scope);
    const service = await startService(scope, { redis });
    const start = async (target: TargetName, address: string): Promise<LoadProcess[]> => {
      const processes: LoadProcess[] = [];
      for (let count = 0; count < GAME_SERVERS; count++) {
        processes.push(await LoadProcess.start(scope, { ...PLAN, target, address }));
      }
      return processes;
    };
    const sdk = await start('service-pipeline', service.address);
    const byHand = await start('by-hand-best', redis.url);
    const load = { ...pace, inFlight: IN_FLIGHT_EACH };
    const pids = (processes: readonly LoadProcess[]): number[] => processes.map(({ pid }) => pid);
    const samples = await interleave(pace.rounds, {
      sdk: () => sampleLoad(sdk, { client: pids(sdk), service: [service.pid], redis: redis.pids }, load),
      byHand: () => sampleLoad(byHand, { client: pids(byHand), redis: redis.pids }, load),
    });
    const row = (name: string, of: readonly Sample[]): string[] => [
      name,
      ...QUANTILES.map((share) => formatMs(median(quantiles(of, share)))),
    ];
    const shares = Object.entries(MIX).map(([name, share]) => `${Math.round(share * 100)} % ${name}`);
    return {
      title: 'A game’s mix of calls against the same logic by hand',
      notes: [
        `${shares.join(', ')} (a lock is taken and released, over 10,000 resources). ${GAME_SERVERS} game servers, a ` +
          `process each, with ${IN_FLIGHT_EACH} operations in flight each. Latencies are those of a closed loop at full ` +
          'load: they compare the two, and are no promise at a lower one.',
        'By hand: connect-redis (get and touch), rate-limiter-flexible (fixed window; it sends its script’s text with each ' +
          'call), redlock on one node, node-redis at its best over a unix socket, all in the game server’s process. It ' +
          'does less: no limit of sessions a user, no revocation, no fencing token, no exact window.',
      ],
      goals: [atLeast('SDK ÷ by hand, rate of the mix', GOAL, ratio(rates(samples.sdk), rates(samples.byHand)))],
      tables: [
        sampleTable('Rates and CPU', [
          { name: 'SDK', samples: samples.sdk, baseline: { name: 'by hand', samples: samples.byHand } },
          { name: 'by hand', samples: samples.byHand },
        ]),
        {
          title: 'Latency',
          columns: ['variant', 'p50 ms', 'p99 ms', 'p99.9 ms'],
          rows: [row('SDK', samples.sdk), row('by hand', samples.byHand)],
        },
      ],
      plots: [],
    };
  },
};

const PLAN: Omit<LoadPlan, 'target' | 'address'> = {
  workload: 'mixed',
  keyCount: 1_000,
  valueBytes: 200,
  connections: 1,
  latencies: true,
};
