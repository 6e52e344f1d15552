import { keys, partitionOfUser } from '../../src/redis/keys.js';
import { admitNow } from '../lock/quorum/quorum-support.js';
import { login, SessionWatching } from '../session/watch-support.js';
import type { SteppedClock } from '../support/clocked-redis.js';
import { metricsOf } from '../support/metrics.js';
import { ServiceClocks, startClockedRedis } from '../support/redis-clock.js';
import { startRedis, until } from '../support/redis-server.js';
import { randomNamespace, startTestService } from '../support/service.js';
import { SharedPlace, type Fault } from './faults.js';

/** Faults that take their time, and those of a clock: on a Redis, also a master of locks, whose clock is the test's. */

const LATE_MS = 8_000;
const UNSWEPT_MS = 30_000;
const SKEW_MS = 60_000;

let clocks: ServiceClocks | undefined;
let clock: SteppedClock | undefined;
let offsetMs = 0;

const CLOCKED = new SharedPlace(async () => {
  clocks = new ServiceClocks();
  const clocked = await startClockedRedis();
  const { server: redis } = clocked;
  ({ clock } = clocked);
  clock.runAt(offsetMs);
  const others = await Promise.all([startRedis(), startRedis()]);
  const masters = [redis, ...others];
  const service = await startTestService({
    REDIS_URL: redis.url,
    NAMESPACE: await admitNow(masters),
    LOCK_REDIS_URLS: masters.map(({ url }) => url).join(),
  });
  const removeAll = (): Promise<unknown> => Promise.all([clocked.remove(), ...others.map((other) => other.remove())]);
  return { redis, service, remove: removeAll };
});

/** So much time passes for Redis, and the service knows. */
async function pass(ms: number): Promise<void> {
  offsetMs += ms;
  clock?.runAt(offsetMs);
  await clocks?.sample();
}

/** Its clock is not that of the other masters then. */
const WHILE_TIME_PASSES = ['ShardkeepLockClockSkew', 'ShardkeepLocksLost', 'ShardkeepSweepLag'];

let watch: SessionWatching | undefined;
const watched = randomNamespace();

export const CLOCK_FAULTS: readonly Fault[] = [
  {
    name: 'nobody is told of an event',
    alerts: ['ShardkeepSessionEventsLate'],
    perhaps: WHILE_TIME_PASSES,
    place: CLOCKED,
    begin: async ({ service }) => {
      watch = await new SessionWatching(service.channel, { userIds: [watched] }).begun();
    },
    goOn: async ({ redis, service }) => {
      const { events } = keys.sessions(service.namespace, partitionOfUser(watched));
      await redis.command('XADD', events, '*', 'type', 'created', 'session', 's', 'user', watched);
      await pass(LATE_MS);
      const sessionId = await login(service.sessions, watched);
      // it comes with the next one
      await watch?.until((response) => response.events.some((event) => event.sessionId === sessionId));
    },
    end: async () => {
      watch?.stream.cancel();
      return Promise.resolve();
    },
  },
  {
    name: 'nobody sweeps for half a minute',
    alerts: ['ShardkeepSweepLag'],
    perhaps: WHILE_TIME_PASSES,
    place: CLOCKED,
    goOn: async ({ service }) => {
      // in so many partitions that one of them is looked at soon
      const users = Array.from({ length: 50 }, () => randomNamespace());
      await Promise.all(users.map((userId) => service.sessions.createSession({ userId, idleTtlMs: 1_000n })));
      await pass(UNSWEPT_MS);
      await until(async () => ((await metricsOf(service)).get('shardkeep_session_sweep_lag_seconds') ?? 0) > 10);
    },
  },
  {
    name: 'the clock of a lock master is wrong',
    alerts: ['ShardkeepLockClockSkew'],
    perhaps: WHILE_TIME_PASSES,
    place: CLOCKED,
    begin: () => pass(SKEW_MS),
  },
];
