import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { connect, type ShardkeepClient } from '../../src/client/index.js';
import {
  Algorithm,
  LimitStatus,
  RateLimitServiceService,
  type CheckRateLimitResponse,
  type Limit,
} from '../../src/gen/shardkeep/ratelimit/v1/ratelimit.js';
import { keys } from '../../src/redis/keys.js';
import type { PromiseClient } from '../support/client.js';
import { startCluster, startRedis, until, type RedisServer } from '../support/redis-server.js';
import { SERVICE_USER, serviceRules } from '../support/redis-user.js';
import {
  policiesFile,
  randomNamespace,
  sharedRedisUrl,
  startTestService,
  TOPOLOGIES,
  type TestService,
} from '../support/service.js';
import { killServiceProcesses, startServiceProcess } from '../support/service-process.js';

/** What a denied subject costs Redis, and how soon another process's decisions are known; by this process and another. */

const HOUR_MS = 3_600_000;
/** A denial that nobody would tell the end of is remembered for less. */
const LONGER_THAN_UNHEARD_MS = 1_050;
const POLICIES_FILE = policiesFile({
  rate_policies: { five: { algorithm: 'sliding_exact', limit: 5, window_ms: HOUR_MS } },
});

type Limits = PromiseClient<typeof RateLimitServiceService>;
const limitOf = (subject: string): Limit => ({ subject, policy: { $case: 'policyName', value: 'five' } });

