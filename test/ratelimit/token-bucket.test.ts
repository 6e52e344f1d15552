import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { randomNamespace } from '../support/service.js';
import { LimitBench, onlyLimit } from './limit-bench.js';
import { ask, limitTerms } from './terms-support.js';

/** TOKEN_BUCKET against the formula of GCRA in whole numbers. */

const SEED = 20_261_123;
const bench = LimitBench.forThisFile();

const ceilDiv = (a: bigint, b: bigint): bigint => (a <= 0n ? -(-a / b) : (a + b - 1n) / b);

interface Rate {
  readonly windowUs: bigint;
  readonly limit: bigint;
  readonly burst: bigint;
}

/** How far what was admitted is ahead of the rate, in parts of 1/limit µs; a unit costs windowUs of them. */
class Gcra {
  private debt = 0n;
  private at = 0n;

  constructor(private readonly rate: Rate) {}

  private debtAt(timeUs: bigint): bigint {
    const left = this.debt - (timeUs - this.at) * this.rate.limit;
    return left > 0n ? left : 0n;
  }

  /** What of the debt is too much for `cost` units at a time; they fit when that is 0 or less. */
  tooMuch(timeUs: bigint, cost: bigint): bigint {
    return this.debtAt(timeUs) + (cost - this.rate.burst) * this.rate.windowUs;
  }

  decide(timeUs: bigint, cost: bigint): { admitted: boolean; used: number; retryAfterUs: number; resetInUs: number } {
    const { windowUs, limit } = this.rate;
    const tooMuch = this.tooMuch(timeUs, cost);
    const admitted = tooMuch <= 0n;
    if (admitted) {
      this.debt = this.debtAt(timeUs) + cost * windowUs;
      this.at = timeUs;
    }
    const debt = this.debtAt(timeUs);
    return {
      admitted,
      used: Number(ceilDiv(debt, windowUs)),
      retryAfterUs: admitted ? 0 : Number(ceilDiv(tooMuch, limit)),
      resetInUs: Number(ceilDiv(debt, limit)),
    };
  }
}

const rates = fc
  .record({
    windowMs: fc.constantFrom(10, 97, 1_000, 7_001, 900_000, 2_592_000_000),
    limit: fc.constantFrom(1, 3, 7, 10, 333, 1_000_003, 999_999_937),
    burst: fc.option(fc.constantFrom(1, 5, 64, 2_000), { nil: undefined }),
  })
  .map(({ windowMs, limit, burst }) => ({ windowMs, limit, burst, capacity: burst ?? limit }));

const share = fc.oneof(fc.constant(0), fc.double({ min: 0, max: 1.2, noNaN: true }));

test('equals the formula, and retry_after is exact to the µs', async () => {
  const scenario = fc.record({
    rate: rates,
    steps: fc.array(
      fc.record({ pass: share, cost: fc.integer({ min: 1, max: 64 }), calls: fc.constantFrom(1, 1, 2, 9) }),
      {
        minLength: 20,
        maxLength: 50,
        size: 'max',
      },
    ),
  });
  await fc.assert(
    fc.asyncProperty(scenario, async ({ rate: { windowMs, limit, burst, capacity }, steps }) => {
      const terms = limitTerms(randomNamespace(), { algorithm: 'token_bucket', limit, windowMs, burst });
      const rate = { windowUs: BigInt(windowMs) * 1_000n, limit: BigInt(limit), burst: BigInt(capacity) };
      const model = new Gcra(rate);
      let passedUs = 0;
      let resetInUs = 0;
      let retryAfterUs = 0;
      for (const { pass, cost: rolled, calls } of steps) {
        const cost = Math.min(rolled, capacity);
        // some part of the time until all tokens are back, or until just when the last denied call is admitted
        const us = Math.round(pass > 1.1 ? retryAfterUs : pass * resetInUs);
        await bench.passTime(terms, us);
        passedUs += us;
        const replies = await Promise.all(Array.from({ length: calls }, () => bench.check([terms], ask(cost))));
        for (const reply of replies) {
          const timeUs = BigInt(reply.nowUs + passedUs);
          const only = onlyLimit(reply);
          retryAfterUs = only.retryAfterUs;
          resetInUs = only.resetAtUs - reply.nowUs;
          const expected = model.decide(timeUs, BigInt(cost));
          expect({ admitted: reply.admitted, used: only.used, retryAfterUs, resetInUs }).toEqual(expected);
          if (reply.admitted) continue;
          const at = timeUs + BigInt(retryAfterUs);
          expect(model.tooMuch(at, BigInt(cost))).toBeLessThanOrEqual(0n);
          expect(model.tooMuch(at - 1n, BigInt(cost))).toBeGreaterThan(0n);
        }
      }
    }),
    { seed: SEED, numRuns: 80, endOnFailure: true },
  );
});

test('fractions of µs do not add up: 3,000 charges at a third of a µs each', async () => {
  const rate = { windowUs: 1_000_000n, limit: 3_000_001n, burst: 3_000_001n };
  const model = new Gcra(rate);
  const terms = limitTerms(randomNamespace(), { algorithm: 'token_bucket', limit: 3_000_001, windowMs: 1_000 });
  for (let batch = 0; batch < 30; batch++) {
    const replies = await Promise.all(Array.from({ length: 100 }, (_, at) => bench.check([terms], ask(1 + (at % 64)))));
    replies.forEach((reply, at) => {
      const expected = model.decide(BigInt(reply.nowUs), BigInt(1 + (at % 64)));
      expect(onlyLimit(reply).resetAtUs - reply.nowUs).toBe(expected.resetInUs);
    });
  }
});

