import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { status as Code } from '@grpc/grpc-js';
import { describe, expect, test } from '@jest/globals';
import { SHIPPED_RATE_POLICIES } from '../../src/config/shipped-policies.js';
import {
  Algorithm,
  CalendarUnit,
  Enforcement,
  LimitStatus,
  OnRedisLoss,
  type Limit,
} from '../../src/gen/shardkeep/ratelimit/v1/ratelimit.js';
import { RatePolicies } from '../../src/ratelimit/policies.js';
import { failureOf } from '../support/client.js';
import { onEachTopology, policiesFile, randomNamespace } from '../support/service.js';

const HOUR_MS = 3_600_000;
const hourly = { algorithm: 'sliding_exact', limit: 3, window_ms: HOUR_MS } as const;

const RATE_POLICIES = {
  ranks: { ...hourly, tiers: { vip: 5, trial: 1 } },
  login: {
    limits: [
      { per: 'ip', ...hourly, limit: 4, allow: ['192.0.2.0/24'] },
      { per: 'user', ...hourly, tiers: { vip: 4 } },
      { per: 'all', algorithm: 'fixed', limit: 1_000, window_ms: HOUR_MS },
    ],
  },
  listed: { ...hourly, allow: ['user:friend', '10.1.0.0/16'], deny: ['user:foe', '10.0.0.0/8', 'user:friend'] },
  watched: { ...hourly, limit: 1, enforcement: 'shadow', deny: ['user:foe'] },
  half: { ...hourly, limit: 1, enforcement: { percent: 50 } },
  bucket: { algorithm: 'token_bucket', limit: 10, window_ms: 1_000, burst: 20 },
  evenly: { algorithm: 'token_bucket', limit: 10, window_ms: 1_000 },
  daily: { algorithm: 'calendar', limit: 9, unit: 'day', time_zone: 'Europe/Berlin' },
  slots: { algorithm: 'concurrency', limit: 2, window_ms: 30_000 },
  strict: {
    ...{ ...hourly, on_redis_loss: 'deny', block_ms: 5_000 },
    ban: { after: 3, within_ms: 60_000, ladder_ms: [1_000, 2_000], decay_ms: 9_000 },
  },
  alone: { ...hourly, on_redis_loss: { local_fraction: 0.5 } },
} as const;

const policy = (value: string) => ({ $case: 'policyName', value }) as const;
const named = (subject: string, policyName: string, role?: string) => ({ subject, policy: policy(policyName), role });
const byKind = (policyName: string, kinds: Readonly<Record<string, string>>, role?: string) => ({
  subject: '',
  policy: policy(policyName),
  subjects: { byKind: new Map(Object.entries(kinds)) },
  role,
});
const someone = (kind = 'user'): string => `${kind}:${randomNamespace()}`;

