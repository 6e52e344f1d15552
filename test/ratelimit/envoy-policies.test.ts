import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { onEachTopology, policiesFile } from '../support/service.js';
import { EnvoyClient, OK, OVER_LIMIT, type Descriptor } from './envoy-support.js';

/** What the policies of a game do to the requests of a proxy. */

const HOUR_MS = 3_600_000;
const hourly = { algorithm: 'sliding_exact', limit: 2, window_ms: HOUR_MS } as const;
const ladder = { after: 2, within_ms: HOUR_MS, ladder_ms: [HOUR_MS], decay_ms: HOUR_MS };

const POLICIES = {
  rate_policies: {
    plain: hourly,
    watched: { ...hourly, enforcement: 'shadow' },
    half: { ...hourly, limit: 1, enforcement: { percent: 50 } },
    banning: { ...hourly, ban: ladder },
    blocking: { algorithm: 'fixed', limit: 1, window_ms: 10, block_ms: HOUR_MS },
    listed: { ...hourly, allow: ['192.0.2.0/24'], deny: ['203.0.113.0/24'] },
    ranks: { ...hourly, tiers: { vip: 4, muted: 1 } },
  },
  envoy_domains: {
    edge: {
      descriptors: [
        ...['plain', 'watched', 'half', 'banning', 'blocking'].map((policy) => ({ key: policy, policy })),
        { key: 'name', policy: 'plain', subject: '{name}' },
        { key: 'ip', policy: 'listed', subject: 'ip:{ip}' },
        { key: 'plan', descriptors: [{ key: 'user', policy: 'ranks', subject: 'user:{user}', role: '{plan}' }] },
        { key: 'tenant', descriptors: [{ key: 'user', policy: 'plain', subject: '{tenant}:{user}' }] },
      ],
    },
  },
};

