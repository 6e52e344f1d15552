import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { calendarWindow, type CalendarUnit } from '../../src/ratelimit/calendar.js';
import { checkRateLimitScript, peekRateLimitScript } from '../../src/ratelimit/scripts.js';
import type { LimitTerms } from '../../src/ratelimit/terms.js';
import { randomNamespace } from '../support/service.js';
import { LimitBench, onlyLimit } from './limit-bench.js';
import { ask, limitTerms } from './terms-support.js';

/** FIXED and CALENDAR. */

const SEED = 20_261_124;
const bench = LimitBench.forThisFile();

test('FIXED equals its model: windows that begin with the first unit charged', async () => {
  const scenario = fc.record({
    windowMs: fc.constantFrom(10, 50, 1_000, 2_592_000_000),
    limit: fc.constantFrom(4, 9, 1_000_000_000),
    steps: fc.array(
      fc.record({
        pass: fc.constantFrom(0, 0, 0, 0.3, 0.99, 1, 1.5),
        cost: fc.integer({ min: 1, max: 4 }),
        refund: fc.nat(6).map((roll) => roll === 0),
      }),
      { minLength: 30, maxLength: 60, size: 'max' },
    ),
  });
  await fc.assert(
    fc.asyncProperty(scenario, async ({ windowMs, limit, steps }) => {
      const terms = limitTerms(randomNamespace(), { algorithm: 'fixed', limit, windowMs });
      const windowUs = windowMs * 1_000;
      let passedUs = 0;
      let used = 0;
      let began = Number.NEGATIVE_INFINITY;
      for (const { pass, cost, refund } of steps) {
        const us = Math.round(pass * windowUs);
        await bench.passTime(terms, us);
        passedUs += us;
        const reply = await bench.check([terms], ask(cost));
        const timeUs = reply.nowUs + passedUs;
        const { used: told, retryAfterUs, resetAtUs, mark } = onlyLimit(reply);
        if (used === 0 || began + windowUs <= timeUs) [used, began] = [0, timeUs];
        const admitted = used + cost <= limit;
        if (admitted) used += cost;
        expect({ admitted: reply.admitted, told, retryAfterUs, resetAtUs: resetAtUs + passedUs }).toEqual({
          admitted,
          told: used,
          retryAfterUs: admitted ? 0 : began + windowUs - timeUs,
          resetAtUs: began + windowUs,
        });
        if (!admitted || !refund || windowMs < 1_000) continue;
        expect(await bench.refund(terms, mark, ask(cost))).toBe(cost);
        used -= cost;
      }
    }),
    { seed: SEED, numRuns: 40, endOnFailure: true },
  );
});

test('a month in which clocks are put back is a window too', async () => {
  const calendar = { unit: 'month', timeZone: 'Europe/Berlin' } as const;
  const terms = limitTerms(randomNamespace(), { algorithm: 'calendar', limit: 3, windowMs: 0, calendar });
  // only that it is another month is told
  const reply = await bench.ask(checkRateLimitScript, [terms], ask(1), 1, Date.UTC(2025, 9, 10));
  expect(reply.admitted).toBeUndefined();
});

test('a refund after the window is over takes nothing of the next one', async () => {
  const terms = limitTerms(randomNamespace(), { algorithm: 'fixed', limit: 5, windowMs: 60_000 });
  const { mark } = onlyLimit(await bench.check([terms], ask(2)));
  await bench.passTime(terms, 60_000_000);
  await bench.check([terms], ask(3));
  expect(await bench.refund(terms, mark, ask(2))).toBe(0);
  expect(onlyLimit(await bench.peek([terms], ask(1))).used).toBe(3);
});

function calendarTerms(unit: CalendarUnit, timeZone = 'UTC', subject = randomNamespace()): LimitTerms {
  return limitTerms(subject, { algorithm: 'calendar', limit: 5, windowMs: 0, calendar: { unit, timeZone } });
}

