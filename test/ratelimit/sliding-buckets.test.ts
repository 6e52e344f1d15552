import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { randomNamespace } from '../support/service.js';
import { LimitBench, onlyLimit } from './limit-bench.js';
import { ask, limitTerms } from './terms-support.js';

/** SLIDING_BUCKETS against a model of its parts, and against the times of what was admitted. */

const SEED = 20_261_122;
const PARTS = 61;
const bench = LimitBench.forThisFile();

const widthOf = (windowMs: number): number => Math.ceil((windowMs * 1_000) / 60);

/** All that was ever admitted, by part; times are of the records, which go on when time is passed. */
class PartsModel {
  private parts = new Map<number, number>();

  constructor(
    private readonly width: number,
    private readonly limit: number,
  ) {}

  decide(timeUs: number, cost: number): { admitted: boolean; used: number; retryAfterUs: number; resetAtUs: number } {
    const now = Math.floor(timeUs / this.width);
    const usedAt = (part: number): number =>
      [...this.parts].reduce((used, [at, units]) => (at > part - PARTS ? used + units : used), 0);
    const used = usedAt(now);
    if (used + cost > this.limit) {
      let free = now;
      while (usedAt(free) + cost > this.limit) free++;
      return { admitted: false, used, retryAfterUs: free * this.width - timeUs, resetAtUs: this.resetAt() };
    }
    this.parts.set(now, (this.parts.get(now) ?? 0) + cost);
    return { admitted: true, used: used + cost, retryAfterUs: 0, resetAtUs: this.resetAt() };
  }

  refund(part: number, units: number): void {
    this.parts.set(part, (this.parts.get(part) ?? 0) - units);
  }

  private resetAt(): number {
    return (Math.max(...[...this.parts].filter(([, units]) => units > 0).map(([at]) => at)) + PARTS) * this.width;
  }
}

/** Most units in any trailing window. */
function mostInAWindow(admissions: readonly { timeUs: number; units: number }[], windowMs: number): number {
  let most = 0;
  let inWindow = 0;
  let oldest = 0;
  for (const { timeUs, units } of admissions) {
    inWindow += units;
    for (; (admissions[oldest]?.timeUs ?? timeUs) <= timeUs - windowMs * 1_000; oldest++) {
      inWindow -= admissions[oldest]?.units ?? 0;
    }
    most = Math.max(most, inWindow);
  }
  return most;
}

const pass = fc.oneof(
  { weight: 3, arbitrary: fc.constant(0) },
  { weight: 2, arbitrary: fc.integer({ min: 1, max: 4 }) },
  { weight: 2, arbitrary: fc.constantFrom(29, 58, 59, 60, 61, 62, 121) },
);

test('equals its model, and never admits more than the limit in any trailing window', async () => {
  const scenario = fc.record({
    windowMs: fc.constantFrom(10, 11, 97, 1_000, 600_000, 2_592_000_000),
    limit: fc.constantFrom(8, 13, 100, 70_000),
    steps: fc.array(
      fc.record({ pass, cost: fc.integer({ min: 1, max: 8 }), calls: fc.constantFrom(1, 1, 3, 20), refund: fc.nat(9) }),
      { minLength: 20, maxLength: 60, size: 'max' },
    ),
  });
  await fc.assert(
    fc.asyncProperty(scenario, async ({ windowMs, limit, steps }) => {
      const width = widthOf(windowMs);
      const terms = limitTerms(randomNamespace(), { algorithm: 'sliding_buckets', limit, windowMs });
      const model = new PartsModel(width, limit);
      const admissions: { timeUs: number; units: number }[] = [];
      let passedUs = 0;
      for (const { pass: parts, cost, calls, refund } of steps) {
        await bench.passTime(terms, parts * width);
        passedUs += parts * width;
        const replies = await Promise.all(Array.from({ length: calls }, () => bench.check([terms], ask(cost))));
        const refunds: number[] = [];
        for (const reply of replies) {
          const timeUs = reply.nowUs + passedUs;
          const { used, retryAfterUs, resetAtUs, mark } = onlyLimit(reply);
          const told = { admitted: reply.admitted, used, retryAfterUs, resetAtUs: resetAtUs + passedUs };
          expect(told).toEqual(model.decide(timeUs, cost));
          if (!reply.admitted) continue;
          // how long the units will count
          expect(resetAtUs - reply.nowUs).toBeGreaterThan(60 * width);
          expect(resetAtUs - reply.nowUs).toBeLessThanOrEqual(61 * width);
          if (refund > 0) admissions.push({ timeUs, units: cost });
          else refunds.push(mark);
        }
        for (const mark of refunds) {
          // of the shortest windows it may count no more
          expect(windowMs < 1_000 ? [0, cost] : [cost]).toContain(await bench.refund(terms, mark, ask(cost)));
          model.refund((mark + passedUs) / width, cost);
        }
      }
      expect(mostInAWindow(admissions, windowMs)).toBeLessThanOrEqual(limit);
    }),
    { seed: SEED, numRuns: 60, endOnFailure: true },
  );
});

