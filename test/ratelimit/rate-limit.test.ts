import { status as Code } from '@grpc/grpc-js';
import { describe, expect, test } from '@jest/globals';
import { CreateSessionStatus } from '../../src/gen/shardkeep/session/v1/session.js';
import {
  Algorithm,
  Enforcement,
  LimitStatus,
  RateLimitServiceService,
  type Limit,
} from '../../src/gen/shardkeep/ratelimit/v1/ratelimit.js';
import { failureOf, TestChannel, type PromiseClient } from '../support/client.js';
import { commandOn, until } from '../support/redis-server.js';
import { onEachTopology, policiesFile, randomNamespace, sharedRedisUrl, startTestService } from '../support/service.js';

const MINUTE_MS = 60_000;

function named(subject: string, policyName: string): Limit {
  return { subject, policy: { $case: 'policyName', value: policyName } };
}

function inline(subject: string, limit: number, windowMs = MINUTE_MS, name = 'inline'): Limit {
  const value = { name, algorithm: Algorithm.SLIDING_EXACT, limit, windowMs: BigInt(windowMs) };
  return { subject, policy: { $case: 'inlinePolicy', value } };
}

const someone = (): string => `user:${randomNamespace()}`;

const POLICIES_FILE = policiesFile({
  rate_policies: { five: { algorithm: 'sliding_exact', limit: 5, window_ms: MINUTE_MS } },
});

