import { LoadProcess } from '../harness/programs.js';
import { interleave } from '../harness/rounds.js';
import { sampleLoad, type Sample } from '../harness/sample.js';
import { sampleTable } from '../harness/sample-table.js';
import { startStandalone } from '../harness/servers.js';
import type { SuiteContext } from '../harness/suite.js';
import { MANY_SUBJECTS, startLimitsLoad, startLimitsService, type LimitsPart } from './limits-part.js';
import type { LimitsPlan } from '../programs/protocol.js';

/** What a limit on another RPC costs that, and what CheckManyRateLimits spares. */

const IN_FLIGHT = 64;
const CHECKS = 100;
const MANY_IN_FLIGHT = 2;

export async function measureGates(context: SuiteContext): Promise<LimitsPart> {
  const { scope, pace, say } = context;
  say('limits: an RPC with a limit');
  const redis = await startStandalone(scope);
  const free = await startLimitsService(scope, redis);
  const gated = await startLimitsService(scope, redis, {
    rpcLimits: [
      { rpc: 'shardkeep.cache.v1.CacheService/Get', policy: 'fixed', subjects: [{ kind: 'key', field: 'key' }] },
    ],
  });
  const getOf = async (service: typeof free): Promise<() => Promise<Sample>> => {
    const client = await LoadProcess.start(scope, {
      ...{ target: 'service-pipeline', address: service.address, workload: 'get', latencies: false },
      ...{ keyCount: 1_000, valueBytes: 200, connections: 1 },
    });
    const watched = { client: [client.pid], service: [service.pid], redis: redis.pids };
    return () => sampleLoad([client], watched, { ...pace, inFlight: IN_FLIGHT });
  };
  const gets = await interleave(pace.rounds, { free: await getOf(free), gated: await getOf(gated) });
  await gated.stop();

  say(`limits: ${String(CHECKS)} checks`);
  const plan: LimitsPlan = { subjects: MANY_SUBJECTS, policies: ['fixed'], as: 'many', checks: CHECKS };
  const checksOf = async (target: 'service-pipeline' | 'service-unary', as: 'many' | 'at once') => {
    const client = await startLimitsLoad(scope, target, free.address, { ...plan, as });
    const watched = { client: [client.pid], service: [free.pid], redis: redis.pids };
    return () => sampleLoad([client], watched, { ...pace, inFlight: MANY_IN_FLIGHT });
  };
  const checks = await interleave(pace.rounds, {
    many: await checksOf('service-pipeline', 'many'),
    each: await checksOf('service-pipeline', 'at once'),
    manyUnary: await checksOf('service-unary', 'many'),
    eachUnary: await checksOf('service-unary', 'at once'),
  });
  await free.stop();
  return {
    note:
      `A limited RPC: Get of 200 bytes under a FIXED policy by its key, ${String(IN_FLIGHT)} in flight, against the same without. ` +
      `CheckManyRateLimits of ${String(CHECKS)} subjects against as many checks at once; an operation is all of them, ` +
      `${String(MANY_IN_FLIGHT)} in flight.`,
    goals: [],
    tables: [
      sampleTable('Get with a limit of its own', [
        { name: 'Get', samples: gets.free },
        { name: 'Get that is limited', samples: gets.gated, baseline: { name: 'Get', samples: gets.free } },
      ]),
      sampleTable(`${String(CHECKS)} checks`, [
        {
          name: 'CheckManyRateLimits, pipelined',
          samples: checks.many,
          baseline: { name: 'as many pipelined', samples: checks.each },
        },
        { name: `${String(CHECKS)} checks, pipelined`, samples: checks.each },
        {
          name: 'CheckManyRateLimits, unary',
          samples: checks.manyUnary,
          baseline: { name: 'as many unary', samples: checks.eachUnary },
        },
        { name: `${String(CHECKS)} checks, unary`, samples: checks.eachUnary },
      ]),
    ],
  };
}
