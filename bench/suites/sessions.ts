import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { openDirectRedis } from '../harness/direct-redis.js';
import { LoadProcess } from '../harness/programs.js';
import { interleave } from '../harness/rounds.js';
import { sampleLoad, type Sample } from '../harness/sample.js';
import { cpuOf, sampleTable } from '../harness/sample-table.js';
import { atMost, type GoalResult, type Section, type Table } from '../harness/section.js';
import { startService, startStandalone } from '../harness/servers.js';
import { spread } from '../harness/statistics.js';
import type { Suite, SuiteContext } from '../harness/suite.js';
import { forEachOf } from '../programs/fixtures.js';
import { connectService } from '../programs/service-client.js';
import type { LoadPlan, WorkloadName } from '../programs/protocol.js';

const IN_FLIGHT = 256;
const VALIDATE_GOAL_US = 12;
const CREATE_GOAL_US = 70;
const MEMORY_GOAL_BYTES = 640;
const SESSIONS = 100_000;
const FEWER_SESSIONS = 20_000;

/** A session as a game creates it; the agent has 130 bytes. */
const AGENT =
  'Mozilla/5.0 (iPhone; CPU iPhone OS 18_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Aeturnis/7.42 Mobile/15E148 Safari';
const PLAYER_FIELDS = {
  username: 'Ada of the Hill',
  roles: ['player', 'guild_officer'],
  permissions: ['chat', 'trade'],
  characterId: 'character-1815',
  metadata: { ip: '203.0.113.77', user_agent: AGENT, device_id: 'd-5f0c7f0a1f1b4e6f', platform: 'ios' },
} as const;

/** Every validation of such a session writes its touch, which others do once a minute. */
const TOUCHING = 'touching';
const POLICIES = {
  rpc_limits: [],
  session_profiles: {
    [TOUCHING]: {
      idle_ttl_ms: 7_200_000,
      absolute_ttl_ms: 2_592_000_000,
      touch_granularity_ms: 0,
      max_sessions: 5,
      at_limit: 'evict_oldest',
    },
  },
};

interface Variant {
  readonly workload: WorkloadName;
  readonly profile?: string;
}

const VARIANTS = {
  'ValidateSession, no touch due': { workload: 'validateSession' },
  'ValidateSession that touches': { workload: 'validateSession', profile: TOUCHING },
  CreateSession: { workload: 'createSession' },
  GetSession: { workload: 'getSession' },
  UpdateSession: { workload: 'updateSession' },
  RotateSession: { workload: 'rotateSession' },
} as const satisfies Readonly<Record<string, Variant>>;
type VariantName = keyof typeof VARIANTS;
const NAMES = Object.keys(VARIANTS) as VariantName[];

export const sessions: Suite = {
  name: 'sessions',
  run: async (context): Promise<Section> => {
    context.say('sessions: memory');
    const memory = await measureMemory(context);
    context.say('sessions: CPU');
    const cpu = await measureCpu(context);
    return {
      title: 'Sessions: CPU time of Redis and memory',
      notes: [
        `One client process with ${IN_FLIGHT} pipelined calls in flight over a unix socket; Redis’s time is that of its whole ` +
          'process, so reading and writing of its socket is in it.',
        `Memory: what used_memory of Redis grows by for ${memory.count.toLocaleString('en-US')} users with one session each, ` +
          'without the streams of events, divided by the sessions. Raw are the bytes of the fields’ values: ' +
          `${memory.rawBytes} with a user agent of ${AGENT.length} bytes.`,
      ],
      goals: [...cpu.goals, memory.goal],
      tables: [cpu.table, memory.table],
      plots: [],
    };
  },
};

async function measureCpu({ scope, pace }: SuiteContext): Promise<{ goals: GoalResult[]; table: Table }> {
  const redis = await startStandalone(scope);
  const policies = join(await scope.folder(), 'policies.yaml');
  await writeFile(policies, JSON.stringify(POLICIES));
  const service = await startService(scope, { redis, env: { POLICIES_FILE: policies } });
  const variants: Record<string, () => Promise<Sample>> = {};
  for (const name of NAMES) {
    const client = await LoadProcess.start(scope, planOf(VARIANTS[name], service.address));
    const watched = { client: [client.pid], service: [service.pid], redis: redis.pids };
    variants[name] = () => sampleLoad([client], watched, { ...pace, inFlight: IN_FLIGHT });
  }
  const samples = (await interleave(pace.rounds, variants)) as Record<VariantName, Sample[]>;
  await service.stop();
  const goal = (name: VariantName, limitUs: number): GoalResult =>
    atMost(`Redis CPU µs per ${name}`, limitUs, spread(cpuOf(samples[name], 'redis')), ' µs');
  return {
    goals: [
      goal('ValidateSession, no touch due', VALIDATE_GOAL_US),
      goal('ValidateSession that touches', VALIDATE_GOAL_US),
      goal('CreateSession', CREATE_GOAL_US),
    ],
    table: sampleTable(
      `${IN_FLIGHT} calls in flight`,
      NAMES.map((name) => ({ name, samples: samples[name] })),
    ),
  };
}

function planOf({ workload, profile }: Variant, address: string): LoadPlan {
  return {
    target: 'service-pipeline',
    address,
    workload,
    keyCount: 1,
    valueBytes: 1,
    connections: 1,
    latencies: false,
    ...(profile === undefined ? {} : { profile }),
  };
}

async function measureMemory({ scope, pace }: SuiteContext): Promise<{
  readonly count: number;
  readonly rawBytes: number;
  readonly goal: GoalResult;
  readonly table: Table;
}> {
  const count = pace.quick ? FEWER_SESSIONS : SESSIONS;
  const redis = await startStandalone(scope);
  const policies = join(await scope.folder(), 'policies.yaml');
  await writeFile(policies, JSON.stringify(POLICIES));
  const service = await startService(scope, { redis, env: { POLICIES_FILE: policies } });
  const direct = await openDirectRedis(scope, redis);
  const client = connectService(service.address, 'service-pipeline');
  scope.onClose(() => client.close());
  const { roles, permissions, metadata, ...names } = PLAYER_FIELDS;
  const userIdOf = (index: number): string => `player-${1_000_000 + index}`;
  const before = await direct.usedBytes();
  await forEachOf(
    Array.from({ length: count }, (_, index) => userIdOf(index)),
    (userId) =>
      client.sessions.createSession({
        ...names,
        userId,
        roles: [...roles],
        permissions: [...permissions],
        metadata: new Map(Object.entries(metadata)),
      }),
  );
  const streams = (await direct.send('KEYS', '*:events')) as readonly string[];
  await direct.send('DEL', ...streams);
  const each = ((await direct.usedBytes()) - before) / count;
  await client.close();
  await service.stop();
  const values = [userIdOf(0), names.username, names.characterId, ...roles, ...permissions, ...Object.values(metadata)];
  const rawBytes = values.reduce((sum, value) => sum + value.length, 0);
  const over = each - rawBytes;
  return {
    count,
    rawBytes,
    goal: {
      what: 'memory per session over the raw field values, indexes counted',
      goal: `≤ ${MEMORY_GOAL_BYTES} B`,
      measured: `${Math.round(over)} B`,
      met: over <= MEMORY_GOAL_BYTES,
    },
    table: {
      title: `Memory of ${count.toLocaleString('en-US')} sessions, one a user`,
      columns: ['what', 'bytes a session'],
      rows: [
        ['record, user index, deadline index, counters', String(Math.round(each))],
        ['of these raw field values', String(rawBytes)],
      ],
    },
  };
}
