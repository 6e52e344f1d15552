import { performance } from 'node:perf_hooks';
import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals';
import { DenialMemory, type AskedAt } from '../../src/ratelimit/denial-memory.js';
import type { Ask } from '../../src/ratelimit/limit-scripts.js';
import type { LimitResult, RateLimitDecision } from '../../src/ratelimit/decision.js';
import type { LimitTerms } from '../../src/ratelimit/terms.js';
import type { ChannelListener } from '../../src/redis/channel-source.js';
import { keys } from '../../src/redis/keys.js';
import { ask, limitTerms } from './terms-support.js';

/** When a denial is known, and when not, on a clock that the test sets. */

const CALL = { namespace: 'ns', deadlineAt: Number.POSITIVE_INFINITY, ended: false };
const MINUTE_MS = 60_000;

let nowMs: number;
let listeners: Map<string, ChannelListener>;
let stopped: string[];
let policies: { version: string };
let memory: DenialMemory;

function newMemory(topology: 'standalone' | 'cluster' = 'standalone', maxSubjects?: number): DenialMemory {
  const listen = (name: string, listener: ChannelListener): (() => void) => {
    listeners.set(name, listener);
    return () => {
      listeners.delete(name);
      stopped.push(name);
    };
  };
  return new DenialMemory({
    ...{ channels: { listen }, topology, policies },
    ...(maxSubjects === undefined ? {} : { maxSubjects }),
  });
}

beforeEach(() => {
  jest.useFakeTimers({ doNotFake: ['performance', 'nextTick', 'queueMicrotask'] });
  nowMs = 1_000;
  jest.spyOn(performance, 'now').mockImplementation(() => nowMs);
  listeners = new Map();
  stopped = [];
  policies = { version: '1' };
  memory = newMemory();
});
afterEach(() => {
  memory.close();
  jest.restoreAllMocks();
  jest.useRealTimers();
});

const someone = limitTerms('user:ada', { limit: 5 });
const heard = (): void => {
  for (const listener of listeners.values()) listener.onSubscribed();
};

function denied(terms: LimitTerms, more: Partial<LimitResult> = {}): LimitResult {
  return {
    ...{
      terms,
      denial: 'over',
      denies: !terms.isShadow,
      used: 5,
      capacity: 5,
      retryAfterMs: MINUTE_MS,
      resetAtMs: 99,
      heldMs: 0,
    },
    ...{ isChecked: true, ...more },
  };
}

function deny(results: readonly LimitResult[], more: Ask = ask(1), asked: AskedAt = memory.askedNow()): void {
  const decision: RateLimitDecision = { allowed: false, granted: 0, limits: results, atomic: true, degraded: false };
  memory.remember(decision, more, CALL, asked);
}

const banned = (terms: LimitTerms): LimitResult => denied(terms, { denial: 'banned', denies: true, heldMs: MINUTE_MS });

const isKnown = (limits: readonly LimitTerms[] = [someone], more: Ask = ask(1)): boolean =>
  memory.recall(limits, more, CALL) !== undefined;

/** The channel is heard from before the denial. */
function denyHeard(results: readonly LimitResult[] = [denied(someone)], more: Ask = ask(1)): void {
  deny(results, more);
  heard();
  deny(results, more);
}

