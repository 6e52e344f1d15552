import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import type { AlgorithmName, LimitTerms, PolicyTerms } from '../../src/ratelimit/terms.js';
import { randomNamespace } from '../support/service.js';
import { LimitBench, onlyLimit } from './limit-bench.js';
import { ask, limitTerms } from './terms-support.js';

/** What several limits, or several calls, come to together. */

const SEED = 20_261_126;
const bench = LimitBench.forThisFile();

const COUNTED = ['sliding_exact', 'sliding_buckets', 'token_bucket', 'fixed', 'calendar'] as const;
const ALGORITHMS: readonly AlgorithmName[] = [...COUNTED, 'concurrency'];
/** Long enough that nothing comes back while a test runs. */
const WINDOW_MS = 2_592_000_000;

let holder = 0;
const asked = (cost: number, more: { minCost?: number; chargeDenied?: boolean } = {}) =>
  ask(cost, { holder: `h${String(holder++)}`, ...more });

function termsOf(
  algorithm: AlgorithmName,
  limit: number,
  { subject = randomNamespace(), ...policy }: Partial<PolicyTerms> & { readonly subject?: string } = {},
): LimitTerms {
  const calendar = algorithm === 'calendar' ? ({ unit: 'month', timeZone: 'UTC' } as const) : undefined;
  return limitTerms(subject, { algorithm, limit, windowMs: WINDOW_MS, calendar, storedName: algorithm, ...policy });
}

const ofEach = (limits: readonly number[], subject = randomNamespace()): LimitTerms[] =>
  ALGORITHMS.map((algorithm, index) => termsOf(algorithm, limits[index] ?? 1, { subject }));

const usedOf = async (limits: readonly LimitTerms[]): Promise<number[]> =>
  (await bench.peek(limits, ask(1))).limits.map(({ used }) => used);

test('partial grants are what the tightest of several limits has left', async () => {
  const limits = ofEach([9, 20, 7, 30, 12, 15]);
  expect(await bench.check(limits, asked(5, { minCost: 2 }))).toMatchObject({ admitted: true, units: 5 });
  expect(await bench.check(limits, asked(5, { minCost: 2 }))).toMatchObject({ admitted: true, units: 2 });
  const denied = await bench.check(limits, asked(5, { minCost: 1 }));
  expect(denied).toMatchObject({ admitted: false, units: 0 });
  expect(denied.limits.map(({ denial }) => denial === 'over')).toEqual([false, false, true, false, false, false]);
  // until the least that is asked for fits, and not until all of it would
  const wait = (denied.limits[2]?.retryAfterUs ?? 0) / ((WINDOW_MS * 1_000) / 7);
  expect(Math.ceil(wait)).toBe(1);
  expect(await usedOf(limits)).toEqual([7, 7, 7, 7, 7, 7]);
});

test('limits with costs of their own are charged those', async () => {
  const limits = ofEach([9, 20, 7, 30, 12, 15]).map((terms, index) => ({ ...terms, cost: index + 1 }));
  expect((await bench.check(limits, asked(1))).admitted).toBe(true);
  expect(await usedOf(limits)).toEqual([1, 2, 3, 4, 5, 6]);
  expect((await bench.check(limits, asked(1))).admitted).toBe(true);
  const denied = await bench.check(limits, asked(1));
  expect(denied.limits.map(({ denial }) => denial === 'over')).toEqual([false, false, true, false, true, true]);
  expect(await usedOf(limits)).toEqual([2, 4, 6, 8, 10, 12]);
});

test('a denied call changes no key, and a peek none', async () => {
  const limits = ofEach([3, 4, 5, 6, 7, 8]);
  await bench.check(limits, asked(3));
  const before = await bench.dump();
  for (let cost = 1; cost <= 3; cost++) {
    expect((await bench.check(limits, asked(cost))).admitted).toBe(false);
    await bench.check(limits, asked(3, { minCost: 1 }));
    await bench.peek(limits, asked(cost));
  }
  await bench.peek(ofEach([1, 1, 1, 1, 1, 1]), asked(1));
  expect(await bench.dump()).toBe(before);
});

