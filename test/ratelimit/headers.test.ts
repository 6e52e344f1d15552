import { expect, test } from '@jest/globals';
import { toResponse } from '../../src/ratelimit/envoy/answer.js';
import { headersOf, leftMs } from '../../src/ratelimit/headers.js';
import type { AlgorithmName } from '../../src/ratelimit/terms.js';
import { limitTerms } from './terms-support.js';

const NOW_MS = 1_800_000_000_000;
const WINDOW_MS = 10_000;

interface State {
  readonly used?: number;
  readonly burst?: number | undefined;
  /** How long the limit is in use, by Redis's clock. */
  readonly leftMs: number;
}

function limitOf(algorithm: AlgorithmName, { used = 1, burst, leftMs: left }: State) {
  return {
    ...{ terms: limitTerms('user:1', { algorithm, limit: 20, windowMs: WINDOW_MS, burst }), denial: undefined },
    ...{ denies: false, used, capacity: burst ?? 20, retryAfterMs: 0, heldMs: 0, isChecked: true },
    resetAtMs: NOW_MS + left,
  };
}

/** The copy of Redis's clock is behind it. */
function told(algorithm: AlgorithmName, state: State, behindMs: number): number {
  const { rateLimit } = headersOf({ allowed: true, limits: [limitOf(algorithm, state)] }, NOW_MS - behindMs);
  return Number(/;t=(\d+)$/.exec(rateLimit)?.[1]);
}

test.each<AlgorithmName>(['sliding_exact', 'fixed', 'token_bucket'])(
  'the t of %s is never above its window, however far behind the clock is',
  (algorithm) => {
    for (const behindMs of [0, 1, 12, 1_500]) expect(told(algorithm, { leftMs: WINDOW_MS }, behindMs)).toBe(10);
    expect(told(algorithm, { leftMs: 4_000 }, 0)).toBe(4);
    expect(told(algorithm, { leftMs: 4_000 }, 1)).toBe(5);
    expect(told(algorithm, { leftMs: 0 }, -1)).toBe(0);
  },
);

test('what may be in use for longer than a window is told so', () => {
  // the window is told in 60 parts, each of which ends as a whole
  expect(told('sliding_buckets', { leftMs: WINDOW_MS + 160 }, 0)).toBe(11);
  expect(told('token_bucket', { leftMs: 20_000, used: 40, burst: 40 }, 0)).toBe(20);
  // its limit was lowered
  expect(told('token_bucket', { leftMs: 20_000, used: 40 }, 0)).toBe(20);
});

test('Envoy is told the same', () => {
  const limit = limitOf('sliding_exact', { leftMs: WINDOW_MS });
  expect(leftMs(limit, NOW_MS - 7)).toBe(WINDOW_MS);
  const decided = { allowed: true, limits: [limit], results: [limit] };
  expect(toResponse(decided, NOW_MS - 7, { headers: false }).statuses[0]?.durationUntilReset).toEqual({
    seconds: 10n,
    nanos: 0,
  });
});
