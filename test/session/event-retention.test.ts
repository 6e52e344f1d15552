import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { keys, partitionOfUser } from '../../src/redis/keys.js';
import { describeWithRedisClock, startClockedRedis, type ClockedRedis } from '../support/redis-clock.js';
import { policiesFile, startTestService, type TestService } from '../support/service.js';
import { brief, login, SessionWatching } from './watch-support.js';

/** How many events are kept, by a clock that steps. */

const MINUTE_MS = 60_000;
const DAY_MS = 1_440 * MINUTE_MS;
const POLICIES_FILE = policiesFile({
  rpc_limits: [],
  session_profiles: {
    default: {
      ...{ idle_ttl_ms: 30 * DAY_MS, absolute_ttl_ms: 0, touch_granularity_ms: 0 },
      ...{ max_sessions: 1, at_limit: 'evict_oldest' },
    },
  },
});

describeWithRedisClock('the events of a partition', () => {
  const userId = 'ada';
  let redis: ClockedRedis;
  let service: TestService;
  beforeAll(async () => {
    redis = await startClockedRedis();
    service = await startTestService({ REDIS_URL: redis.server.url, POLICIES_FILE });
  });
  afterAll(async () => {
    await service.stop();
    await redis.remove();
  });

  /** Two events each but for the first: one session goes, another comes. */
  async function logins(count: number): Promise<void> {
    for (let done = 0; done < count; done++) await login(service.sessions, userId);
  }
  async function length(): Promise<number> {
    const { events } = keys.sessions(service.namespace, partitionOfUser(userId));
    return Number(await redis.server.command('XLEN', events));
  }

  test('do not pile up while their ids are ahead of a clock that was set back, and are told all the same', async () => {
    redis.clock.step(DAY_MS);
    await logins(1);
    redis.clock.step(-DAY_MS);
    for (let hour = 0; hour < 6; hour++) {
      await logins(200);
      for (let steps = 0; steps < 4; steps++) {
        redis.clock.step(15 * MINUTE_MS);
        await logins(1);
      }
    }
    // whole nodes are trimmed, of at most 100
    expect(await length()).toBeLessThanOrEqual(1_100);

    const watching = await new SessionWatching(service.channel, { userIds: [userId] }).begun();
    const sessionId = await login(service.sessions, userId);
    expect(brief(await watching.untilEvents(2)).at(-1)).toBe(`created ${sessionId}`);
    watching.stream.cancel();
    const behind = new SessionWatching(service.channel, { userIds: [userId], cursor: watching.cursor });
    const next = await login(service.sessions, userId);
    expect(brief(await behind.untilEvents(2))).toEqual([`evicted ${sessionId}`, `created ${next}`]);
    expect(behind.resyncs).toBe(0);
    behind.stream.cancel();

    // when the clock has come that far, they go by their age again
    redis.clock.step(2 * DAY_MS);
    await logins(101);
    expect(await length()).toBeLessThanOrEqual(302);
  });
});
