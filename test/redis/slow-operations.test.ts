import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import { pino } from 'pino';
import { CacheServiceService } from '../../src/gen/shardkeep/cache/v1/cache.js';
import { SlowLog } from '../../src/redis/slow-log.js';
import { get } from '../pipeline/requests.js';
import { RawPipeline } from '../support/pipeline-stream.js';
import { serviceUrl, startRedis, until, type RedisServer } from '../support/redis-server.js';
import { startTcpProxy, type TcpProxy } from '../support/tcp-proxy.js';
import { startTestService, type Environment, type TestService } from '../support/service.js';

/** What is told of operations that Redis takes long for. */

interface Line {
  readonly level: number;
  readonly msg: string;
  readonly [field: string]: unknown;
}

const SLOW = 'slow redis operation';
const SLOW_MS = 200;

describe('a service whose Redis stands still for a while', () => {
  let redis: RedisServer;
  let proxy: TcpProxy;
  let said = '';
  let service: TestService | undefined;
  let lines: Line[];
  beforeAll(async () => {
    redis = await startRedis();
    proxy = await startTcpProxy(redis.port, (piece) => {
      said += piece;
    });
  });
  afterEach(async () => {
    await service?.stop();
    service = undefined;
  });
  afterAll(async () => {
    await proxy.close();
    await redis.remove();
  });

  async function start(env: Environment = {}): Promise<TestService> {
    lines = [];
    const logger = pino({ level: 'info' }, { write: (line: string) => lines.push(JSON.parse(line) as Line) });
    service = await startTestService(
      {
        REDIS_URL: serviceUrl(proxy.port),
        DEFAULT_DEADLINE_MS: '30000',
        SLOW_OPERATION_MS: String(SLOW_MS),
        ...env,
      },
      { logger },
    );
    return service;
  }

  /** Holds the replies back until all of that was asked, and then for longer than an operation may take. */
  async function standStill(untilSaid: readonly string[], calls: () => Promise<unknown>): Promise<void> {
    said = '';
    proxy.hold('');
    const answered = calls();
    await until(() => untilSaid.every((words) => said.includes(words)));
    await sleep(SLOW_MS + 50);
    proxy.release();
    await answered;
  }

  const slowLines = (script: string): Line[] => lines.filter((line) => line.msg === SLOW && line.script === script);
  async function countOf({ service: { metrics } }: TestService, script: string): Promise<number> {
    const text = await metrics.registry.metrics();
    const sample = new RegExp(`^shardkeep_redis_slow_operations_total\\{script="${script}"\\} (\\d+)$`, 'm').exec(text);
    return Number(sample?.[1] ?? 0);
  }

  test('logs and counts what was slow, and tells neither key nor value', async () => {
    const slow = await start();
    const { cache, namespace } = slow;
    await standStill(['canary-set', 'canary-key', 'GET'], () =>
      Promise.all([
        cache.set({ key: 'canary-key', value: Buffer.from('canary-value') }),
        cache.addToSet({ key: 'canary-set', members: [Buffer.from('canary-member')] }),
        cache.get({ key: 'canary-key' }),
      ]),
    );
    expect(slowLines('add-to-set')).toEqual([
      expect.objectContaining({
        level: 40,
        roles: ['cache', 'state', 'limit'],
        namespace,
        rpc: CacheServiceService.addToSet.path.slice(1),
        durationMs: expect.any(Number),
      }),
    ]);
    expect(slowLines('set')).toEqual([expect.objectContaining({ namespace })]);
    expect(slowLines('GET')).toEqual([expect.objectContaining({ namespace })]);
    for (const { durationMs } of lines.filter(({ msg }) => msg === SLOW)) {
      expect(durationMs).toBeGreaterThanOrEqual(SLOW_MS);
    }
    expect(JSON.stringify(lines)).not.toContain('canary');
    expect(await countOf(slow, 'add-to-set')).toBe(1);
  });

  test('counts calls that shared a command once', async () => {
    const slow = await start();
    const stream = new RawPipeline(slow.address);
    stream.send({ methods: [CacheServiceService.get.path.slice(1)] });
    await standStill(['MGET'], () => {
      const calls = Array.from({ length: 50 }, (_, index) => ({ id: index + 1, request: get(`k${String(index)}`) }));
      stream.send({ calls });
      return stream.untilAnswers(50);
    });
    expect(slowLines('MGET')).toHaveLength(1);
    expect(await countOf(slow, 'MGET')).toBe(1);
    stream.cancel();
  });

  test('says nothing of it where that is turned off', async () => {
    const slow = await start({ SLOW_OPERATION_MS: '0' });
    await standStill(['GET'], () => slow.cache.get({ key: 'k' }));
    expect(slowLines('GET')).toEqual([]);
    expect(await countOf(slow, 'GET')).toBe(0);
  });

  test('tells also of what was slow and never answered', async () => {
    const { cache } = await start();
    said = '';
    proxy.hold('');
    const failed = cache.get({ key: 'k' }).catch(() => 'failed');
    await until(() => said.includes('GET'));
    await sleep(SLOW_MS + 50);
    proxy.cut('');
    expect(await failed).toBe('failed');
    expect(slowLines('GET')).toHaveLength(1);
    proxy.release();
  });
});

test('a flood of slow operations is a few lines a second of each script, and then their count', async () => {
  const lines: Line[] = [];
  const logger = pino({ level: 'info' }, { write: (line: string) => lines.push(JSON.parse(line) as Line) });
  const log = new SlowLog(logger);
  const record = (script: string): void => {
    log.record({ script, durationMs: 150.4, namespace: 'game', rpc: undefined });
  };
  for (let count = 0; count < 1_000; count++) record('sweep');
  record('set');
  expect(lines.map(({ script }) => script)).toEqual([...Array<string>(5).fill('sweep'), 'set']);
  expect(lines[0]).toMatchObject({ level: 40, msg: SLOW, durationMs: 150, namespace: 'game' });
  await until(() => lines.length > 6);
  expect(lines.slice(6)).toEqual([expect.objectContaining({ level: 40, script: 'sweep', suppressed: 995 })]);
  // a new second
  record('sweep');
  expect(lines).toHaveLength(8);
});
