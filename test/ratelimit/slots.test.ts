import { expect, test } from '@jest/globals';
import fc from 'fast-check';
import { checkRateLimitScript, renewConcurrencyScript } from '../../src/ratelimit/scripts.js';
import type { LimitTerms } from '../../src/ratelimit/terms.js';
import { randomNamespace } from '../support/service.js';
import { LimitBench, onlyLimit } from './limit-bench.js';
import { ask, limitTerms } from './terms-support.js';

/** CONCURRENCY: slots with leases. */

const SEED = 20_261_125;
const bench = LimitBench.forThisFile();

const slots = (limit: number, windowMs: number): LimitTerms =>
  limitTerms(randomNamespace(), { algorithm: 'concurrency', limit, windowMs });

function renew(terms: LimitTerms, holder: string, units: number): Promise<boolean> {
  const bound = renewConcurrencyScript.bind(
    { '...records': [bench.recordKey(terms)] },
    { holder, '...limits': [String(units), String(terms.policy.windowMs)] },
  );
  return bench.redis.run(bound, bench.call);
}

test('never more than the limit: taken, given back, renewed, and freed when leases are over, as in a model', async () => {
  const step = fc.record({
    kind: fc.constantFrom('take', 'take', 'take', 'release', 'renew', 'pass'),
    holder: fc.nat(5),
    cost: fc.integer({ min: 1, max: 3 }),
    part: fc.constantFrom(0.1, 0.5, 0.9, 1),
  });
  const scenario = fc.record({
    windowMs: fc.constantFrom(10_000, 3_600_000),
    limit: fc.constantFrom(3, 5, 8),
    steps: fc.array(step, { minLength: 20, maxLength: 50, size: 'max' }),
  });
  await fc.assert(
    fc.asyncProperty(scenario, async ({ windowMs, limit, steps }) => {
      const terms = slots(limit, windowMs);
      let passedMs = 0;
      let generation = 0;
      // when leases are over, in ms since the first
      const held = new Map<string, { units: number; untilMs: number }>();
      const names = new Map<number, string>();
      for (const { kind, holder, cost, part } of steps) {
        const name = names.get(holder) ?? '';
        if (kind === 'pass') {
          const ms = Math.round(part * windowMs);
          await bench.passTime(terms, ms * 1_000);
          passedMs += ms;
          continue;
        }
        const peek = await bench.peek([terms], ask(1));
        const nowMs = Math.floor(peek.nowUs / 1_000) + passedMs;
        for (const [each, { untilMs }] of held) if (untilMs <= nowMs) held.delete(each);
        const has = held.get(name);
        const used = [...held.values()].reduce((sum, { units }) => sum + units, 0);
        expect(onlyLimit(peek).used).toBe(used);
        expect(used).toBeLessThanOrEqual(limit);
        if (kind === 'take' && !held.has(name)) {
          const fresh = `h${String(generation++)}`;
          const reply = await bench.check([terms], ask(cost, { holder: fresh }));
          expect(reply.admitted).toBe(used + cost <= limit);
          if (!reply.admitted) {
            // when enough leases are over
            let left = used;
            const over = [...held.values()]
              .toSorted((a, b) => a.untilMs - b.untilMs)
              .find(({ units }) => (left -= units) + cost <= limit);
            expect(onlyLimit(reply).retryAfterUs).toBe(((over?.untilMs ?? 0) - passedMs) * 1_000 - reply.nowUs);
            continue;
          }
          names.set(holder, fresh);
          held.set(fresh, { units: cost, untilMs: Math.floor(reply.nowUs / 1_000) + passedMs + windowMs });
        } else if (kind === 'release' && name !== '') {
          const asked = ask(has?.units ?? 1, { holder: name });
          const back = await bench.refund(terms, 1, asked);
          if (has !== undefined) expect(back).toBe(has.units);
          // a second time finds nothing
          expect(await bench.refund(terms, 1, asked)).toBe(0);
          held.delete(name);
        } else if (kind === 'renew' && name !== '') {
          expect(await renew(terms, name, has?.units ?? 1)).toBe(has !== undefined);
          const scores = await bench.raw.zScore(bench.recordKey(terms), `${name}:1:${String(windowMs)}`);
          if (has !== undefined) has.untilMs = Number(scores) + passedMs;
        }
      }
    }),
    { seed: SEED, numRuns: 40, endOnFailure: true },
  );
});

test('of 200 callers at once as many get a slot as there are, and the key goes with the last lease', async () => {
  const terms = slots(7, 60_000);
  const replies = await Promise.all(
    Array.from({ length: 200 }, (_, at) => bench.check([terms], ask(1, { holder: `h${String(at)}` }))),
  );
  expect(replies.filter(({ admitted }) => admitted)).toHaveLength(7);
  expect(await bench.raw.pExpireTime(bench.recordKey(terms))).toBeGreaterThan(Date.now());
  await bench.passTime(terms, 60_000_000);
  expect(await bench.raw.exists(bench.recordKey(terms))).toBe(0);
});

test('renewing slots of which one is lost answers so', async () => {
  const terms = slots(4, 60_000);
  await bench.check([terms], ask(2, { holder: 'h' }));
  expect(await renew(terms, 'h', 2)).toBe(true);
  await bench.raw.zRem(bench.recordKey(terms), 'h:2:60000');
  expect(await renew(terms, 'h', 2)).toBe(false);
  await bench.raw.del(bench.recordKey(terms));
  expect(await renew(terms, 'h', 2)).toBe(false);
  expect(await bench.raw.exists(bench.recordKey(terms))).toBe(0);
});

test('slots of a longer window count when the policy has a shorter one, and those of no time at all do not', async () => {
  const before = slots(3, 3_600_000);
  const now = { ...before, policy: { ...before.policy, windowMs: 1_000 } };
  await bench.check([before], ask(1, { holder: 'old' }));
  await bench.check([before], ask(1, { holder: 'older' }));
  await bench.passTime(before, 1_000_000);
  await bench.check([now], ask(1, { holder: 'new' }));
  const denied = await bench.check([now], ask(1, { holder: 'other' }));
  expect(denied.admitted).toBe(false);
  // the one of the shorter window is over first
  expect(onlyLimit(denied)).toMatchObject({ used: 3 });
  expect(onlyLimit(denied).retryAfterUs).toBeLessThanOrEqual(1_000_000);
  const two = onlyLimit(await bench.check([now], ask(2, { holder: 'other' })));
  expect(two.retryAfterUs).toBeGreaterThan(3_500_000_000);
  expect(await renew(before, 'old', 1)).toBe(true);
  // the clock is set back by two hours: what they hold explains nothing that far away
  await bench.passTime(before, -7_200_000_000);
  expect(onlyLimit(await bench.peek([now], ask(1)))).toMatchObject({ used: 0 });
  expect((await bench.check([now], ask(3, { holder: 'next' }))).admitted).toBe(true);
  expect(await bench.raw.zCard(bench.recordKey(now))).toBe(3);
  expect(await renew(before, 'old', 1)).toBe(false);
});

test('a slot of each caller: several calls cannot share a script', async () => {
  const alike = bench.ask(checkRateLimitScript, [slots(9, 60_000)], ask(1, { holder: 'h' }), 3);
  await expect(alike).rejects.toThrow();
});