test.each([10, 11, 97, 1_000, 600_000])(
  'of a window of %s ms, 60 parts are no less, and 61 at most a 60th more',
  (ms) => {
    expect(60 * widthOf(ms)).toBeGreaterThanOrEqual(ms * 1_000);
    expect(61 * widthOf(ms)).toBeLessThanOrEqual(ms * 1_000 + (ms * 1_000) / 60 + 61);
  },
);

describe('what breaks two weighted counters', () => {
  test.each([
    ['a burst at the end of one window and of the next, where the weight of the first is near zero', [0, 60, 1, 59]],
    ['bursts a part before, at and after the end of a window', [0, 59, 1, 1, 58, 1, 1]],
    ['half a window between bursts', [0, 30, 30, 30, 30, 30]],
    ['a burst, then a trickle', [0, ...Array<number>(130).fill(1)]],
  ])('%s: never above the limit', async (_, passes) => {
    const windowMs = 6_000_000;
    const width = widthOf(windowMs);
    const limit = 20;
    const terms = limitTerms(randomNamespace(), { algorithm: 'sliding_buckets', limit, windowMs });
    const admissions: { timeUs: number; units: number }[] = [];
    let passedUs = 0;
    for (const parts of passes) {
      await bench.passTime(terms, parts * width);
      passedUs += parts * width;
      const replies = await Promise.all(Array.from({ length: 25 }, () => bench.check([terms], ask(1))));
      for (const { admitted, nowUs } of replies) if (admitted) admissions.push({ timeUs: nowUs + passedUs, units: 1 });
    }
    expect(mostInAWindow(admissions, windowMs)).toBe(limit);
  });

  test('real time at the ends of the shortest windows', async () => {
    const terms = limitTerms(randomNamespace(), { algorithm: 'sliding_buckets', limit: 30, windowMs: 10 });
    const admissions: { timeUs: number; units: number }[] = [];
    for (let round = 0; round < 60; round++) {
      const replies = await Promise.all(Array.from({ length: 40 }, () => bench.check([terms], ask(1))));
      for (const { admitted, nowUs } of replies) if (admitted) admissions.push({ timeUs: nowUs, units: 1 });
    }
    expect(mostInAWindow(admissions, 10)).toBeLessThanOrEqual(30);
    expect(admissions.length).toBeGreaterThan(30);
  });
});

test('a flood gets the whole limit each 61 parts', async () => {
  const windowMs = 2_592_000_000;
  const width = widthOf(windowMs);
  const limit = 3;
  const terms = limitTerms(randomNamespace(), { algorithm: 'sliding_buckets', limit, windowMs });
  let admitted = 0;
  let first = 0;
  let last = 0;
  for (let part = 0; part < 200; part++) {
    if (part > 0) await bench.passTime(terms, width);
    const replies = await Promise.all(Array.from({ length: limit + 1 }, () => bench.check([terms], ask(1))));
    admitted += replies.filter((reply) => reply.admitted).length;
    last = Math.floor((replies.at(-1)?.nowUs ?? 0) / width) + part;
    if (part === 0) first = Math.floor((replies[0]?.nowUs ?? 0) / width);
  }
  expect(admitted).toBe(limit * Math.ceil((last - first + 1) / PARTS));
});

