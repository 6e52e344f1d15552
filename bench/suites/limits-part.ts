import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { DirectRedis } from '../harness/direct-redis.js';
import { LoadProcess } from '../harness/programs.js';
import { sampleSpan, type Load, type Sample, type Watched } from '../harness/sample.js';
import type { Scope } from '../harness/scope.js';
import type { GoalResult, Table } from '../harness/section.js';
import { startService, type BenchRedis, type BenchService } from '../harness/servers.js';
import { LIMIT_POLICIES } from '../programs/limit-policies.js';
import type { LimitsPlan, TargetName } from '../programs/protocol.js';

/** What one question about rate limits adds to the section. */
export interface LimitsPart {
  readonly note: string;
  readonly goals: readonly GoalResult[];
  readonly tables: readonly Table[];
}

/** So many that few calls are denied at any rate that is reached. */
export const MANY_SUBJECTS = 10_000;

/** An entry of `rpc_limits` in the policies file. */
interface RpcLimit {
  readonly rpc: string;
  readonly policy: string;
  readonly subjects: readonly { readonly kind: string; readonly field: string }[];
}

/** A service with the policies of these questions; `rpcLimits`: RPCs that are limited themselves, none by default; `limitRedis`: for limits alone. */
export async function startLimitsService(
  scope: Scope,
  redis: BenchRedis,
  options: {
    readonly rpcLimits?: readonly RpcLimit[];
    readonly nodeArgs?: readonly string[];
    readonly limitRedis?: BenchRedis;
  } = {},
): Promise<BenchService> {
  const file = join(await scope.folder(), 'policies.yaml');
  // JSON is YAML
  await writeFile(file, JSON.stringify({ rate_policies: LIMIT_POLICIES, rpc_limits: options.rpcLimits ?? [] }));
  const { nodeArgs = [], limitRedis = redis } = options;
  return startService(scope, { redis, env: { POLICIES_FILE: file, LIMIT_REDIS_URL: limitRedis.url }, nodeArgs });
}

export function startLimitsLoad(
  scope: Scope,
  target: TargetName,
  address: string,
  limits: LimitsPlan,
): Promise<LoadProcess> {
  return LoadProcess.start(scope, {
    ...{ target, address, limits },
    ...{ workload: 'limits', keyCount: 0, valueBytes: 0, connections: 1, latencies: false },
  });
}

/** A sample, and what Redis was sent for each operation of it. */
export interface CommandSample extends Sample {
  /** EVALSHA and EVAL. */
  readonly scriptCalls: number;
  /** What those called. */
  readonly commandsInside: number;
}

/** What a service or a library asks now and then by itself, whatever it is asked. TIME is also asked by each script. */
const BESIDE: ReadonlySet<string> = new Set(['time', 'ping', 'info', 'config|resetstat', 'config']);

/** Like sampleLoad of one process, with the commands of the measured time. */
export async function sampleCommands(
  direct: DirectRedis,
  process: LoadProcess,
  watched: Watched,
  load: Load,
): Promise<CommandSample> {
  await process.warm(load.inFlight, load.warmUpMs);
  await direct.send('CONFIG', 'RESETSTAT');
  let operations = 0;
  const sample = await sampleSpan(watched, async () => {
    const figures = await process.measure(load.measureMs);
    operations = figures.operations;
    return [figures];
  });
  const counts = await countCommands(direct);
  await process.stop();
  let [scriptCalls, commandsInside] = [0, 0];
  for (const [name, calls] of counts) {
    if (name.startsWith('eval')) scriptCalls += calls;
    else if (!BESIDE.has(name)) commandsInside += calls;
  }
  return { ...sample, scriptCalls: scriptCalls / operations, commandsInside: commandsInside / operations };
}

/** Calls of each command since RESETSTAT, those in scripts too. */
async function countCommands(direct: DirectRedis): Promise<ReadonlyMap<string, number>> {
  const info = String(await direct.send('INFO', 'commandstats'));
  return new Map(
    [...info.matchAll(/^cmdstat_([^:]+):calls=(\d+)/gm)].map(([, name = '', calls]) => [name, Number(calls)]),
  );
}