onEachTopology(
  'rate limits',
  (service, topology) => {
    /** So many clients, each with a connection of its own. */
    const clients = (count: number): { limits: PromiseClient<typeof RateLimitServiceService>[]; close: () => void } => {
      const channels = Array.from({ length: count }, () => new TestChannel(service().address));
      return {
        limits: channels.map((channel) => channel.of(RateLimitServiceService)),
        close: () => {
          for (const channel of channels) channel.close();
        },
      };
    };

    describe('one limit', () => {
      test('admits up to the limit, tells what is left, then denies until the first unit is a window old', async () => {
        const { rateLimits } = service();
        const limits = [named(someone(), 'five')];
        const replies = [];
        for (let count = 0; count < 6; count++) replies.push(await rateLimits.checkRateLimit({ limits }));
        expect(replies.map(({ allowed }) => allowed)).toEqual([true, true, true, true, true, false]);
        expect(replies.map((reply) => reply.limits[0]?.remaining)).toEqual([4, 3, 2, 1, 0, 0]);
        expect(replies.map((reply) => reply.limits[0]?.status)).toEqual([
          LimitStatus.OK,
          LimitStatus.OK,
          LimitStatus.OK,
          LimitStatus.NEAR,
          LimitStatus.NEAR,
          LimitStatus.OVER,
        ]);
        const denied = replies[5];
        expect(denied?.retryAfterMs).toBeGreaterThan(0n);
        expect(denied?.retryAfterMs).toBeLessThanOrEqual(BigInt(MINUTE_MS));
        expect(denied?.limits[0]).toMatchObject({
          policy: 'five',
          limit: 5,
          resetAtMs: replies[4]?.limits[0]?.resetAtMs,
        });
      });

      test('a subject with nothing in use is reset now', async () => {
        const reply = await service().rateLimits.peekRateLimit({ limits: [inline(someone(), 3)] });
        expect(reply.limits[0]).toMatchObject({ remaining: 3, retryAfterMs: 0n, status: LimitStatus.OK });
        expect(reply.limits[0]?.resetAtMs).toBeGreaterThan(0n);
      });

      test('cost counts units, and a call that asks for more than is left is denied whole', async () => {
        const { rateLimits } = service();
        const limits = [inline(someone(), 10)];
        expect((await rateLimits.checkRateLimit({ limits, cost: 7 })).limits[0]?.remaining).toBe(3);
        expect((await rateLimits.checkRateLimit({ limits, cost: 4 })).allowed).toBe(false);
        expect((await rateLimits.checkRateLimit({ limits, cost: 3 })).limits[0]?.remaining).toBe(0);
      });

      test('units come back when they are a window old', async () => {
        const { rateLimits } = service();
        const limits = [inline(someone(), 2, 50)];
        expect((await rateLimits.checkRateLimit({ limits, cost: 2 })).allowed).toBe(true);
        await until(async () => (await rateLimits.peekRateLimit({ limits, cost: 2 })).allowed);
        expect((await rateLimits.checkRateLimit({ limits, cost: 2 })).allowed).toBe(true);
      });

      test('a raised or lowered limit keeps what was charged', async () => {
        const { rateLimits } = service();
        const subject = someone();
        await rateLimits.checkRateLimit({ limits: [inline(subject, 4)], cost: 4 });
        expect((await rateLimits.checkRateLimit({ limits: [inline(subject, 10)], cost: 6 })).allowed).toBe(true);
        const lowered = await rateLimits.peekRateLimit({ limits: [inline(subject, 5)] });
        expect(lowered.limits[0]).toMatchObject({ status: LimitStatus.OVER, remaining: 0 });
      });

      test('inline and configured policies of one name never meet', async () => {
        const { rateLimits } = service();
        const subject = someone();
        await rateLimits.checkRateLimit({ limits: [named(subject, 'five')], cost: 5 });
        const reply = await rateLimits.checkRateLimit({ limits: [inline(subject, 5, MINUTE_MS, 'five')], cost: 5 });
        expect(reply.allowed).toBe(true);
      });
    });

    test('peek charges nothing, reset forgets', async () => {
      const { rateLimits } = service();
      const limits = [inline(someone(), 5), inline(someone(), 5)];
      await rateLimits.checkRateLimit({ limits, cost: 5 });
      for (let count = 0; count < 3; count++) {
        expect((await rateLimits.peekRateLimit({ limits })).allowed).toBe(false);
      }
      expect((await rateLimits.resetRateLimit({ limits: [...limits, inline(someone(), 5)] })).reset).toEqual([
        true,
        true,
        false,
      ]);
      expect((await rateLimits.peekRateLimit({ limits, cost: 5 })).allowed).toBe(true);
      expect((await rateLimits.checkRateLimit({ limits, cost: 5 })).allowed).toBe(true);
    });

    test('ListPolicies answers what is configured, by name', async () => {
      const { policies } = await service().rateLimits.listPolicies({});
      const names = policies.map(({ name }) => name);
      expect(names).toEqual(['api', 'auth', 'chat', 'combat', 'five', 'movement', 'session_create']);
      expect(policies[1]).toMatchObject({
        ...{ name: 'auth', algorithm: Algorithm.SLIDING_EXACT, limit: 5, windowMs: 900_000n },
        enforcement: Enforcement.ON,
      });
    });

    test('200 parallel checks at limit 37 admit exactly 37', async () => {
      const { limits: callers, close } = clients(4);
      const limits = [inline(someone(), 37)];
      const replies = await Promise.all(
        callers.flatMap((caller) => Array.from({ length: 50 }, () => caller.checkRateLimit({ limits }))),
      );
      expect(replies.filter(({ allowed }) => allowed)).toHaveLength(37);
      close();
    });

    describe('several limits in one call', () => {
      test('one that is over denies all, and the call is charged nowhere', async () => {
        const { rateLimits } = service();
        const limits = [inline(someone(), 5), inline(someone(), 1)];
        expect((await rateLimits.checkRateLimit({ limits })).atomic).toBe(topology === 'standalone');
        const before = await rateLimits.peekRateLimit({ limits });
        const denied = await rateLimits.checkRateLimit({ limits });
        expect(denied.allowed).toBe(false);
        expect(denied.limits.map(({ status }) => status)).toEqual([LimitStatus.OK, LimitStatus.OVER]);
        expect(denied.limits.map(({ remaining }) => remaining)).toEqual([4, 0]);
        const after = await rateLimits.peekRateLimit({ limits });
        expect(after.limits.map(({ remaining }) => remaining)).toEqual(before.limits.map(({ remaining }) => remaining));
      });

      test('limits of one subject are one atomic step everywhere', async () => {
        const subject = someone();
        const limits = [inline(subject, 5, MINUTE_MS, 'a'), inline(subject, 5, MINUTE_MS, 'b')];
        expect((await service().rateLimits.checkRateLimit({ limits })).atomic).toBe(true);
      });

      test('in a race of 200 every limit is charged exactly what was admitted', async () => {
        const { limits: callers, close } = clients(4);
        const shared = inline(someone(), 60);
        const own = Array.from({ length: 4 }, (_, index) => inline(someone(), 10 + 5 * index));
        const replies = await Promise.all(
          Array.from({ length: 200 }, async (_, index) => {
            const mine = own[index % own.length] ?? shared;
            const reply = await callers[index % callers.length]?.checkRateLimit({ limits: [mine, shared] });
            return { mine, allowed: reply?.allowed === true };
          }),
        );
        const admitted = (limit: Limit): number =>
          replies.filter(({ mine, allowed }) => allowed && (limit === shared || mine === limit)).length;
        for (const limit of [...own, shared]) {
          const { limits } = await service().rateLimits.peekRateLimit({ limits: [limit] });
          const [state] = limits;
          expect(admitted(limit)).toBe((state?.limit ?? 0) - (state?.remaining ?? 0));
          expect(admitted(limit)).toBeLessThanOrEqual(state?.limit ?? 0);
        }
        // on one Redis nothing is denied that had room
        if (topology === 'standalone') expect(admitted(shared)).toBe(60);
        close();
      });
    });

    describe('the policy of an RPC', () => {
      test('CreateSession is limited for each user, and for each ip', async () => {
        const { sessions } = service();
        const userId = randomNamespace();
        for (let count = 0; count < 10; count++) {
          expect((await sessions.createSession({ userId })).status).toBe(CreateSessionStatus.CREATED);
        }
        const failure = await failureOf(sessions.createSession({ userId }));
        expect(failure).toMatchObject({ code: Code.RESOURCE_EXHAUSTED, reason: 'RATE_LIMITED' });
        expect(failure.retryAfterMs).toBeGreaterThan(0);

        const metadata = new Map([['ip', randomNamespace()]]);
        for (let count = 0; count < 10; count++) await sessions.createSession({ userId: randomNamespace(), metadata });
        const other = await failureOf(sessions.createSession({ userId: randomNamespace(), metadata }));
        expect(other.reason).toBe('RATE_LIMITED');
        expect((await sessions.createSession({ userId: randomNamespace() })).status).toBe(CreateSessionStatus.CREATED);
      });

      test('a wrong request is charged to nobody', async () => {
        const { sessions } = service();
        const userId = randomNamespace();
        for (let count = 0; count < 12; count++) {
          const failure = await failureOf(sessions.createSession({ userId, profile: 'nobodys' }));
          expect(failure.code).toBe(Code.INVALID_ARGUMENT);
        }
        expect((await sessions.createSession({ userId })).status).toBe(CreateSessionStatus.CREATED);
      });
    });
  },
  { POLICIES_FILE, MAX_SESSIONS_PER_USER: '0' },
);