onEachTopology(
  'policies of the file',
  (service, topology) => {
    /** How many of ten calls are admitted. */
    const admitted = async (limits: Limit[]): Promise<number> => {
      let count = 0;
      for (let call = 0; call < 10; call++) {
        if ((await service().rateLimits.checkRateLimit({ limits })).allowed) count++;
      }
      return count;
    };

    test.each([
      [undefined, 3],
      ['vip', 5],
      ['trial', 1],
      ['nobody', 3],
      ['constructor', 3],
    ])('a subject of the role %s may %i', async (role, limit) => {
      expect(await admitted([named(someone(), 'ranks', role)])).toBe(limit);
    });

    test('roles of one subject share its count', async () => {
      const subject = someone();
      expect(await admitted([named(subject, 'ranks')])).toBe(3);
      expect(await admitted([named(subject, 'ranks', 'vip')])).toBe(2);
    });

    test('an address is one subject however it is written, and is answered as it was asked', async () => {
      const { rateLimits } = service();
      const host = `${String(Math.floor(Math.random() * 250))}.${String(Math.floor(Math.random() * 250))}`;
      for (const subject of [`ip:198.18.${host}`, `ip:::ffff:198.18.${host}`, `ip:0:0::ffff:198.18.${host}`]) {
        const { limits } = await rateLimits.checkRateLimit({ limits: [named(subject, 'ranks')] });
        expect(limits[0]?.subject).toBe(subject);
      }
      expect(await admitted([named(`ip:198.18.${host}`, 'ranks')])).toBe(0);
      const twice = { limits: [named('ip:198.18.0.1', 'ranks'), named('ip:::ffff:198.18.0.1', 'ranks')] };
      expect(await failureOf(rateLimits.checkRateLimit(twice))).toMatchObject({ fields: ['limits[1]'] });
    });

    test('a network of IPv6 is one subject, to bans and resets too', async () => {
      const { rateLimits } = service();
      const part = (): string => Math.floor(Math.random() * 0xffff).toString(16);
      const site = `ip:2001:db8:${part()}:${part()}`;
      for (const host of ['1', '2', 'dead:beef']) {
        expect((await rateLimits.checkRateLimit({ limits: [named(`${site}::${host}`, 'ranks')] })).allowed).toBe(true);
      }
      expect(await admitted([named(`${site}::9`, 'ranks')])).toBe(0);
      expect((await rateLimits.resetRateLimit({ limits: [named(`${site}::8`, 'ranks')] })).reset).toEqual([true]);
      await rateLimits.ban({ subject: `${site}::7`, policyName: '', ttlMs: BigInt(HOUR_MS), reason: 'test' });
      const { limits } = await rateLimits.checkRateLimit({ limits: [named(`${site}::6`, 'ranks')] });
      expect(limits[0]?.status).toBe(LimitStatus.BANNED);
      expect(await rateLimits.unban({ subject: `${site}::/64`, policyName: '' })).toEqual({ unbanned: true });
      expect((await rateLimits.checkRateLimit({ limits: [named(`${site}::6`, 'ranks')] })).allowed).toBe(true);
    });

    describe('of several limits', () => {
      const address = (): string => `203.0.${String(Math.floor(Math.random() * 250))}.${randomNamespace()}`;

      test('ask them all together, in the order of the file', async () => {
        const { rateLimits } = service();
        const [user, ip] = [randomNamespace(), address()];
        const limits = [byKind('login', { user, ip })];
        const first = await rateLimits.checkRateLimit({ limits });
        expect(first).toMatchObject({ allowed: true, atomic: topology === 'standalone' });
        expect(first.limits.map(({ subject, limit }) => [subject, limit])).toEqual([
          [`ip:${ip}`, 4],
          [`user:${user}`, 3],
          ['all', 1_000],
        ]);
        expect(await admitted(limits)).toBe(2);
        const denied = await rateLimits.peekRateLimit({ limits });
        expect(denied.limits.map(({ status }) => status)).toEqual([LimitStatus.OK, LimitStatus.OVER, LimitStatus.OK]);
        // of the address, 3 of 4 are gone
        expect(await admitted([byKind('login', { user: randomNamespace(), ip })])).toBe(1);
      });

      test('have tiers of their own', async () => {
        const limits = [byKind('login', { user: randomNamespace(), ip: address() }, 'vip')];
        const { limits: states } = await service().rateLimits.checkRateLimit({ limits });
        expect(states.map(({ limit }) => limit)).toEqual([4, 4, 1_000]);
      });

      test('have lists of their own', async () => {
        const ip = `192.0.2.${String(Math.floor(Math.random() * 250))}`;
        expect(await admitted([byKind('login', { user: randomNamespace(), ip })])).toBe(3);
        expect(await admitted([byKind('login', { user: randomNamespace(), ip })])).toBe(3);
      });

      test('can be reset for one subject alone', async () => {
        const { rateLimits } = service();
        const [user, ip] = [randomNamespace(), address()];
        const limits = [byKind('login', { user, ip })];
        expect(await admitted(limits)).toBe(3);
        expect((await rateLimits.resetRateLimit({ limits: [named(`user:${user}`, 'login')] })).reset).toEqual([true]);
        // of the address one is left
        expect(await admitted(limits)).toBe(1);
        expect((await rateLimits.resetRateLimit({ limits })).reset).toEqual([true, true, true]);
        expect(await admitted(limits)).toBe(3);
        const guild = rateLimits.resetRateLimit({ limits: [named('guild:9', 'login')] });
        expect(await failureOf(guild)).toMatchObject({ fields: ['limits[0].subject'] });
      });

      test('name the subject where its kind has no limit', async () => {
        const { rateLimits } = service();
        const guild = { subject: 'guild:9', policyName: 'login', ttlMs: BigInt(HOUR_MS) };
        expect(await failureOf(rateLimits.ban({ ...guild, reason: '' }))).toMatchObject({ fields: ['subject'] });
        expect(await failureOf(rateLimits.overrideRateLimit({ ...guild, limit: 1 }))).toMatchObject({
          fields: ['subject'],
        });
      });

      test('can be overridden for one subject', async () => {
        const user = randomNamespace();
        const { rateLimits } = service();
        await rateLimits.overrideRateLimit({
          ...{ subject: `user:${user}`, policyName: 'login' },
          ...{ limit: 1, ttlMs: BigInt(HOUR_MS) },
        });
        expect(await admitted([byKind('login', { user, ip: address() })])).toBe(1);
      });

      test.each<[string, Limit, string]>([
        ['a subject alone', named('user:ada', 'login'), 'limits[0].subject'],
        ['a kind too few', byKind('login', { user: 'ada' }), 'limits[0].subjects.by_kind'],
        ['nobody', byKind('login', {}), 'limits[0].subjects.by_kind'],
        ['a kind too many', byKind('login', { user: 'a', ip: 'b', guild: 'c' }), 'limits[0].subjects.by_kind.guild'],
        ['everybody', byKind('login', { user: 'a', ip: 'b', all: 'c' }), 'limits[0].subjects.by_kind.all'],
        ['a subject too long', byKind('login', { user: 'a', ip: 'b'.repeat(254) }), 'limits[0].subjects.by_kind.ip'],
        ['kinds for a policy of one', byKind('ranks', { user: 'a' }), 'limits[0].subjects'],
      ])('refuse %s', async (_, limit, field) => {
        const failure = await failureOf(service().rateLimits.checkRateLimit({ limits: [limit] }));
        expect(failure).toMatchObject({ code: Code.INVALID_ARGUMENT, fields: [field] });
      });

      test('name the same subject twice only once', async () => {
        const limits = [
          named(someone(), 'ranks'),
          byKind('login', { user: 'a', ip: 'b' }),
          byKind('login', { user: 'a', ip: 'c' }),
        ];
        const failure = await failureOf(service().rateLimits.checkRateLimit({ limits }));
        expect(failure).toMatchObject({ code: Code.INVALID_ARGUMENT, fields: ['limits[2]'] });
      });

      test('count towards the sixteen of a call', async () => {
        const limits = Array.from({ length: 6 }, () => byKind('login', { user: randomNamespace(), ip: address() }));
        const failure = await failureOf(service().rateLimits.checkRateLimit({ limits }));
        expect(failure.code).toBe(Code.INVALID_ARGUMENT);
      });
    });

    describe('with lists', () => {
      test.each(['user:friend', 'ip:10.1.2.3', 'ip:::ffff:10.1.2.3'])('do not limit %s', async (subject) => {
        expect(await admitted([named(subject, 'listed')])).toBe(10);
        const { limits } = await service().rateLimits.peekRateLimit({ limits: [named(subject, 'listed')] });
        expect(limits[0]).toMatchObject({ status: LimitStatus.OK, limit: 3, remaining: 3 });
      });

      test.each(['user:foe', 'ip:10.2.0.1'])('ban %s', async (subject) => {
        const other = named(someone(), 'ranks');
        const reply = await service().rateLimits.checkRateLimit({ limits: [other, named(subject, 'listed')] });
        expect(reply).toMatchObject({ allowed: false, granted: 0, degraded: false });
        expect(reply.retryAfterMs).toBeGreaterThan(0n);
        expect(reply.limits.map(({ status }) => status)).toEqual([LimitStatus.NOT_CHECKED, LimitStatus.BANNED]);
        expect(await admitted([other])).toBe(3);
      });

      test('limit everybody else', async () => {
        expect(await admitted([named(someone(), 'listed')])).toBe(3);
      });

      test('charge the other limits of a call', async () => {
        const other = named(someone(), 'ranks');
        expect(await admitted([named('user:friend', 'listed'), other])).toBe(3);
        const { limits } = await service().rateLimits.checkRateLimit({
          limits: [named('user:friend', 'listed'), other],
        });
        expect(limits.map(({ status }) => status)).toEqual([LimitStatus.OK, LimitStatus.OVER]);
      });

      test('leave nothing to settle where they decide alone', async () => {
        const { rateLimits } = service();
        const made = await rateLimits.reserveRateLimit({ limits: [named('user:friend', 'listed')] });
        expect(made).toMatchObject({ reservationId: '', decision: { allowed: true } });
        const subject = someone();
        const own = { ...named(subject, 'ranks'), cost: 2 };
        const limits = topology === 'standalone' ? [named('user:friend', 'listed'), own] : [own];
        const { reservationId } = await rateLimits.reserveRateLimit({ limits });
        expect(await rateLimits.refundRateLimit({ reservationId })).toEqual({ refunded: true });
        expect(await admitted([named(subject, 'ranks')])).toBe(3);
      });
    });

    test('that only watch tell of denials, and deny nobody', async () => {
      const { rateLimits } = service();
      const limits = [named(someone(), 'watched')];
      expect(await admitted(limits)).toBe(10);
      expect(await rateLimits.checkRateLimit({ limits })).toMatchObject({
        allowed: true,
        limits: [{ status: LimitStatus.OVER, shadow: true }],
      });
      const foe = await rateLimits.checkRateLimit({ limits: [named('user:foe', 'watched')] });
      expect(foe).toMatchObject({ allowed: true, limits: [{ status: LimitStatus.BANNED, shadow: true }] });
    });

    test('for half of the subjects deny just these', async () => {
      const { rateLimits } = service();
      const limits = Array.from({ length: 64 }, () => [named(someone(), 'half')]);
      for (const one of limits) await rateLimits.checkRateLimit({ limits: one });
      const replies = await Promise.all(limits.map((one) => rateLimits.checkRateLimit({ limits: one })));
      const denied = replies.filter(({ allowed }) => !allowed);
      expect(replies.every((reply) => reply.allowed === reply.limits[0]?.shadow)).toBe(true);
      // either is less likely than a billionth of a billionth
      expect(denied.length).toBeGreaterThan(0);
      expect(denied.length).toBeLessThan(64);
    });

    test('are listed as they are, those of several limits one by one', async () => {
      const { policies } = await service().rateLimits.listPolicies({});
      const names = [...Object.keys({ ...SHIPPED_RATE_POLICIES, ...RATE_POLICIES }), 'login', 'login'].toSorted();
      expect(policies.map(({ name }) => name)).toEqual(names);
      const of = (name: string): object[] => policies.filter((one) => one.name === name);
      expect(of('login')).toMatchObject([
        { subjectKind: 'ip', limit: 4, algorithm: Algorithm.SLIDING_EXACT, tiers: new Map() },
        { subjectKind: 'user', limit: 3, tiers: new Map([['vip', 4]]) },
        { subjectKind: 'all', limit: 1_000, algorithm: Algorithm.FIXED, windowMs: BigInt(HOUR_MS) },
      ]);
      expect(of('bucket')).toMatchObject([{ algorithm: Algorithm.TOKEN_BUCKET, burst: 20, subjectKind: '' }]);
      expect(of('evenly')).toMatchObject([{ burst: 10 }]);
      expect(of('slots')).toMatchObject([{ algorithm: Algorithm.CONCURRENCY, windowMs: 30_000n }]);
      expect(of('watched')).toMatchObject([{ enforcement: Enforcement.SHADOW, enforcementPercent: 0 }]);
      expect(of('half')).toMatchObject([{ enforcement: Enforcement.PERCENT, enforcementPercent: 50 }]);
      const berlin = { calendarUnit: CalendarUnit.DAY, timeZone: 'Europe/Berlin', windowMs: 0n };
      expect(of('daily')).toMatchObject([{ algorithm: Algorithm.CALENDAR, ...berlin }]);
      const ban = { after: 3, withinMs: 60_000n, ladderMs: [1_000n, 2_000n], decayMs: 9_000n };
      expect(of('strict')).toMatchObject([{ onRedisLoss: OnRedisLoss.DENY, localFraction: 0, blockMs: 5_000n, ban }]);
      expect(of('alone')).toMatchObject([{ onRedisLoss: OnRedisLoss.LOCAL_FRACTION, localFraction: 0.5, blockMs: 0n }]);
      expect(of('listed')).toMatchObject([{ onRedisLoss: OnRedisLoss.FAIL, allowedCount: 2, deniedCount: 3 }]);
      expect(of('listed')[0]).toHaveProperty('ban', undefined);
    });
  },
  { POLICIES_FILE: policiesFile({ rate_policies: RATE_POLICIES }) },
);

