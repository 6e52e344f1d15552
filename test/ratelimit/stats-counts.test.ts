import { describe, expect, test } from '@jest/globals';
import type { LimitResult, RateLimitDecision } from '../../src/ratelimit/decision.js';
import { COUNTER, deniedOf, INLINE, RateLimitCounts, type CounterName } from '../../src/ratelimit/stats.js';
import type { LimitTerms, PolicyTerms } from '../../src/ratelimit/terms.js';
import { limitTerms } from './terms-support.js';

/** What a process counts of decisions, by policy. */

const LADDER = { after: 2, withinMs: 1_000, stepsMs: [60_000, 300_000], decayMs: 1_000 };

const newCounts = (configured: (name: string) => boolean = () => true): RateLimitCounts =>
  new RateLimitCounts(configured);

function limit(
  policy: string,
  more: Partial<LimitResult> & {
    readonly subject?: string;
    readonly of?: Partial<PolicyTerms>;
    readonly listing?: LimitTerms['listing'];
    readonly isShadow?: boolean;
  } = {},
): LimitResult {
  const { subject = 'user:ada', of = {}, listing, isShadow = false, ...result } = more;
  const terms = limitTerms(subject, { name: policy, storedName: policy, limit: 10, ...of });
  return {
    ...{ terms: { ...terms, listing, isShadow }, denial: undefined, used: 1, capacity: 10 },
    denies: result.denial !== undefined && !isShadow,
    ...{ retryAfterMs: 0, resetAtMs: 0, heldMs: 0, isChecked: true },
    ...result,
  };
}

function decision(limits: readonly LimitResult[], more: Partial<RateLimitDecision> = {}): RateLimitDecision {
  const allowed = limits.every(({ denies }) => !denies);
  return { allowed, granted: allowed ? 1 : 0, limits, atomic: true, degraded: false, ...more };
}

/** What is not 0 of each policy. */
function countsOf(counts: RateLimitCounts): Readonly<Record<string, Partial<Record<CounterName, number>>>> {
  const places = Object.entries(COUNTER) as [CounterName, number][];
  return Object.fromEntries(
    Array.from(counts.all(), ([policy, { values }]) => [
      policy,
      Object.fromEntries(places.flatMap(([name, place]) => (values[place] === 0 ? [] : [[name, values[place]]]))),
    ]),
  );
}

const over = { denial: 'over' } as const;
const banned = { denial: 'banned' } as const;
const shadow = { isShadow: true };

test.each<[what: string, decision: RateLimitDecision, expected: ReturnType<typeof countsOf>]>([
  ['room', decision([limit('a')]), { a: { ok: 1 } }],
  ['little room', decision([limit('a', { used: 8 })]), { a: { near: 1 } }],
  ['no room', decision([limit('a', over)]), { a: { over: 1 } }],
  ['a ban', decision([limit('a', banned)]), { a: { banned: 1 } }],
  ['a list that lets pass', decision([limit('a', { listing: 'allowed', used: 0 })]), { a: { ok: 1 } }],
  ['a list that bans', decision([limit('a', { listing: 'denied', ...banned })]), { a: { banned: 1 } }],
  ['a shadow', decision([limit('a', { ...over, ...shadow })]), { a: { shadowOver: 1 } }],
  ['a ban by people in shadow', decision([limit('a', { ...banned, ...shadow, denies: true })]), { a: { banned: 1 } }],
  ['a ban in shadow', decision([limit('a', { ...banned, ...shadow })]), { a: { shadowBanned: 1 } }],
  [
    'a denial beside others',
    decision([limit('a', over), limit('b'), limit('c', { ...over, ...shadow }), limit('d', { isChecked: false })]),
    { a: { over: 1 }, b: { deniedByOther: 1 }, c: { deniedByOther: 1 }, d: { deniedByOther: 1 } },
  ],
  [
    'several limits of one policy, admitted',
    decision([limit('a'), limit('a', { used: 9 }), limit('a'), limit('b')]),
    { a: { near: 1 }, b: { ok: 1 } },
  ],
  [
    'several limits of one policy, denied',
    decision([limit('a', over), limit('a', banned), limit('a')]),
    { a: { banned: 1 } },
  ],
  [
    'policies given with requests',
    decision([
      limit('a', { of: { storedName: 'inline.a.1000' } }),
      limit('b', { of: { storedName: 'inline.b.1000' }, used: 9 }),
      limit('a'),
    ]),
    { [INLINE]: { near: 1 }, a: { ok: 1 } },
  ],
  [
    'memory',
    decision([limit('a', over), limit('b', { isChecked: false })], { fromMemory: true }),
    { a: { over: 1, fromMemory: 1 }, b: { deniedByOther: 1 } },
  ],
  [
    'Redis away',
    decision([limit('a', { of: { onRedisLoss: 'allow' }, isChecked: false })], { degraded: true }),
    { a: { unchecked: 1, degradedAllow: 1 } },
  ],
  [
    'Redis away, all ways',
    decision(
      [
        limit('a', { of: { onRedisLoss: 'allow' }, isChecked: false }),
        limit('b', { of: { onRedisLoss: { localFraction: 0.5 } } }),
        limit('c', { of: { onRedisLoss: 'deny' }, ...over }),
        limit('d', { listing: 'allowed' }),
      ],
      { degraded: true },
    ),
    {
      a: { deniedByOther: 1, degradedAllow: 1 },
      b: { deniedByOther: 1, degradedLocal: 1 },
      c: { over: 1, degradedDeny: 1 },
      d: { deniedByOther: 1 },
    },
  ],
])('of a decision by %s', (_, decided, expected) => {
  const counts = newCounts();
  counts.decided(decided);
  expect(countsOf(counts)).toEqual(expected);
  counts.decided(decided);
  expect(countsOf(counts)).toEqual(
    Object.fromEntries(
      Object.entries(expected).map(([policy, of]) => [
        policy,
        Object.fromEntries(Object.keys(of).map((name) => [name, 2])),
      ]),
    ),
  );
  expect([...counts.values]).toEqual([2]);
});