describe('a denial', () => {
  test('is known from when Redis was asked until a retry may succeed, less than a ms sooner', () => {
    denyHeard();
    const asked = memory.askedNow();
    nowMs += 30;
    deny([denied(someone)], ask(1), asked);
    nowMs = 1_000 + MINUTE_MS - 1.001;
    expect(memory.recall([someone], ask(1), CALL)).toMatchObject({
      allowed: false,
      degraded: false,
      limits: [{ denial: 'over', retryAfterMs: 2, capacity: 5 }],
    });
    nowMs = 1_000 + MINUTE_MS - 1;
    expect(isKnown()).toBe(false);
  });

  test('is known for calls that cost as much or more, and of the smallest cost that was denied', () => {
    denyHeard([denied(someone)], ask(3));
    expect([2, 3, 4].map((cost) => isKnown([someone], ask(cost)))).toEqual([false, true, true]);
    deny([denied(someone, { retryAfterMs: 10 })], ask(2));
    expect([1, 2, 3].map((cost) => isKnown([someone], ask(cost)))).toEqual([false, true, true]);
    nowMs += 10;
    expect([2, 3].map((cost) => isKnown([someone], ask(cost)))).toEqual([false, true]);
    expect(isKnown([{ ...someone, cost: 2 }], ask(5))).toBe(false);
  });

  test('is that of its subject, policy, limit and burst, in its namespace', () => {
    denyHeard();
    const { policy } = someone;
    expect(isKnown([limitTerms('user:bob', { limit: 5 })])).toBe(false);
    expect(isKnown([{ ...someone, policy: { ...policy, storedName: 'other' } }])).toBe(false);
    expect(isKnown([{ ...someone, limit: 6 }])).toBe(false);
    expect(isKnown([{ ...someone, policy: { ...policy, burst: 9 } }])).toBe(false);
    expect(memory.recall([someone], ask(1), { ...CALL, namespace: 'other' })).toBeUndefined();
    expect(isKnown([{ ...someone, subject: 'USER:ada' }])).toBe(true);
  });

  test('of one limit denies the call, whose other limits are not looked at', () => {
    denyHeard();
    const other = limitTerms('ip:::1', { limit: 7 });
    const decision = memory.recall([other, someone], ask(1), CALL);
    expect(decision?.limits.map(({ terms, isChecked }) => [terms, isChecked])).toEqual([
      [other, false],
      [someone, true],
    ]);
  });

  test.each([
    ['a limit that only watches, and did not deny', [{ ...someone, isShadow: true }], ask(1)],
    ['a call that is charged when denied', [someone], ask(1, { chargeDenied: true })],
    ['a call for a part', [someone], ask(2, { minCost: 1 })],
  ])('is of no use for %s', (_, limits, more) => {
    denyHeard();
    expect(isKnown(limits, more)).toBe(false);
    memory = newMemory();
    denyHeard(
      limits.map((terms) => denied(terms)),
      more,
    );
    expect(isKnown()).toBe(false);
  });

  test('by a limit that only watches is kept where people banned the subject', () => {
    const watched = { ...someone, isShadow: true };
    denyHeard([banned(watched)]);
    expect(isKnown([watched])).toBe(true);
  });

  test('that was decided without Redis is not kept', () => {
    denyHeard([]);
    const decision = { allowed: false, granted: 0, limits: [denied(someone)], atomic: true, degraded: true };
    memory.remember(decision, ask(1), CALL, memory.askedNow());
    expect(isKnown()).toBe(false);
  });
});

describe('a limit that counts its denials', () => {
  const blocked = limitTerms('user:ada', { limit: 5, storedName: 'strict', blockMs: 500 });

  test('is asked for each, but while its block or ban goes on', () => {
    denyHeard([denied(blocked)]);
    expect(isKnown([blocked])).toBe(false);
    deny([denied(blocked, { heldMs: 500 })]);
    nowMs += 499;
    expect(isKnown([blocked])).toBe(true);
    nowMs += 1;
    expect(isKnown([blocked])).toBe(false);
  });

  test('tells when there is room, which may be long after its block', () => {
    denyHeard();
    deny([denied(blocked, { heldMs: 500, retryAfterMs: MINUTE_MS })]);
    nowMs += 400;
    expect(memory.recall([blocked], ask(1), CALL)?.limits[0]?.retryAfterMs).toBe(MINUTE_MS - 400);
  });

  test('is asked also where another limit is known to deny the call', () => {
    denyHeard();
    expect(isKnown([someone, blocked])).toBe(false);
    expect(isKnown([someone, { ...blocked, isShadow: true }])).toBe(true);
    deny([denied(blocked, { heldMs: 500 })]);
    expect(isKnown([someone, blocked])).toBe(true);
  });
});