test.each(['the policy', 'an override'])('units of a large limit are counted under a small one by %s', async (by) => {
  const subject = randomNamespace();
  const policy = { algorithm: 'token_bucket', limit: 1_000_000_000, windowMs: 2_592_000_000 } as const;
  const large = limitTerms(subject, policy);
  await bench.checkCalls([large], ask(64), 10_000);
  const small = by === 'the policy' ? limitTerms(subject, { ...policy, limit: 1 }) : large;
  if (by === 'an override') await bench.people.overrideRateLimit(large, 1, 60_000, bench.call);
  for (const chargeDenied of [false, true, false]) {
    expect((await bench.check([small], ask(1, { chargeDenied }))).admitted).toBe(false);
  }
});

test('at most the burst at once, and burst + limit · t / window in any time t', async () => {
  const terms = limitTerms(randomNamespace(), { algorithm: 'token_bucket', limit: 400, windowMs: 100, burst: 10 });
  const admitted: number[] = [];
  for (let round = 0; round < 40; round++) {
    const replies = await Promise.all(Array.from({ length: 50 }, () => bench.check([terms], ask(1))));
    for (const reply of replies) if (reply.admitted) admitted.push(reply.nowUs);
  }
  expect(admitted.length).toBeGreaterThan(10);
  // 4 units a ms
  admitted.forEach((from, at) => {
    const most = admitted.slice(at).every((to, units) => units + 1 <= 10 + ((to - from) * 4) / 1_000);
    expect(most).toBe(true);
  });
});

describe('a refund', () => {
  const LIMITS = [5, 7, 10, 20] as const;
  const COMMON = 140n;

  test('never leaves more room than if there had been no charge, whatever the policy says meanwhile', async () => {
    const WINDOW_MS = 100_000;
    const step = fc.record({
      passMs: fc.oneof(fc.constant(0), fc.integer({ min: 1, max: 60_000 })),
      cost: fc.integer({ min: 1, max: 3 }),
      isRefunded: fc.boolean(),
    });
    const scenario = fc.record({
      steps: fc.array(step, { minLength: 2, maxLength: 12 }),
      limit: fc.constantFrom(...LIMITS),
      policyLimit: fc.constantFrom(...LIMITS),
    });
    let refunds = 0;
    await fc.assert(
      fc.asyncProperty(scenario, async ({ steps, limit, policyLimit }) => {
        const subject = randomNamespace();
        const termsOf = (limit: number) =>
          limitTerms(subject, { algorithm: 'token_bucket', limit, windowMs: WINDOW_MS, burst: 40 });
        let passedUs = 0;
        // in parts of 1/140 µs, of what is never refunded
        let debt = 0n;
        let at = 0n;
        const pass = (timeUs: bigint): void => {
          const left = debt - (timeUs - at) * COMMON;
          debt = left > 0n ? left : 0n;
          at = timeUs;
        };
        const open: { mark: number; cost: number }[] = [];
        for (const { passMs, cost, isRefunded } of steps) {
          await bench.passTime(termsOf(limit), passMs * 1_000);
          passedUs += passMs * 1_000;
          const reply = await bench.check([termsOf(limit)], ask(cost));
          if (!reply.admitted) continue;
          pass(BigInt(reply.nowUs + passedUs));
          const { mark } = onlyLimit(reply);
          if (isRefunded) open.push({ mark: mark + passedUs, cost });
          else debt += (BigInt(cost) * BigInt(WINDOW_MS) * 1_000n * COMMON) / BigInt(limit);
        }
        for (const { mark, cost } of open) {
          if (mark - passedUs < 1) continue;
          refunds += await bench.refund(termsOf(policyLimit), mark - passedUs, ask(cost));
        }
        const peek = await bench.peek([termsOf(limit)], ask(1));
        pass(BigInt(peek.nowUs + passedUs));
        const leftUs = BigInt(onlyLimit(peek).resetAtUs - peek.nowUs);
        expect(leftUs * COMMON).toBeGreaterThanOrEqual(debt);
      }),
      { seed: SEED, numRuns: 250, endOnFailure: true },
    );
    expect(refunds).toBeGreaterThan(200);
  });

  test('of what was charged before the limit changed gives back nothing; of what was charged since, all', async () => {
    const subject = randomNamespace();
    const at = (limit: number) => limitTerms(subject, { algorithm: 'token_bucket', limit, windowMs: 3_600_000 });
    const old = await bench.check([at(40)], ask(20));
    const since = await bench.check([at(30)], ask(4));
    expect(onlyLimit(since).used).toBe(24);
    expect(await bench.refund(at(40), onlyLimit(old).mark, ask(20), { chargedUs: old.nowUs })).toBe(0);
    expect(await bench.refund(at(40), onlyLimit(since).mark, ask(4), { chargedUs: since.nowUs })).toBe(4);
    expect(onlyLimit(await bench.peek([at(30)], ask(1))).used).toBe(20);
  });

  test('at once gives back all that was charged, to the fraction of a µs', async () => {
    const terms = limitTerms(randomNamespace(), {
      algorithm: 'token_bucket',
      limit: 7,
      windowMs: 1_000_000,
      burst: 64,
    });
    await bench.check([terms], ask(3));
    const before = await bench.peek([terms], ask(1));
    const charge = await bench.check([terms], ask(50));
    expect(await bench.refund(terms, onlyLimit(charge).mark, ask(50))).toBe(50);
    const after = await bench.peek([terms], ask(1));
    expect(onlyLimit(after).resetAtUs).toBeGreaterThanOrEqual(onlyLimit(before).resetAtUs);
    expect(onlyLimit(after).resetAtUs).toBeLessThanOrEqual(onlyLimit(before).resetAtUs + 1);
  });
});
