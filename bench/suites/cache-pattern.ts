import { credentials } from '@grpc/grpc-js';
import { createClient } from 'redis';
import { CacheServiceClient, type DeletePatternResponse } from '../../src/gen/shardkeep/cache/v1/cache.js';
import { keys } from '../../src/redis/keys.js';
import { openDirectRedis, SLOW_MS, type CommandTimes } from '../harness/direct-redis.js';
import type { LatencyHistogram } from '../harness/latency-histogram.js';
import { LoadProcess } from '../harness/programs.js';
import { formatMs, formatRate } from '../harness/section.js';
import { NAMESPACE, startService, startStandalone, type BenchService } from '../harness/servers.js';
import type { Scope } from '../harness/scope.js';
import type { SuiteContext } from '../harness/suite.js';
import { BEST, failLoudly, redisAddress } from '../programs/best-settings.js';
import { valueOf } from '../programs/fixtures.js';
import { connectService } from '../programs/service-client.js';
import { FIRST, formatCount, LIFETIME, VALUE_BYTES, type CachePart } from './cache-part.js';

const KEY_COUNT = 1_000_000;
const FEWER_KEYS = 100_000;
const READS_PER_SECOND = 500;
const SCAN_COUNT = 1_000;

interface Deletion {
  readonly name: string;
  readonly tookMs: number;
  readonly commands: readonly CommandTimes[];
  readonly reads: LatencyHistogram;
}

export async function measurePattern({ scope, pace, say }: SuiteContext): Promise<CachePart> {
  const keyCount = pace.quick ? FEWER_KEYS : KEY_COUNT;
  const redis = await startStandalone(scope);
  const service = await startService(scope, { redis });
  const direct = await openDirectRedis(scope, redis);
  const reader = await LoadProcess.start(scope, {
    target: 'service-pipeline',
    address: service.address,
    workload: 'get',
    keyCount: 1_000,
    valueBytes: VALUE_BYTES,
    connections: 1,
    latencies: true,
  });
  const client = connectService(service.address, 'service-pipeline');
  scope.onClose(() => client.close());
  const redisKeyOf = (index: number): string => keys.cache(NAMESPACE, keyOf(index));
  const fill = async (): Promise<void> => {
    await client.cache.set({ key: keyOf(FIRST), value: valueOf(VALUE_BYTES), expiry: LIFETIME });
    await direct.copyMany(redisKeyOf, FIRST, { from: FIRST + 1, to: FIRST + keyCount });
  };
  const measure = async (
    name: string,
    commandNames: readonly string[],
    remove: () => Promise<number>,
  ): Promise<Deletion> => {
    await fill();
    await direct.watchCommands();
    await reader.begin(READS_PER_SECOND);
    const startedAt = performance.now();
    const removed = await remove();
    const tookMs = performance.now() - startedAt;
    const { latencies: reads } = await reader.end();
    if (removed !== keyCount) throw new Error(`${name} removed ${removed} of ${keyCount} keys`);
    return { name, tookMs, commands: await direct.commandTimes(...commandNames), reads };
  };

  await reader.pace(READS_PER_SECOND, pace.warmUpMs * 3);
  await reader.begin(READS_PER_SECOND);
  await new Promise((resolve) => setTimeout(resolve, pace.measureMs * 2));
  const { latencies: quiet } = await reader.end();
  const ours = await measure('DeletePattern', ['scan', 'evalsha', 'eval'], () => deletePattern(scope, service));
  say(`cache: DeletePattern took ${(ours.tookMs / 1_000).toFixed(1)} s`);
  const byHand = await measure('SCAN and UNLINK by hand', ['scan', 'unlink'], () => scanAndUnlink(scope, redis.url));
  const longestMs = Math.max(...ours.commands.map((command) => command.longestMs));
  return {
    note:
      `Patterns: ${formatCount(keyCount)} entries of ${VALUE_BYTES} bytes are removed by DeletePattern, or by hand: ` +
      `node-redis at its best, \`SCAN … COUNT ${formatCount(SCAN_COUNT)}\` and one UNLINK a page. Meanwhile another ` +
      `process reads other keys through the same service, ${READS_PER_SECOND} times a second however long answers take. ` +
      'How long commands kept Redis is what Redis itself says of them (INFO latencystats, SLOWLOG): wall time, in which the machine may have been with others.',
    goals: [
      {
        what: `longest command of DeletePattern over ${formatCount(keyCount)} keys in Redis`,
        goal: `≤ ${SLOW_MS} ms`,
        measured: `${formatMs(longestMs)} ms`,
        met: longestMs <= SLOW_MS,
      },
    ],
    tables: [
      {
        title: 'Removing by a pattern, and reads meanwhile',
        columns: ['variant', 's', 'keys/s', 'Get p50 ms', 'Get p99 ms', 'longest Get ms'],
        rows: [
          ['nothing is removed', '–', '–', ...readCells(quiet)],
          ...[ours, byHand].map(({ name, tookMs, reads }) => [
            name,
            (tookMs / 1_000).toFixed(1),
            formatRate((keyCount * 1_000) / tookMs),
            ...readCells(reads),
          ]),
        ],
      },
      {
        title: 'How long its commands kept Redis',
        columns: ['variant', 'command', 'calls', 'p99 ms', 'longest ms', `above ${SLOW_MS} ms`],
        rows: [ours, byHand].flatMap(({ name, commands }) =>
          commands.map((command) => [
            name,
            command.name.toUpperCase(),
            formatCount(command.calls),
            formatMs(command.p99Ms),
            formatMs(command.longestMs),
            String(command.slow),
          ]),
        ),
      },
    ],
    plots: [],
  };
}

const PREFIX = 'guild:';
const keyOf = (index: number): string => `${PREFIX}${index}:roster`;

function readCells(latencies: LatencyHistogram): string[] {
  return [0.5, 0.99, 1].map((share) => formatMs(latencies.quantileMs(share)));
}

async function deletePattern(scope: Scope, { address }: BenchService): Promise<number> {
  const client = new CacheServiceClient(address, credentials.createInsecure());
  scope.onClose(() => {
    client.close();
    return Promise.resolve();
  });
  let last: DeletePatternResponse | undefined;
  for await (const progress of client.deletePattern({ pattern: `${PREFIX}*`, allowAll: false, dryRun: false })) {
    last = progress as DeletePatternResponse;
  }
  if (last?.done !== true) throw new Error('DeletePattern did not come to its end');
  return Number(last.deleted);
}

async function scanAndUnlink(scope: Scope, address: string): Promise<number> {
  const client = createClient({ ...BEST, ...redisAddress(address) }).on('error', failLoudly);
  await client.connect();
  scope.onClose(() => {
    client.destroy();
    return Promise.resolve();
  });
  let removed = 0;
  const match = keys.cache(NAMESPACE, `${PREFIX}*`);
  for await (const page of client.scanIterator({ MATCH: match, COUNT: SCAN_COUNT })) {
    if (page.length > 0) removed += await client.unlink(page);
  }
  return removed;
}
