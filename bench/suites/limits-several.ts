import { pino } from 'pino';
import type { Call } from '../../src/redis/call.js';
import { Redis } from '../../src/redis/redis.js';
import { limitArguments, limitKeys, type Ask } from '../../src/ratelimit/limit-scripts.js';
import { RatePolicies } from '../../src/ratelimit/policies.js';
import { checkRateLimitScript, rateLimitScripts } from '../../src/ratelimit/scripts.js';
import { openDirectRedis, type DirectRedis } from '../harness/direct-redis.js';
import type { LoadProcess } from '../harness/programs.js';
import { interleave } from '../harness/rounds.js';
import { sampleLoad, type Sample } from '../harness/sample.js';
import { rates, sampleTable } from '../harness/sample-table.js';
import { atMost, formatRatio, formatUs, type GoalResult, type Table } from '../harness/section.js';
import { NAMESPACE, startStandalone, type BenchRedis } from '../harness/servers.js';
import { median, ratio } from '../harness/statistics.js';
import type { SuiteContext } from '../harness/suite.js';
import { LIMIT_POLICIES, type LimitPolicyName } from '../programs/limit-policies.js';
import { MANY_SUBJECTS, startLimitsLoad, startLimitsService, type LimitsPart } from './limits-part.js';

/** One check of four limits against four checks of one: the whole RPC, and the script alone. */

const GOAL = 0.7;
const CALLS = 4_000;
const FEWER_CALLS = 1_000;
/** Sent before the first of them is waited for. */
const PIPELINED = 200;
const ASK: Ask = { cost: 1, minCost: 0, chargeDenied: false };

const MIXES: Readonly<Record<string, readonly LimitPolicyName[]>> = {
  'four of SLIDING_EXACT': ['exact', 'exact_2s', 'exact_5s', 'exact_10s'],
  'one of each algorithm': ['exact', 'buckets', 'tokens', 'fixed'],
};

const LOADS = [
  { what: 'alone', inFlight: 1 },
  { what: '64 in flight', inFlight: 64 },
] as const;

export async function measureSeveral(context: SuiteContext): Promise<LimitsPart> {
  const redis = await startStandalone(context.scope);
  const parts: Pick<LimitsPart, 'goals' | 'tables'>[] = [];
  for (const [mix, policies] of Object.entries(MIXES)) {
    parts.push(await measureRpc(context, redis, mix, policies));
    parts.push(await measureScript(context, redis, mix, policies));
  }
  return {
    note:
      'Four limits: of one subject, in one check, against a check each. An operation is all four. RPCs are pipelined; “at once” ' +
      'sends the four together, so that the service puts them into one command of Redis, “in turn” waits for each. ' +
      'The script alone: pipelined EVALSHA, by the time that Redis says it spent in them. “As the service sends ' +
      'them”: up to 32 calls in one EVALSHA, which spares the four checks most of what four commands cost.',
    goals: parts.flatMap(({ goals }) => goals),
    tables: parts.flatMap(({ tables }) => tables),
  };
}

async function measureRpc(
  { scope, pace, say }: SuiteContext,
  redis: BenchRedis,
  mix: string,
  policies: readonly LimitPolicyName[],
): Promise<Pick<LimitsPart, 'goals' | 'tables'>> {
  say(`limits: RPCs of ${mix}`);
  const service = await startLimitsService(scope, redis);
  const start = (as: 'one check' | 'at once' | 'in turn'): Promise<LoadProcess> =>
    startLimitsLoad(scope, 'service-pipeline', service.address, { subjects: MANY_SUBJECTS, policies, as });
  const processes = { one: await start('one check'), atOnce: await start('at once'), inTurn: await start('in turn') };
  const goals: GoalResult[] = [];
  const tables: Table[] = [];
  for (const { what, inFlight } of LOADS) {
    const run = (client: LoadProcess) => (): Promise<Sample> =>
      sampleLoad([client], { client: [client.pid], service: [service.pid], redis: redis.pids }, { ...pace, inFlight });
    const samples = await interleave(pace.rounds, {
      one: run(processes.one),
      atOnce: run(processes.atOnce),
      inTurn: run(processes.inTurn),
    });
    // time an operation is the inverse of their rate
    const time = ratio(rates(samples.atOnce), rates(samples.one));
    goals.push(atMost(`time of an RPC of four limits ÷ four RPCs at once, ${mix}, ${what}`, GOAL, time));
    const baseline = { name: 'one check', samples: samples.one };
    tables.push(
      sampleTable(`Four limits through the service: ${mix}, ${what}`, [
        { name: 'one check of four limits', samples: samples.one },
        { name: 'four checks at once', samples: samples.atOnce, baseline },
        { name: 'four checks in turn', samples: samples.inTurn, baseline },
      ]),
    );
  }
  await Promise.all(Object.values(processes).map((client) => client.close()));
  await service.stop();
  return { goals, tables };
}