const run = promisify(execFile);

test('the subjects of a percentage are the same in every process, and grow with it', async () => {
  const subjects = Array.from({ length: 400 }, (_, index) => `user:${String(index)}`);
  const enforcedOf = (percent: number): string[] => {
    const policies = new RatePolicies({ p: { ...hourly, enforcement: { percent } } });
    return subjects.filter((subject) => policies.named(subject, 'p')?.isShadow === false);
  };
  const third = enforcedOf(33);
  expect(enforcedOf(66)).toEqual(expect.arrayContaining(third));
  expect([enforcedOf(0).length, enforcedOf(100).length]).toEqual([0, 400]);
  // 33 % of 400 within 5 standard deviations, for subjects that never change
  expect(Math.abs(third.length - 132)).toBeLessThan(47);
  const module = new URL('../../dist/ratelimit/policies.js', import.meta.url).href;
  const program = `
    const { RatePolicies } = await import(${JSON.stringify(module)});
    const policies = new RatePolicies({ p: { ...${JSON.stringify(hourly)}, enforcement: { percent: 33 } } });
    const subjects = Array.from({ length: 400 }, (_, index) => 'user:' + index);
    console.log(JSON.stringify(subjects.filter((subject) => !policies.named(subject, 'p').isShadow)));`;
  const { stdout } = await run(process.execPath, ['--input-type=module', '--eval', program]);
  expect(JSON.parse(stdout)).toEqual(third);
});

test('the version is that of the content', () => {
  const other = { ...hourly, limit: 4 };
  const policies = new RatePolicies({ a: hourly, b: other });
  const { version } = policies;
  policies.replace({ b: other, a: hourly });
  expect(policies.version).toBe(version);
  const versions = [version];
  for (const settings of [{ a: hourly }, { a: hourly, b: hourly }, { a: hourly, c: other }]) {
    policies.replace(settings);
    versions.push(policies.version);
  }
  policies.replace({ a: hourly, b: other }, 56);
  expect(new Set([...versions, policies.version]).size).toBe(5);
});
