import { openDirectRedis } from '../harness/direct-redis.js';
import { interleave } from '../harness/rounds.js';
import { rates } from '../harness/sample-table.js';
import { formatRate, formatRatio, formatUs, type Table } from '../harness/section.js';
import { startStandalone } from '../harness/servers.js';
import { median, ratio } from '../harness/statistics.js';
import type { SuiteContext } from '../harness/suite.js';
import type { LimitsPlan, TargetName } from '../programs/protocol.js';
import {
  sampleCommands,
  startLimitsLoad,
  startLimitsService,
  type CommandSample,
  type LimitsPart,
} from './limits-part.js';

/** What Redis is not asked: for denials that are known, and for checks of one tick that are alike. */

const IN_FLIGHT = 64;
const DENIED_SUBJECTS = 1_000;

interface Variant {
  readonly target: TargetName;
  readonly plan: LimitsPlan;
  /** Whose rate this one's is divided by. */
  readonly against?: string;
}

const DENIED: LimitsPlan = { subjects: DENIED_SUBJECTS, policies: ['spent'], as: 'one check', denied: true };
const OURS_DENIED = 'service, pipelined';
const PEER_DENIED = 'rate-limiter-flexible with inMemoryBlockOnConsumed';
const DENIALS: Readonly<Record<string, Variant>> = {
  [OURS_DENIED]: { target: 'service-pipeline', plan: DENIED, against: PEER_DENIED },
  'our limiter in process': { target: 'library', plan: DENIED, against: PEER_DENIED },
  [PEER_DENIED]: { target: 'by-hand-best', plan: DENIED },
};

const HOT: LimitsPlan = { subjects: 1, policies: ['fixed'], as: 'one check' };
const HOT_EXACT: LimitsPlan = { ...HOT, policies: ['exact_hot'] };
const HOT_KEYS: Readonly<Record<string, Variant>> = {
  'service, FIXED': { target: 'service-pipeline', plan: HOT, against: 'the same, each by itself' },
  'the same, each by itself': { target: 'service-pipeline', plan: { ...HOT, alone: true } },
  'service, SLIDING_EXACT': { target: 'service-pipeline', plan: HOT_EXACT, against: 'exact, each by itself' },
  'exact, each by itself': { target: 'service-pipeline', plan: { ...HOT_EXACT, alone: true } },
  'limiter in process, FIXED': { target: 'library', plan: HOT, against: 'in process, each by itself' },
  'in process, each by itself': { target: 'library', plan: { ...HOT, alone: true } },
};

export async function measureSpared(context: SuiteContext): Promise<LimitsPart> {
  const denials = await measure(context, 'denied subjects', DENIALS);
  const hot = await measure(context, 'a hot subject', HOT_KEYS);
  const asked = Math.max(...(denials[OURS_DENIED] ?? []).map((one) => one.scriptCalls + one.commandsInside));
  return {
    note:
      `Denied: ${String(DENIED_SUBJECTS)} subjects whose one unit of the hour is used up. Hot: all checks are for one subject. ` +
      `Both with ${String(IN_FLIGHT)} in flight. Commands are those of INFO commandstats in the measured time, without the ` +
      'TIME and PING that the service sends by itself; “each by itself” asks with `min_cost`, which no other check shares a ' +
      'decision with, but an EVALSHA of up to 32.',
    goals: [
      {
        what: 'commands of Redis a check of a denied subject',
        goal: '0',
        measured: asked === 0 ? '0' : asked.toFixed(5),
        met: asked === 0,
      },
    ],
    tables: [
      tableOf(`Checks of ${String(DENIED_SUBJECTS)} denied subjects`, DENIALS, denials),
      tableOf('Checks of one hot subject', HOT_KEYS, hot),
    ],
  };
}

async function measure(
  { scope, pace, say }: SuiteContext,
  what: string,
  variants: Readonly<Record<string, Variant>>,
): Promise<Readonly<Record<string, CommandSample[]>>> {
  say(`limits: ${what}`);
  const redis = await startStandalone(scope);
  const direct = await openDirectRedis(scope, redis);
  // what sessions and locks ask their Redis by themselves is not counted here
  const service = await startLimitsService(scope, await startStandalone(scope), { limitRedis: redis });
  const runs: Record<string, () => Promise<CommandSample>> = {};
  for (const [name, { target, plan }] of Object.entries(variants)) {
    const isService = target.startsWith('service');
    const client = await startLimitsLoad(scope, target, isService ? service.address : redis.url, plan);
    const watched = {
      client: [client.pid],
      redis: redis.pids,
      ...(isService && { service: [service.pid] }),
    };
    runs[name] = () => sampleCommands(direct, client, watched, { ...pace, inFlight: IN_FLIGHT });
  }
  const samples = await interleave(pace.rounds, runs);
  await service.stop();
  return samples;
}

function tableOf(
  title: string,
  variants: Readonly<Record<string, Variant>>,
  samples: Readonly<Record<string, CommandSample[]>>,
): Table {
  return {
    title,
    columns: [
      'variant',
      'checks/s',
      'EVALSHA a check',
      'commands in scripts a check',
      'Redis µs/check',
      'ratio of rates',
    ],
    rows: Object.entries(variants).map(([name, { against }]) => {
      const own = samples[name] ?? [];
      const other = against === undefined ? undefined : samples[against];
      return [
        name,
        formatRate(median(rates(own))),
        median(own.map(({ scriptCalls }) => scriptCalls)).toFixed(4),
        median(own.map(({ commandsInside }) => commandsInside)).toFixed(3),
        formatUs(median(own.map(({ cpuUs }) => cpuUs.redis ?? 0))),
        other === undefined ? '–' : `${formatRatio(ratio(rates(own), rates(other)))} of ${against ?? ''}`,
      ];
    }),
  };
}