describe('charge_denied', () => {
  test('a full window counts the new units instead of its oldest', async () => {
    for (const algorithm of ['sliding_exact', 'sliding_buckets'] as const) {
      const windowMs = 60_000;
      const terms = termsOf(algorithm, 4, { windowMs });
      await bench.check([terms], ask(2));
      await bench.passTime(terms, 30_000_000);
      await bench.check([terms], ask(2));
      await bench.passTime(terms, 20_000_000);
      const denied = await bench.check([terms], ask(3, { chargeDenied: true }));
      expect(denied.admitted).toBe(false);
      // 3 are of now, 1 of 20 s ago
      expect(onlyLimit(denied)).toMatchObject({ used: 4 });
      expect(onlyLimit(denied).retryAfterUs).toBeGreaterThan(59_000_000);
      const one = await bench.peek([terms], ask(1));
      expect(onlyLimit(one).retryAfterUs).toBeGreaterThan(39_000_000);
      expect(onlyLimit(one).retryAfterUs).toBeLessThanOrEqual(41_000_000);
    }
  });

  test('the others are full then, and slots are never taken', async () => {
    const limits = ofEach([9, 9, 9, 9, 9, 9]);
    await bench.check(limits, asked(5));
    expect((await bench.check(limits, asked(6, { chargeDenied: true }))).admitted).toBe(false);
    expect(await usedOf(limits)).toEqual([9, 9, 9, 9, 9, 5]);
    await bench.check(limits, asked(6, { chargeDenied: true }));
    expect(await usedOf(limits)).toEqual([9, 9, 9, 9, 9, 5]);
  });

  test('limits with room are charged for what another one denied', async () => {
    const limits = ofEach([2, 20, 20, 20, 20, 20]);
    await bench.check(limits, asked(2));
    const denied = await bench.check(limits, asked(1, { chargeDenied: true }));
    expect(denied.limits.map(({ used }) => used)).toEqual([2, 3, 3, 3, 3, 2]);
  });

  test.each(COUNTED)('%s: while the limit is lowered, what counts is never fewer than before', async (algorithm) => {
    const subject = randomNamespace();
    await bench.check([termsOf(algorithm, 20, { subject })], ask(18));
    for (let times = 0; times < 5; times++) {
      await bench.check([termsOf(algorithm, 4, { subject })], ask(3, { chargeDenied: true }));
    }
    const { used } = onlyLimit(await bench.peek([termsOf(algorithm, 20, { subject })], ask(1)));
    expect(used).toBeGreaterThanOrEqual(18);
    expect(used).toBeLessThanOrEqual(20);
  });
});