type Bound = ReturnType<typeof checkRateLimitScript.bind>;

async function measureScript(
  { scope, pace, say }: SuiteContext,
  redis: BenchRedis,
  mix: string,
  policies: readonly LimitPolicyName[],
): Promise<Pick<LimitsPart, 'goals' | 'tables'>> {
  say(`limits: scripts of ${mix}`);
  const count = pace.quick ? FEWER_CALLS : CALLS;
  const direct = await openDirectRedis(scope, redis);
  await direct.send('SCRIPT', 'LOAD', checkRateLimitScript.source);
  const batching = await openBatching(redis);
  scope.onClose(() => batching.close());
  const known = new RatePolicies(LIMIT_POLICIES);
  const call: Call = { namespace: NAMESPACE, deadlineAt: Number.POSITIVE_INFINITY, ended: false };
  const bind = (subject: string, names: readonly LimitPolicyName[]): Bound => {
    const limits = names.map((name) => known.named(subject, name)).filter((terms) => terms !== undefined);
    return checkRateLimitScript.bind(
      { '...limits': limitKeys(limits, call) },
      {
        calls: '1',
        minCost: '0',
        chargeDenied: '0',
        '...limits': limits.flatMap((terms) => limitArguments(terms, ASK, batching.clock.nowMs())),
      },
    );
  };
  const together = (subject: string): Bound[] => [bind(subject, policies)];
  const apart = (subject: string): Bound[] => policies.map((name) => bind(subject, [name]));
  const alone = async ({ script, keys, args }: Bound): Promise<void> => {
    await direct.send('EVALSHA', script.sha1, String(keys.length), ...keys, ...args);
  };
  const shared = async (bound: Bound): Promise<void> => {
    const reply = await batching.run(bound, call);
    if (reply.admitted === 0) throw new Error('a limit denied');
  };
  const run = (bindAll: (subject: string) => Bound[], send: (bound: Bound) => Promise<void>) => async () => {
    await direct.send('CONFIG', 'RESETSTAT');
    for (let done = 0; done < count; done += PIPELINED) {
      const bound = Array.from({ length: PIPELINED }, (_, index) => bindAll(`script:${String(done + index)}`)).flat();
      await Promise.all(bound.map(send));
    }
    return (await scriptTimeUs(direct)) / count;
  };
  const times = await interleave(pace.rounds, {
    together: run(together, alone),
    apart: run(apart, alone),
    togetherShared: run(together, shared),
    apartShared: run(apart, shared),
  });
  const single = ratio(times.together, times.apart);
  const batched = ratio(times.togetherShared, times.apartShared);
  const row = (name: string, us: readonly number[], ratioOf: string): string[] => [name, formatUs(median(us)), ratioOf];
  return {
    goals: [atMost(`time of the script of four limits ÷ four scripts, ${mix}`, GOAL, single)],
    tables: [
      {
        title: `Four limits in Redis: ${mix}`,
        columns: ['variant', 'µs in scripts', '÷ four checks (min–max)'],
        rows: [
          row('one check of four limits', times.together, formatRatio(single)),
          row('four checks', times.apart, '–'),
          row('one check of four limits, as the service sends them', times.togetherShared, formatRatio(batched)),
          row('four checks, as the service sends them', times.apartShared, '–'),
        ],
      },
    ],
  };
}

/** The service's own connection, which puts the calls of a tick into one command. */
async function openBatching({ url }: BenchRedis): Promise<Redis> {
  const target = { topology: 'standalone', tls: false, socketPath: url.slice('unix:'.length), database: 0 } as const;
  const redis = new Redis({ target, scripts: rateLimitScripts, logger: pino({ level: 'silent' }) });
  const ready = new Promise<void>((resolve) => {
    redis.onStateChange((isReady) => {
      if (isReady) resolve();
    });
  });
  redis.connect();
  await ready;
  return redis;
}

async function scriptTimeUs(direct: DirectRedis): Promise<number> {
  const info = String(await direct.send('INFO', 'commandstats'));
  const [, us] = /^cmdstat_evalsha:calls=\d+,usec=(\d+)/m.exec(info) ?? [];
  if (us === undefined) throw new Error('no script ran');
  return Number(us);
}
