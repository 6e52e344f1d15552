import { expect, test } from '@jest/globals';
import { SessionEndCause } from '../../src/gen/shardkeep/session/v1/session.js';
import { keys, partitionOfUser } from '../../src/redis/keys.js';
import { rawRedis } from '../support/raw-redis.js';
import { until } from '../support/redis-server.js';
import { onEachTopology, policiesFile, randomNamespace, sharedRedisUrl, startTestService } from '../support/service.js';

/** GetSessionStats adds up what the scripts count, whichever process ran them. */

const MINUTE_MS = 60_000;
const profile = { idle_ttl_ms: 600_000, absolute_ttl_ms: 0, touch_granularity_ms: 0 };
const POLICIES_FILE = policiesFile({
  rpc_limits: [],
  session_profiles: { two: { ...profile, max_sessions: 2, at_limit: 'evict_oldest' } },
});

onEachTopology(
  'GetSessionStats',
  (service, topology) => {
    test('tells the sessions of all processes: how many, of how many users, and how they ended', async () => {
      const { sessions, namespace } = service();
      const nothing = {
        activeSessions: 0n,
        activeUsers: 0n,
        createdCount: 0n,
        createdLastMinute: 0n,
        ended: [],
        meanDurationMs: 0n,
        extendedCount: 0n,
        rotatedCount: 0n,
        foreignTokenCount: 0n,
        foreignTokenSources: [],
      };
      expect(await sessions.getSessionStats({})).toEqual(nothing);

      const other = await startTestService({
        REDIS_URL: sharedRedisUrl(topology),
        NAMESPACE: namespace,
        POLICIES_FILE,
      });
      const users = Array.from({ length: 20 }, (_, index) => `user ${String(index)}`);
      const login = (userId: string) => other.sessions.createSession({ userId, profile: 'two' });
      for (let round = 0; round < 2; round++) await Promise.all(users.map(login));
      // evicts one; another two are destroyed, one with the last session of its user
      await login('user 0');
      await sessions.destroyUserSessions({ userId: 'user 1' });
      await sessions.createSession({ userId: 'idler', idleTtlMs: 1n });
      await until(async () => {
        await sessions.cleanupExpiredSessions({});
        return (await sessions.getSessionStats({})).ended.length === 3;
      });
      const stats = await other.sessions.getSessionStats({});
      expect(stats).toEqual({
        ...nothing,
        activeSessions: 38n,
        activeUsers: 19n,
        createdCount: 42n,
        createdLastMinute: stats.createdLastMinute,
        ended: [
          { cause: SessionEndCause.DESTROYED, count: 2n },
          { cause: SessionEndCause.EVICTED, count: 1n },
          { cause: SessionEndCause.EXPIRED_IDLE, count: 1n },
        ],
        meanDurationMs: stats.meanDurationMs,
      });
      await other.stop();
    });

    test('the mean duration is that of the sessions that have ended', async () => {
      const namespace = randomNamespace();
      const own = await startTestService({ REDIS_URL: sharedRedisUrl(topology), NAMESPACE: namespace });
      const durations: bigint[] = [];
      for (const userId of ['one', 'other']) {
        const { session, sessionToken } = await own.sessions.createSession({ userId });
        await own.sessions.destroySession({ sessionId: session?.sessionId ?? '' });
        const { end } = await own.sessions.validateSession({ sessionToken });
        durations.push((end?.endedAtMs ?? 0n) - (session?.createdAtMs ?? 0n));
      }
      const sum = Number(durations.reduce((total, each) => total + each));
      expect((await own.sessions.getSessionStats({})).meanDurationMs).toBe(BigInt(Math.round(sum / 2)));
      await own.stop();
    });

    test('sessions are counted by minute, and the last whole one is told', async () => {
      const raw = await rawRedis(topology);
      const namespace = randomNamespace();
      const own = await startTestService({ REDIS_URL: sharedRedisUrl(topology), NAMESPACE: namespace });
      const { counters } = keys.sessions(namespace, partitionOfUser('ada'));
      // a minute that ends while the test looks would be another one; Redis has the clock of this machine
      await until(() => Date.now() % MINUTE_MS < MINUTE_MS - 5_000);
      const minute = Math.floor(Date.now() / MINUTE_MS);
      const last = async (): Promise<bigint> => (await own.sessions.getSessionStats({})).createdLastMinute;
      const write = (field: string): Promise<unknown> => raw.command('HSET', counters, 'created_minute', field);
      const read = async (): Promise<string> => String(await raw.command('HGET', counters, 'created_minute'));
      const login = () => own.sessions.createSession({ userId: 'ada' });

      await login();
      expect(await read()).toBe(`${String(minute)}:1:0`);
      expect(await last()).toBe(0n);
      await write(`${String(minute - 1)}:7:3`);
      expect(await last()).toBe(7n);
      await login();
      await login();
      expect(await read()).toBe(`${String(minute)}:2:7`);
      expect(await last()).toBe(7n);
      await write(`${String(minute - 2)}:7:3`);
      expect(await last()).toBe(0n);
      await login();
      expect(await read()).toBe(`${String(minute)}:1:0`);
      await own.stop();
      await raw.close();
    });
  },
  { POLICIES_FILE },
);
