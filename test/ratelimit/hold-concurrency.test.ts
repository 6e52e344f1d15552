import { setImmediate as turn } from 'node:timers/promises';
import { status as Code } from '@grpc/grpc-js';
import { afterEach, describe, expect, jest, test } from '@jest/globals';
import { LimitStatus } from '../../src/gen/shardkeep/ratelimit/v1/ratelimit.js';
import { HeldSlots } from '../../src/ratelimit/hold/held-slots.js';
import { DeadlineWheel } from '../../src/wire/deadline-wheel.js';
import { failureOf } from '../support/client.js';
import { until } from '../support/redis-server.js';
import { SeededRandom } from '../support/seeded-random.js';
import {
  onEachTopology,
  sharedRedisUrl,
  startTestService,
  type Environment,
  type TestService,
} from '../support/service.js';
import { SlotHold, slotsOf, someone, usedOf } from './slots-support.js';

afterEach(() => {
  jest.restoreAllMocks();
});

onEachTopology('HoldConcurrency', (service, topology) => {
  const open = (...args: ConstructorParameters<typeof SlotHold> extends [unknown, ...infer Rest] ? Rest : never) =>
    new SlotHold(service().channel, ...args);
  const another = (env: Environment = {}): Promise<TestService> =>
    startTestService({ REDIS_URL: sharedRedisUrl(topology), NAMESPACE: service().namespace, ...env });

  test('holds slots as long as the stream lasts', async () => {
    const limit = slotsOf(someone(), 5);
    const hold = open([limit], { cost: 3 });
    expect(await hold.decision()).toMatchObject({
      allowed: true,
      granted: 3,
      atomic: true,
      limits: [{ status: LimitStatus.OK, limit: 5, remaining: 2, retryAfterMs: 0n }],
    });
    expect(await usedOf(service().rateLimits, limit)).toEqual([3]);
    const other = open([limit], { cost: 2 });
    expect((await other.decision()).allowed).toBe(true);
    hold.stream.cancel();
    await until(async () => (await usedOf(service().rateLimits, limit))[0] === 2);
    other.stream.cancel();
    await until(async () => (await usedOf(service().rateLimits, limit))[0] === 0);
    expect(hold.stream.messages).toHaveLength(1);
  });

  test('a denial is the decision, takes nothing, and ends the stream with OK', async () => {
    const subject = someone();
    const [free, full] = [slotsOf(subject, 5), slotsOf(subject, 1, { name: 'full' })];
    const hold = open([full]);
    await hold.decision();
    const denied = open([free, full]);
    const { allowed, granted, limits } = await denied.decision();
    expect({ allowed, granted }).toEqual({ allowed: false, granted: 0 });
    expect(limits.map(({ status }) => status)).toEqual([LimitStatus.OK, LimitStatus.OVER]);
    expect(await denied.stream.code()).toBe(Code.OK);
    expect(await usedOf(service().rateLimits, free, full)).toEqual([0, 1]);
    hold.stream.cancel();
  });

  test('each limit has as many slots taken as its own cost says', async () => {
    const subject = someone();
    const limits = [slotsOf(subject, 5, { cost: 4 }), slotsOf(subject, 5, { name: 'other' })];
    const hold = open(limits, { cost: 2 });
    expect((await hold.decision()).allowed).toBe(true);
    expect(await usedOf(service().rateLimits, ...limits)).toEqual([4, 2]);
    hold.stream.cancel();
    await until(async () => (await usedOf(service().rateLimits, ...limits)).every((used) => used === 0));
  });

  test('slots of several subjects are for a single Redis', async () => {
    const limits = [slotsOf(someone(), 5), slotsOf(someone(), 5)];
    const hold = open(limits);
    if (topology === 'cluster') {
      const failure = await failureOf(hold.stream.result);
      expect(failure).toMatchObject({ code: Code.INVALID_ARGUMENT, fields: ['limits'] });
      expect(await usedOf(service().rateLimits, ...limits)).toEqual([0, 0]);
    } else {
      expect((await hold.decision()).allowed).toBe(true);
      hold.stream.cancel();
      await until(async () => (await usedOf(service().rateLimits, ...limits)).every((used) => used === 0));
    }
  });

  test('a lease is renewed again and again', async () => {
    const limits = [slotsOf(someone(), 1, { windowMs: 1_500 })];
    const hold = open(limits);
    await hold.decision();
    const endOf = async (): Promise<bigint> =>
      (await service().rateLimits.peekRateLimit({ limits })).limits[0]?.resetAtMs ?? 0n;
    const first = await endOf();
    // two leases later
    await until(async () => (await endOf()) > first + 3_000n);
    expect(await usedOf(service().rateLimits, ...limits)).toEqual([1]);
    hold.stream.cancel();
  });

  test('slots that are reset are lost: ABORTED, and those of the other limits are back', async () => {
    const subject = someone();
    const [one, other] = [slotsOf(subject, 3, { windowMs: 1_500 }), slotsOf(subject, 3, { name: 'other' })];
    const hold = open([one, other], { cost: 2 });
    await hold.decision();
    expect((await service().rateLimits.resetRateLimit({ limits: [one] })).reset).toEqual([true]);
    expect(await failureOf(hold.stream.result)).toMatchObject({ code: Code.ABORTED, reason: 'SLOTS_LOST' });
    await until(async () => (await usedOf(service().rateLimits, one, other)).every((used) => used === 0));
  });

  test('slots are back when the deadline of the stream passes', async () => {
    const limit = slotsOf(someone(), 1);
    const hold = open([limit], { deadline: Date.now() + 700 });
    expect((await hold.decision()).allowed).toBe(true);
    expect(await hold.stream.code()).toBe(Code.DEADLINE_EXCEEDED);
    await until(async () => (await usedOf(service().rateLimits, limit))[0] === 0);
  });

  test('a service that drains ends its streams with UNAVAILABLE, and gives the slots back', async () => {
    const leaving = await another();
    const limit = slotsOf(someone(), 5);
    const holds = [1, 2].map(() => new SlotHold(leaving.channel, [limit]));
    await Promise.all(holds.map((hold) => hold.decision()));
    const ends = holds.map((hold) => failureOf(hold.stream.result));
    const drained = leaving.service.drain();
    for (const end of ends) expect(await end).toMatchObject({ code: Code.UNAVAILABLE, reason: 'DRAINING' });
    expect(await drained).toBe(true);
    expect(await usedOf(service().rateLimits, limit)).toEqual([0]);
    leaving.channel.close();
  });

  test('500 streams cancelled before, while and after slots are taken leave no slot, no stream and no timer', async () => {
    const AT_ONCE = 50;
    const busy = await another({ MAX_STREAMS: String(AT_ONCE) });
    const timed = new Set<object>();
    // eslint-disable-next-line @typescript-eslint/unbound-method -- called on a wheel below
    const { add, remove } = DeadlineWheel.prototype;
    jest.spyOn(DeadlineWheel.prototype, 'add').mockImplementation(function (this: DeadlineWheel, one) {
      if (one instanceof HeldSlots) timed.add(one);
      add.call(this, one);
    });
    jest.spyOn(DeadlineWheel.prototype, 'remove').mockImplementation(function (this: DeadlineWheel, one) {
      timed.delete(one);
      remove.call(this, one);
    });
    const limit = slotsOf(someone(), AT_ONCE);
    const random = new SeededRandom(500);
    const held = async (): Promise<number> => (await usedOf(service().rateLimits, limit))[0] ?? -1;
    let [unseen, seen, mostTimed] = [0, 0, 0];
    for (let batch = 0; batch < 10; batch++) {
      const holds = Array.from({ length: AT_ONCE }, () => new SlotHold(busy.channel, [limit]));
      await Promise.all(
        holds.map(async ({ stream }) => {
          // @grpc/grpc-js begins a call a microtask after it was made, and forgets a cancel before that: the service
          // would get the request and never the reset
          await new Promise<void>((resolve) => {
            process.nextTick(resolve);
          });
          if (random.chance(0.4)) await stream.untilMessages(1);
          for (let turns = random.below(12); turns > 0; turns--) await turn();
          if (stream.messages.length === 0) unseen++;
          else seen++;
          mostTimed = Math.max(mostTimed, timed.size);
          stream.cancel();
          expect(await stream.code()).toBe(Code.CANCELLED);
        }),
      );
      // no lease ran out: they are 10 minutes long
      await until(async () => (await held()) === 0);
    }
    expect(Math.min(unseen, seen)).toBeGreaterThan(50);
    expect(mostTimed).toBeGreaterThan(0);
    await until(() => timed.size === 0);
    // all the streams there may be are free, and all slots: as many get both at once
    const last = Array.from({ length: AT_ONCE }, () => new SlotHold(busy.channel, [limit]));
    for (const hold of last) expect((await hold.decision()).allowed).toBe(true);
    expect(timed.size).toBe(AT_ONCE);
    for (const { stream } of last) stream.cancel();
    await until(async () => (await held()) === 0 && timed.size === 0);
    busy.channel.close();
    expect(await busy.service.drain()).toBe(true);
  });

  test('a caller that reads nothing keeps nothing that it lost', async () => {
    const subject = someone();
    const [one, other] = [slotsOf(subject, 1, { windowMs: 600 }), slotsOf(subject, 1, { name: 'other' })];
    const hold = open([one, other]);
    hold.stream.pause();
    await until(async () => (await usedOf(service().rateLimits, one, other)).every((used) => used === 1));
    await service().rateLimits.resetRateLimit({ limits: [one] });
    await until(async () => (await usedOf(service().rateLimits, one, other)).every((used) => used === 0));
    hold.stream.resume();
    expect(await failureOf(hold.stream.result)).toMatchObject({ code: Code.ABORTED, reason: 'SLOTS_LOST' });
  });

  test('slots that were reset and taken by somebody else are his: the first holder neither renews nor frees them', async () => {
    const limit = slotsOf(someone(), 1, { windowMs: 900 });
    const first = open([limit]);
    await first.decision();
    const lost = failureOf(first.stream.result);
    await service().rateLimits.resetRateLimit({ limits: [limit] });
    const second = open([limit]);
    expect((await second.decision()).allowed).toBe(true);
    expect(await lost).toMatchObject({ code: Code.ABORTED, reason: 'SLOTS_LOST' });
    expect(await usedOf(service().rateLimits, limit)).toEqual([1]);
    expect((await open([limit]).decision()).allowed).toBe(false);
    second.stream.cancel();
    await until(async () => (await usedOf(service().rateLimits, limit))[0] === 0);
  });

  describe('INVALID_ARGUMENT', () => {
    test('names a policy of another algorithm, and takes nothing of the others', async () => {
      const subject = someone();
      const limit = slotsOf(subject, 5);
      const chat = { ...limit, policy: { $case: 'policyName', value: 'chat' } } as const;
      const failure = await failureOf(open([limit, chat]).stream.result);
      expect(failure).toMatchObject({ code: Code.INVALID_ARGUMENT, fields: ['limits[1].policy_name'] });
      expect(await usedOf(service().rateLimits, limit)).toEqual([0]);
    });
  });
});
