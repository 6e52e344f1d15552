import { expect, test } from '@jest/globals';
import type { RateLimitBan, RateLimits } from '../../../src/client/index.js';
import { until } from '../../support/redis-server.js';
import { onEachTopology, policiesFile } from '../../support/service.js';
import { ClientsOfTest, exactly, someone } from './support.js';

const clients = new ClientsOfTest();

const POLICIES = policiesFile({
  rate_policies: {
    laddered: {
      ...{ algorithm: 'token_bucket', limit: 1, window_ms: 60_000, burst: 2, tiers: { vip: 9 } },
      ...{ block_ms: 5_000, ban: { after: 2, within_ms: 60_000, ladder_ms: [60_000, 120_000], decay_ms: 600_000 } },
      ...{ enforcement: 'on', on_redis_loss: { local_fraction: 0.25 }, allow: ['user:admin'], deny: ['user:bad'] },
    },
    banning: {
      ...{ algorithm: 'sliding_exact', limit: 1, window_ms: 60_000 },
      ban: { after: 1, within_ms: 60_000, ladder_ms: [60_000], decay_ms: 600_000 },
    },
    daily: {
      algorithm: 'calendar',
      limit: 100,
      unit: 'day',
      time_zone: 'Europe/Berlin',
      enforcement: { percent: 10 },
    },
    pair: {
      limits: [
        { per: 'ip', algorithm: 'fixed', limit: 20, window_ms: 60_000 },
        { per: 'user', algorithm: 'sliding_buckets', limit: 5, window_ms: 60_000 },
      ],
    },
  },
});

