import { randomUUID } from 'node:crypto';
import { status as Code } from '@grpc/grpc-js';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { failureOf } from '../support/client.js';
import { onEachTopology, policiesFile } from '../support/service.js';
import {
  DAY,
  EnvoyClient,
  HOUR,
  MINUTE,
  MONTH,
  OK,
  OVER_LIMIT,
  SECOND,
  UNKNOWN,
  WEEK,
  type Descriptor,
  type Status,
} from './envoy-support.js';

/** What a proxy is answered: descriptors, hits and limits, as Envoy's protocol has them. */

const HOUR_MS = 3_600_000;
const MOST = 1_000_000_000;

const POLICIES = {
  rate_policies: {
    two: { algorithm: 'sliding_exact', limit: 2, window_ms: HOUR_MS },
    five: { algorithm: 'sliding_exact', limit: 5, window_ms: HOUR_MS },
    exact: { algorithm: 'sliding_exact', limit: 8_192, window_ms: HOUR_MS },
    buckets: { algorithm: 'sliding_buckets', limit: MOST, window_ms: HOUR_MS },
    tokens: { algorithm: 'token_bucket', limit: 1, window_ms: HOUR_MS, burst: 100_000 },
    fixed: { algorithm: 'fixed', limit: MOST, window_ms: HOUR_MS },
    calendar: { algorithm: 'calendar', limit: MOST, unit: 'month' },
    week: { algorithm: 'calendar', limit: 3, unit: 'week' },
    odd: { algorithm: 'fixed', limit: 3, window_ms: 1_234 },
    burst: { algorithm: 'token_bucket', limit: 60, window_ms: 60_000, burst: 10 },
  },
  envoy_domains: {
    edge: {
      descriptors: [
        { key: 'user', policy: 'five' },
        ...['two', 'exact', 'buckets', 'tokens', 'fixed', 'calendar', 'week', 'odd', 'burst'].map((policy) => ({
          key: policy,
          policy,
        })),
        {
          key: 'tenant',
          descriptors: [
            { key: 'path', value: '/login', policy: 'two' },
            { key: 'path', value: '/api/*', policy: 'five', subject: 'api:{tenant}' },
            { key: 'path', value: '/free' },
            { key: 'path', policy: 'fixed' },
          ],
        },
      ],
    },
    bare: { headers: false, descriptors: [{ key: 'user', policy: 'two' }] },
  },
};