const at = (iso: string): number => Date.parse(iso);

describe('windows of the calendar', () => {
  test.each([
    ['a day of 23 hours', 'day', 'Europe/Berlin', '2026-03-29T12:00Z', '2026-03-28T23:00Z', '2026-03-29T22:00Z'],
    ['a day of 25 hours', 'day', 'America/New_York', '2026-11-01T12:00Z', '2026-11-01T04:00Z', '2026-11-02T05:00Z'],
    [
      'a day that begins at one',
      'day',
      'America/Asuncion',
      '2024-10-06T12:00Z',
      '2024-10-06T04:00Z',
      '2024-10-07T03:00Z',
    ],
    [
      'an hour of a zone of half an hour',
      'hour',
      'Asia/Kolkata',
      '2026-05-05T10:40Z',
      '2026-05-05T10:30Z',
      '2026-05-05T11:30Z',
    ],
    [
      'a day half an hour longer',
      'day',
      'Australia/Lord_Howe',
      '2026-04-05T01:00Z',
      '2026-04-04T13:00Z',
      '2026-04-05T13:30Z',
    ],
    [
      'a week over a change of clocks',
      'week',
      'Europe/Berlin',
      '2026-10-25T23:30Z',
      '2026-10-25T23:00Z',
      '2026-11-01T23:00Z',
    ],
    ['the last second of a week', 'week', 'UTC', '2026-11-22T23:59:59.999Z', '2026-11-16T00:00Z', '2026-11-23T00:00Z'],
    ['a week over new year', 'week', 'UTC', '2027-01-01T00:00Z', '2026-12-28T00:00Z', '2027-01-04T00:00Z'],
    ['February', 'month', 'UTC', '2028-02-29T23:00Z', '2028-02-01T00:00Z', '2028-03-01T00:00Z'],
    [
      'a month with a change of clocks',
      'month',
      'Europe/Berlin',
      '2026-03-15T00:00Z',
      '2026-02-28T23:00Z',
      '2026-03-31T22:00Z',
    ],
    ['a minute', 'minute', 'UTC', '2026-11-22T01:02:03Z', '2026-11-22T01:02Z', '2026-11-22T01:03Z'],
  ] as const)('%s', (_, unit, timeZone, now, from, until) => {
    expect(calendarWindow(unit, timeZone, at(now))).toEqual({ fromMs: at(from), untilMs: at(until) });
  });

  test('every time is in its window, and windows follow each other', () => {
    const zones = [
      'UTC',
      'Europe/Berlin',
      'America/New_York',
      'Australia/Lord_Howe',
      'Asia/Kathmandu',
      'America/Sao_Paulo',
    ];
    const units = ['minute', 'hour', 'day', 'week', 'month'] as const;
    fc.assert(
      fc.property(
        fc.constantFrom(...units),
        fc.constantFrom(...zones),
        fc.integer({ min: at('2015-01-01T00:00Z'), max: at('2035-01-01T00:00Z') }),
        (unit, zone, now) => {
          const { fromMs, untilMs } = calendarWindow(unit, zone, now);
          expect(fromMs).toBeLessThanOrEqual(now);
          expect(untilMs).toBeGreaterThan(now);
          expect(calendarWindow(unit, zone, untilMs).fromMs).toBe(untilMs);
          expect(calendarWindow(unit, zone, untilMs - 1)).toEqual({ fromMs, untilMs });
        },
      ),
      { seed: SEED, numRuns: 2_000 },
    );
  });

  test('an hour that is there twice is two windows or one, and no time is in none', () => {
    for (let now = at('2026-10-24T23:00Z'); now < at('2026-10-25T03:00Z'); now += 60_000) {
      const { fromMs, untilMs } = calendarWindow('hour', 'Europe/Berlin', now);
      expect([fromMs <= now, now < untilMs]).toEqual([true, true]);
    }
  });
});