describe('when room is made', () => {
  const standing = keys.standing('ns', 'user:ada');
  const tell = (): void => {
    for (const listener of listeners.values()) listener.onMessage(Buffer.from(standing));
  };

  test('all denials of the subject are forgotten, and no others', () => {
    const other = limitTerms('user:bob', { limit: 5 });
    const elsewhere = limitTerms('user:ada', { limit: 5, storedName: 'q' });
    denyHeard([denied(someone), denied(other), denied(elsewhere)]);
    tell();
    expect([isKnown(), isKnown([elsewhere]), isKnown([other])]).toEqual([false, false, true]);
  });

  test('what was asked before is not kept after', () => {
    denyHeard();
    const asked = memory.askedNow();
    tell();
    deny([denied(someone)], ask(1), asked);
    expect(isKnown()).toBe(false);
    deny([denied(someone)]);
    expect(isKnown()).toBe(true);
  });

  test('nor for others, when so much was told that not all is known', () => {
    denyHeard();
    const asked = memory.askedNow();
    tell();
    for (let count = 0; count < 4_096; count++) memory.onRoomMade(`ns:standing:{${String(count)}}`);
    deny([denied(someone)], ask(1), asked);
    expect(isKnown()).toBe(false);
  });

  test('other policies forget all, also what was asked under the ones before', () => {
    denyHeard();
    const asked = memory.askedNow();
    policies.version = '2';
    expect(isKnown()).toBe(false);
    deny([denied(someone)], ask(1), asked);
    expect(isKnown()).toBe(false);
    deny([denied(someone)]);
    expect(isKnown()).toBe(true);
  });
});

describe.each(['standalone', 'cluster'] as const)('the channel on %s', (topology) => {
  beforeEach(() => {
    memory = newMemory(topology);
  });

  test('until it is heard a denial is known for a second; then nothing that was asked before', () => {
    const asked = memory.askedNow();
    deny([denied(someone)]);
    nowMs += 999;
    expect(isKnown()).toBe(true);
    nowMs += 1;
    expect(isKnown()).toBe(false);
    deny([denied(someone)]);
    heard();
    expect(isKnown()).toBe(false);
    // it was asked before anybody listened
    deny([denied(someone)], ask(1), asked);
    expect(isKnown()).toBe(false);
    nowMs += 5;
    deny([denied(someone)]);
    nowMs += 30_000;
    expect(isKnown()).toBe(true);
  });

  test('when it is lost a denial is known for a second; when it is heard again, no more', () => {
    denyHeard();
    for (const listener of listeners.values()) listener.onLost?.();
    nowMs += 999;
    expect(isKnown()).toBe(true);
    nowMs += 1;
    expect(isKnown()).toBe(false);
    deny([denied(someone)]);
    nowMs += 999;
    expect(isKnown()).toBe(true);
    heard();
    expect(isKnown()).toBe(false);
  });
});

describe('bounds:', () => {
  test('the first subjects go when there are too many, with their channels on a Cluster', () => {
    memory = newMemory('cluster', 3);
    const subjects = ['a', 'b', 'c', 'd'].map((subject) => limitTerms(subject, { limit: 5 }));
    for (const terms of subjects) deny([denied(terms)]);
    expect(memory.size).toBe(3);
    expect(subjects.map((terms) => isKnown([terms]))).toEqual([false, true, true, true]);
    expect(listeners.size).toBe(3);
    expect(stopped).toEqual([keys.standingChannel(keys.standing('ns', 'a'))]);
  });

  test('of one subject no more is kept than a call can ask', () => {
    denyHeard();
    const policyOf = (count: number): LimitTerms =>
      limitTerms('user:ada', { limit: 5, storedName: `p${String(count)}` });
    for (let count = 0; count < 30; count++) deny([denied(policyOf(count))]);
    expect(Array.from({ length: 30 }, (_, count) => isKnown([policyOf(count)])).filter(Boolean)).toHaveLength(16);
    expect(isKnown([policyOf(29)])).toBe(true);
  });

  test('what is over is swept, and its channel closed on a Cluster', () => {
    memory = newMemory('cluster');
    deny([denied(someone)]);
    nowMs += MINUTE_MS;
    jest.advanceTimersByTime(1_000);
    expect([memory.size, listeners.size]).toEqual([0, 0]);
  });

  test('on a Cluster nobody listens for what is over in a second anyway', () => {
    memory = newMemory('cluster');
    deny([denied(someone, { retryAfterMs: 1_001 })]);
    expect([isKnown(), listeners.size]).toEqual([true, 0]);
    deny([denied(someone, { retryAfterMs: 1_002 })]);
    expect(listeners.size).toBe(1);
  });
});
