import { expect, test } from '@jest/globals';
import { Reservations } from '../../src/ratelimit/reservations.js';
import type { AlgorithmName, LimitTerms } from '../../src/ratelimit/terms.js';
import { randomNamespace } from '../support/service.js';
import { LimitBench } from './limit-bench.js';
import { ALGORITHM_NAMES, ask, limitTerms } from './terms-support.js';

/** Reservations that are settled: what is charged then, for each algorithm. */

const bench = LimitBench.forThisFile();
const reservations = new Reservations(bench.redis, bench.store);
const WINDOW_MS = 2_592_000_000;
const OPTIONS = { kind: 'reserve', requestId: '', ttlMs: 60_000 } as const;

function termsOf(algorithm: AlgorithmName, limit: number, subject = randomNamespace()): LimitTerms {
  const calendar = algorithm === 'calendar' ? ({ unit: 'month', timeZone: 'UTC' } as const) : undefined;
  return limitTerms(subject, { algorithm, limit, windowMs: WINDOW_MS, calendar, storedName: algorithm });
}

const usedOf = async (limits: readonly LimitTerms[]): Promise<number[]> =>
  (await bench.peek(limits, ask(1))).limits.map(({ used }) => used);

test.each([
  ['less was used', 2, 2, 3],
  ['all was used', 5, 5, 6],
  ['more was used', 8, 8, 9],
  ['more was used than there is room for', 64, 19, 20],
  ['nothing was used', 0, 0, 1],
])('%s: every algorithm is charged that', async (_, cost, charged, used) => {
  for (const algorithm of ALGORITHM_NAMES) {
    const terms = termsOf(algorithm, 20);
    await bench.check([terms], ask(1, { holder: 'other' }));
    const { reservationId } = await reservations.reserve([terms], ask(5), OPTIONS, bench.call);
    expect(await reservations.settle(reservationId, cost, bench.call)).toBe(charged);
    expect(await usedOf([terms])).toEqual([used]);
    expect(await reservations.settle(reservationId, 1, bench.call)).toBe(charged);
    expect(await reservations.refund(reservationId, bench.call)).toBe(false);
    expect(await usedOf([terms])).toEqual([used]);
  }
});

test('over several limits as much more is charged as all of them have room for; those in shadow do not count', async () => {
  const subject = randomNamespace();
  const limits = ALGORITHM_NAMES.map((algorithm, index) => termsOf(algorithm, 20 - index, subject));
  const shadow = { ...limitTerms(subject, { limit: 9, windowMs: WINDOW_MS, storedName: 'shadow' }), isShadow: true };
  const all = [...limits, shadow];
  const { reservationId } = await reservations.reserve(all, ask(8), OPTIONS, bench.call);
  expect(await reservations.settle(reservationId, 64, bench.call)).toBe(15);
  expect(await usedOf(all)).toEqual([15, 15, 15, 15, 15, 15, 9]);
});

test('a refund takes all of it back, once, and a retry of the reservation charges nothing', async () => {
  const subject = randomNamespace();
  const limits = ALGORITHM_NAMES.map((algorithm) => termsOf(algorithm, 20, subject));
  const options = { ...OPTIONS, requestId: 'a-request-that-is-tried-again' };
  const first = await reservations.reserve(limits, ask(5), options, bench.call);
  expect(await reservations.reserve(limits, ask(5), options, bench.call)).toEqual(first);
  expect(await usedOf(limits)).toEqual(ALGORITHM_NAMES.map(() => 5));
  expect(await reservations.refund(first.reservationId, bench.call)).toBe(true);
  expect(await reservations.refund(first.reservationId, bench.call)).toBe(true);
  expect(await usedOf(limits)).toEqual(ALGORITHM_NAMES.map(() => 0));
});

test('after a reset what others charged since stays, whatever becomes of a reservation of before', async () => {
  for (const algorithm of ALGORITHM_NAMES) {
    const terms = termsOf(algorithm, 20);
    const [refunded, settled] = await Promise.all(
      [6, 7].map((cost) => reservations.reserve([terms], ask(cost), OPTIONS, bench.call)),
    );
    await bench.people.resetRateLimit([terms], bench.call);
    await bench.check([terms], ask(9, { holder: 'other' }));
    await reservations.refund(refunded?.reservationId ?? '', bench.call);
    await reservations.settle(settled?.reservationId ?? '', 1, bench.call);
    expect({ algorithm, used: await usedOf([terms]) }).toEqual({ algorithm, used: [9] });
  }
});
