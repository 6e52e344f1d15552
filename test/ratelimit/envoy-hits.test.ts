import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { onEachTopology, policiesFile } from '../support/service.js';
import { EnvoyClient, OK, OVER_LIMIT, type Descriptor } from './envoy-support.js';

/** How many units a proxy's request is charged. */

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
  },
  envoy_domains: {
    edge: {
      descriptors: [
        { key: 'user', policy: 'five' },
        ...['two', 'exact', 'buckets', 'tokens', 'fixed', 'calendar'].map((policy) => ({ key: policy, policy })),
        { key: 'traffic', policy: 'five', charge_denied: true },
      ],
    },
  },
};

onEachTopology(
  'hits_addend',
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

    test('of the request counts for each descriptor that says nothing itself; 0 is 1', async () => {
      const [a, b] = [one(), one()];
      const left = async (hits: number): Promise<number[]> =>
        (await envoy.ask('edge', [a, { ...b, hits: 1 }], { hits })).statuses.map(({ remaining }) => remaining);
      expect(await left(0)).toEqual([4, 4]);
      expect(await left(1)).toEqual([3, 3]);
      expect(await left(3)).toEqual([0, 2]);
      expect((await envoy.ask('edge', [b], { hits: 3 })).overall).toBe(OVER_LIMIT);
      expect((await envoy.ask('edge', [b], { hits: 2 })).overall).toBe(OK);
    });

    test('0 of a descriptor looks and charges nothing, whatever the request says', async () => {
      const user = one();
      const look = { ...user, hits: 0 };
      for (let call = 0; call < 7; call++) {
        const { overall, statuses } = await envoy.ask('edge', [look], { hits: 100 });
        expect({ overall, left: statuses[0]?.remaining }).toEqual({ overall: OK, left: 5 });
      }
      expect(await envoy.passed('edge', { ...user, hits: 4 }, 1)).toBe(1);
      expect(await envoy.ask('edge', [look, look])).toMatchObject({ overall: OK, codes: [OK, OK] });
      expect(await envoy.passed('edge', user, 9)).toBe(1);
      expect(await envoy.ask('edge', [look])).toMatchObject({ overall: OVER_LIMIT, codes: [OVER_LIMIT] });
    });

    test('what is looked at is told beside what is charged, and when it is over nothing is', async () => {
      const [looked, charged] = [one('two'), one()];
      const ask = () =>
        envoy.ask('edge', [
          { ...looked, hits: 0 },
          { ...charged, hits: 2 },
        ]);
      expect((await ask()).statuses.map(({ remaining }) => remaining)).toEqual([2, 3]);
      expect(await envoy.passed('edge', looked, 9)).toBe(2);
      expect(await ask()).toMatchObject({ overall: OVER_LIMIT, codes: [OVER_LIMIT, OK] });
      expect(await envoy.passed('edge', charged, 9)).toBe(3);
    });

    test.each(['exact', 'buckets', 'tokens', 'fixed', 'calendar'])('of any size is right under %s', async (key) => {
      const most = { exact: 8_192, tokens: 100_000 }[key] ?? MOST;
      const limit = one(key);
      const ask = async (hits: number | string): Promise<[number | undefined, number | undefined]> => {
        const [status] = (await envoy.ask('edge', [{ ...limit, hits }])).statuses;
        return [status?.code, status?.remaining];
      };
      for (const hits of [most + 1, 4_294_967_295, '9007199254740993', '18446744073709551615']) {
        expect(await ask(hits)).toEqual([OVER_LIMIT, most]);
      }
      expect(await ask(65)).toEqual([OK, most - 65]);
      expect(await ask(most - 64)).toEqual([OVER_LIMIT, most - 65]);
      expect(await ask(most - 65)).toEqual([OK, 0]);
      expect((await ask(1))[0]).toBe(OVER_LIMIT);
      // together more than a limit can have
      const both = [{ ...one(key), hits: '18446744073709551615' }, one(key)];
      expect(await envoy.ask('edge', both)).toMatchObject({ overall: OVER_LIMIT, codes: [OVER_LIMIT, OK] });
      const [twice] = both;
      if (twice === undefined) throw new Error('unreachable');
      expect((await envoy.ask('edge', [twice, twice], { hits: 4_294_967_295 })).overall).toBe(OVER_LIMIT);
    });

    test('that is denied beside others charges none of them', async () => {
      const [large, small] = [one('fixed'), one()];
      for (let tries = 0; tries < 3; tries++) {
        const { codes } = await envoy.ask('edge', [
          { ...large, hits: MOST },
          { ...small, hits: 6 },
        ]);
        expect(codes).toEqual([OK, OVER_LIMIT]);
      }
      expect((await envoy.ask('edge', [{ ...large, hits: MOST }])).overall).toBe(OK);
    });

    test('of a rule that charges the denied counts though there is no room, and beside others that are denied', async () => {
      const traffic = one('traffic');
      const look = { ...traffic, hits: 0 };
      expect(await envoy.ask('edge', [{ ...traffic, hits: 4 }])).toMatchObject({ overall: OK });
      expect((await envoy.ask('edge', [look])).overall).toBe(OK);
      // 300 used where 1 was left
      expect(await envoy.ask('edge', [{ ...traffic, hits: 300 }])).toMatchObject({ overall: OVER_LIMIT });
      expect(await envoy.ask('edge', [look])).toMatchObject({ overall: OVER_LIMIT, statuses: [{ remaining: 0 }] });

      const [other, few] = [one('traffic'), one('two')];
      expect(
        (
          await envoy.ask('edge', [
            { ...few, hits: 3 },
            { ...other, hits: 2 },
          ])
        ).codes,
      ).toEqual([OVER_LIMIT, OK]);
      expect((await envoy.ask('edge', [{ ...other, hits: 0 }])).statuses).toMatchObject([{ remaining: 3 }]);
      expect(await envoy.passed('edge', few, 9)).toBe(2);
    });
  },
  { POLICIES_FILE: policiesFile(POLICIES) },
);