describe('CALENDAR', () => {
  test('counts to the end of the window, and anew in the next one', async () => {
    const terms = calendarTerms('month');
    const reply = await bench.check([terms], ask(5));
    const { fromMs, untilMs } = calendarWindow('month', 'UTC', reply.nowUs / 1_000);
    expect(onlyLimit(reply)).toMatchObject({ used: 5, resetAtUs: untilMs * 1_000, mark: fromMs * 1_000 });
    const denied = await bench.check([terms], ask(1));
    expect(denied.admitted).toBe(false);
    expect(onlyLimit(denied).retryAfterUs).toBe(untilMs * 1_000 - denied.nowUs);
    await bench.passTime(terms, (untilMs - fromMs) * 1_000);
    expect(onlyLimit(await bench.check([terms], ask(1)))).toMatchObject({ used: 1, mark: fromMs * 1_000 });
  });

  test('when Redis is in another window nothing is done, and the answer says when it is', async () => {
    const terms = calendarTerms('hour');
    const before = await bench.dump();
    for (const offMs of [-3_600_000, 3_600_000]) {
      for (const script of [checkRateLimitScript, peekRateLimitScript]) {
        const reply = await bench.ask(script, [terms], ask(1), 1, Date.now() + offMs);
        expect(reply.admitted).toBeUndefined();
        expect(Math.abs(reply.nowUs / 1_000 - Date.now())).toBeLessThan(60_000);
      }
    }
    expect(await bench.dump()).toBe(before);
  });

  test('a store whose copy of the clock is an hour off asks again, by the clock of Redis', async () => {
    const terms = calendarTerms('minute');
    const clock = bench.redis.clock;
    const nowMs = clock.nowMs.bind(clock);
    clock.nowMs = () => nowMs() - 3_600_000;
    try {
      const decision = await bench.store.checkRateLimit([terms], ask(2), bench.call);
      expect(decision).toMatchObject({ allowed: true, limits: [{ used: 2 }] });
    } finally {
      clock.nowMs = nowMs;
    }
  });

  test('a refund after the window is over takes nothing of the next one', async () => {
    const terms = calendarTerms('day');
    const charge = await bench.check([terms], ask(2));
    const { fromMs, untilMs } = calendarWindow('day', 'UTC', charge.nowUs / 1_000);
    await bench.passTime(terms, (untilMs - fromMs) * 1_000);
    await bench.check([terms], ask(3));
    const mark = onlyLimit(charge).mark - (untilMs - fromMs) * 1_000;
    expect(await bench.refund(terms, mark, ask(2), { calendarMs: mark / 1_000 })).toBe(0);
    expect(await bench.refund(terms, onlyLimit(charge).mark, ask(2))).toBe(2);
    expect(onlyLimit(await bench.peek([terms], ask(1))).used).toBe(1);
  });

  test('a clock set back over the start of a month keeps the month that had begun, to its end', async () => {
    const terms = calendarTerms('month');
    const charge = await bench.check([terms], ask(3));
    const { untilMs } = calendarWindow('month', 'UTC', charge.nowUs / 1_000);
    // as if the charge had been made in the next month
    const key = bench.recordKey(terms);
    const record = await bench.raw.get(key);
    if (!Buffer.isBuffer(record)) throw new Error('no record');
    const next = calendarWindow('month', 'UTC', untilMs);
    record.writeBigUInt64BE(BigInt(next.fromMs) * 1_000n, 8);
    record.writeBigUInt64BE(BigInt(next.untilMs) * 1_000n, 16);
    await bench.raw.set(key, record, { expiration: { type: 'PXAT', value: next.untilMs } });
    const more = await bench.check([terms], ask(2));
    expect(onlyLimit(more)).toMatchObject({ used: 5, resetAtUs: next.untilMs * 1_000 });
    expect(await bench.raw.pExpireTime(key)).toBe(next.untilMs);
    expect((await bench.check([terms], ask(1))).admitted).toBe(false);
  });
});
