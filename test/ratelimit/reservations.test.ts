import { Buffer } from 'node:buffer';
import { status as Code } from '@grpc/grpc-js';
import { describe, expect, test } from '@jest/globals';
import { Algorithm, type Limit, type ReserveRateLimitRequest } from '../../src/gen/shardkeep/ratelimit/v1/ratelimit.js';
import { failureOf } from '../support/client.js';
import { startRedis, until } from '../support/redis-server.js';
import { SeededRandom } from '../support/seeded-random.js';
import { onEachTopology, randomNamespace, sharedRedisUrl, startTestService } from '../support/service.js';
import { someone, usedOf } from './slots-support.js';

const newId = (): string => `request-${randomNamespace()}`;

function limitOf(
  subject: string,
  algorithm: Algorithm,
  limit: number,
  more: { name?: string; cost?: number } = {},
): Limit {
  const { name = 'reserved', cost } = more;
  const value = { name, algorithm, limit, windowMs: 600_000n, burst: undefined };
  return { subject, policy: { $case: 'inlinePolicy', value }, cost, role: undefined, subjects: undefined };
}

const ALGORITHMS = [
  ['SLIDING_EXACT', Algorithm.SLIDING_EXACT],
  ['SLIDING_BUCKETS', Algorithm.SLIDING_BUCKETS],
  ['TOKEN_BUCKET', Algorithm.TOKEN_BUCKET],
  ['FIXED', Algorithm.FIXED],
  ['CONCURRENCY', Algorithm.CONCURRENCY],
] as const;