describe.each(ALGORITHMS)('%s', (algorithm) => {
  test('a limit changed up and down keeps what was charged', async () => {
    const subject = randomNamespace();
    const at = (limit: number) => [termsOf(algorithm, limit, { subject })];
    expect((await bench.check(at(10), asked(8))).admitted).toBe(true);
    expect((await bench.check(at(5), asked(1))).admitted).toBe(false);
    expect(await usedOf(at(5))).toEqual([8]);
    expect((await bench.check(at(20), asked(12))).admitted).toBe(true);
    expect((await bench.check(at(20), asked(1))).admitted).toBe(false);
    expect((await bench.check(at(8), asked(1))).admitted).toBe(false);
    expect(await usedOf(at(8))).toEqual([20]);
    expect((await bench.check(at(25), asked(5))).admitted).toBe(true);
    expect(await usedOf(at(25))).toEqual([25]);
  });

  test('begins anew where another algorithm counted before', async () => {
    for (const before of ALGORITHMS) {
      if (before === algorithm) continue;
      const subject = randomNamespace();
      await bench.check([termsOf(before, 5, { subject, storedName: 'same' })], asked(5));
      const now = [termsOf(algorithm, 3, { subject, storedName: 'same' })];
      expect((await bench.check(now, asked(3))).admitted).toBe(true);
      expect((await bench.check(now, asked(1))).admitted).toBe(false);
      expect(await usedOf(now)).toEqual([3]);
    }
  });

  test('in shadow it denies nothing, and is charged as far as there is room', async () => {
    const shadow = { ...termsOf(algorithm, 4), isShadow: true };
    const limits = [termsOf('sliding_exact', 100, { subject: shadow.subject, storedName: 'real' }), shadow];
    for (const [cost, used] of [
      [3, 3],
      [2, 3],
      [1, 4],
      [1, 4],
    ] as const) {
      const reply = await bench.check(limits, asked(cost));
      expect(reply.admitted).toBe(true);
      expect(reply.limits[1]).toMatchObject({ used });
    }
    expect((await bench.peek(limits, asked(1))).limits[1]?.denial).toBe('over');
    expect(await bench.check(limits, asked(9, { minCost: 1 }))).toMatchObject({ admitted: true, units: 9 });
    expect(await usedOf(limits)).toEqual([16, 4]);
  });

  test('an override raises and lowers the limit of one subject until its time', async () => {
    const terms = termsOf(algorithm, 4);
    const override = (limit: number) => bench.people.overrideRateLimit(terms, limit, 60_000, bench.call);
    await bench.check([terms], asked(4));
    await override(6);
    expect(onlyLimit(await bench.peek([terms], asked(1)))).toMatchObject({ denial: undefined, capacity: 6 });
    await override(1);
    expect(onlyLimit(await bench.check([terms], asked(1)))).toMatchObject({ denial: 'over', capacity: 1 });
    // only of the override: the record would be another month's
    await bench.passTime({ ...terms, policy: { ...terms.policy, storedName: 'none' } }, 60_000_000);
    expect(onlyLimit(await bench.peek([terms], asked(1)))).toMatchObject({ denial: 'over', capacity: 4 });
    await override(9);
    expect(await override(0)).toBe(0);
    expect(onlyLimit(await bench.peek([terms], asked(1))).capacity).toBe(4);
  });
});

test.each([3, 4])('an override leaves a burst of %i as it is, also where that is the limit', async (burst) => {
  const terms = limitTerms(randomNamespace(), { algorithm: 'token_bucket', limit: 4, burst });
  await bench.people.overrideRateLimit(terms, 100, 60_000, bench.call);
  expect(onlyLimit(await bench.peek([terms], ask(1))).capacity).toBe(burst);
});

test('N calls in one are N calls one after the other', async () => {
  const scenario = fc.record({
    calls: fc.integer({ min: 2, max: 40 }),
    cost: fc.integer({ min: 1, max: 7 }),
    before: fc.nat(6),
    limits: fc.array(
      fc.record({
        algorithm: fc.constantFrom(...COUNTED),
        limit: fc.integer({ min: 7, max: 120 }),
        isShadow: fc.boolean(),
      }),
      { minLength: 1, maxLength: 4 },
    ),
  });
  await fc.assert(
    fc.asyncProperty(scenario, async ({ calls, cost, before, limits }) => {
      const [one, other] = [randomNamespace(), randomNamespace()].map((subject) =>
        limits.map(({ algorithm, limit, isShadow }, index) => ({
          ...termsOf(algorithm, limit, { subject, storedName: `p${String(index)}` }),
          isShadow,
        })),
      ) as [LimitTerms[], LimitTerms[]];
      if (before > 0) await Promise.all([bench.check(one, ask(before)), bench.check(other, ask(before))]);
      const together = await bench.checkCalls(one, ask(cost), calls);
      const single = await Promise.all(Array.from({ length: calls }, () => bench.check(other, ask(cost))));
      const admitted = single.filter((reply) => reply.admitted);
      expect(Math.min(calls, together.admitted)).toBe(admitted.length);
      const seen = ({ denial, used, capacity }: (typeof together.limits)[number]) => ({ denial, used, capacity });
      const lastDenied = single.findLast((reply) => !reply.admitted);
      expect(together.deniedLimits.map(seen)).toEqual(lastDenied?.limits.map(seen) ?? []);
      expect(together.limits.map(({ used }) => used)).toEqual(admitted.at(-1)?.limits.map(({ used }) => used) ?? []);
      expect(await usedOf(one)).toEqual(await usedOf(other));
    }),
    { seed: SEED, numRuns: 120, endOnFailure: true },
  );
});
