import { writeFileSync } from 'node:fs';
import { metricsOf } from '../support/metrics.js';
import { startRedis, until, type RedisServer } from '../support/redis-server.js';
import { policiesFile, startTestService, type Environment, type TestService } from '../support/service.js';

/** Faults of a real service, and the alerts that have to fire for them. */

export interface Fault {
  readonly name: string;
  /** Fire while it lasts. */
  readonly alerts: readonly string[];
  /** May fire as well: what follows from it, or not, in so short a time. */
  readonly perhaps?: readonly string[];
  readonly env?: Environment;
  readonly redisFlags?: readonly string[];
  /** The one of other faults, which comes out of this one as it was; without it the fault has one of its own. */
  readonly place?: SharedPlace;
  /** What it lasts in simulated time, where that is less than usual. */
  readonly minutes?: number;
  /** False: nobody calls but the fault. */
  readonly isUsed?: boolean;
  /** Comes once. */
  begin?(place: Place): Promise<unknown>;
  /** Comes between two scrapes, beside the usual calls. */
  goOn?(place: Place): Promise<unknown>;
  /** Sets the place right. */
  end?(place: Place): Promise<unknown>;
}

export interface Place {
  readonly service: TestService;
  readonly redis: RedisServer;
  /** What else it has. */
  readonly remove?: () => Promise<unknown>;
}

/** A place is started when the first fault asks for it. */
export class SharedPlace {
  private started: Promise<Place> | undefined;

  constructor(private readonly start: () => Promise<Place>) {}

  async open(): Promise<Place> {
    this.started ??= this.start();
    return this.started;
  }

  async close(): Promise<void> {
    if (this.started === undefined) return;
    await closePlace(await this.started);
  }
}

const POLICIES = {
  rate_policies: { open: { algorithm: 'fixed', limit: 1_000, window_ms: 60_000, on_redis_loss: 'allow' } },
};
const policies = policiesFile(POLICIES);
const LARGE = Buffer.alloc(100_000, 'x').toString('latin1');
export const WHILE_REDIS_FAILS = [
  'ShardkeepRedisReconnects',
  'ShardkeepRedisCircuitOpen',
  'ShardkeepRateLimitsOpen',
  'ShardkeepInternalErrors',
  'ShardkeepLocksLost',
];

/** The service asks a Redis about itself when it comes back, and not only every ten seconds. */
export async function lookAgain({ redis, service }: Place, role = 'state'): Promise<void> {
  const told = async (name: string): Promise<number> =>
    (await metricsOf(service)).get(`shardkeep_redis_${name}{role="${role}"}`) ?? 0;
  const before = await told('reconnects_total');
  await redis.command('CLIENT', 'KILL', 'TYPE', 'normal');
  await until(async () => (await told('reconnects_total')) > before && (await told('up')) === 1);
}

/** Writes what is nobody's until something is evicted for it. */
async function evict(redis: RedisServer): Promise<void> {
  const evicted = async (): Promise<string> =>
    /evicted_keys:\d+/.exec(String(await redis.command('INFO', 'stats')))?.[0] ?? '';
  const before = await evicted();
  do {
    const write = (): Promise<unknown> => redis.command('SET', `x:${String(Math.random())}`, LARGE);
    await Promise.all(Array.from({ length: 5 }, write));
  } while ((await evicted()) === before);
}

/** Where faults come and go that are over at once. */
export const COMMON = new SharedPlace(() =>
  startPlace({ env: { MAX_PARKED: '10', REDIS_TIMEOUT_MS: '1000', SLOW_OPERATION_MS: '100' } }),
);

