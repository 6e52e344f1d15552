import { startLimitsLoad, startLimitsService, MANY_SUBJECTS, type LimitsPart } from './limits-part.js';
import { profileService } from './service-profile.js';
import type { LoadProcess } from '../harness/programs.js';
import { interleave } from '../harness/rounds.js';
import { sampleLoad, type Sample, type Watched } from '../harness/sample.js';
import { rates, sampleTable } from '../harness/sample-table.js';
import { atLeast } from '../harness/section.js';
import { startStandalone } from '../harness/servers.js';
import { ratio } from '../harness/statistics.js';
import type { SuiteContext } from '../harness/suite.js';
import type { LimitPolicyName } from '../programs/limit-policies.js';
import type { LimitsPlan, TargetName } from '../programs/protocol.js';

const FEW = 64;
const MANY = 256;
const GOAL = 1;

interface Variant {
  readonly name: string;
  readonly target: TargetName;
  /** Of many subjects, and of a single one. */
  readonly policies: readonly [many: LimitPolicyName, hot: LimitPolicyName];
}

const PEER = 'rate-limiter-flexible, fixed window';
const PIPELINE = 'service, pipelined, FIXED';
const LIBRARY = 'our limiter in process, FIXED';
const FIXED: Variant['policies'] = ['fixed', 'fixed'];
const EXACT: Variant['policies'] = ['exact', 'exact_hot'];

const VARIANTS: readonly Variant[] = [
  { name: PEER, target: 'by-hand-best', policies: FIXED },
  { name: LIBRARY, target: 'library', policies: FIXED },
  { name: 'our limiter in process, SLIDING_EXACT', target: 'library', policies: EXACT },
  { name: PIPELINE, target: 'service-pipeline', policies: FIXED },
  { name: 'service, pipelined, SLIDING_EXACT', target: 'service-pipeline', policies: EXACT },
  { name: 'service, unary, FIXED', target: 'service-unary', policies: FIXED },
];

/** Loads that everybody is put under. */
const LOADS = [
  { what: `${MANY_SUBJECTS.toLocaleString('en-US')} subjects`, subjects: MANY_SUBJECTS, inFlight: FEW, hot: false },
  { what: `${MANY_SUBJECTS.toLocaleString('en-US')} subjects`, subjects: MANY_SUBJECTS, inFlight: MANY, hot: false },
  { what: 'one subject', subjects: 1, inFlight: FEW, hot: true },
] as const;

/** Checks a second against rate-limiter-flexible's, and where the service's time goes. */
export async function measureThroughput(context: SuiteContext): Promise<LimitsPart> {
  const { scope, pace } = context;
  const redis = await startStandalone(scope);
  const service = await startLimitsService(scope, redis);
  const parts: Pick<LimitsPart, 'goals' | 'tables'>[] = [];
  for (const load of LOADS) {
    const { inFlight } = load;
    const title = `${load.what}, ${String(inFlight)} in flight`;
    context.say(`limits: ${title}`);
    const runs: Record<string, () => Promise<Sample>> = {};
    const clients: LoadProcess[] = [];
    for (const { name, target, policies } of VARIANTS) {
      const plan: LimitsPlan = { subjects: load.subjects, policies: [policies[load.hot ? 1 : 0]], as: 'one check' };
      const isService = target.startsWith('service');
      const client = await startLimitsLoad(scope, target, isService ? service.address : redis.url, plan);
      clients.push(client);
      const watched: Watched = {
        client: [client.pid],
        redis: redis.pids,
        ...(isService && { service: [service.pid] }),
      };
      runs[name] = () => sampleLoad([client], watched, { ...pace, inFlight });
    }
    const samples = await interleave(pace.rounds, runs);
    await Promise.all(clients.map((client) => client.close()));
    const peer = samples[PEER] ?? [];
    const against = (name: string) => ratio(rates(samples[name] ?? []), rates(peer));
    parts.push({
      goals: [
        atLeast(`${PIPELINE} ÷ rate-limiter-flexible, ${title}`, GOAL, against(PIPELINE)),
        atLeast(`${LIBRARY} ÷ rate-limiter-flexible, ${title}`, GOAL, against(LIBRARY)),
      ],
      tables: [
        sampleTable(
          `Checks of one limit, ${title}`,
          VARIANTS.map(({ name }) => ({
            name,
            samples: samples[name] ?? [],
            ...(name !== PEER && { baseline: { name: 'rate-limiter-flexible', samples: peer } }),
          })),
        ),
      ],
    });
  }
  await service.stop();
  const plan: LimitsPlan = { subjects: MANY_SUBJECTS, policies: ['fixed'], as: 'one check' };
  const profiled = await profileService(context, `CheckRateLimit, FIXED, ${String(MANY)} in flight`, {
    inFlight: MANY,
    start: (nodeArgs) => startLimitsService(scope, redis, { nodeArgs }),
    load: ({ address }) => startLimitsLoad(scope, 'service-pipeline', address, plan),
  });
  return {
    note:
      'Checks: rate-limiter-flexible 11.4.0 (`RateLimiterRedis`, `useRedisPackage`, fixed window, no in-memory block, as it ' +
      'denies nobody here) on node-redis at its best settings, in the process that asks. “In process” is the limiter of the ' +
      'service in the same place: like against like. The service has a hop and a process more, on the same processors.',
    goals: parts.flatMap(({ goals }) => goals),
    tables: [...parts.flatMap(({ tables }) => tables), ...profiled],
  };
}
