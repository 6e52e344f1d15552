import { writeFileSync } from 'node:fs';
import { expect, test } from '@jest/globals';
import {
  RateLimitRequest,
  RateLimitServiceService as EnvoyService,
} from '../../src/gen/envoy/service/ratelimit/v3/ratelimit.js';
import { Algorithm, type Limit } from '../../src/gen/shardkeep/ratelimit/v1/ratelimit.js';
import { keys } from '../../src/redis/keys.js';
import { failureOf } from '../support/client.js';
import { rawRedis } from '../support/raw-redis.js';
import { until } from '../support/redis-server.js';
import {
  onEachTopology,
  policiesFile,
  sharedRedisUrl,
  startTestService,
  type TestService,
} from '../support/service.js';
import { POLICIES, statsOf, statsSince, under, type RateLimits, type Stats } from './limit-stats-support.js';
import { SlotHold, slotsOf, someone } from './slots-support.js';

/** What GetRateLimitStats counts, by what is done. */

onEachTopology(
  'what is counted',
  (shared, topology) => {
    const start = (file = policiesFile(POLICIES)): Promise<TestService> =>
      startTestService({ REDIS_URL: sharedRedisUrl(topology), POLICIES_FILE: file });
    const inOne = async (steps: (rateLimits: RateLimits, service: TestService) => Promise<void>): Promise<void> => {
      const service = await start();
      await steps(service.rateLimits, service);
      await service.stop();
    };
    /** `counted` answers what was since the steps began. */
    const inShared = async (
      steps: (counted: () => Promise<Stats>, rateLimits: RateLimits, service: TestService) => Promise<void>,
    ): Promise<void> => {
      const service = shared();
      const before = await statsOf(service.rateLimits);
      await steps(async () => statsSince(before, await statsOf(service.rateLimits)), service.rateLimits, service);
    };

    test('is each call by what it came to under each of its policies, and neither looks nor failures', () =>
      inShared(async (counted, rateLimits) => {
        const subject = someone();
        await rateLimits.checkRateLimit({ limits: [under('five', subject, 5)] });
        expect(await counted()).toEqual({ five: { admitted: 1 } });
        // a denial by one is none by the other
        await rateLimits.checkRateLimit({ limits: [under('five', subject), under('other', subject)] });
        expect(await counted()).toEqual({ five: { admitted: 1, denied: 1 } });
        await rateLimits.checkRateLimit({ limits: [under('five'), under('other'), under('other')] });
        const counts = { five: { admitted: 2, denied: 1 }, other: { admitted: 1 } };
        expect(await counted()).toEqual(counts);

        await rateLimits.peekRateLimit({ limits: [under('five', subject)] });
        await failureOf(rateLimits.checkRateLimit({ limits: [under('five', subject), under('five', subject)] }));
        await failureOf(rateLimits.checkRateLimit({ limits: [under('nobody-knows')] }));
        await rateLimits.resetRateLimit({ limits: [under('five', subject)] });
        expect(await counted()).toEqual(counts);
      }));

    test('is what a policy in shadow would have denied, of what was admitted', () =>
      inShared(async (counted, rateLimits) => {
        const subject = someone();
        for (let call = 0; call < 3; call++) await rateLimits.checkRateLimit({ limits: [under('watched', subject)] });
        expect(await counted()).toEqual({ watched: { admitted: 3, shadowDenied: 2 } });
        await rateLimits.checkRateLimit({ limits: [under('five', subject, 5)] });
        await rateLimits.checkRateLimit({ limits: [under('watched', subject), under('five', subject)] });
        expect(await counted()).toEqual({
          ...{ five: { admitted: 1, denied: 1 }, watched: { admitted: 3, shadowDenied: 2 } },
        });
      }));

    test('is what was denied from memory, of what was denied', () =>
      inShared(async (counted, rateLimits) => {
        const subject = someone();
        await rateLimits.checkRateLimit({ limits: [under('five', subject, 5)] });
        let denied = 0;
        await until(async () => {
          await rateLimits.checkRateLimit({ limits: [under('five', subject)] });
          denied++;
          return ((await counted()).five?.deniedFromMemory ?? 0) >= 2;
        });
        expect((await counted()).five).toMatchObject({ admitted: 1, denied });
      }));

    test('is what lists decide, and bans', () =>
      inShared(async (counted, rateLimits) => {
        for (let call = 0; call < 3; call++) {
          await rateLimits.checkRateLimit({ limits: [under('lists', 'user:vip')] });
          await rateLimits.checkRateLimit({ limits: [under('lists', 'user:villain')] });
        }
        expect(await counted()).toEqual({ lists: { admitted: 3, denied: 3 } });
        await rateLimits.checkRateLimit({ limits: [under('lists', 'user:vip'), under('five')] });
        const subject = someone();
        await rateLimits.ban({ subject, policyName: 'five', ttlMs: 60_000n });
        await rateLimits.checkRateLimit({ limits: [under('five', subject)] });
        expect(await counted()).toEqual({
          ...{ five: { admitted: 1, denied: 1 }, lists: { admitted: 4, denied: 3 } },
        });
      }));

    test('is each check of several, and reservations with their retries, once, and not what settles them', () =>
      inShared(async (counted, rateLimits) => {
        const subject = someone();
        const limits = [under('five', subject)];
        await rateLimits.checkManyRateLimits({ checks: Array.from({ length: 7 }, () => ({ limits })) });
        expect(await counted()).toEqual({ five: { admitted: 5, denied: 2 } });
        const requestId = 'a request id of this test';
        await rateLimits.checkRateLimit({ limits: [under('other', subject)], requestId });
        const { reservationId } = await rateLimits.reserveRateLimit({ limits: [under('other', subject)] });
        await rateLimits.settleRateLimit({ reservationId, cost: 1 });
        await rateLimits.refundRateLimit({ reservationId });
        await rateLimits.reserveRateLimit({ limits: [under('lists', 'user:villain')] });
        expect(await counted()).toMatchObject({ other: { admitted: 2 }, lists: { denied: 1 } });
      }));

    test('is streams that hold slots, policies given with requests under one name, and what is checked alike', () =>
      inShared(async (counted, rateLimits, { channel }) => {
        const subject = someone();
        const first = new SlotHold(channel, [under('slots', subject)], { cost: 2 });
        expect((await first.decision()).allowed).toBe(true);
        const second = new SlotHold(channel, [under('slots', subject)]);
        expect((await second.decision()).allowed).toBe(false);
        first.stream.cancel();
        expect(await counted()).toEqual({ slots: { admitted: 1, denied: 1 } });

        const value = { name: 'five', algorithm: Algorithm.FIXED, limit: 1, windowMs: 3_600_000n, burst: undefined };
        const inline: Limit = { ...under('', subject), policy: { $case: 'inlinePolicy', value } };
        for (let call = 0; call < 2; call++) await rateLimits.checkRateLimit({ limits: [inline] });
        await rateLimits.checkRateLimit({ limits: [slotsOf(subject, 1, { name: 'x' })] });
        expect(await counted()).toMatchObject({ '(inline)': { admitted: 2, denied: 1 } });

        const alike = { limits: [under('five', subject)] };
        await Promise.all(Array.from({ length: 30 }, () => rateLimits.checkRateLimit(alike)));
        expect(await counted()).toMatchObject({ five: { admitted: 5, denied: 25 } });
      }));

    test("is Envoy's calls and RPCs that have a policy", () =>
      inShared(async (counted, rateLimits, { channel, sessions }) => {
        const ask = (hitsAddend: bigint) =>
          channel.of(EnvoyService).shouldRateLimit(
            RateLimitRequest.fromPartial({
              domain: 'edge',
              descriptors: [
                { entries: [{ key: 'user', value: 'ada' }], hitsAddend },
                { entries: [{ key: 'unlimited', value: 'x' }] },
              ],
            }),
          );
        await ask(5n);
        await ask(1n);
        // a look
        await ask(0n);
        expect(await counted()).toEqual({ five: { admitted: 1, denied: 1 } });

        const metadata = new Map([['ip', '203.0.113.7']]);
        for (const userId of ['a', 'b']) await sessions.createSession({ userId, metadata });
        await failureOf(sessions.createSession({ userId: 'c', metadata }));
        await sessions.createSession({ userId: 'd' });
        // each call is one, though it has a limit for each kind
        expect(await counted()).toMatchObject({ join: { admitted: 3, denied: 1 } });
        const { hottest } = await rateLimits.getRateLimitStats({ hottestCount: 100 });
        expect(hottest).toContainEqual({ subject: 'ip:203.0.113.7', policy: 'join', denied: 1n });
        expect(hottest).toContainEqual({ subject: 'user:ada', policy: 'five', denied: 1n });
      }));

    test('is who is denied most, by policy and as it counts, however it was denied', () =>
      inOne(async (rateLimits) => {
        expect(await rateLimits.getRateLimitStats({ hottestCount: 10 })).toEqual({
          policies: [],
          minutes: 0,
          hottest: [],
        });
        const deny = async (subject: string, times: number): Promise<void> => {
          await rateLimits.checkRateLimit({ limits: [under('five', subject, 5)] });
          for (let time = 0; time < times; time++)
            await rateLimits.checkRateLimit({ limits: [under('five', subject)] });
        };
        await deny('ip:2001:DB8::1', 3);
        await deny('user:a b:{c} ü', 5);
        await rateLimits.checkRateLimit({ limits: [under('lists', 'user:villain')] });
        const hottest = [
          { subject: 'user:a b:{c} ü', policy: 'five', denied: 5n },
          { subject: 'ip:2001:db8::/64', policy: 'five', denied: 3n },
          { subject: 'user:villain', policy: 'lists', denied: 1n },
        ];
        const told = async (hottestCount: number) => (await rateLimits.getRateLimitStats({ hottestCount })).hottest;
        expect(await told(100)).toEqual(hottest);
        expect(await told(1)).toEqual(hottest.slice(0, 1));
        expect(await told(0)).toEqual([]);
        await deny('user:late', 4);
        expect((await told(2)).map(({ subject }) => subject)).toEqual(['user:a b:{c} ü', 'user:late']);
      }));

    test('stays when its policy is removed, and goes on when that comes again', async () => {
      const file = policiesFile(POLICIES);
      const service = await start(file);
      const { rateLimits } = service;
      const subject = someone();
      const check = () => rateLimits.checkRateLimit({ limits: [under('five', subject, 5)] });
      const replace = async (policies: object, isThere: boolean): Promise<void> => {
        writeFileSync(file, JSON.stringify(policies));
        await until(
          async () => (await rateLimits.listPolicies({})).policies.some(({ name }) => name === 'five') === isThere,
        );
      };
      await check();
      await check();
      // not told to Redis yet
      await replace({}, false);
      await failureOf(check());
      expect(await statsOf(rateLimits)).toEqual({ five: { admitted: 1, denied: 1 } });
      expect((await rateLimits.getRateLimitStats({ hottestCount: 1 })).hottest).toEqual([
        { subject, policy: 'five', denied: 1n },
      ]);
      await replace(POLICIES, true);
      await check();
      expect(await statsOf(rateLimits)).toEqual({ five: { admitted: 1, denied: 2 } });
      await service.stop();
    });

    test('is read also where a newer service counts more, and not where it is no count', () =>
      inOne(async (rateLimits, { namespace }) => {
        await rateLimits.checkRateLimit({ limits: [under('five')] });
        await statsOf(rateLimits);
        const raw = await rawRedis(topology);
        const { stats, hotEven, hotOdd } = keys.rateLimitStats(namespace);
        const fields = ((await raw.command('HKEYS', stats)) as Buffer[]).map(String);
        const minute = fields.find((field) => field.startsWith('parts:')) ?? '';
        for (const zset of [hotEven, hotOdd]) await raw.command('ZADD', zset, '9', 'nospace', '8', 'p user:x');
        for (const parity of ['even', 'odd']) await raw.command('HSET', stats, parity, minute.slice('parts:'.length));
        // places that this one does not have, and fewer than it has
        const places = Array.from({ length: 40 }, () => '1').join(',');
        await raw.command('HSET', stats, minute, `five:${places} new.kind/of:0,3`);
        expect(await statsOf(rateLimits)).toMatchObject({
          five: { admitted: 5, denied: 2 },
          'new.kind/of': { admitted: 3 },
        });
        const { hottest } = await rateLimits.getRateLimitStats({ hottestCount: 10 });
        expect(hottest).toEqual([{ subject: 'user:x', policy: 'p', denied: 16n }]);
        await raw.command('HSET', stats, minute, 'five');
        expect(await failureOf(rateLimits.getRateLimitStats({}))).toMatchObject({ code: 13 });
        await raw.close();
      }));
  },
  { POLICIES_FILE: policiesFile(POLICIES) },
);
