import { LoadProcess } from '../harness/programs.js';
import { interleave } from '../harness/rounds.js';
import { sampleLoad, type Sample } from '../harness/sample.js';
import { quantiles, sampleTable } from '../harness/sample-table.js';
import { atMost, formatMs, formatRatio } from '../harness/section.js';
import { startService, startStandalone } from '../harness/servers.js';
import { median, ratio } from '../harness/statistics.js';
import type { Suite } from '../harness/suite.js';
import type { LoadPlan, TargetName } from '../programs/protocol.js';

const GOAL = 3;
const PLAN: Omit<LoadPlan, 'target' | 'address'> = {
  workload: 'get',
  keyCount: 1_000,
  valueBytes: 200,
  connections: 1,
  latencies: true,
};

export const serial: Suite = {
  name: 'serial',
  run: async ({ scope, pace }) => {
    const redis = await startStandalone(scope);
    const service = await startService(scope, { redis });
    const start = (target: TargetName, address: string): Promise<LoadProcess> =>
      LoadProcess.start(scope, { ...PLAN, target, address });
    const sdk = await start('service-pipeline', service.address);
    const direct = await start('by-hand-best', redis.url);
    const load = { ...pace, inFlight: 1 };
    const samples = await interleave(pace.rounds, {
      sdk: () => sampleLoad([sdk], { client: [sdk.pid], service: [service.pid], redis: redis.pids }, load),
      direct: () => sampleLoad([direct], { client: [direct.pid], redis: redis.pids }, load),
    });
    const ratioOf = (share: number) => ratio(quantiles(samples.sdk, share), quantiles(samples.direct, share));
    const row = (name: string, of: readonly Sample[]): string[] => [
      name,
      formatMs(median(quantiles(of, 0.5))),
      formatMs(median(quantiles(of, 0.99))),
    ];
    return {
      title: 'One call at a time',
      notes: [
        'Latency of Get, each sent when the one before was answered: the SDK over a unix socket to the service and from ' +
          'there over a unix socket to Redis, against node-redis at its best over a unix socket straight to Redis.',
      ],
      goals: [
        atMost('p50, SDK ÷ node-redis best', GOAL, ratioOf(0.5)),
        atMost('p99, SDK ÷ node-redis best', GOAL, ratioOf(0.99)),
      ],
      tables: [
        {
          title: 'Latency',
          columns: ['variant', 'p50 ms', 'p99 ms'],
          rows: [
            row('SDK', samples.sdk),
            row('node-redis best', samples.direct),
            ['ratio (min–max)', formatRatio(ratioOf(0.5)), formatRatio(ratioOf(0.99))],
          ],
        },
        sampleTable('Rates and CPU', [
          { name: 'SDK', samples: samples.sdk, baseline: { name: 'node-redis best', samples: samples.direct } },
          { name: 'node-redis best', samples: samples.direct },
        ]),
      ],
      plots: [],
    };
  },
};