onEachTopology(
  'what people decide about subjects',
  (service) => {
    const open = () => clients.rateLimits(service().address);

    test('a ban denies everything or one policy, and ends', async () => {
      const limits = open();
      const subject = someone();
      const everywhere = await limits.ban(subject, 60_000, { reason: 'sells gold' });
      expect(await limits.check(subject, 'chat')).toMatchObject({ allowed: false, status: 'banned', remaining: 0 });
      expect(await limits.check(subject, exactly(5))).toMatchObject({ allowed: false, status: 'banned' });
      const longer = await limits.ban(subject, 3_600_000, { policy: 'chat' });
      expect(longer).toBeGreaterThan(everywhere);
      expect(await bansOf(limits, subject)).toEqual([
        { subject, policy: undefined, expiresAtMs: everywhere, reason: 'sells gold', ladderStep: undefined },
        { subject, policy: 'chat', expiresAtMs: longer, reason: undefined, ladderStep: undefined },
      ]);
      expect(await limits.unban(subject)).toBe(true);
      expect(await limits.unban(subject)).toBe(false);
      expect(await limits.check(subject, exactly(5))).toMatchObject({ allowed: true });
      expect(await limits.check(subject, 'chat')).toMatchObject({ allowed: false, status: 'banned' });
      expect(await limits.unban(subject, { policy: 'chat' })).toBe(true);
      expect(await limits.check(subject, 'chat')).toMatchObject({ allowed: true });
    });

    test('bans come page by page, an address as it counts, and a ladder with its step', async () => {
      const limits = open();
      const guild = someone('guild');
      const banned = Array.from({ length: 25 }, (_, index) => `${guild}-${String(index)}`);
      await Promise.all(banned.map((subject) => limits.ban(subject, 60_000)));
      const seen = new Set<string>();
      for await (const { subject } of limits.listBans({ subjectPrefix: guild, pageSize: 4 })) seen.add(subject);
      expect([...seen].toSorted()).toEqual(banned.toSorted());

      await limits.ban('ip:2001:db8::7', 60_000);
      expect(await bansOf(limits, 'ip:2001:db8:')).toMatchObject([{ subject: 'ip:2001:db8::/64' }]);
      const subject = someone();
      for (let n = 0; n < 2; n++) await limits.check(subject, 'banning');
      const [ladder] = await bansOf(limits, subject);
      expect(ladder).toMatchObject({ policy: 'banning', ladderStep: 1, reason: undefined });
    });

    test('an override is another limit until it ends', async () => {
      const limits = open();
      const subject = someone();
      const until = await limits.overrideRateLimit(subject, 'chat', { limit: 100, ttlMs: 60_000 });
      expect(until).toBeGreaterThan(0);
      expect(await limits.check(subject, 'chat')).toMatchObject({ limit: 100, remaining: 99 });
      expect(await limits.overrideRateLimit(subject, 'chat', { limit: 0, ttlMs: 1 })).toBeUndefined();
      expect(await limits.check(subject, 'chat')).toMatchObject({ limit: 10, remaining: 8 });
    });

    test('a reset forgets what was charged', async () => {
      const limits = open();
      const [charged, fresh] = [1, 2].map(() => ({ subject: someone(), policy: exactly(1) }));
      if (charged === undefined || fresh === undefined) throw new Error('two');
      await limits.checkRateLimit(charged);
      expect(await limits.resetRateLimit([charged, fresh])).toEqual([true, false]);
      expect(await limits.checkRateLimit(charged)).toMatchObject({ allowed: true });
    });

    test('the policies are told as they are configured', async () => {
      const { policies, policyVersion } = await open().listPolicies();
      expect(policyVersion).not.toBe('');
      expect(policies.map(({ name }) => name)).toEqual([
        ...[
          'api',
          'auth',
          'banning',
          'chat',
          'combat',
          'daily',
          'laddered',
          'movement',
          'pair',
          'pair',
          'session_create',
        ],
      ]);
      expect(policies.find(({ name }) => name === 'laddered')).toEqual({
        ...{ name: 'laddered', algorithm: 'token_bucket', limit: 1, windowMs: 60_000, burst: 2 },
        ...{ calendarUnit: undefined, timeZone: undefined, enforcement: 'on', enforcementPercent: undefined },
        ...{ subjectKind: undefined, tiers: { vip: 9 }, onRedisLoss: 'local_fraction', localFraction: 0.25 },
        ...{ blockMs: 5_000, allowedCount: 1, deniedCount: 1 },
        ban: { after: 2, withinMs: 60_000, ladderMs: [60_000, 120_000], decayMs: 600_000 },
      });
      expect(policies.find(({ name }) => name === 'daily')).toMatchObject({
        ...{ algorithm: 'calendar', windowMs: undefined, burst: undefined, calendarUnit: 'day' },
        ...{ timeZone: 'Europe/Berlin', enforcement: 'percent', enforcementPercent: 10 },
        ...{ onRedisLoss: 'fail', localFraction: undefined, blockMs: undefined, ban: undefined },
      });
      expect(policies.filter(({ name }) => name === 'pair')).toMatchObject([
        { subjectKind: 'ip', algorithm: 'fixed' },
        { subjectKind: 'user', algorithm: 'sliding_buckets' },
      ]);
      expect(policies.find(({ name }) => name === 'auth')).toMatchObject({
        onRedisLoss: 'deny',
        subjectKind: undefined,
      });
    });

    test('statistics tell what was decided, and who is denied most', async () => {
      const limits = open();
      const subject = someone();
      for (let n = 0; n < 12; n++) await limits.check(subject, 'combat');
      // a denial from memory may be counted by the other service's next report
      await until(async () => {
        const { policies } = await limits.getRateLimitStats();
        const combat = policies.find(({ policy }) => policy === 'combat');
        return combat?.admitted === 10 && combat.denied === 2;
      });
      const { policies, minutes, hottest } = await limits.getRateLimitStats({ hottestCount: 100 });
      expect(minutes).toBeGreaterThanOrEqual(1);
      expect(policies.find(({ policy }) => policy === 'combat')).toMatchObject({ shadowDenied: 0, degraded: 0 });
      expect(hottest).toContainEqual({ subject, policy: 'combat', denied: 2 });
    });
  },
  { POLICIES_FILE: POLICIES },
);

async function bansOf(limits: RateLimits, subjectPrefix: string): Promise<RateLimitBan[]> {
  const bans = [];
  for await (const ban of limits.listBans({ subjectPrefix })) bans.push(ban);
  return bans.toSorted((one, other) => (one.policy ?? '').localeCompare(other.policy ?? ''));
}
