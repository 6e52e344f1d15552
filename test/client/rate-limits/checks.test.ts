import { status as Code } from '@grpc/grpc-js';
import { expect, test } from '@jest/globals';
import { parseList } from 'structured-headers';
import type { InlineRateLimitPolicy, RateLimitReservation } from '../../../src/client/index.js';
import { errorOf } from '../../support/client-error.js';
import { onEachTopology, policiesFile } from '../../support/service.js';
import { ClientsOfTest, exactly, someone } from './support.js';

const clients = new ClientsOfTest();

const POLICIES = policiesFile({
  rate_policies: {
    login: {
      limits: [
        { per: 'ip', algorithm: 'sliding_exact', limit: 20, window_ms: 60_000 },
        { per: 'user', algorithm: 'sliding_exact', limit: 2, window_ms: 900_000 },
      ],
    },
    tiered: { algorithm: 'sliding_exact', limit: 1, window_ms: 60_000, tiers: { vip: 3 } },
    watched: { algorithm: 'sliding_exact', limit: 1, window_ms: 60_000, enforcement: 'shadow' },
    blocked: { algorithm: 'sliding_exact', limit: 1, window_ms: 60_000, deny: ['user:bad'] },
  },
});

onEachTopology(
  'rate limits',
  (service) => {
    const open = () => clients.rateLimits(service().address);

    test('a policy of the service admits as many as it says, then tells how long to wait', async () => {
      const limits = open();
      const subject = someone();
      const first = await limits.check(subject, 'auth');
      expect(first).toMatchObject({
        ...{ allowed: true, status: 'ok', limit: 5, remaining: 4, retryAfterMs: 0, granted: 1 },
        ...{ degraded: false, atomic: true, headers: {} },
        limits: [{ subject, policy: 'auth', status: 'ok', limit: 5, remaining: 4, retryAfterMs: 0, shadow: false }],
      });
      expect(first.resetAtMs).toBe(first.limits[0]?.resetAtMs);
      const others = [];
      for (let n = 0; n < 4; n++) others.push((await limits.check(subject, 'auth')).status);
      expect(others).toEqual(['ok', 'ok', 'near', 'near']);
      const denied = await limits.check(subject, 'auth');
      expect(denied).toMatchObject({ allowed: false, status: 'over', limit: 5, remaining: 0, granted: 0 });
      expect(denied.retryAfterMs).toBeGreaterThan(0);
      expect(denied.retryAfterMs).toBeLessThanOrEqual(900_000);
      expect(denied.policyVersion).toBe(first.policyVersion);
    });

    test('headers come when they are wanted, as structured fields', async () => {
      const limits = open();
      const subject = someone();
      const admitted = await limits.check(subject, exactly(1), { wantHeaders: true });
      expect(Object.keys(admitted.headers).toSorted()).toEqual([
        ...['RateLimit', 'RateLimit-Policy'],
        ...['X-RateLimit-Limit', 'X-RateLimit-Remaining', 'X-RateLimit-Reset'],
      ]);
      const denied = await limits.check(subject, exactly(1), { wantHeaders: true });
      const [[name, parameters] = []] = parseList(denied.headers.RateLimit ?? '');
      expect([name, parameters?.get('r')]).toEqual(['exactly', 0]);
      expect(denied.headers['Retry-After']).toBe(String(Math.ceil(denied.retryAfterMs / 1_000)));
      expect(denied.headers['X-RateLimit-Limit']).toBe('1');
      const outlook = await limits.peekRateLimit({ subject, policy: exactly(1) }, { wantHeaders: true });
      expect(outlook.headers['RateLimit-Policy']).toBe(denied.headers['RateLimit-Policy']);
    });

    test('each algorithm counts by its own rules', async () => {
      const limits = open();
      const counting: InlineRateLimitPolicy[] = [
        { name: 'a', algorithm: 'sliding_exact', limit: 3, windowMs: 600_000 },
        { name: 'b', algorithm: 'sliding_buckets', limit: 3, windowMs: 600_000 },
        { name: 'c', algorithm: 'token_bucket', limit: 1, windowMs: 600_000, burst: 3 },
        { name: 'd', algorithm: 'fixed', limit: 3, windowMs: 600_000 },
        { name: 'e', algorithm: 'concurrency', limit: 3, windowMs: 600_000 },
      ];
      const subject = someone();
      for (const policy of counting) {
        const answers = [];
        for (let n = 0; n < 4; n++) answers.push((await limits.check(subject, policy)).allowed);
        expect(answers).toEqual([true, true, true, false]);
      }
    });

    test('a cost is taken, or as much as there is', async () => {
      const limits = open();
      const subject = someone();
      expect(await limits.check(subject, exactly(10), { cost: 7 })).toMatchObject({ granted: 7, remaining: 3 });
      expect(await limits.check(subject, exactly(10), { cost: 7 })).toMatchObject({ allowed: false, remaining: 3 });
      const rest = await limits.check(subject, exactly(10), { cost: 7, minCost: 2 });
      expect(rest).toMatchObject({ allowed: true, granted: 3, remaining: 0, status: 'near' });
    });

    test('several limits are all or nothing, each with its own cost', async () => {
      const limits = open();
      const [user, guild] = [someone(), someone('guild')];
      const pairs = [
        { subject: user, policy: exactly(10), cost: 2 },
        { subject: guild, policy: exactly(1) },
      ];
      expect(await limits.checkRateLimit(pairs)).toMatchObject({ allowed: true, limit: 1, remaining: 0 });
      const denied = await limits.checkRateLimit(pairs);
      expect(denied).toMatchObject({ allowed: false, status: 'over', limit: 1 });
      expect(denied.limits.map(({ status }) => status)).toContain('over');
      expect(await limits.peekRateLimit({ subject: user, policy: exactly(10) })).toMatchObject({ remaining: 8 });
    });

    test('a policy of several limits takes a subject of each kind', async () => {
      const limits = open();
      const [ip, user] = ['2001:db8::1', someone().slice('user:'.length)];
      const asked = { subject: { ip, user }, policy: 'login' };
      await limits.checkRateLimit(asked);
      await limits.check(asked.subject, asked.policy);
      const denied = await limits.check({ ip: '2001:db8::2', user }, 'login');
      expect(denied).toMatchObject({ allowed: false, status: 'over', limit: 2 });
      expect(denied.limits.map(({ subject }) => subject)).toEqual(['ip:2001:db8::2', `user:${user}`]);
      // the other address is of the same network
      expect(denied.limits[0]).toMatchObject({ remaining: 18, status: 'ok' });
      expect(await limits.resetRateLimit(asked)).toEqual([true, true]);
      expect(await limits.peekRateLimit(asked)).toMatchObject({ allowed: true, remaining: 20 });
    });

    test('a role has its tier, and a limit that only watches denies nothing', async () => {
      const limits = open();
      const subject = someone();
      expect(await limits.check(subject, 'tiered', { role: 'vip' })).toMatchObject({ limit: 3, remaining: 2 });
      expect(await limits.check(subject, 'tiered', { role: 'other' })).toMatchObject({ allowed: false, limit: 1 });
      await limits.check(subject, 'watched');
      const watched = await limits.check(subject, 'watched');
      expect(watched).toMatchObject({ allowed: true, status: 'over', retryAfterMs: 0, limits: [{ shadow: true }] });
      const beside = await limits.checkRateLimit([
        { subject, policy: 'watched' },
        { subject, policy: exactly(4) },
      ]);
      expect(beside).toMatchObject({ allowed: true, status: 'ok', limit: 4, remaining: 3 });
      expect(await limits.check('user:bad', 'blocked')).toMatchObject({ allowed: false, status: 'banned' });
    });

    test('a denied call is charged where that is asked for', async () => {
      const limits = open();
      const subject = someone();
      const policy = exactly(2);
      await limits.check(subject, policy);
      await limits.check(subject, policy, { cost: 2, chargeDenied: true });
      expect(await limits.peekRateLimit({ subject, policy })).toMatchObject({ remaining: 0 });
    });

    test('many checks are each decided for itself, in their order', async () => {
      const limits = open();
      const [ada, bob] = [someone(), someone()];
      const decisions = await limits.checkManyRateLimits([
        { limits: { subject: ada, policy: exactly(3) }, cost: 3 },
        { limits: { subject: ada, policy: exactly(3) } },
        { limits: [{ subject: bob, policy: exactly(3) }], cost: 3, minCost: 1 },
      ]);
      expect(decisions.map(({ allowed }) => allowed)).toEqual([true, false, true]);
      expect(decisions.map(({ granted }) => granted)).toEqual([3, 0, 3]);
    });

    test('looking charges nothing', async () => {
      const limits = open();
      const limit = { subject: someone(), policy: exactly(1) };
      await limits.peekRateLimit(limit);
      expect(await limits.peekRateLimit(limit)).toMatchObject({ allowed: true, remaining: 1, status: 'ok' });
      await limits.check(limit.subject, limit.policy);
      expect(await limits.peekRateLimit(limit)).toMatchObject({ allowed: false, remaining: 0, status: 'over' });
    });

    test('a reservation is settled for what was used, once', async () => {
      const limits = open();
      const limit = { subject: someone(), policy: exactly(10) };
      const made = await limits.reserveRateLimit(limit, { cost: 8, ttlMs: 60_000 });
      const { reservationId, expiresAtMs } = reserved(made);
      expect(made.decision).toMatchObject({ allowed: true, remaining: 2 });
      expect(expiresAtMs).toBeGreaterThan(0);
      expect(await limits.settleRateLimit(reservationId, 3)).toEqual({ status: 'settled', charged: 3 });
      expect(await limits.settleRateLimit(reservationId, 1)).toEqual({ status: 'settled', charged: 3 });
      expect(await limits.refundRateLimit(reservationId)).toBe(false);
      expect(await limits.peekRateLimit(limit)).toMatchObject({ remaining: 7 });
    });

    test('a reservation is refunded, once, and a denied one is none', async () => {
      const limits = open();
      const limit = { subject: someone(), policy: exactly(2) };
      const { reservationId } = reserved(await limits.reserveRateLimit(limit, { cost: 2 }));
      expect(await limits.reserveRateLimit(limit)).toMatchObject({ status: 'denied', decision: { status: 'over' } });
      expect(await limits.refundRateLimit(reservationId)).toBe(true);
      expect(await limits.refundRateLimit(reservationId)).toBe(true);
      expect(await limits.settleRateLimit(reservationId, 1)).toEqual({ status: 'gone' });
      expect(await limits.peekRateLimit(limit)).toMatchObject({ remaining: 2 });
    });

    test('an id of the caller makes two calls one', async () => {
      const limits = open();
      const limit = { subject: someone(), policy: exactly(10) };
      const requestId = `order ${limit.subject}`;
      const first = await limits.checkRateLimit(limit, { requestId });
      expect(await limits.checkRateLimit(limit, { requestId })).toEqual(first);
      const made = await limits.reserveRateLimit(limit, { requestId, ttlMs: 5_000 });
      expect(await limits.reserveRateLimit(limit, { requestId, ttlMs: 5_000 })).toEqual(made);
      expect(await limits.peekRateLimit(limit)).toMatchObject({ remaining: 8 });
    });

    test('what is wrong is named, and charges nothing', async () => {
      const limits = open();
      const subject = someone();
      const wrong = [
        [limits.check('', 'auth'), 'limits[0].subject'],
        [limits.check(subject, 'no-such-policy'), 'limits[0].policyName'],
        [
          limits.check(subject, { ...exactly(1), algorithm: 'guessing' as 'fixed' }),
          'limits[0].inlinePolicy.algorithm',
        ],
        [limits.check(subject, { ...exactly(1), windowMs: 1.5 }), 'limits[0].inlinePolicy.windowMs'],
        [limits.check(subject, exactly(5), { cost: 65 }), 'cost'],
        [limits.ban(subject, Number.NaN), 'ttlMs'],
        [limits.overrideRateLimit(subject, 'auth', { limit: 1, ttlMs: 0 }), 'ttlMs'],
        [limits.reserveRateLimit({ subject, policy: exactly(5) }, { ttlMs: -1 }), 'ttlMs'],
      ] as const;
      for (const [call, field] of wrong) {
        const error = await errorOf(call);
        expect([error.code, error.fields]).toEqual([Code.INVALID_ARGUMENT, [field]]);
      }
      expect(await limits.peekRateLimit({ subject, policy: exactly(5) })).toMatchObject({ remaining: 5 });
    });
  },
  { POLICIES_FILE: POLICIES },
);

function reserved(made: RateLimitReservation): Extract<RateLimitReservation, { status: 'reserved' }> {
  if (made.status !== 'reserved') throw new Error(`it is ${made.status}`);
  return made;
}