onEachTopology(
  'Envoy',
  (service) => {
    let envoy: EnvoyClient;
    beforeAll(() => {
      envoy = new EnvoyClient(service().address);
    });
    afterAll(() => {
      envoy.close();
    });
    /** Of a descriptor that nobody else uses. */
    const one = (key = 'user', hits?: number | string): Descriptor => ({
      entries: [[key, randomUUID()]],
      ...(hits !== undefined && { hits }),
    });

    const minutesOf = (status: Status | undefined): number => Math.round((status?.resetMs ?? 0) / 60_000);

    describe('descriptors', () => {
      test('one is admitted as often as its policy says, and told how it stands', async () => {
        const user = one();
        const first = await envoy.ask('edge', [user]);
        expect(first).toMatchObject({ overall: OK, codes: [OK] });
        const [status] = first.statuses;
        expect(status).toMatchObject({ limit: { name: 'five', requestsPerUnit: 5, unit: HOUR }, remaining: 4 });
        expect(minutesOf(status)).toBe(60);
        expect(await envoy.passed('edge', user, 10)).toBe(4);
        const denied = await envoy.ask('edge', [user]);
        expect(denied).toMatchObject({ overall: OVER_LIMIT, statuses: [{ code: OVER_LIMIT, remaining: 0 }] });
        expect(minutesOf(denied.statuses[0])).toBe(60);
      });

      test('several are answered in their order, and charged all or none', async () => {
        const [many, few, none] = [one(), one('two'), one('nothing')];
        for (const left of [1, 0]) {
          const { overall, statuses } = await envoy.ask('edge', [none, few, many]);
          expect(overall).toBe(OK);
          expect(statuses.map(({ remaining }) => remaining)).toEqual([0, left, left + 3]);
        }
        for (let tries = 0; tries < 5; tries++) {
          expect(await envoy.ask('edge', [many, none, few])).toMatchObject({
            overall: OVER_LIMIT,
            codes: [OK, OK, OVER_LIMIT],
          });
        }
        expect(await envoy.passed('edge', many, 5)).toBe(3);
      });

      test('200 at once are admitted exactly as often as the tightest of them may', async () => {
        const [many, few] = [one('fixed'), one()];
        const calls = Array.from({ length: 200 }, () => envoy.ask('edge', [many, few]));
        const passed = (await Promise.all(calls)).filter(({ overall }) => overall === OK);
        expect(passed.length).toBeGreaterThan(0);
        expect(passed.length).toBeLessThanOrEqual(5);
        // across slots of a Cluster they may keep each other out
        const left = await envoy.passed('edge', few, 6);
        expect(passed.length + left).toBe(5);
        const state = await envoy.ask('edge', [{ ...many, hits: 0 }]);
        expect(state.statuses[0]?.remaining).toBe(MOST - passed.length);
      });

      test('the same limit twice takes the units of both', async () => {
        const user = one();
        const { overall, statuses } = await envoy.ask('edge', [user, { ...user, hits: 3 }]);
        expect({ overall, left: statuses.map(({ remaining }) => remaining) }).toEqual({ overall: OK, left: [1, 1] });
        expect((await envoy.ask('edge', [user, user])).codes).toEqual([OVER_LIMIT, OVER_LIMIT]);
        expect(await envoy.passed('edge', user, 2)).toBe(1);
      });

      test.each([
        ['without a rule', 'edge', [['nothing', 'x']]],
        [
          'deeper than its rule',
          'edge',
          [
            ['user', 'x'],
            ['path', '/'],
          ],
        ],
        ['shorter than its rule', 'edge', [['tenant', 'x']]],
        [
          'in another order',
          'edge',
          [
            ['path', '/login'],
            ['tenant', 'x'],
          ],
        ],
        [
          'taken out by a rule without policy',
          'edge',
          [
            ['tenant', 'x'],
            ['path', '/free'],
          ],
        ],
        ['of a domain that is not configured', 'nowhere', [['user', 'x']]],
        ['of a domain that is called as what objects have', 'constructor', [['user', 'x']]],
      ] as const)('one %s is not limited', async (_, domain, entries) => {
        for (let call = 0; call < 3; call++) {
          expect(await envoy.ask(domain, [{ entries, hits: 100_000 }])).toEqual({
            overall: OK,
            codes: [OK],
            statuses: [{ code: OK, limit: undefined, remaining: 0, resetMs: undefined }],
            headers: {},
          });
        }
      });

      test('nested entries: the very value, then a beginning of it, then any', async () => {
        const tenant = randomUUID();
        const of = async (path: string): Promise<string | undefined> =>
          (
            await envoy.ask('edge', [
              {
                entries: [
                  ['tenant', tenant],
                  ['path', path],
                ],
              },
            ])
          ).statuses[0]?.limit?.name;
        expect(await Promise.all(['/login', '/api/', '/api/x', '/login/', '/', ''].map(of))).toEqual([
          ...['two', 'five', 'five'],
          ...['fixed', 'fixed', 'fixed'],
        ]);
        // each value is limited by itself, but where the policies file names the subject
        const login = (of: string): Descriptor => ({
          entries: [
            ['tenant', of],
            ['path', '/login'],
          ],
        });
        expect(await envoy.passed('edge', login(tenant), 3)).toBe(1);
        expect(await envoy.passed('edge', login(randomUUID()), 3)).toBe(2);
        expect(
          await envoy.passed(
            'edge',
            {
              entries: [
                ['tenant', tenant],
                ['path', '/api/y'],
              ],
            },
            9,
          ),
        ).toBe(3);
      });

      test('entries that only look alike are limited apart', async () => {
        const [a, b] = [randomUUID(), randomUUID()];
        const values = [`${a}/${b}`, a, `${a}%2F${b}`, `${a}=${b}`, `${a}{}`, `${a}{`, ''.padEnd(4_000, a)];
        for (const value of values) expect(await envoy.passed('edge', { entries: [['two', value]] }, 3)).toBe(2);
      });

      test('no value of an entry lets a request pass unlimited', async () => {
        const id = randomUUID();
        const values = [
          ...[`${id}\0`, `${id}\uFFFD`, id.padEnd(100_000, 'x'), id.padEnd(100_000, 'y')],
          Buffer.concat([Buffer.from(id), Buffer.from([0xc3, 0x28])]),
        ];
        const passed = [];
        for (const value of values) passed.push(await envoy.passed('edge', { entries: [['two', value]] }, 3));
        // what is no UTF-8 is U+FFFD to every decoder: `<id>U+FFFD` and `<id>U+FFFD(`
        expect(passed).toEqual([2, 2, 2, 2, 2]);
      });
    });

    describe('a limit that comes with a descriptor', () => {
      const limited = (requestsPerUnit: number, unit: number, key = 'fixed'): Descriptor => ({
        ...one(key),
        limit: { requestsPerUnit, unit },
      });

      test.each([
        [SECOND, 1_000],
        [MINUTE, 60_000],
        [HOUR, HOUR_MS],
        [DAY, 24 * HOUR_MS],
        [WEEK, 168 * HOUR_MS],
        [MONTH, 720 * HOUR_MS],
      ])('is kept for unit %i', async (unit, windowMs) => {
        const descriptor = limited(1, unit);
        const { statuses } = await envoy.ask('edge', [descriptor]);
        expect(statuses).toEqual([
          { code: OK, limit: { name: 'envoy', requestsPerUnit: 1, unit }, remaining: 0, resetMs: expect.any(Number) },
        ]);
        if (unit === SECOND) return;
        // the newest of 60 parts counts in full
        expect(Math.round(((statuses[0]?.resetMs ?? 0) / windowMs) * 10)).toBe(10);
        expect((await envoy.ask('edge', [descriptor])).overall).toBe(OVER_LIMIT);
      });

      test('needs no configuration, and is counted apart from what is configured', async () => {
        expect(await envoy.passed('nowhere', limited(3, HOUR), 9)).toBe(3);
        const descriptor = limited(3, HOUR, 'two');
        expect(await envoy.passed('edge', descriptor, 9)).toBe(3);
        expect(await envoy.passed('edge', { entries: descriptor.entries }, 9)).toBe(2);
      });

      test('of 0 denies everything, a look too', async () => {
        const descriptor = limited(0, HOUR);
        expect(await envoy.ask('edge', [descriptor])).toMatchObject({
          overall: OVER_LIMIT,
          statuses: [{ code: OVER_LIMIT, limit: { name: 'envoy', requestsPerUnit: 0, unit: HOUR }, remaining: 0 }],
        });
        const user = one();
        expect((await envoy.ask('edge', [user, { ...descriptor, hits: 0 }])).codes).toEqual([OK, OVER_LIMIT]);
        expect(await envoy.passed('edge', user, 9)).toBe(5);
      });

      test('may change, and what was charged stays charged', async () => {
        const descriptor = limited(2, HOUR);
        expect(await envoy.passed('edge', descriptor, 9)).toBe(2);
        const raised = { ...descriptor, limit: { requestsPerUnit: 5, unit: HOUR } };
        expect(await envoy.passed('edge', raised, 9)).toBe(3);
      });
    });

    describe('an answer', () => {
      test.each([
        ['two', { name: 'two', requestsPerUnit: 2, unit: HOUR }, 1],
        ['week', { name: 'week', requestsPerUnit: 3, unit: WEEK }, 2],
        ['calendar', { name: 'calendar', requestsPerUnit: MOST, unit: MONTH }, MOST - 1],
        ['odd', { name: 'odd', requestsPerUnit: 3, unit: UNKNOWN }, 2],
        ['burst', { name: 'burst', requestsPerUnit: 60, unit: MINUTE }, 9],
      ])('says what limits under %s', async (key, limit, remaining) => {
        expect((await envoy.ask('edge', [one(key)])).statuses).toMatchObject([{ limit, remaining }]);
      });

      test('has headers for the client: of the limit with the least room, and when to come back', async () => {
        const [user, few] = [one(), one('two')];
        const { headers } = await envoy.ask('edge', [user, few, { ...user, hits: 0 }]);
        expect(headers).toEqual({
          ratelimit: expect.stringMatching(/^"two";r=1;t=(?:3599|3600|3601)$/),
          'ratelimit-policy': expect.stringContaining('"two";q=2;w=3600'),
        });
        expect(headers['ratelimit-policy']?.split(', ').toSorted()).toEqual(['"five";q=5;w=3600', '"two";q=2;w=3600']);
        await envoy.passed('edge', few, 1);
        const denied = await envoy.ask('edge', [few]);
        expect(denied.headers.ratelimit).toMatch(/^"two";r=0;t=\d+$/);
        expect(Number(denied.headers['retry-after'])).toBeGreaterThan(3_500);
      });

      test('has none where the domain is configured without', async () => {
        const user = one();
        expect(await envoy.passed('bare', user, 3)).toBe(2);
        expect((await envoy.ask('bare', [user])).headers).toEqual({});
      });
    });

    test('fields of later versions are skipped', async () => {
      const user = one();
      // field 4 of the request as a message, field 99 as a number
      const more = Buffer.from([0x22, 0x02, 0x08, 0x01, 0x98, 0x06, 0x07]);
      expect(await envoy.ask('edge', [user], { more })).toMatchObject({ overall: OK, statuses: [{ remaining: 4 }] });
    });

    test.each<[string, string, readonly Descriptor[], string]>([
      ['no domain', '', [one()], 'domain'],
      ['no descriptors', 'edge', [], 'descriptors'],
      ['a descriptor without entries', 'edge', [one(), { entries: [] }], 'descriptors[1].entries'],
      ['an entry without key', 'edge', [{ entries: [['', 'x']] }], 'descriptors[0].entries[0].key'],
      [
        'a unit that is none',
        'edge',
        [{ ...one(), limit: { requestsPerUnit: 1, unit: 0 } }],
        'descriptors[0].limit.unit',
      ],
    ])('%s is INVALID_ARGUMENT', async (_, domain, descriptors, field) => {
      expect(await failureOf(envoy.ask(domain, descriptors))).toMatchObject({
        code: Code.INVALID_ARGUMENT,
        fields: [field],
      });
    });
  },
  { POLICIES_FILE: policiesFile(POLICIES) },
);