test('a window that was changed forgets nothing that is in it, nor in a shorter one before', async () => {
  const LEAST_COMMON_WIDTH_US = 200_000;
  const scenario = fc.array(
    fc.record({
      windowMs: fc.constantFrom(600, 1_200, 2_400, 6_000),
      pass: fc.nat(20),
      cost: fc.integer({ min: 1, max: 4 }),
    }),
    { minLength: 20, maxLength: 60, size: 'max' },
  );
  await fc.assert(
    fc.asyncProperty(scenario, fc.boolean(), async (steps, onlyShorter) => {
      const subject = randomNamespace();
      const sorted = onlyShorter ? steps.toSorted((a, b) => b.windowMs - a.windowMs) : steps;
      const admissions: { timeUs: number; units: number }[] = [];
      let passedUs = 0;
      let shortestMs = Number.POSITIVE_INFINITY;
      for (const { windowMs, pass: times, cost } of sorted) {
        const terms = limitTerms(subject, { algorithm: 'sliding_buckets', limit: 12, windowMs });
        await bench.passTime(terms, times * LEAST_COMMON_WIDTH_US);
        passedUs += times * LEAST_COMMON_WIDTH_US;
        const reply = await bench.check([terms], ask(cost));
        shortestMs = Math.min(shortestMs, windowMs);
        if (reply.admitted) admissions.push({ timeUs: reply.nowUs + passedUs, units: cost });
        const now = admissions.at(-1)?.timeUs ?? 0;
        const live = admissions.filter(({ timeUs }) => timeUs > now - shortestMs * 1_000);
        expect(live.reduce((sum, { units }) => sum + units, 0)).toBeLessThanOrEqual(12);
      }
    }),
    { seed: SEED, numRuns: 40, endOnFailure: true },
  );
});

test('units of parts of another width count as if they had come at the end of their part', async () => {
  const windows = [10, 97, 600, 1_200, 2_910, 6_000, 60_000] as const;
  let counted = 0;
  for (const oldMs of windows) {
    for (const windowMs of windows.filter((each) => each !== oldMs)) {
      for (const part of [0.01, 0.5, 0.9, 0.95, 0.98, 0.999, 1.01]) {
        const terms = limitTerms(randomNamespace(), { algorithm: 'sliding_buckets', limit: 9, windowMs });
        const old = widthOf(oldMs);
        const { nowUs } = await bench.peek([terms], ask(1));
        const newest = Math.floor((nowUs - part * windowMs * 1_000) / old);
        // one unit, in the newest part
        const record = Buffer.alloc(24 + PARTS);
        record.set([2, 24, 1]);
        record.writeBigUInt64BE(BigInt(old), 8);
        record.writeBigUInt64BE(BigInt(newest), 16);
        record.writeUInt8(1, 24 + PARTS - 1);
        await bench.raw.set(bench.recordKey(terms), record);
        const peek = await bench.peek([terms], ask(1));
        const latest = Math.min((newest + 1) * old - 1, peek.nowUs);
        const { used, resetAtUs } = onlyLimit(peek);
        counted += used;
        if (used === 0) expect(peek.nowUs - latest).toBeGreaterThanOrEqual(windowMs * 1_000);
        else expect(resetAtUs - latest).toBeGreaterThan(60 * widthOf(windowMs));
        if (used === 1) expect(resetAtUs - latest).toBeLessThanOrEqual(61 * widthOf(windowMs));
      }
    }
  }
  expect(counted).toBeGreaterThan(200);
});

test.each([
  [1, 93],
  [255, 93],
  [60_000, 154],
  [16_000_000, 215],
  [1_000_000_000, 276],
])(
  'a full record of limit %s takes %s bytes at most',
  async (limit, bytes) => {
    const windowMs = 2_592_000_000;
    const width = widthOf(windowMs);
    const terms = limitTerms(randomNamespace(), { algorithm: 'sliding_buckets', limit, windowMs });
    const calls = Math.ceil(limit / 61);
    let left = limit;
    for (let part = 0; part < 61 && left > 0; part++) {
      if (part > 0) await bench.passTime(terms, width);
      // 64 units a call, 10,000 calls a script
      for (let inPart = Math.min(left, calls); inPart > 0;) {
        const cost = Math.min(64, inPart);
        const times = Math.min(10_000, Math.floor(inPart / cost));
        const { limits } = await bench.checkCalls([terms], ask(cost), times);
        expect(limits).toHaveLength(1);
        inPart -= cost * times;
        left -= cost * times;
      }
    }
    expect(onlyLimit(await bench.peek([terms], ask(1)))).toMatchObject({ used: limit, denial: 'over' });
    expect(await bench.raw.strLen(bench.recordKey(terms))).toBeLessThanOrEqual(bytes);
  },
  60_000,
);
