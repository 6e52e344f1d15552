import { status as Code } from '@grpc/grpc-js';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { SessionEndCause, type Session, type SessionEnd } from '../../src/gen/shardkeep/session/v1/session.js';
import { describeWithRedisClock, ServiceClocks, startClockedRedis, type ClockedRedis } from '../support/redis-clock.js';
import { failureOf } from '../support/client.js';
import { until } from '../support/redis-server.js';
import { policiesFile, randomNamespace, startTestService, type TestService } from '../support/service.js';

/** Deadlines to the millisecond, and what becomes of them when Redis's clock is set: nobody waits here, the clock is stepped. */

const HOUR_MS = 3_600_000;
const IDLE_MS = 60_000;
const GRANULARITY_MS = 3_000;
const ABSOLUTE_MS = 5 * IDLE_MS;
const RENEWAL_MS = 4 * IDLE_MS;
const LONGEST_MS = 31_536_000_000n;

const profile = { idle_ttl_ms: IDLE_MS, touch_granularity_ms: GRANULARITY_MS, max_sessions: 0, at_limit: 'refuse' };
const POLICIES_FILE = policiesFile({
  rpc_limits: [],
  session_profiles: {
    idle: { ...profile, absolute_ttl_ms: 0 },
    absolute: { ...profile, absolute_ttl_ms: ABSOLUTE_MS },
    renewal: { ...profile, absolute_ttl_ms: ABSOLUTE_MS, renewal_ttl_ms: RENEWAL_MS },
  },
});

interface Login {
  readonly userId: string;
  readonly session: Session;
  readonly sessionId: string;
  readonly sessionToken: string;
}

