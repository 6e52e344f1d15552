import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { LocalLimits } from '../../src/ratelimit/local-limits.js';
import type { PolicyTerms } from '../../src/ratelimit/terms.js';
import { limitTerms } from './terms-support.js';

/** What one process admits by itself while Redis is away. */

const SEED = 20_261_122;
const WINDOW_MS = 1_000;

/** Asks for units at a time; answers whether they were admitted. */
function taker(policy: Partial<PolicyTerms> & { readonly limit: number }, fraction: number) {
  let nowMs = 0.25;
  const limits = new LocalLimits(undefined, () => nowMs);
  const terms = limitTerms('user:ada', { windowMs: WINDOW_MS, ...policy });
  return (atMs: number, units: number): boolean => {
    nowMs = atMs;
    if (limits.look('ns', terms, fraction, units).retryAfterMs > 0) return false;
    limits.charge('ns', terms, units);
    return true;
  };
}

test.each([3, 60, 61, 100, 1_000])('never more than a share of %i in any window, whenever it begins', (share) => {
  const calls = fc.array(
    fc.record({
      waitMs: fc.oneof(fc.integer({ min: 0, max: 3 }), fc.double({ min: 0, max: 700, noNaN: true })),
      units: fc.integer({ min: 1, max: Math.min(64, share) }),
    }),
    { minLength: 20, maxLength: 400 },
  );
  let denials = 0;
  fc.assert(
    fc.property(calls, (asked) => {
      const take = taker({ limit: share * 4 }, 0.25);
      const admitted: { at: number; units: number }[] = [];
      let now = 1_000;
      for (const { waitMs, units } of asked) {
        now += waitMs;
        if (take(now, units)) admitted.push({ at: now, units });
        else denials++;
        const inWindow = admitted.filter(({ at }) => at > now - WINDOW_MS);
        expect(inWindow.reduce((sum, one) => sum + one.units, 0)).toBeLessThanOrEqual(share);
      }
    }),
    { seed: SEED, numRuns: 60 },
  );
  if (share <= 100) expect(denials).toBeGreaterThan(100);
});

test('is exact up to 60 units: what is a window old is back at once', () => {
  const take = taker({ limit: 4 }, 0.5);
  expect([take(0, 1), take(10, 1), take(999.9, 1)]).toEqual([true, true, false]);
  expect([take(1_000, 1), take(1_009.9, 1), take(1_010, 1)]).toEqual([true, false, true]);
});

test('of more than 60 admissions those of a 60th of the window count until the last of them would', () => {
  const take = taker({ limit: 200 }, 1);
  for (let count = 0; count < 60; count++) expect(take(5 + count / 64, 1)).toBe(true);
  // all in the first 60th, which is over at 16.7 ms
  expect([take(16, 64), take(16, 64), take(16, 12), take(16, 1)]).toEqual([true, true, true, false]);
  expect([take(1_006, 60), take(1_006.1, 1), take(1_016, 1)]).toEqual([true, false, false]);
  expect([take(1_017, 64), take(1_017, 64), take(1_017, 12), take(1_017, 1)]).toEqual([true, true, true, false]);
});

test('says when so many units fit, and then they do', () => {
  let nowMs = 0;
  const limits = new LocalLimits(undefined, () => nowMs);
  const terms = limitTerms('user:ada', { limit: 10, windowMs: WINDOW_MS });
  for (nowMs of [0, 100, 200]) limits.charge('ns', terms, 1);
  const { retryAfterMs, used, share } = limits.look('ns', terms, 0.5, 4);
  expect({ retryAfterMs, used, share }).toEqual({ retryAfterMs: 900, used: 3, share: 5 });
  nowMs = 1_099;
  expect(limits.look('ns', terms, 0.5, 4).retryAfterMs).toBe(1);
  nowMs = 1_100;
  expect(limits.look('ns', terms, 0.5, 4).retryAfterMs).toBe(0);
});

describe('the share', () => {
  const shareOf = (policy: Partial<PolicyTerms> & { readonly limit: number }, fraction: number): number =>
    new LocalLimits().look('ns', limitTerms('s', policy), fraction, 1).share;

  test.each([
    ['rounded down', { limit: 9 }, 0.5, 4],
    ['nothing', { limit: 9 }, 0.1, 0],
    ['what the fraction means, however its product is rounded', { limit: 100 }, 0.57, 57],
    ['all', { limit: 9 }, 1, 9],
    ['of the burst where that is less', { limit: 100, burst: 10, algorithm: 'token_bucket' as const }, 0.5, 5],
    ['of the rate where that is less', { limit: 10, burst: 100, algorithm: 'token_bucket' as const }, 0.5, 5],
  ])('is %s', (_, policy, fraction, share) => {
    expect(shareOf(policy, fraction)).toBe(share);
  });

  test('of nothing admits nobody', () => {
    expect(new LocalLimits().look('ns', limitTerms('s', { limit: 9 }), 0.1, 1).retryAfterMs).toBeGreaterThan(0);
  });
});

test('a window of the calendar is as long as now', () => {
  const take = taker(
    { limit: 2, algorithm: 'calendar', windowMs: 0, calendar: { unit: 'hour', timeZone: 'UTC' } },
    0.5,
  );
  expect([take(0, 1), take(3_599_999, 1), take(3_600_000, 1)]).toEqual([true, false, true]);
});

test('other subjects, policies and namespaces have shares of their own', () => {
  const limits = new LocalLimits();
  const terms = limitTerms('a b', { limit: 1 });
  limits.charge('ns', terms, 1);
  const free = (namespace: string, other: typeof terms): boolean =>
    limits.look(namespace, other, 1, 1).retryAfterMs === 0;
  expect(free('ns', terms)).toBe(false);
  expect(free('ns', limitTerms('a', { limit: 1 }))).toBe(true);
  expect(free('ns', limitTerms('a b', { limit: 1, storedName: 'other' }))).toBe(true);
  expect(free('other', terms)).toBe(true);
});

test('when there is no place for more subjects, those who are there keep their count and others are denied', () => {
  let nowMs = 0;
  const limits = new LocalLimits(3, () => nowMs);
  const of = (subject: string) => limitTerms(subject, { limit: 2, windowMs: WINDOW_MS });
  for (const subject of ['a', 'b', 'c']) limits.charge('ns', of(subject), 1);
  expect(limits.look('ns', of('d'), 1, 1).retryAfterMs).toBeGreaterThan(0);
  expect(limits.look('ns', of('a'), 1, 2).retryAfterMs).toBeGreaterThan(0);
  expect(limits.look('ns', of('a'), 1, 1).retryAfterMs).toBe(0);
  nowMs = WINDOW_MS;
  expect(limits.look('ns', of('d'), 1, 1).retryAfterMs).toBe(0);
  expect(limits.size).toBe(0);
});