describe('who is denied', () => {
  test('is told by policy, the most denied first, and begins anew when it was told', () => {
    const counts = newCounts();
    const deny = (policy: string, subject: string, times: number, more = {}): void => {
      for (let time = 0; time < times; time++) {
        counts.decided(decision([limit(policy, { subject, ...over, ...more }), limit('beside', { subject })]));
      }
    };
    deny('a', 'user:ada', 3);
    deny('b', 'user:ada', 5);
    deny('a', 'user:with spaces: and {more}', 4);
    counts.decided(decision([limit('a', { subject: 'user:watched', ...over, ...shadow })]));
    counts.decided(decision([limit('a', { subject: 'user:fine' })]));
    const hot = counts.takeHot(64).map(({ name, count }) => ({ ...deniedOf(name), count }));
    expect(hot).toEqual([
      { policy: 'b', subject: 'user:ada', count: 5 },
      { policy: 'a', subject: 'user:with spaces: and {more}', count: 4 },
      { policy: 'a', subject: 'user:ada', count: 3 },
    ]);
    expect(counts.takeHot(64)).toEqual([]);
    deny('a', 'user:ada', 1);
    deny('b', 'user:ada', 2);
    expect(counts.takeHot(1)).toEqual([{ name: 'b user:ada', count: 2 }]);
  });

  test('is told as what counts, and what is no such name is not', () => {
    const counts = newCounts();
    const at = limit('a', { subject: 'ip:2001:DB8::1', ...over });
    const terms = { ...at.terms, countedAs: 'ip:2001:db8::/64' };
    counts.decided(decision([{ ...at, terms }]));
    expect(counts.takeHot(1)).toEqual([{ name: 'a ip:2001:db8::/64', count: 1 }]);
    expect(['', 'nospace', ' subject'].map(deniedOf)).toEqual([undefined, undefined, undefined]);
  });
});

test('a ban of a ladder counts when it begins, and not when it is met again', () => {
  const counts = newCounts();
  const ofLadder = (heldMs: number, more: Parameters<typeof limit>[1] = {}): LimitResult =>
    limit('a', { of: { ladder: LADDER }, ...banned, heldMs, ...more });
  counts.decided(decision([ofLadder(60_000)]));
  counts.decided(decision([ofLadder(59_999)]));
  counts.decided(decision([ofLadder(60_000)], { fromMemory: true }));
  counts.decided(decision([ofLadder(60_000, { listing: 'denied' })]));
  counts.decided(decision([limit('a', { of: { ladder: LADDER }, ...over, heldMs: 60_000 })]));
  counts.decided(decision([limit('a', { ...banned, heldMs: 60_000 })]));
  expect(counts.of('a').bansByLadder).toBe(1);
  counts.decided(decision([ofLadder(300_000)]));
  expect(counts.of('a').bansByLadder).toBe(2);
});

test('slots are held until they are let go, of limits that have them', () => {
  const counts = newCounts();
  const own = limit('b');
  const letGo = counts.holding(
    decision([
      limit('a'),
      { ...own, terms: { ...own.terms, cost: 5 } },
      limit('c', { ...over, ...shadow }),
      limit('d', { listing: 'allowed' }),
    ]),
    2,
  );
  const held = (): number[] => ['a', 'b', 'c', 'd'].map((policy) => counts.of(policy).slotsHeld);
  expect(held()).toEqual([2, 5, 0, 0]);
  letGo();
  expect(held()).toEqual([0, 0, 0, 0]);
});

test('counters of policies that are not configured any more are bounded, the oldest go, and others stay', () => {
  const configured = new Set(['stays']);
  const counts = newCounts((name) => configured.has(name));
  const names = (): string[] => Array.from(counts.all(), ([name]) => name);
  counts.decided(decision([limit('stays'), limit('x', { of: { storedName: 'inline.x.10' } })]));
  const letGo = counts.holding(decision([limit('held')]), 1);
  for (let policy = 0; policy < 2_000; policy++) counts.decided(decision([limit(`p${String(policy)}`)]));
  expect(names().length).toBeLessThan(300);
  expect(names()).toEqual(expect.arrayContaining(['stays', INLINE, 'held', 'p1999', 'p1800']));
  expect(names()).not.toContain('p0');
  letGo();
  // one that comes again counts from 0 on
  counts.decided(decision([limit('p0', over)]));
  expect(countsOf(counts)).toMatchObject({ p0: { over: 1 }, stays: { ok: 1 } });
});