onEachTopology('reservations', (service, topology) => {
  const reserve = (request: Partial<ReserveRateLimitRequest>) => service().rateLimits.reserveRateLimit(request);
  const settle = (reservationId: string, cost: number) => service().rateLimits.settleRateLimit({ reservationId, cost });
  const refund = async (reservationId: string) =>
    (await service().rateLimits.refundRateLimit({ reservationId })).refunded;
  const used = async (...limits: Limit[]) => usedOf(service().rateLimits, ...limits);

  describe.each(ALGORITHMS)('under %s', (_, algorithm) => {
    test('less than reserved is given back, once', async () => {
      const limit = limitOf(someone(), algorithm, 20);
      const { reservationId } = await reserve({ limits: [limit], cost: 8 });
      expect(await used(limit)).toEqual([8]);
      for (const cost of [3, 1, 20]) expect(await settle(reservationId, cost)).toEqual({ settled: true, charged: 3 });
      expect(await used(limit)).toEqual([3]);
      expect(await refund(reservationId)).toBe(false);
      expect(await used(limit)).toEqual([3]);
    });

    test('more than reserved is charged as far as every limit has room', async () => {
      const subject = someone();
      const [wide, narrow] = [limitOf(subject, algorithm, 60), limitOf(subject, algorithm, 10, { name: 'narrow' })];
      const { reservationId } = await reserve({ limits: [wide, narrow], cost: 4 });
      await service().rateLimits.checkRateLimit({ limits: [narrow], cost: 3 });
      expect(await settle(reservationId, 30)).toEqual({ settled: true, charged: 7 });
      expect(await used(wide, narrow)).toEqual([7, 10]);
    });

    test('what is refunded is taken back once, and cannot be settled', async () => {
      const limits = [limitOf(someone(), algorithm, 20)];
      const { reservationId } = await reserve({ limits, cost: 5 });
      await service().rateLimits.checkRateLimit({ limits, cost: 2 });
      expect([await refund(reservationId), await refund(reservationId)]).toEqual([true, true]);
      expect(await settle(reservationId, 3)).toEqual({ settled: false, charged: 0 });
      expect(await used(...limits)).toEqual([2]);
    });

    test('what was settled as nothing is not refunded', async () => {
      const subject = someone();
      const limits = [limitOf(subject, algorithm, 20), limitOf(subject, algorithm, 20, { name: 'own', cost: 2 })];
      const { reservationId } = await reserve({ limits, cost: 5 });
      expect(await settle(reservationId, 0)).toEqual({ settled: true, charged: 0 });
      expect(await refund(reservationId)).toBe(false);
      expect(await used(...limits)).toEqual([0, 2]);
    });

    test('a refund gives back the cost of a single limit too', async () => {
      const subject = someone();
      const limits = [limitOf(subject, algorithm, 20), limitOf(subject, algorithm, 20, { name: 'own', cost: 2 })];
      const { reservationId } = await reserve({ limits, cost: 5 });
      expect(await refund(reservationId)).toBe(true);
      expect(await used(...limits)).toEqual([0, 0]);
    });

    test('never is more in use than the limit, and what is in use is what the answers say', async () => {
      const LIMIT = 40;
      const limit = limitOf(someone(), algorithm, LIMIT);
      const random = new SeededRandom(algorithm);
      const open: { id: string; units: number }[] = [];
      let model = 0;
      for (let step = 0; step < 120; step++) {
        const at = random.below(open.length + 1);
        const one = open[at];
        const cost = random.between(1, 12);
        if (one === undefined) {
          const minCost = random.chance(0.5) ? 1 : undefined;
          const { decision, reservationId } = await reserve({ limits: [limit], cost, minCost });
          const units = Math.min(cost, minCost === undefined ? cost : LIMIT - model);
          const fits = units > 0 && model + units <= LIMIT;
          expect(decision?.granted).toBe(fits ? units : 0);
          if (!fits) continue;
          open.push({ id: reservationId, units });
          model += units;
        } else {
          open.splice(at, 1);
          if (random.chance(0.4)) {
            expect(await refund(one.id)).toBe(true);
            model -= one.units;
          } else {
            const charged = Math.min(cost, one.units + LIMIT - model);
            expect(await settle(one.id, cost)).toEqual({ settled: true, charged });
            model += charged - one.units;
          }
        }
        // tokens come back meanwhile, less than one in all
        expect(await used(limit)).toEqual([model]);
      }
    });
  });

  test('200 racing tries of one request over two services are answered the same and charged once', async () => {
    const other = await startTestService({ REDIS_URL: sharedRedisUrl(topology), NAMESPACE: service().namespace });
    const clients = [service().rateLimits, other.rateLimits];
    const limits = [limitOf(someone(), Algorithm.SLIDING_EXACT, 50)];
    const [requestId, cost] = [newId(), 3];
    const tries = Array.from({ length: 200 }, (_, index) => clients[index % 2] ?? other.rateLimits);
    const reserved = await Promise.all(tries.map((client) => client.reserveRateLimit({ limits, cost, requestId })));
    expect(
      new Set(reserved.map(({ reservationId, expiresAtMs }) => `${reservationId} ${String(expiresAtMs)}`)).size,
    ).toBe(1);
    for (const { decision } of reserved) expect(decision).toEqual(reserved[0]?.decision);
    const checked = await Promise.all(tries.map((client) => client.checkRateLimit({ limits, cost, requestId })));
    for (const decision of checked) expect(decision).toEqual(checked[0]);
    expect(await used(...limits)).toEqual([6]);
    await other.stop();
  });

  test('a request id of a call with other limits or costs is refused, and charges nothing', async () => {
    const subject = someone();
    const [limit, another] = [
      limitOf(subject, Algorithm.FIXED, 50),
      limitOf(subject, Algorithm.FIXED, 50, { name: 'b' }),
    ];
    const requestId = newId();
    await service().rateLimits.checkRateLimit({ limits: [limit], requestId });
    for (const request of [
      { limits: [limit], cost: 2 },
      { limits: [limit, another] },
      { limits: [limit], minCost: 1 },
    ]) {
      const failure = await failureOf(service().rateLimits.checkRateLimit({ ...request, requestId }));
      expect(failure).toMatchObject({ code: Code.INVALID_ARGUMENT, fields: ['request_id'] });
    }
    expect(await used(limit, another)).toEqual([1, 0]);
  });

  test('a denied try is decided anew, but where its denial counts', async () => {
    const limits = [limitOf(someone(), Algorithm.SLIDING_EXACT, 4)];
    const { reservationId } = await reserve({ limits, cost: 4 });
    const [plain, counting] = [newId(), newId()];
    const denied = await service().rateLimits.checkRateLimit({ limits, cost: 2, requestId: plain });
    const abuse = { limits, cost: 2, requestId: counting, chargeDenied: true };
    const counted = await service().rateLimits.checkRateLimit(abuse);
    expect([denied.allowed, counted.allowed]).toEqual([false, false]);
    // of the four units two count in place of the oldest
    await refund(reservationId);
    expect(await used(...limits)).toEqual([2]);
    const again = await service().rateLimits.checkRateLimit(abuse);
    expect(again.allowed).toBe(false);
    expect(again.retryAfterMs).toBeLessThanOrEqual(counted.retryAfterMs);
    expect(await used(...limits)).toEqual([2]);
    expect((await service().rateLimits.checkRateLimit({ limits, cost: 2, requestId: plain })).allowed).toBe(true);
  });

  test('after its time a reservation is not there, and its charge stays; slots do not', async () => {
    const subject = someone();
    const limits = [limitOf(subject, Algorithm.FIXED, 9), limitOf(subject, Algorithm.CONCURRENCY, 9)];
    const { reservationId } = await reserve({ limits, cost: 2, ttlMs: 100n });
    await until(async () => (await used(...limits))[1] === 0);
    await until(async () => !(await settle(reservationId, 2)).settled);
    expect(await refund(reservationId)).toBe(false);
    expect(await used(...limits)).toEqual([2, 0]);
  });

  test('what names no reservation settles and refunds nothing', async () => {
    const text = (of: string): string => Buffer.from(of, 'utf8').toString('base64url');
    const { reservationId } = await reserve({ limits: [limitOf(someone(), Algorithm.FIXED, 9)] });
    const half = reservationId.slice(0, -3);
    const others = [
      'x',
      '_',
      text('x'),
      text(`${'a'.repeat(22)}.`),
      text(`${'a'.repeat(22)}.{}%\0`),
      half,
      '-'.repeat(512),
    ];
    for (const id of others) {
      expect(await settle(id, 1)).toEqual({ settled: false, charged: 0 });
      expect(await refund(id)).toBe(false);
    }
  });
});

test('a Redis that is full takes refunds and settlements, and no reservation', async () => {
  const redis = await startRedis(['--maxmemory-policy', 'noeviction']);
  const service = await startTestService({ REDIS_URL: redis.url });
  const { rateLimits } = service;
  const limits = [limitOf(someone(), Algorithm.SLIDING_EXACT, 20)];
  const [one, two] = await Promise.all([1, 2].map(() => rateLimits.reserveRateLimit({ limits, cost: 4 })));
  await redis.command('CONFIG', 'SET', 'maxmemory', '1');
  expect(await failureOf(rateLimits.reserveRateLimit({ limits }))).toMatchObject({ reason: 'REDIS_OUT_OF_MEMORY' });
  expect(await rateLimits.refundRateLimit({ reservationId: one?.reservationId ?? '' })).toEqual({ refunded: true });
  expect(await rateLimits.settleRateLimit({ reservationId: two?.reservationId ?? '', cost: 1 })).toEqual({
    settled: true,
    charged: 1,
  });
  expect(await usedOf(rateLimits, ...limits)).toEqual([1]);
  await service.stop();
  await redis.remove();
});