onEachTopology(
  "Envoy's proxies",
  (service) => {
    let envoy: EnvoyClient;
    beforeAll(() => {
      envoy = new EnvoyClient(service().address);
    });
    afterAll(() => {
      envoy.close();
    });
    const of = (key: string, value: string = randomUUID()): Descriptor => ({ entries: [[key, value]] });
    const ask = async (...descriptors: Descriptor[]) => envoy.ask('edge', descriptors);

    test('a policy that only watches lets all pass and tells how it stands', async () => {
      const [watched, plain] = [of('watched'), of('plain')];
      for (const left of [1, 0, 0, 0]) {
        expect((await ask(watched)).statuses).toMatchObject([{ code: OK, remaining: left }]);
      }
      expect(await envoy.passed('edge', plain, 2)).toBe(2);
      const denied = await ask(watched, plain);
      expect(denied).toMatchObject({ overall: OVER_LIMIT, codes: [OK, OVER_LIMIT] });
      // nothing of what only watches
      expect(denied.headers['ratelimit-policy']).toBe('"plain";q=2;w=3600');
    });

    test('a policy for half of them denies the same ones each time', async () => {
      const some = Array.from({ length: 40 }, () => of('half'));
      const counts = await Promise.all(some.map((one) => envoy.passed('edge', one, 3)));
      expect(new Set(counts)).toEqual(new Set([1, 3]));
    });

    test('denials lead to bans, and a ban is over for everybody who asks', async () => {
      const who = of('banning');
      expect(await envoy.passed('edge', who, 4)).toBe(2);
      const [status] = (await ask(who)).statuses;
      expect(status).toMatchObject({ code: OVER_LIMIT, remaining: 0 });
      const { bans } = await service().rateLimits.listBans({ subjectPrefix: 'edge/banning=' });
      expect(bans).toContainEqual(
        expect.objectContaining({ subject: `edge/banning=${String(who.entries[0]?.[1])}`, policyName: 'banning' }),
      );
    });

    test('a block goes on after its window', async () => {
      const who = of('blocking');
      const codes = (await Promise.all([ask(who), ask(who), ask(who)])).map(({ overall }) => overall);
      expect(codes).toContain(OVER_LIMIT);
      const [status] = (await ask({ ...who, hits: 0 })).statuses;
      expect(status?.code).toBe(OVER_LIMIT);
      expect(status?.resetMs).toBeGreaterThan(HOUR_MS / 2);
    });

    test('people ban, and take limits away, by the subject that the policies file names', async () => {
      const user = randomUUID();
      const who: Descriptor = {
        entries: [
          ['plan', 'free'],
          ['user', user],
        ],
      };
      const { rateLimits } = service();
      await rateLimits.ban({ subject: `user:${user}`, policyName: '', ttlMs: 60_000n, reason: 'spam' });
      expect((await ask(who)).codes).toEqual([OVER_LIMIT]);
      await rateLimits.unban({ subject: `user:${user}`, policyName: '' });
      expect(await envoy.passed('edge', who, 9)).toBe(2);
      await rateLimits.overrideRateLimit({ subject: `user:${user}`, policyName: 'ranks', limit: 3, ttlMs: 60_000n });
      expect((await ask(who)).statuses).toMatchObject([{ code: OK, limit: { requestsPerUnit: 3 }, remaining: 0 }]);
    });

    test('lists of addresses decide without a count', async () => {
      const host = String(Math.floor(Math.random() * 250));
      expect(await envoy.passed('edge', of('ip', `192.0.2.${host}`), 5)).toBe(5);
      expect(await ask(of('ip', `203.0.113.${host}`), of('plain'))).toMatchObject({
        overall: OVER_LIMIT,
        codes: [OVER_LIMIT, OK],
      });
      // the addresses of one network are one subject
      const part = Math.floor(Math.random() * 0xffff).toString(16);
      const network = [`2001:db8:${part}::1`, `2001:db8:${part}::2`, `2001:DB8:${part}:0::3`];
      const passed = await Promise.all(network.map((address) => envoy.passed('edge', of('ip', address), 1)));
      expect(passed.filter((count) => count === 1)).toHaveLength(2);
    });

    test.each([
      ['vip', 4],
      ['muted', 1],
      ['free', 2],
      ['constructor', 2],
      ['', 2],
    ])('a user of the plan %j may %i', async (plan, limit) => {
      expect(
        await envoy.passed(
          'edge',
          {
            entries: [
              ['plan', plan],
              ['user', randomUUID()],
            ],
          },
          6,
        ),
      ).toBe(limit);
    });

    test('nobody writes the subject of another by what stands between two values', async () => {
      const id = randomUUID();
      const who = (tenant: string, user: string): Descriptor => ({
        entries: [
          ['tenant', tenant],
          ['user', user],
        ],
      });
      expect(await envoy.passed('edge', who(`${id}:a`, 'b'), 3)).toBe(2);
      expect(await envoy.passed('edge', who(id, 'a:b'), 3)).toBe(2);
    });

    test('nobody gets past a limit by a subject that is empty', async () => {
      const passed = await envoy.passed('edge', of('name', ''), 3);
      expect(passed).toBe(2);
    });

    test('a reset is seen at once by those who were denied from memory', async () => {
      const who = of('plain');
      expect(await envoy.passed('edge', who, 3)).toBe(2);
      const first = await ask(who);
      expect(first.overall).toBe(OVER_LIMIT);
      const { rateLimits } = service();
      const value = String(who.entries[0]?.[1]);
      const policy = { $case: 'policyName', value: 'plain' } as const;
      const limit = { subject: `edge/plain=${value}`, policy, cost: undefined, role: undefined, subjects: undefined };
      expect((await rateLimits.resetRateLimit({ limits: [limit] })).reset).toEqual([true]);
      expect(await envoy.passed('edge', who, 3)).toBe(2);
    });
  },
  { POLICIES_FILE: policiesFile(POLICIES) },
);