export const FAULTS: readonly Fault[] = [
  { name: 'nothing', alerts: [], place: COMMON },
  {
    name: 'Redis is killed',
    alerts: [
      'ShardkeepCacheErrorRate',
      'ShardkeepSessionCreationFailures',
      'ShardkeepRedisDown',
      'ShardkeepNotServing',
      'ShardkeepRateLimitsOpen',
    ],
    perhaps: WHILE_REDIS_FAILS,
    begin: async ({ redis, service }) => {
      await redis.stop('SIGKILL');
      await untilTold(service, 'shardkeep_health_serving{service="readiness"} 0');
    },
  },
  {
    name: 'Redis is full',
    alerts: ['ShardkeepRedisOutOfMemory', 'ShardkeepRedisMemoryHigh', 'ShardkeepCacheErrorRate'],
    perhaps: WHILE_REDIS_FAILS,
    begin: async (place) => {
      // less than an empty one takes
      await place.redis.command('CONFIG', 'SET', 'maxmemory', '500kb');
      await lookAgain(place);
    },
  },
  {
    name: 'Redis evicts sessions',
    alerts: ['ShardkeepEvictionPolicyWrong', 'ShardkeepStateEvicted'],
    perhaps: [...WHILE_REDIS_FAILS, 'ShardkeepRedisMemoryHigh', 'ShardkeepCacheHitRatio', 'ShardkeepEvictionRateHigh'],
    redisFlags: ['--maxmemory', '4mb', '--maxmemory-policy', 'allkeys-lru'],
    goOn: async (place) => {
      await evict(place.redis);
      await lookAgain(place);
    },
  },
  {
    name: 'Redis refuses commands',
    alerts: [
      'ShardkeepRedisAccessDenied',
      'ShardkeepRedisDown',
      'ShardkeepCacheErrorRate',
      'ShardkeepSessionCreationFailures',
    ],
    perhaps: WHILE_REDIS_FAILS,
    begin: ({ redis }) => redis.command('ACL', 'SETUSER', 'shardkeep', '-evalsha', '-eval'),
  },
  {
    name: 'somebody flushes scripts',
    place: COMMON,
    alerts: ['ShardkeepScriptReloads'],
    goOn: async ({ redis, service }) => {
      for (let time = 0; time < 25; time++) {
        await redis.command('SCRIPT', 'FLUSH');
        await Promise.all([
          call(() => service.cache.exists({ keys: ['k'] })),
          call(() => lockAndRelease(service, 'gate')),
        ]);
      }
    },
  },
  {
    name: 'the cache is empty',
    place: COMMON,
    alerts: ['ShardkeepCacheHitRatio'],
    goOn: async ({ service }) => {
      const keys = Array.from({ length: 256 }, (_, at) => `no such ${String(at)}`);
      for (let time = 0; time < 8; time++) await service.cache.getMany({ keys });
    },
  },
  {
    name: 'a former holder writes',
    place: COMMON,
    alerts: ['ShardkeepFencingRejected'],
    begin: async ({ service }) => {
      await service.cache.set({
        key: 'door',
        value: Buffer.from('new'),
        guard: { resource: 'door', fencingToken: 9n },
      });
    },
    goOn: async ({ service }) => {
      const guard = { resource: 'door', fencingToken: 8n };
      await call(() => service.cache.set({ key: 'door', value: Buffer.from('old'), guard }));
    },
  },
  {
    name: 'somebody guesses tokens',
    place: COMMON,
    alerts: ['ShardkeepForeignTokens'],
    goOn: async ({ service }) => {
      const guess = (): Promise<unknown> => service.sessions.validateSession({ sessionToken: 'no token' });
      for (let time = 0; time < 30; time++) await Promise.all(Array.from({ length: 50 }, () => call(guess)));
    },
  },
  {
    name: 'too many call at once',
    alerts: ['ShardkeepRejectedCalls'],
    // those that are turned away are failures as well
    perhaps: ['ShardkeepCacheErrorRate'],
    env: { MAX_IN_FLIGHT: '50' },
    goOn: ({ service }) => Promise.all(Array.from({ length: 200 }, () => call(() => service.cache.get({ key: 'k1' })))),
  },
  {
    name: 'the policies file is broken',
    alerts: ['ShardkeepPoliciesRefused'],
    env: { POLICIES_FILE: policiesFile(POLICIES) },
    begin: async ({ service }) => {
      const file = faultyPolicies();
      writeFileSync(file, 'rate_policies: []');
      await untilTold(service, 'shardkeep_policies_refused 1');
    },
  },
  {
    name: 'Redis is slow',
    place: COMMON,
    alerts: ['ShardkeepResponseTime', 'ShardkeepResponseTimeP99', 'ShardkeepRedisSlowOperations'],
    perhaps: WHILE_REDIS_FAILS,
    goOn: async ({ redis, service }) => {
      redis.signal('SIGSTOP');
      const slow = Promise.all([
        // they share a command
        ...Array.from({ length: 100 }, () => call(() => service.cache.get({ key: 'k1' }))),
        ...Array.from({ length: 60 }, (_, at) => call(() => lockAndRelease(service, `slow ${String(at)}`))),
      ]);
      setTimeout(() => {
        redis.signal('SIGCONT');
      }, 200);
      await slow;
    },
  },
];

export async function untilTold({ service }: TestService, sample: string): Promise<void> {
  await until(async () => (await service.metrics.registry.metrics()).split('\n').includes(sample));
}

function faultyPolicies(): string {
  const file = FAULTS.find(({ name }) => name === 'the policies file is broken')?.env?.POLICIES_FILE;
  if (file === undefined) throw new Error('no policies file');
  return file;
}

/** Whatever comes of it. */
export async function call(rpc: () => Promise<unknown>): Promise<void> {
  await rpc().catch(() => undefined);
}

export async function lockAndRelease({ locks }: TestService, resource: string): Promise<void> {
  const { lockToken } = await locks.acquireLock({ resources: [resource] });
  await locks.releaseLock({ resources: [resource], lockToken });
}

const KEYS = Array.from({ length: 100 }, (_, at) => `k${String(at)}`);

/** A little of everything that game servers ask for. */
export async function useAll(service: TestService, round: number): Promise<void> {
  const { cache, sessions, rateLimits } = service;
  const subject = 'user:ann';
  await Promise.all(KEYS.map((key) => call(() => cache.set({ key, value: Buffer.from(key) }))));
  await Promise.all([
    ...KEYS.map((key) => call(() => cache.get({ key }))),
    ...Array.from({ length: 10 }, async (_, at) => {
      const userId = `user ${String(round)} ${String(at)}`;
      await call(async () => {
        const { session, sessionToken } = await sessions.createSession({ userId });
        await sessions.validateSession({ sessionToken });
        await sessions.extendSession({ sessionId: session?.sessionId ?? '' });
      });
    }),
    ...Array.from({ length: 10 }, (_, at) => call(() => lockAndRelease(service, `gate ${String(at)}`))),
    ...Array.from({ length: 10 }, () =>
      call(() =>
        rateLimits.checkRateLimit({
          limits: [{ subject, policy: { $case: 'policyName', value: 'open' }, cost: 1 }],
        }),
      ),
    ),
  ]);
}

export async function startPlace({ env = {}, redisFlags = [] }: Pick<Fault, 'env' | 'redisFlags'>): Promise<Place> {
  const redis = await startRedis(redisFlags);
  const service = await startTestService({ REDIS_URL: redis.url, POLICIES_FILE: policies, ...env });
  return { redis, service };
}

export async function closePlace({ service, redis, remove }: Place): Promise<void> {
  await service.stop();
  await redis.remove();
  await remove?.();
}
