import { describe, expect, test } from '@jest/globals';
import type { AlgorithmName, LimitTerms } from '../../src/ratelimit/terms.js';
import { randomNamespace } from '../support/service.js';
import { LimitBench, onlyLimit } from './limit-bench.js';
import { ALGORITHM_NAMES, ask, limitTerms } from './terms-support.js';

/** Redis's clock is stepped: its records are then of the future. */

const bench = LimitBench.forThisFile();

const WINDOW_MS = 60_000;
const WIDTH_US = (WINDOW_MS * 1_000) / 60;
const HOUR_US = 3_600_000_000;
/** An hour of the calendar is one that no test sees the end of, or nearly none. */
const longestMs = (algorithm: AlgorithmName): number =>
  algorithm === 'calendar' ? 3_600_000 : WINDOW_MS + WIDTH_US / 1_000;

function termsOf(algorithm: AlgorithmName, limit = 4): LimitTerms {
  const calendar = algorithm === 'calendar' ? ({ unit: 'hour', timeZone: 'UTC' } as const) : undefined;
  return limitTerms(randomNamespace(), { algorithm, limit, windowMs: calendar ? 0 : WINDOW_MS, calendar });
}

let holder = 0;
const asked = (cost: number) => ask(cost, { holder: `h${String(holder++)}` });

describe.each(ALGORITHM_NAMES)('%s', (algorithm) => {
  test.each([2, 30, 59])('set back by %s s nothing is admitted twice', async (seconds) => {
    const terms = termsOf(algorithm);
    await bench.check([terms], asked(3));
    await bench.passTime(terms, -Math.floor((seconds * 1_000_000) / WIDTH_US) * WIDTH_US);
    const denied = await bench.check([terms], asked(2));
    expect(denied.admitted).toBe(false);
    expect(onlyLimit(denied).used).toBe(3);
    expect((await bench.check([terms], asked(1))).admitted).toBe(true);
    expect((await bench.check([terms], asked(1))).admitted).toBe(false);
  });

  // a window of the calendar is over when it is over
  if (algorithm !== 'calendar' && algorithm !== 'concurrency') {
    test.each([2, 30, 59])(
      'set back by %s s nobody waits longer than a window after the next call',
      async (seconds) => {
        const terms = termsOf(algorithm);
        await bench.check([terms], asked(4));
        await bench.passTime(terms, -Math.floor((seconds * 1_000_000) / WIDTH_US) * WIDTH_US);
        const peeked = onlyLimit(await bench.peek([terms], asked(4)));
        expect(peeked.retryAfterUs).toBeLessThanOrEqual(longestMs(algorithm) * 1_000);
        expect((await bench.check([terms], asked(4))).admitted).toBe(false);
        // the clock goes on from there; of a bucket one unit of four comes back in a quarter of its time
        const soonUs = algorithm === 'token_bucket' ? 12 * WIDTH_US : 55 * WIDTH_US;
        await bench.passTime(terms, soonUs);
        expect((await bench.check([terms], asked(1))).admitted).toBe(false);
        await bench.passTime(terms, longestMs(algorithm) * 1_000 - soonUs);
        expect((await bench.check([terms], asked(4))).admitted).toBe(true);
      },
    );

    test('what was charged before the clock was set back is not taken from others', async () => {
      const terms = termsOf(algorithm);
      const before = await bench.check([terms], asked(2));
      await bench.passTime(terms, -2 * WIDTH_US);
      await bench.check([terms], asked(2));
      const { mark } = onlyLimit(before);
      expect(await bench.refund(terms, mark, ask(2), { chargedUs: before.nowUs })).toBe(0);
      expect(onlyLimit(await bench.peek([terms], ask(1))).used).toBe(4);
    });
  }

  test('set back by more than an hour nobody is locked out for longer than a window', async () => {
    const terms = termsOf(algorithm);
    await bench.check([terms], asked(4));
    expect((await bench.check([terms], asked(1))).admitted).toBe(false);
    await bench.passTime(terms, -2 * HOUR_US);
    expect((await bench.check([terms], asked(4))).admitted).toBe(true);
    const denied = await bench.check([terms], asked(1));
    expect(denied.admitted).toBe(false);
    expect(onlyLimit(denied).retryAfterUs).toBeLessThanOrEqual(longestMs(algorithm) * 1_000);
    await bench.passTime(terms, longestMs(algorithm) * 1_000);
    expect((await bench.check([terms], asked(4))).admitted).toBe(true);
  });
});

describe('what denials led to', () => {
  const blocking = (): LimitTerms =>
    limitTerms(randomNamespace(), { limit: 1, windowMs: WINDOW_MS / 2, blockMs: WINDOW_MS });

  test('set back by 2 s a block goes on', async () => {
    const terms = blocking();
    await bench.check([terms], ask(1));
    expect((await bench.check([terms], ask(1))).admitted).toBe(false);
    await bench.passTime(terms, -2_000_000);
    const denied = await bench.check([terms], ask(1));
    expect(denied.admitted).toBe(false);
    expect(onlyLimit(denied).retryAfterUs).toBeLessThanOrEqual(WINDOW_MS * 1_000);
  });

  test('set back by an hour a block ends a block time after the next call', async () => {
    const terms = blocking();
    await bench.check([terms], ask(1));
    await bench.check([terms], ask(1));
    await bench.passTime(terms, -HOUR_US);
    const peek = await bench.peek([terms], ask(1));
    expect(onlyLimit(peek)).toMatchObject({ denial: 'over', retryAfterUs: WINDOW_MS * 1_000 });
    expect((await bench.check([terms], ask(1))).admitted).toBe(false);
    await bench.passTime(terms, WINDOW_MS * 1_000);
    expect((await bench.check([terms], ask(1))).admitted).toBe(true);
  });

  test.each(['', 'p'])('set back by an hour a ban under %j ends its time after the next call', async (policy) => {
    const terms = termsOf('sliding_exact');
    await bench.people.ban(terms.countedAs, policy, { ttlMs: WINDOW_MS, reason: 'test' }, bench.call);
    await bench.passTime(terms, -HOUR_US);
    expect(onlyLimit(await bench.check([terms], ask(1)))).toMatchObject({ denial: 'banned' });
    await bench.passTime(terms, WINDOW_MS * 1_000);
    expect((await bench.check([terms], ask(1))).admitted).toBe(true);
  });
});
