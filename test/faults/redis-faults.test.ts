import { status as Code, type ServiceError } from '@grpc/grpc-js';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { CacheServiceService } from '../../src/gen/shardkeep/cache/v1/cache.js';
import { AcquireLockStatus, LockOwnershipStatus, LockServiceService } from '../../src/gen/shardkeep/lock/v1/lock.js';
import { RateLimitServiceService } from '../../src/gen/shardkeep/ratelimit/v1/ratelimit.js';
import {
  RotateSessionStatus,
  SessionEndCause,
  SessionServiceService,
  ValidateSessionStatus,
} from '../../src/gen/shardkeep/session/v1/session.js';
import { failureOf, type PromiseClient } from '../support/client.js';
import { startRedis, until, type RedisServer } from '../support/redis-server.js';
import { killServiceProcesses, startServiceProcess, type ServiceProcess } from '../support/service-process.js';
import { policiesFile } from '../support/service.js';

/** The built service as a process, and its Redis killed, frozen and filled. */

/** The server's own deadline; the clients of these tests give none, so it alone ends a call. */
const DEADLINE_MS = 400;
const FREEZE_MS = 2_000;

/** The shipped `chat` goes on without Redis; here it is to tell. */
const POLICIES_FILE = policiesFile({
  rpc_limits: [],
  rate_policies: { chat: { algorithm: 'sliding_exact', limit: 10, window_ms: 10_000, on_redis_loss: 'fail' } },
});

let redis: RedisServer;
let service: ServiceProcess;
let cache: PromiseClient<typeof CacheServiceService>;
let sessions: PromiseClient<typeof SessionServiceService>;
let locks: PromiseClient<typeof LockServiceService>;
let rateLimits: PromiseClient<typeof RateLimitServiceService>;

async function start(redisFlags: readonly string[]): Promise<void> {
  redis = await startRedis(redisFlags);
  service = await startServiceProcess({
    REDIS_URL: redis.url,
    POLICIES_FILE,
    DEFAULT_DEADLINE_MS: String(DEADLINE_MS),
  });
  const channel = service.channel();
  cache = channel.of(CacheServiceService);
  sessions = channel.of(SessionServiceService);
  locks = channel.of(LockServiceService);
  rateLimits = channel.of(RateLimitServiceService);
}

afterEach(async () => {
  await killServiceProcesses();
  await redis.remove();
});

const chatLimit = (subject: string) => ({ subject, policy: { $case: 'policyName' as const, value: 'chat' } });

/** One call of every kind that a game makes all the time. */
const mixedCalls: readonly ((id: string) => Promise<unknown>)[] = [
  (id) => cache.set({ key: `load:${id}`, value: Buffer.from(id) }),
  (id) => cache.get({ key: `load:${id}` }),
  (id) => cache.increment({ key: 'load:hits', delta: BigInt(id.length) }),
  (id) => sessions.createSession({ userId: `user-${id}` }),
  (id) => locks.acquireLock({ resources: [`trade:${id}`], ttlMs: 1_000n }),
  (id) => rateLimits.checkRateLimit({ limits: [chatLimit(`user:${id}`)] }),
];

/** Calls in endless loops until stopped; counts how each call ended. */
class Load {
  readonly codes = new Map<Code, number>();
  private stopped = false;
  private readonly workers: readonly Promise<void>[];

  constructor(workerCount: number) {
    this.workers = Array.from({ length: workerCount }, (_, worker) => this.run(worker));
  }

  count(code: Code): number {
    return this.codes.get(code) ?? 0;
  }

  /** Resolves when so many more calls have ended this way. */
  async more(code: Code, count: number): Promise<void> {
    const target = this.count(code) + count;
    await until(() => this.count(code) >= target);
  }

  async stop(): Promise<void> {
    this.stopped = true;
    await Promise.all(this.workers);
  }

  private async run(worker: number): Promise<void> {
    for (let round = 0; !this.stopped; round++) {
      const call = mixedCalls[round % mixedCalls.length];
      const code = await (call?.(`${String(worker)}-${String(round)}`) ?? Promise.resolve()).then(
        () => Code.OK,
        (error: unknown) => (error as ServiceError).code,
      );
      this.codes.set(code, this.count(code) + 1);
    }
  }
}