describeWithRedisClock("on Redis's clock", () => {
  let redis: ClockedRedis;
  let clocks: ServiceClocks;
  let service: TestService;

  beforeAll(async () => {
    redis = await startClockedRedis();
    clocks = new ServiceClocks();
    service = await startTestService({ REDIS_URL: redis.server.url, POLICIES_FILE });
  });
  afterAll(async () => {
    await service.stop();
    await redis.remove();
  });

  async function step(ms: number): Promise<void> {
    redis.clock.step(ms);
    await clocks.sample();
  }

  async function stepTo(timeMs: bigint): Promise<void> {
    await step(Number(timeMs) - redis.clock.nowMs);
  }

  async function login(profileName: string, userId = randomNamespace()): Promise<Login> {
    const { session, sessionToken } = await service.sessions.createSession({ userId, profile: profileName });
    if (session === undefined) throw new Error('not created');
    return { userId, session, sessionId: session.sessionId, sessionToken };
  }

  async function touch({ sessionToken }: Login): Promise<Session> {
    const { session } = await service.sessions.validateSession({ sessionToken });
    if (session === undefined) throw new Error('not valid');
    return session;
  }

  async function endOf({ sessionToken }: Login): Promise<SessionEnd | undefined> {
    return (await service.sessions.validateSession({ sessionToken })).end;
  }

  /** What is seen of a session one millisecond before a moment, and at it. */
  async function aroundMoment(player: Login, atMs: bigint): Promise<unknown> {
    const { sessionId, userId } = player;
    await stepTo(atMs - 1n);
    const { session } = await service.sessions.getSession({ sessionId });
    await stepTo(atMs);
    const { cause, endedAtMs } = (await endOf(player)) ?? {};
    const { code } = await failureOf(service.sessions.getSession({ sessionId }));
    const { totalCount } = await service.sessions.listUserSessions({ userId });
    return { expiresAtMs: session?.expiresAtMs, cause, endedAtMs, code, totalCount };
  }

  /** Live one millisecond before the moment, and ended at it. */
  function endAt(atMs: bigint, cause: SessionEndCause): unknown {
    return { expiresAtMs: atMs, cause, endedAtMs: atMs, code: Code.NOT_FOUND, totalCount: 0 };
  }

  test('silence ends a session one granularity after its idle TTL', async () => {
    const player = await login('idle');
    const endMs = player.session.createdAtMs + BigInt(IDLE_MS + GRANULARITY_MS);
    expect(await aroundMoment(player, endMs)).toEqual(endAt(endMs, SessionEndCause.EXPIRED_IDLE));
  });

  test('a touch is written one granularity after the last, and what is not written still counts', async () => {
    const player = await login('idle');
    await step(GRANULARITY_MS - 1);
    // the last activity, which Redis does not learn of
    expect((await touch(player)).lastActiveMs).toBe(player.session.lastActiveMs);
    const silentSince = redis.clock.nowMs;
    await step(IDLE_MS);
    expect((await touch(player)).lastActiveMs).toBe(BigInt(silentSince + IDLE_MS));

    const other = await login('idle');
    await step(GRANULARITY_MS);
    const touched = await touch(other);
    expect(touched.lastActiveMs).toBe(BigInt(redis.clock.nowMs));
    const endMs = BigInt(redis.clock.nowMs + IDLE_MS + GRANULARITY_MS);
    expect(await aroundMoment(other, endMs)).toEqual(endAt(endMs, SessionEndCause.EXPIRED_IDLE));
  });

  test('an extension is exact, and activity right before it counts as any does', async () => {
    const player = await login('idle');
    await step(1_000);
    const { session } = await service.sessions.extendSession({ sessionId: player.sessionId, ttlMs: 100_000n });
    const endMs = BigInt(redis.clock.nowMs + 100_000);
    expect(session?.expiresAtMs).toBe(endMs);
    expect(await aroundMoment(player, endMs)).toEqual(endAt(endMs, SessionEndCause.EXPIRED_IDLE));

    const other = await login('idle');
    await step(IDLE_MS);
    const extended = (await service.sessions.extendSession({ sessionId: other.sessionId, ttlMs: 1n })).session;
    expect(extended?.expiresAtMs).toBe(BigInt(redis.clock.nowMs + IDLE_MS + GRANULARITY_MS));
  });

  describe('however active it is, a session ends', () => {
    const bounds = [
      ['at its absolute lifetime', 'absolute', ABSOLUTE_MS, SessionEndCause.EXPIRED_ABSOLUTE],
      ['at its renewal TTL', 'renewal', RENEWAL_MS, SessionEndCause.EXPIRED_RENEWAL],
      ['when it was announced', 'idle', 100_000, SessionEndCause.DESTROYED],
    ] as const;
    test.each(bounds)('%s', async (_, profileName, lifetimeMs, cause) => {
      const player = await login(profileName);
      const { sessionId } = player;
      const endMs = player.session.createdAtMs + BigInt(lifetimeMs);
      if (cause === SessionEndCause.DESTROYED) {
        await service.sessions.destroySession({ sessionId, reason: 'kick', effectiveInMs: BigInt(lifetimeMs) });
      }
      for (let turn = 0; redis.clock.nowMs + GRANULARITY_MS < endMs; turn++) {
        await step(GRANULARITY_MS);
        if (turn % 3 === 0) await touch(player);
        else if (turn % 3 === 1) await service.sessions.updateSession({ sessionId });
        else await service.sessions.extendSession({ sessionId, ttlMs: LONGEST_MS });
      }
      expect(await aroundMoment(player, endMs)).toEqual(endAt(endMs, cause));
    });
  });

  describe('set back by', () => {
    test.each([2_000, HOUR_MS])('%d ms ends nothing early, and what is over once it is there again', async (backMs) => {
      const player = await login('idle');
      await step(GRANULARITY_MS);
      const before = await touch(player);
      await step(-backMs);
      expect(await touch(player)).toEqual(before);
      const { sessionId } = player;
      const versions = [before.version];
      for (let count = 0; count < 3; count++) {
        versions.push((await service.sessions.updateSession({ sessionId })).session?.version ?? 0n);
      }
      expect(versions).toEqual([...new Set(versions)].toSorted((a, b) => (a < b ? -1 : 1)));
      const { session } = await service.sessions.extendSession({ sessionId, ttlMs: 1n });
      expect(session).toMatchObject({ expiresAtMs: before.expiresAtMs, lastActiveMs: before.lastActiveMs });
      const endMs = before.expiresAtMs;
      expect(await aroundMoment(player, endMs)).toEqual(endAt(endMs, SessionEndCause.EXPIRED_IDLE));
    });

    test('an hour keeps the order of creation, and DestroyUserSessions ends what was created before', async () => {
      const userId = randomNamespace();
      const first = await login('idle', userId);
      await step(-HOUR_MS);
      const second = await login('idle', userId);
      const { sessions } = await service.sessions.listUserSessions({ userId });
      expect(sessions.map(({ sessionId }) => sessionId)).toEqual([first.sessionId, second.sessionId]);
      expect((await service.sessions.destroyUserSessions({ userId })).destroyedCount).toBe(2n);
      const third = await login('idle', userId);
      expect((await service.sessions.listUserSessions({ userId })).sessions).toEqual([third.session]);
      await step(HOUR_MS);
    });

    test('an hour leaves events in the order they were told', async () => {
      const player = await login('idle');
      await step(-HOUR_MS);
      await service.sessions.destroySession({ sessionId: player.sessionId });
      const streams = (await redis.server.command('KEYS', `${service.namespace}:sessions:*:events`)) as string[];
      const events = await Promise.all(streams.map((stream) => redis.server.command('XRANGE', stream, '-', '+')));
      const told = (events as [string, string[]][][]).flat().filter(([, fields]) => fields.includes(player.sessionId));
      expect(told.map(([, fields]) => fields[1])).toEqual(['created', 'destroyed']);
      await step(HOUR_MS);
    });
  });

  describe('set forward by an hour', () => {
    test('ends what is over, for the moment it was over at', async () => {
      const player = await login('idle');
      const { sessionId, session } = player;
      await step(HOUR_MS);
      expect(await endOf(player)).toMatchObject({
        cause: SessionEndCause.EXPIRED_IDLE,
        endedAtMs: session.expiresAtMs,
      });
      const update = await failureOf(service.sessions.updateSession({ sessionId }));
      const extend = await failureOf(service.sessions.extendSession({ sessionId, ttlMs: LONGEST_MS }));
      expect([update.code, extend.code]).toEqual([Code.NOT_FOUND, Code.NOT_FOUND]);
    });

    test('is known to plain reads within seconds, without being told', async () => {
      const player = await login('idle');
      redis.clock.step(HOUR_MS);
      await until(async () => (await endOf(player)) !== undefined);
      expect((await endOf(player))?.cause).toBe(SessionEndCause.EXPIRED_IDLE);
    });
  });
});