describe.each(TOPOLOGIES)('on %s', (topology) => {
  /** The masters that have rate limits and nothing else. */
  let masters: readonly RedisServer[];
  let remove: () => Promise<void>;
  let one: Limits;
  let two: Limits;
  let here: TestService;
  let addresses: readonly string[];
  let namespace: string;

  beforeAll(async () => {
    let url: string;
    if (topology === 'cluster') {
      const cluster = await startCluster(3, 0);
      ({ masters, url } = cluster);
      remove = () => cluster.remove();
    } else {
      const redis = await startRedis();
      masters = [redis];
      ({ url } = redis);
      remove = () => redis.remove();
    }
    namespace = randomNamespace();
    const common = { REDIS_URL: sharedRedisUrl('standalone'), LIMIT_REDIS_URL: url, POLICIES_FILE };
    const env = { ...common, NAMESPACE: namespace };
    const [first, second] = await Promise.all([startTestService(env), startServiceProcess(env)]);
    here = first;
    addresses = [first.address, second.address];
    one = first.rateLimits;
    two = second.channel().of(RateLimitServiceService);
  });
  afterAll(async () => {
    await Promise.all([here.stop(), killServiceProcesses()]);
    await remove();
  });

  /** How many limits Redis looked at so far: each asks whether its subject has a standing, and no statistics do. */
  const limitsRead = async (): Promise<number> => {
    const stats = await Promise.all(masters.map((master) => master.command('INFO', 'commandstats')));
    const calls = stats.flatMap((text) =>
      [...String(text).matchAll(/cmdstat_exists:calls=(\d+)/g)].map(([, count]) => Number(count)),
    );
    return calls.reduce((sum, count) => sum + count, 0);
  };
  const check = (limits: Limits, subject: string, cost = 1): Promise<CheckRateLimitResponse> =>
    limits.checkRateLimit({ limits: [limitOf(subject)], cost });
  /** Denied by the first process for longer than a denial is known that nobody would tell the end of. */
  const untilRemembered = async (subjects: readonly string[]): Promise<void> => {
    let known = await limitsRead();
    let since = performance.now();
    await until(async () => {
      for (const subject of subjects) expect((await check(one, subject)).allowed).toBe(false);
      const now = await limitsRead();
      if (now !== known) since = performance.now();
      known = now;
      return performance.now() - since > LONGER_THAN_UNHEARD_MS;
    });
  };
  const untilAllowed = (subject: string): Promise<void> => until(async () => (await check(one, subject)).allowed);

  test('a denied subject costs Redis nothing until its time', async () => {
    const subject = 'user:zero';
    const unasked = await limitsRead();
    await check(one, subject, 4);
    expect(await limitsRead()).toBe(unasked + 1);
    const denied = await check(one, subject, 2);
    expect(denied.limits[0]).toMatchObject({ status: LimitStatus.OVER, remaining: 1, limit: 5 });
    await until(async () => {
      const before = await limitsRead();
      expect((await check(one, subject, 2)).allowed).toBe(false);
      return (await limitsRead()) === before;
    });
    const before = await limitsRead();
    const answers = await Promise.all(Array.from({ length: 100 }, () => check(one, subject, 3)));
    expect(await limitsRead()).toBe(before);
    for (const { allowed, retryAfterMs, limits } of answers) {
      expect({ allowed, status: limits[0]?.status, limit: limits[0]?.limit }).toEqual({
        ...{ allowed: false, status: LimitStatus.OVER, limit: 5 },
      });
      expect(retryAfterMs).toBeLessThanOrEqual(denied.retryAfterMs);
      expect(retryAfterMs).toBeGreaterThan(0n);
    }
    // what costs less has room
    expect((await check(one, subject, 1)).allowed).toBe(true);
  });

  test('and is admitted when its time has come', async () => {
    const subject = 'user:short';
    const limits: Limit[] = [
      {
        subject,
        policy: {
          $case: 'inlinePolicy',
          value: { name: 'p', algorithm: Algorithm.SLIDING_EXACT, limit: 1, windowMs: 300n },
        },
      },
    ];
    expect((await one.checkRateLimit({ limits })).allowed).toBe(true);
    let denied = await one.checkRateLimit({ limits });
    expect(denied.allowed).toBe(false);
    while (!denied.allowed && denied.retryAfterMs > 5n) denied = await one.checkRateLimit({ limits });
    await until(async () => (await one.checkRateLimit({ limits })).allowed);
  });

  test('a reset, another limit, an unban, a refund or settlement of another process acts at once; of this one, with its answer', async () => {
    const names = ['reset', 'override', 'unban', 'refund', 'settle'] as const;
    const rounds = [two, one].map((actor, round) => {
      const subjects = Object.fromEntries(names.map((name) => [name, `user:${String(round)}-${name}`]));
      return { actor, subjects: subjects as Record<(typeof names)[number], string>, reserved: [] as string[] };
    });
    for (const { subjects, reserved } of rounds) {
      for (const name of ['refund', 'settle'] as const) {
        const { reservationId } = await one.reserveRateLimit({
          ...{ limits: [limitOf(subjects[name])], cost: 5, ttlMs: BigInt(HOUR_MS) },
        });
        reserved.push(reservationId);
      }
      for (const name of ['reset', 'override'] as const) await check(one, subjects[name], 5);
      await one.ban({ subject: subjects.unban, ttlMs: BigInt(HOUR_MS) });
    }
    await untilRemembered(rounds.flatMap(({ subjects }) => Object.values(subjects)));

    for (const { actor, subjects, reserved } of rounds) {
      const acts: Record<(typeof names)[number], () => Promise<unknown>> = {
        reset: () => actor.resetRateLimit({ limits: [limitOf(subjects.reset)] }),
        override: () =>
          actor.overrideRateLimit({ subject: subjects.override, policyName: 'five', limit: 6, ttlMs: BigInt(HOUR_MS) }),
        unban: () => actor.unban({ subject: subjects.unban }),
        refund: () => actor.refundRateLimit({ reservationId: reserved[0] ?? '' }),
        settle: () => actor.settleRateLimit({ reservationId: reserved[1] ?? '', cost: 4 }),
      };
      for (const name of names) {
        expect((await check(one, subjects[name])).allowed).toBe(false);
        await acts[name]();
        if (actor === one) expect([name, (await check(one, subjects[name])).allowed]).toEqual([name, true]);
        else await untilAllowed(subjects[name]);
      }
    }
  });

  test('a ban by another process acts at once', async () => {
    expect((await check(one, 'user:banned')).allowed).toBe(true);
    await two.ban({ subject: 'user:banned', ttlMs: BigInt(HOUR_MS) });
    expect((await check(one, 'user:banned')).limits[0]?.status).toBe(LimitStatus.BANNED);
  });

  test('two processes that are each asked for one hot key 200 times in a turn admit exactly the limit', async () => {
    const connections: ShardkeepClient[] = addresses.map((address) => connect(address));
    try {
      for (let round = 0; round < 3; round++) {
        const limits = [
          {
            subject: `all:${String(round)}`,
            policy: {
              $case: 'inlinePolicy' as const,
              value: { name: 'hot', algorithm: Algorithm.SLIDING_EXACT, limit: 150, windowMs: BigInt(HOUR_MS) },
            },
          },
        ];
        const before = await limitsRead();
        const answers = await Promise.all(
          connections.flatMap(({ rpc: { rateLimits } }) =>
            Array.from({ length: 200 }, () => rateLimits.checkRateLimit({ limits })),
          ),
        );
        // most share a script's call with others
        expect((await limitsRead()) - before).toBeLessThan(200);
        const left = answers.filter(({ allowed }) => allowed).map((answer) => answer.limits[0]?.remaining ?? -1);
        expect(left.toSorted((a, b) => b - a)).toEqual(Array.from({ length: 150 }, (_, index) => 149 - index));
      }
    } finally {
      await Promise.all(connections.map((connection) => connection.close()));
    }
  });

  test('where channels cannot be heard, a denial is known for no longer than a second', async () => {
    const subject = 'user:deaf';
    await check(one, subject, 5);
    await untilRemembered([subject]);
    // who listened is thrown out, and may not come back
    await Promise.all(masters.map((master) => master.command('ACL', 'SETUSER', SERVICE_USER, 'resetchannels')));
    // nobody is told of this
    const record = keys.rateLimit(namespace, subject, 'five');
    const removed = await Promise.all(masters.map((master) => master.command('UNLINK', record).catch(() => 0)));
    expect(removed).toContain(1);
    await untilAllowed(subject);
    await Promise.all(masters.map((master) => master.command('ACL', 'SETUSER', SERVICE_USER, ...serviceRules())));
  });
});