describe('with an ordinary Redis', () => {
  beforeEach(() => start([]));

  test('kill -9 of Redis under load: calls end UNAVAILABLE, and all is well after its restart', async () => {
    const load = new Load(24);
    await load.more(Code.OK, 300);
    await redis.stop('SIGKILL');
    await load.more(Code.UNAVAILABLE, 100);
    await redis.restart();
    await load.more(Code.OK, 300);
    await load.stop();
    const expected = new Set([Code.OK, Code.UNAVAILABLE, Code.DEADLINE_EXCEEDED]);
    expect([...load.codes.keys()].filter((code) => !expected.has(code))).toEqual([]);
    expect(service.running).toBe(true);
    // a script that Redis lost with its process came back with the first call
    expect((await cache.set({ key: 'after', value: Buffer.from('x') })).stored).toBe(true);
  });

  test('frozen Redis: every call ends while it is frozen, and answers are not mixed up afterwards', async () => {
    const load = new Load(24);
    await load.more(Code.OK, 300);
    const frozenAt = performance.now();
    redis.signal('SIGSTOP');
    await load.more(Code.DEADLINE_EXCEEDED, 24);
    // these can only be ended by the service: nobody else has a clock on them
    const calls = mixedCalls.map((call, index) => failureOf(call(`frozen-${String(index)}`)));
    const failures = await Promise.all(calls);
    expect(failures.every(({ code }) => code === Code.DEADLINE_EXCEEDED || code === Code.UNAVAILABLE)).toBe(true);
    await until(() => performance.now() - frozenAt >= FREEZE_MS);
    redis.signal('SIGCONT');
    await load.more(Code.OK, 300);
    await load.stop();

    const ids = Array.from({ length: 100 }, (_, index) => `own-${String(index)}`);
    await Promise.all(ids.map((id) => cache.set({ key: id, value: Buffer.from(id) })));
    const answers = await Promise.all(ids.map((id) => cache.get({ key: id })));
    expect(answers.map(({ entry }) => entry?.value.toString())).toEqual(ids);
    expect(service.running).toBe(true);
  });
});

describe('with a Redis of 8 MB', () => {
  beforeEach(() => start(['--maxmemory', '8mb', '--maxmemory-policy', 'noeviction']));

  /** Fills Redis until it refuses, and then some: what its own buffers give back for a moment must not let a write in. */
  async function fill(): Promise<void> {
    for (let index = 0; ; index++) {
      const stored = await redis.command('SET', `fill:${String(index)}`, 'x'.repeat(100_000)).catch(() => undefined);
      if (stored === undefined) break;
    }
    await redis.command('CONFIG', 'SET', 'maxmemory', '5mb');
  }

  test('a full Redis refuses what needs memory, and never a logout, a release or a read', async () => {
    const login = await sessions.createSession({ userId: 'ada' });
    const other = await sessions.createSession({ userId: 'bob' });
    const stolen = await sessions.createSession({ userId: 'cat' });
    const next = await sessions.rotateSession({ sessionToken: stolen.sessionToken });
    const current = await sessions.rotateSession({ sessionToken: next.sessionToken });
    const grant = await locks.acquireLock({ resources: ['trade'] });
    const token = { resources: ['trade'], lockToken: grant.lockToken };
    await cache.set({ key: 'profile', value: Buffer.from('p') });
    await rateLimits.checkRateLimit({ limits: [chatLimit('user:ada')] });
    await fill();

    const refused = [
      () => cache.set({ key: 'more', value: Buffer.from('x') }),
      () => cache.increment({ key: 'count', delta: 1n }),
      () => sessions.createSession({ userId: 'eve' }),
      () =>
        sessions.claimCharacter({
          userId: 'ada',
          characterId: 'hero',
          sessionId: login.session?.sessionId ?? '',
        }),
      () => locks.acquireLock({ resources: ['house'] }),
      () => rateLimits.checkRateLimit({ limits: [chatLimit('user:bob')] }),
    ];
    for (const call of refused) {
      expect(await failureOf(call())).toMatchObject({ code: Code.RESOURCE_EXHAUSTED, reason: 'REDIS_OUT_OF_MEMORY' });
    }

    const valid = await sessions.validateSession({ sessionToken: login.sessionToken });
    expect(valid.status).toBe(ValidateSessionStatus.VALID);
    // a retry of a rotation must find what the first try did
    const rotated = await sessions.rotateSession({ sessionToken: other.sessionToken });
    expect(rotated.status).toBe(RotateSessionStatus.ROTATED);
    for (const { sessionToken } of [stolen, current]) {
      const { end } = await sessions.validateSession({ sessionToken });
      expect(end?.cause).toBe(SessionEndCause.THEFT);
    }
    expect((await locks.extendLock({ ...token, ttlMs: 20_000n })).status).toBe(LockOwnershipStatus.DONE);
    expect((await locks.releaseLock(token)).status).toBe(LockOwnershipStatus.DONE);
    expect((await locks.getLock({ resource: 'trade' })).holders).toEqual([]);
    expect((await cache.get({ key: 'profile' })).entry?.value).toEqual(Buffer.from('p'));
    expect((await cache.touch({ keys: ['profile'] })).touched).toEqual([true]);
    expect((await cache.delete({ keys: ['profile'] })).deleted).toEqual([true]);
    const limits = [chatLimit('user:ada')];
    expect((await rateLimits.peekRateLimit({ limits })).allowed).toBe(true);
    expect((await rateLimits.resetRateLimit({ limits })).reset).toEqual([true]);
    expect((await sessions.listUserSessions({ userId: 'ada' })).totalCount).toBe(1);
    expect((await sessions.destroySession({ sessionId: login.session?.sessionId ?? '' })).destroyed).toBe(true);
    expect((await sessions.destroyUserSessions({ userId: 'bob' })).destroyedCount).toBe(1n);
    for (const { sessionToken } of [login, other]) {
      expect((await sessions.validateSession({ sessionToken })).status).toBe(ValidateSessionStatus.REVOKED);
    }

    await redis.command('FLUSHALL');
    expect((await locks.acquireLock({ resources: ['house'] })).status).toBe(AcquireLockStatus.GRANTED);
  });
});
