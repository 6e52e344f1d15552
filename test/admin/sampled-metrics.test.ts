import { afterEach, expect, test } from '@jest/globals';
import { SessionServiceService } from '../../src/gen/shardkeep/session/v1/session.js';
import { metricsOf, type Samples } from '../support/metrics.js';
import { until } from '../support/redis-server.js';
import { randomNamespace, sharedRedisUrl, startTestService, TOPOLOGIES, type TestService } from '../support/service.js';
import { openStream } from '../support/stream-client.js';

/** What one process of all asks Redis about all sessions and locks, for Prometheus. */

const running: TestService[] = [];

afterEach(async () => {
  await Promise.all(running.splice(0).map((service) => service.stop()));
});

test.each(TOPOLOGIES)('of several processes one tells of all sessions and locks on %s', async (topology) => {
  const env = { REDIS_URL: sharedRedisUrl(topology), NAMESPACE: randomNamespace() };
  const [service, other] = await Promise.all([startTestService(env), startTestService(env)]);
  running.push(service, other);
  const users = ['ann', 'ann', 'bob', 'cid'];
  const created = await Promise.all(users.map((userId) => service.sessions.createSession({ userId })));
  const [, , , last] = created.map(({ session }) => session?.sessionId ?? '');
  await service.sessions.destroySession({ sessionId: last ?? '', reason: 'logout' });
  await service.locks.acquireLock({ resources: ['gate'], ttlMs: 60_000n });
  const labels = `{namespace="${service.namespace}"}`;
  const bothSay = async (): Promise<readonly Samples[]> =>
    (await Promise.all([metricsOf(service), metricsOf(other)])).filter((told) =>
      told.has(`shardkeep_session_active${labels}`),
    );
  await until(async () => {
    const [told] = await bothSay();
    return told?.has(`shardkeep_lock_held${labels}`) === true;
  });
  const tellers = await bothSay();
  expect(tellers).toHaveLength(1);
  const told = (name: string): number | undefined => tellers[0]?.get(`shardkeep_${name}${labels}`);
  expect(told('session_active')).toBe(3);
  expect(told('session_users')).toBe(2);
  expect(told('session_lifetimes_total')).toBe(1);
  expect(told('session_lifetime_seconds_total')).toBeGreaterThan(0);
  expect(told('session_extensions_total')).toBe(0);
  expect(told('lock_held')).toBe(1);
});

test('the age of events is counted when they are read for somebody', async () => {
  const service = await startTestService({ REDIS_URL: sharedRedisUrl('standalone') });
  running.push(service);
  const watching = openStream(service.channel, SessionServiceService.watchSessions, { all: true });
  watching.result.catch(() => undefined);
  await watching.untilMessages(1);
  const count = async (): Promise<number | undefined> =>
    (await metricsOf(service)).get('shardkeep_session_event_age_seconds_count');
  expect(await count()).toBe(0);
  await service.sessions.createSession({ userId: 'ann' });
  await until(async () => (await count()) === 1);
});
