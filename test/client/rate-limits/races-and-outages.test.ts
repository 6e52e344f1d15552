import { status as Code } from '@grpc/grpc-js';
import { expect, test } from '@jest/globals';
import { UnavailableError, type RateLimitDecision } from '../../../src/client/index.js';
import { errorOf } from '../../support/client-error.js';
import { freePort, startRedis, until } from '../../support/redis-server.js';
import { onEachTopology, sharedRedisUrl, startTestService } from '../../support/service.js';
import { startTcpProxy } from '../../support/tcp-proxy.js';
import { ClientsOfTest, exactly, someone } from './support.js';

const clients = new ClientsOfTest();

onEachTopology('racing clients', (service) => {
  test('are admitted as often as the limit says, however they ask', async () => {
    const limit = { subject: someone(), policy: exactly(40) };
    const racing = Array.from({ length: 4 }, (_, index) =>
      clients.rateLimits(service().address, { transport: index % 2 === 0 ? 'pipeline' : 'unary' }),
    );
    const decisions: Promise<RateLimitDecision[]>[] = racing.flatMap((limits) =>
      Array.from({ length: 10 }, () => [
        limits.checkRateLimit(limit).then((decision) => [decision]),
        limits.checkRateLimit(limit, { retrySafe: true }).then((decision) => [decision]),
        limits.checkManyRateLimits([{ limits: limit }, { limits: limit }]).then((many) => [...many]),
        limits.reserveRateLimit(limit).then(({ decision }) => [decision]),
      ]).flat(),
    );
    const admitted = (await Promise.all(decisions)).flat().filter(({ allowed }) => allowed);
    expect(admitted).toHaveLength(40);
    // each was told another number of units that are left
    expect(new Set(admitted.map(({ remaining }) => remaining)).size).toBe(40);
    expect(await racing[0]?.peekRateLimit(limit)).toMatchObject({ allowed: false, remaining: 0 });
  });
});

test.each(['pipeline', 'unary'] as const)('a connection that is cut under %s calls', async (transport) => {
  const service = await startTestService({ REDIS_URL: sharedRedisUrl('standalone') });
  const proxy = await startTcpProxy(Number(service.address.split(':').at(-1)));
  const limits = clients.rateLimits(`127.0.0.1:${String(proxy.port)}`, { transport });
  const direct = clients.rateLimits(service.address);
  await limits.listPolicies();
  /** Loses the answer of the call that is made, and its connection. */
  const cutUnder = async (subject: string, policy: string): Promise<void> => {
    await proxy.holds(policy);
    proxy.cut(subject);
    proxy.release();
  };

  // an id makes the second try the same call
  const charged = { subject: someone(), policy: exactly(10, 'charged-once') };
  for (const call of ['checkRateLimit', 'reserveRateLimit'] as const) {
    proxy.hold(charged.subject);
    const decided = limits[call](charged, { retrySafe: true });
    await cutUnder(charged.subject, 'charged-once');
    expect(await decided).toMatchObject(call === 'checkRateLimit' ? { allowed: true } : { status: 'reserved' });
  }
  expect(await direct.peekRateLimit(charged)).toMatchObject({ remaining: 8 });

  // without one nobody knows, and it is not tried again
  const unknown = { subject: someone(), policy: exactly(10, 'not-repeated') };
  proxy.hold(unknown.subject);
  const failed = errorOf(limits.checkRateLimit(unknown));
  await cutUnder(unknown.subject, 'not-repeated');
  const error = await failed;
  expect(error).toBeInstanceOf(UnavailableError);
  expect(error).toMatchObject({ outcomeUnknown: true });
  expect(await direct.peekRateLimit(unknown)).toMatchObject({ remaining: 9 });

  // what the proto calls safe is; an answer in between, since two streams in a row without one are an outage to the client
  await until(async () => (await limits.listPolicies()).policies.length > 0);
  const banned = someone();
  proxy.hold(banned);
  const ban = limits.ban(banned, 60_000);
  await proxy.held(1);
  proxy.cut(banned);
  proxy.release();
  expect(await ban).toBeGreaterThan(0);
  await proxy.close();
  await service.stop();
});

test('a service that is away is told as unavailable', async () => {
  const limits = clients.rateLimits(`127.0.0.1:${String(await freePort())}`);
  const errors = await Promise.all(
    [
      limits.check(someone(), 'chat'),
      limits.check(someone(), 'chat', { retrySafe: true }),
      limits.peekRateLimit({ subject: someone(), policy: 'chat' }),
      limits.reserveRateLimit({ subject: someone(), policy: 'chat' }),
      limits.listBans().next(),
    ].map((call) => errorOf(call)),
  );
  for (const error of errors) expect(error).toBeInstanceOf(UnavailableError);
});

test('while Redis is away the policies say what holds', async () => {
  const redis = await startRedis();
  const service = await startTestService({ REDIS_URL: redis.url });
  const limits = clients.rateLimits(service.address, { retry: { maxAttempts: 1 } });
  const subject = someone();
  expect(await limits.check(subject, 'api')).toMatchObject({ degraded: false });
  await redis.stop('SIGKILL');

  await until(async () => (await limits.check(subject, 'api')).degraded);
  expect(await limits.check(subject, 'api')).toMatchObject({
    ...{ allowed: true, status: 'not_checked', remaining: 0, resetAtMs: undefined, degraded: true },
  });
  expect(await limits.check(subject, 'auth')).toMatchObject({ allowed: false, status: 'over', degraded: true });
  expect(await limits.reserveRateLimit({ subject, policy: 'api' })).toMatchObject({ status: 'admitted' });
  expect(await limits.reserveRateLimit({ subject, policy: 'auth' })).toMatchObject({ status: 'denied' });
  expect((await errorOf(limits.check(subject, exactly(5)))).code).toBe(Code.UNAVAILABLE);
  expect((await errorOf(limits.peekRateLimit({ subject, policy: 'api' }))).code).toBe(Code.UNAVAILABLE);
  await redis.restart();
  await until(async () => !(await limits.check(subject, 'api')).degraded);
  await service.stop();
  await redis.remove();
});
