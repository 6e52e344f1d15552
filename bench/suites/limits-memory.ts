import { setTimeout as sleep } from 'node:timers/promises';
import { Algorithm } from '../../src/gen/shardkeep/ratelimit/v1/ratelimit.js';
import { openDirectRedis, type DirectRedis } from '../harness/direct-redis.js';
import { NAMESPACE, startStandalone } from '../harness/servers.js';
import { stepsOf, type SuiteContext } from '../harness/suite.js';
import { connectService, type ServiceClient } from '../programs/service-client.js';
import { startLimitsService, type LimitsPart } from './limits-part.js';

/** What a limit keeps in Redis, by MEMORY USAGE of its key. */

const LIMITS = [1, 10, 50, 100, 333, 1_000, 4_000, 8_000];
/** As long as no unit is forgotten while a limit is filled one by one. */
const LONG_MS = 600_000n;
const WINDOW_MS = 2_500n;
const WINDOWS = 3;
const OTHER_LIMITS = [100, 1_000];
/** Of a log in a ZSET. */
const ZADD_CHUNK = 500;

const boundOf = (limit: number): number => Math.floor(8 * limit * 1.3 + 300);

interface Fill {
  readonly algorithm?: Algorithm;
  readonly limit: number;
  readonly units?: number;
  readonly windowMs?: bigint;
  /** Of the next check, where so many units are left to take. */
  readonly costOf: (index: number) => number;
}

const one = (): number => 1;
const oneToThree = (index: number): number => 1 + (index % 3);
const most = (): number => 64;

export async function measureLimitMemory({ scope, pace, say }: SuiteContext): Promise<LimitsPart> {
  say('limits: memory');
  const redis = await startStandalone(scope);
  const service = await startLimitsService(scope, redis);
  const direct = await openDirectRedis(scope, redis);
  const client = connectService(service.address, 'service-pipeline');
  scope.onClose(() => client.close());
  const keeper = new Keeper(client, direct);

  const rows: string[][] = [];
  const over: number[] = [];
  for (const limit of stepsOf(LIMITS, pace)) {
    const half = await keeper.bytesOf({ limit, units: Math.ceil(limit / 2), costOf: one });
    const full = await keeper.bytesOf({ limit, costOf: one });
    const largest = await keeper.bytesOf({ limit, costOf: most });
    const windows = await keeper.bytesAfterWindows({ limit, windowMs: WINDOW_MS, costOf: oneToThree });
    const measured = [half, full, largest, windows];
    const bound = boundOf(limit);
    over.push(Math.max(...measured) / bound);
    rows.push([
      String(limit),
      ...measured.map(String),
      String(bound),
      Math.max(...measured) <= bound ? 'yes' : '**no**',
      String(await zsetBytes(direct, limit)),
    ]);
  }

  const others: string[][] = [];
  for (const [name, algorithm] of Object.entries(OTHERS)) {
    for (const limit of OTHER_LIMITS) {
      others.push([name, String(limit), String(await keeper.bytesOf({ algorithm, limit, costOf: oneToThree }))]);
    }
  }
  others.push(['CALENDAR', '1000', String(await keeper.bytesOfCalendar())]);
  await direct.send('SET', 'hand:fixed:user:1', '1', 'EX', '60');
  others.push(['rate-limiter-flexible, fixed window', 'any', String(await usage(direct, 'hand:fixed:user:1'))]);
  await client.close();
  await service.stop();
  const worst = Math.max(...over);
  return {
    note:
      'Memory: MEMORY USAGE of the key, name included (`bench:ratelimit:{user:…}:…`, 45 to 55 bytes). Half and full: one unit ' +
      `a check; the last of SLIDING_EXACT: half of the limit each half of a window, for ${String(WINDOWS)} windows, with costs from 1 to 3. The log in a ` +
      'ZSET is what pages about Redis show: an entry a unit, of its time and a number.',
    goals: [
      {
        what: 'memory of SLIDING_EXACT ÷ (8·L·1.3 + 300 B), the worst of all limits and fillings',
        goal: '≤ 1',
        measured: worst.toFixed(2),
        met: worst <= 1,
      },
    ],
    tables: [
      {
        title: 'Bytes of a limit of SLIDING_EXACT',
        columns: ['limit', 'half', 'full', 'full, 64 a check', 'windows later', 'bound', 'met', 'log in a ZSET'],
        rows,
      },
      { title: 'Bytes of a limit of the others, full', columns: ['algorithm', 'limit', 'bytes'], rows: others },
    ],
  };
}

