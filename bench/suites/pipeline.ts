import type { SuiteContext, Suite } from '../harness/suite.js';
import { LoadProcess } from '../harness/programs.js';
import { interleave } from '../harness/rounds.js';
import { sampleLoad, type Sample } from '../harness/sample.js';
import { rates, sampleTable } from '../harness/sample-table.js';
import { atLeast, type GoalResult, type Table } from '../harness/section.js';
import { startService, startStandalone, startThreeMasters, type BenchRedis } from '../harness/servers.js';
import { ratio } from '../harness/statistics.js';
import type { LoadPlan, TargetName } from '../programs/protocol.js';

const KEY_COUNT = 1_000;
const VALUE_BYTES = 200;
const FEW = 64;
const MANY = 256;
const GOALS = { default: 1.5, best: 0.5, bestAtMany: 0.9 } as const;

export const pipeline: Suite = {
  name: 'pipeline',
  run: async (context) => {
    const standalone = await compare(context, 'one Redis', await startStandalone(context.scope));
    const cluster = await compare(context, 'Cluster of 3 masters', await startThreeMasters(context.scope));
    return {
      title: 'Pipelined calls against node-redis in process',
      notes: [
        `Get of ${VALUE_BYTES}-byte values, ${KEY_COUNT} keys at random, every one a hit. Each client is one process with ` +
          'so many loops that call, await and call again. The SDK talks to the service over a unix socket; the service to ' +
          'one Redis over a unix socket, to a Cluster over TCP.',
        'node-redis default: `createClient({ url })`, TCP. node-redis best: no command timeout, values as Buffers, offline ' +
          'queue off, unix socket to one Redis. In process there is no hop and no third process, and of what the service ' +
          'does (versions, TTLs, limits on keys and values, deadlines) nothing.',
      ],
      goals: [...standalone.goals, ...cluster.goals],
      tables: [standalone.table, cluster.table],
      plots: [],
    };
  },
};

async function compare(
  { scope, pace, say }: SuiteContext,
  where: string,
  redis: BenchRedis,
): Promise<{ goals: GoalResult[]; table: Table }> {
  say(`pipeline on ${where}`);
  const service = await startService(scope, { redis });
  const start = (target: TargetName, address: string): Promise<LoadProcess> =>
    LoadProcess.start(scope, { ...PLAN, target, address });
  const sdk = await start('service-pipeline', service.address);
  const byDefault = await start('by-hand-default', redis.tcpUrl);
  const best = await start('by-hand-best', redis.url);

  const ofSdk = (inFlight: number) => (): Promise<Sample> =>
    sampleLoad([sdk], { client: [sdk.pid], service: [service.pid], redis: redis.pids }, { ...pace, inFlight });
  const byHand = (process: LoadProcess, inFlight: number) => (): Promise<Sample> =>
    sampleLoad([process], { client: [process.pid], redis: redis.pids }, { ...pace, inFlight });
  const samples = await interleave(pace.rounds, {
    sdkFew: ofSdk(FEW),
    defaultFew: byHand(byDefault, FEW),
    bestFew: byHand(best, FEW),
    sdkMany: ofSdk(MANY),
    bestMany: byHand(best, MANY),
  });

  const few = rates(samples.sdkFew);
  const many = rates(samples.sdkMany);
  return {
    goals: [
      atLeast(
        `SDK ÷ node-redis default, ${FEW} in flight, ${where}`,
        GOALS.default,
        ratio(few, rates(samples.defaultFew)),
      ),
      atLeast(`SDK ÷ node-redis best, ${FEW} in flight, ${where}`, GOALS.best, ratio(few, rates(samples.bestFew))),
      atLeast(
        `SDK ÷ node-redis best, ${MANY} in flight, ${where}`,
        GOALS.bestAtMany,
        ratio(many, rates(samples.bestMany)),
      ),
    ],
    table: sampleTable(`Get on ${where}`, [
      {
        name: `SDK, ${FEW} in flight`,
        samples: samples.sdkFew,
        baseline: { name: 'default', samples: samples.defaultFew },
      },
      { name: `node-redis default, ${FEW} in flight`, samples: samples.defaultFew },
      { name: `SDK, ${FEW} in flight`, samples: samples.sdkFew, baseline: { name: 'best', samples: samples.bestFew } },
      { name: `node-redis best, ${FEW} in flight`, samples: samples.bestFew },
      {
        name: `SDK, ${MANY} in flight`,
        samples: samples.sdkMany,
        baseline: { name: 'best', samples: samples.bestMany },
      },
      { name: `node-redis best, ${MANY} in flight`, samples: samples.bestMany },
    ]),
  };
}

const PLAN: Omit<LoadPlan, 'target' | 'address'> = {
  workload: 'get',
  keyCount: KEY_COUNT,
  valueBytes: VALUE_BYTES,
  connections: 1,
  latencies: false,
};