onEachTopology('bad limits', (service) => {
  test.each([
    ['an unknown policy', { limits: [named('user:1', 'nobodys')] }, 'limits[0].policy_name'],
    ['a pair twice', { limits: [inline('user:1', 5), inline('user:1', 6)] }, 'limits[1]'],
    ['a cost above a limit', { limits: [inline('user:1', 50), inline('user:2', 5)], cost: 6 }, 'cost'],
  ])('%s is INVALID_ARGUMENT', async (_, request, field) => {
    const failure = await failureOf(service().rateLimits.checkRateLimit(request));
    expect(failure).toMatchObject({ code: Code.INVALID_ARGUMENT, fields: [field] });
  });
});

test('a denied call changes no key', async () => {
  const port = Number(new URL(sharedRedisUrl('standalone')).port);
  const dump = async (pattern: string): Promise<string[]> => {
    const keys = ((await commandOn(port, ['KEYS', pattern])) as string[]).toSorted();
    return Promise.all(keys.map(async (key) => `${key} ${String(await commandOn(port, ['DUMP', key]))}`));
  };
  const service = await startTestService({ REDIS_URL: sharedRedisUrl('standalone') });
  const limits = [inline('user:1', 3), inline('user:2', 1), inline('user:3', 9)];
  await service.rateLimits.checkRateLimit({ limits });
  // not the lease of the sweeper, which comes when it comes
  const before = await dump(`${service.namespace}:ratelimit:*`);
  expect(before).toHaveLength(3);
  expect((await service.rateLimits.checkRateLimit({ limits })).allowed).toBe(false);
  expect(await dump(`${service.namespace}:ratelimit:*`)).toEqual(before);
  await service.stop();
});