const OTHERS = {
  SLIDING_BUCKETS: Algorithm.SLIDING_BUCKETS,
  TOKEN_BUCKET: Algorithm.TOKEN_BUCKET,
  FIXED: Algorithm.FIXED,
} as const;

/** Fills limits through the service, each of a subject of its own, and asks Redis what they take. */
class Keeper {
  private subjects = 0;

  constructor(
    private readonly client: ServiceClient,
    private readonly direct: DirectRedis,
  ) {}

  async bytesOf(fill: Fill): Promise<number> {
    const subject = this.nextSubject();
    await this.fill(subject, fill);
    return this.bytes(subject);
  }

  /** Half of the limit in each half of several windows, so that it stays full of units that come and go. */
  async bytesAfterWindows(fill: Fill & { readonly windowMs: bigint }): Promise<number> {
    const subject = this.nextSubject();
    for (let half = 1; ; half++) {
      await this.fill(subject, { ...fill, units: Math.ceil(fill.limit / 2) });
      if (half === 2 * WINDOWS) return this.bytes(subject);
      await sleep(Number(fill.windowMs) / 2);
    }
  }

  async bytesOfCalendar(): Promise<number> {
    const subject = this.nextSubject();
    const { allowed } = await this.client.rateLimits.checkRateLimit({
      limits: [{ subject, policy: { $case: 'policyName', value: 'day' } }],
    });
    if (!allowed) throw new Error('the day is over');
    return this.bytes(subject);
  }

  private nextSubject(): string {
    return `user:${String(1_000_000 + this.subjects++)}`;
  }

  /** One check after the other, so that each charge is one of its own. */
  private async fill(
    subject: string,
    { algorithm = Algorithm.SLIDING_EXACT, limit, units = limit, windowMs = LONG_MS, costOf }: Fill,
  ): Promise<void> {
    const value = { name: 'm', algorithm, limit, windowMs, burst: undefined };
    const limits = [{ subject, policy: { $case: 'inlinePolicy', value } as const }];
    let left = units;
    for (let index = 0; left > 0; index++) {
      const cost = Math.min(costOf(index), left);
      const answer = await this.client.rateLimits.checkRateLimit({ limits, cost });
      left = answer.allowed ? left - cost : Math.min(left, answer.limits[0]?.remaining ?? 0);
    }
  }

  private async bytes(subject: string): Promise<number> {
    const found = (await this.direct.send('KEYS', `${NAMESPACE}:ratelimit:{${subject}}:*`)) as readonly string[];
    const [key] = found;
    if (key === undefined || found.length > 1) throw new Error(`${subject} has ${String(found.length)} records`);
    return usage(this.direct, key);
  }
}

async function usage(direct: DirectRedis, key: string): Promise<number> {
  return Number(await direct.send('MEMORY', 'USAGE', key, 'SAMPLES', '0'));
}

async function zsetBytes(direct: DirectRedis, count: number): Promise<number> {
  const key = `log:{user:${String(1_000_000 + count)}}:m`;
  const startedUs = 1_790_000_000_000_000;
  for (let from = 0; from < count; from += ZADD_CHUNK) {
    const entries: string[] = [];
    for (let index = from; index < Math.min(from + ZADD_CHUNK, count); index++) {
      entries.push(String(startedUs + index * 977), `${String(startedUs + index * 977)}-${String(index)}`);
    }
    await direct.send('ZADD', key, ...entries);
  }
  const bytes = await usage(direct, key);
  await direct.send('DEL', key);
  return bytes;
}
