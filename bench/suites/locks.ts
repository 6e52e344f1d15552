import { openDirectRedis, type DirectRedis } from '../harness/direct-redis.js';
import { startContenders, type Contention } from '../harness/programs.js';
import { interleave } from '../harness/rounds.js';
import { atMost, formatMs, formatRatio, type GoalResult, type Section, type Table } from '../harness/section.js';
import { startService, startStandalone } from '../harness/servers.js';
import { median, ratio, spread } from '../harness/statistics.js';
import type { Suite, SuiteContext } from '../harness/suite.js';
import { forEachOf } from '../programs/fixtures.js';
import { connectService } from '../programs/service-client.js';
import { measureLockFaults } from './locks-faults.js';

const CONTENDERS = 60;
const HOLD_MS = 3;
const WARM_UPS = 8;
const RATIO_GOAL = 0.45;
const SCRIPTS_GOAL = 3;

const RESOURCES = 1_000_000;
const FEWER_RESOURCES = 100_000;
const RETENTION_MS = 5_000;
/** A short look is over before the other one's first fence is forgotten. */
const SHORT_RETENTION_MS = 500;
const TTL_MS = 500n;
const MEASURES = 20;

interface Measured extends Contention {
  readonly scripts: number;
}

export const locks: Suite = {
  name: 'locks',
  run: async (context): Promise<Section> => {
    context.say('locks: contention');
    const contention = await measureContention(context);
    context.say('locks: faults');
    const faults = await measureLockFaults(context);
    context.say('locks: memory');
    const memory = await measureMemory(context);
    return {
      title: 'Locks: contention and what they leave behind',
      notes: [
        `Contention: ${CONTENDERS} contenders in one process ask for one lock at once, and each holds it for ${HOLD_MS} ms; the ` +
          'same with npm redlock 5 on node-redis, at its own settings but without a limit of tries. Both have run before. Calls of one turn share a ' +
          'script; as scripts count those that Redis ran.',
        `Memory: one client takes and releases ${memory.count.toLocaleString('en-US')} different locks, of which the fence is ` +
          `remembered for ${memory.retentionMs / 1_000} s. Flat: the second half of the run never uses more than the first.`,
      ],
      goals: [...contention.goals, ...faults.goals, memory.goal],
      tables: [contention.table, faults.table, memory.table],
      plots: [],
    };
  },
};

async function measureContention({ scope, pace }: SuiteContext): Promise<{ goals: GoalResult[]; table: Table }> {
  const redis = await startStandalone(scope);
  const service = await startService(scope, { redis });
  const plan = { contenders: CONTENDERS, holdMs: HOLD_MS };
  const direct = await openDirectRedis(scope, redis);
  const measured = async (contend: () => Promise<Contention>): Promise<Measured> => {
    await direct.send('CONFIG', 'RESETSTAT');
    const contention = await contend();
    return { ...contention, scripts: await scriptsOf(direct) };
  };
  const ours = await startContenders(scope, { ...plan, target: 'service', address: service.address });
  const theirs = await startContenders(scope, { ...plan, target: 'redlock', address: redis.tcpUrl });
  // both are measured as they are after a while, not as their code is compiled
  for (let count = 0; count < WARM_UPS; count++) {
    await ours();
    await theirs();
  }
  const samples = await interleave(pace.rounds, {
    ours: () => measured(ours),
    theirs: () => measured(theirs),
  });
  await service.stop();
  const total = ratio(
    samples.ours.map(({ totalMs }) => totalMs),
    samples.theirs.map(({ totalMs }) => totalMs),
  );
  const perCycle = (of: readonly Measured[]) => spread(of.map(({ scripts }) => scripts / CONTENDERS));
  const inOrder = samples.ours.every(({ isInOrder }) => isInOrder);
  const row = (name: string, of: readonly Measured[]): string[] => [
    name,
    formatMs(median(of.map(({ totalMs }) => totalMs))),
    formatRatio(perCycle(of)),
    formatMs(median(of.flatMap(({ handOffsMs }) => [...handOffsMs]))),
    of.every(({ isInOrder }) => isInOrder) ? 'yes' : 'no',
  ];
  return {
    goals: [
      atMost('time of all, LockService ÷ redlock 5', RATIO_GOAL, total),
      atMost('scripts a cycle', SCRIPTS_GOAL, perCycle(samples.ours)),
      { what: 'first come, first served', goal: 'yes', measured: inOrder ? 'yes' : 'no', met: inOrder },
    ],
    table: {
      title: `${CONTENDERS} contenders for one lock`,
      columns: ['variant', 'all done ms', 'scripts a cycle', 'release to next grant, p50 ms', 'in order'],
      rows: [
        row('LockService', samples.ours),
        row('redlock 5', samples.theirs),
        ['ratio (min–max)', formatRatio(total), '', '', ''],
      ],
    },
  };
}

async function scriptsOf(direct: DirectRedis): Promise<number> {
  const info = String(await direct.send('INFO', 'commandstats'));
  const calls = [...info.matchAll(/^cmdstat_eval(?:sha)?:calls=(\d+)/gm)].map(([, count]) => Number(count));
  return calls.reduce((sum, count) => sum + count, 0);
}

async function measureMemory({ scope, pace }: SuiteContext): Promise<{
  readonly count: number;
  readonly retentionMs: number;
  readonly goal: GoalResult;
  readonly table: Table;
}> {
  const count = pace.quick ? FEWER_RESOURCES : RESOURCES;
  const retentionMs = pace.quick ? SHORT_RETENTION_MS : RETENTION_MS;
  const redis = await startStandalone(scope);
  const env = { LOCK_FENCE_RETENTION_MS: String(retentionMs) };
  const service = await startService(scope, { redis, env });
  const direct = await openDirectRedis(scope, redis);
  const client = connectService(service.address, 'service-pipeline');
  scope.onClose(() => client.close());
  const before = await direct.usedBytes();
  const used: number[] = [];
  for (let step = 0; step < MEASURES; step++) {
    const names = Array.from({ length: count / MEASURES }, (_, index) => `lock-${step}-${index}`);
    await forEachOf(names, async (name) => {
      const { lockToken } = await client.locks.acquireLock({ resources: [name], ttlMs: TTL_MS });
      await client.locks.releaseLock({ resources: [name], lockToken });
    });
    used.push((await direct.usedBytes()) - before);
  }
  await client.close();
  await service.stop();
  const most = (of: readonly number[]): number => Math.max(...of) / 1_048_576;
  const [first, second] = [most(used.slice(0, MEASURES / 2)), most(used.slice(MEASURES / 2))];
  const met = second <= first * 1.1;
  return {
    count,
    retentionMs,
    goal: {
      what: `memory over ${count.toLocaleString('en-US')} resources, second half against first`,
      goal: 'flat (≤ 1.1 times)',
      measured: `${second.toFixed(1)} MiB against ${first.toFixed(1)}`,
      met,
    },
    table: {
      title: `Memory of Redis while ${count.toLocaleString('en-US')} locks are taken once each`,
      columns: ['when', 'MiB'],
      rows: used.map((bytes, step) => [
        `${(((step + 1) * 100) / MEASURES).toFixed(0)} %`,
        (bytes / 1_048_576).toFixed(1),
      ]),
    },
  };
}
