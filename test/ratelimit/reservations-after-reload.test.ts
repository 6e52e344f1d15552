import { expect, test } from '@jest/globals';
import { Reservations } from '../../src/ratelimit/reservations.js';
import type { AlgorithmName, LimitTerms } from '../../src/ratelimit/terms.js';
import { randomNamespace } from '../support/service.js';
import { LimitBench } from './limit-bench.js';
import { ask, limitTerms } from './terms-support.js';

/** Reservations that end after their policy was changed: what others charged under the new one counts on. */

const bench = LimitBench.forThisFile();
const reservations = new Reservations(bench.redis, bench.store);
const MINUTE_MS = 60_000;
const MINUTE_US = 60_000_000;
const OPTIONS = { kind: 'reserve', requestId: '', ttlMs: 60 * MINUTE_MS } as const;
const ALGORITHMS = ['sliding_exact', 'sliding_buckets', 'token_bucket', 'fixed'] as const;

const usedOf = async (terms: LimitTerms): Promise<number> =>
  (await bench.peek([terms], ask(1))).limits[0]?.used ?? Number.NaN;

const pairs = ALGORITHMS.flatMap((before) =>
  ALGORITHMS.filter((after) => after !== before).map((after): [AlgorithmName, AlgorithmName] => [before, after]),
);
test.each(pairs)('settled for more after %s became %s', async (before, after) => {
  const subject = randomNamespace();
  const [old, current] = [before, after].map((algorithm) =>
    limitTerms(subject, { algorithm, limit: 10, windowMs: MINUTE_MS }),
  );
  if (old === undefined || current === undefined) throw new Error('no terms');
  const { reservationId } = await reservations.reserve([old], ask(1), OPTIONS, bench.call);
  await bench.check([current], ask(10));
  await reservations.settle(reservationId, 2, bench.call);
  expect(await usedOf(current)).toBe(10);
});

test.each(ALGORITHMS)('%s, settled for more or less or refunded after its window became longer', async (algorithm) => {
  for (const end of ['more', 'less', 'refund'] as const) {
    const subject = randomNamespace();
    const [old, current] = [MINUTE_MS, 60 * MINUTE_MS].map((windowMs) =>
      limitTerms(subject, { algorithm, limit: 10, windowMs }),
    );
    if (old === undefined || current === undefined) throw new Error('no terms');
    const { reservationId } = await reservations.reserve([old], ask(2), OPTIONS, bench.call);
    await bench.check([current], ask(5));
    if (end === 'refund') await reservations.refund(reservationId, bench.call);
    else await reservations.settle(reservationId, end === 'more' ? 3 : 1, bench.call);
    // half of the new window is to come, and of a bucket's tokens 5 are back
    await bench.passTime(current, 30 * MINUTE_US);
    expect({ end, counts: (await usedOf(current)) >= (algorithm === 'token_bucket' ? 0 : 5) }).toEqual({
      end,
      counts: true,
    });
  }
});
