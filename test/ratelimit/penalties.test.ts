import { describe, expect, test } from '@jest/globals';
import type { BanLadder, LimitTerms } from '../../src/ratelimit/terms.js';
import { randomNamespace } from '../support/service.js';
import { LimitBench, onlyLimit } from './limit-bench.js';
import { ask, limitTerms } from './terms-support.js';

/** Blocks, bans, and what ends them. Time passes by making what is written of a subject older. */

const bench = LimitBench.forThisFile();

const SECOND_US = 1_000_000;
/** Shorter than the shortest ban, which is then what a denial tells. */
const WINDOW_MS = 59_000;
const LADDER: BanLadder = { after: 3, withinMs: 10_000, stepsMs: [60_000, 300_000, 3_600_000], decayMs: 600_000 };

const termsOf = (
  policy: { readonly blockMs?: number; readonly ladder?: BanLadder; readonly storedName?: string } = {},
  subject = randomNamespace(),
): LimitTerms => limitTerms(subject, { limit: 1, windowMs: WINDOW_MS, ...policy });

/** Only what is written of the subject gets older; its record stays full. */
const passTime = (terms: LimitTerms, us: number): Promise<void> =>
  bench.passTime({ ...terms, policy: { ...terms.policy, storedName: 'none' } }, us);

const retryUs = async (terms: LimitTerms): Promise<number> =>
  onlyLimit(await bench.check([terms], ask(1))).retryAfterUs;
const denialOf = async (terms: LimitTerms): Promise<string | undefined> =>
  onlyLimit(await bench.peek([terms], ask(1))).denial;
const ban = (terms: LimitTerms, policy: string): Promise<number> =>
  bench.people.ban(terms.countedAs, policy, { ttlMs: 60_000, reason: 'test' }, bench.call);
const unban = (terms: LimitTerms, policy: string): Promise<boolean> =>
  bench.people.unban(terms.countedAs, policy, bench.call);
const reset = async (terms: LimitTerms): Promise<boolean | undefined> =>
  (await bench.people.resetRateLimit([terms], bench.call))[0];

/** So many denials; answers how long the last one's ban is, 0 for none. */
async function denyTimes(terms: LimitTerms, times: number): Promise<number> {
  let reply = await bench.check([terms], ask(1));
  for (let time = 1; time < times; time++) reply = await bench.check([terms], ask(1));
  expect(reply.admitted).toBe(false);
  return onlyLimit(reply).denial === 'banned' ? onlyLimit(reply).retryAfterUs / SECOND_US : 0;
}

describe('a block', () => {
  test('denies for its time after a denial, though the limit has room again, and is not prolonged', async () => {
    const terms = limitTerms(randomNamespace(), { limit: 1, windowMs: 10, blockMs: 60_000 });
    await Promise.all([bench.check([terms], ask(1)), bench.check([terms], ask(1))]);
    await bench.passTime(terms, 40 * SECOND_US);
    const denied = await bench.check([terms], ask(1));
    expect(denied.admitted).toBe(false);
    expect(onlyLimit(denied).retryAfterUs).toBeLessThanOrEqual(20 * SECOND_US);
    await bench.passTime(terms, 20 * SECOND_US);
    expect((await bench.check([terms], ask(1))).admitted).toBe(true);
  });

  test('is told by the denial that begins it', async () => {
    const terms = limitTerms(randomNamespace(), { limit: 1, windowMs: 1_000, blockMs: 60_000 });
    await bench.check([terms], ask(1));
    expect(await retryUs(terms)).toBe(60_000_000);
  });

  test('is of the policy whose limit denied, and of no other', async () => {
    const subject = randomNamespace();
    const blocking = termsOf({ blockMs: 60_000, storedName: 'a' }, subject);
    const innocent = limitTerms(subject, { limit: 50, storedName: 'b', blockMs: 60_000 });
    await bench.check([blocking], ask(1));
    const denied = await bench.check([blocking, innocent], ask(1));
    expect(denied.limits.map(({ denial }) => denial)).toEqual(['over', undefined]);
    expect((await bench.check([innocent], ask(1))).admitted).toBe(true);
  });
});

describe('a ladder', () => {
  test('bans after so many denials, longer each time, and the last step stays', async () => {
    const terms = termsOf({ ladder: LADDER });
    await bench.check([terms], ask(1));
    expect(await denyTimes(terms, 2)).toBe(0);
    for (const seconds of [60, 300, 3_600, 3_600]) {
      expect(await denyTimes(terms, seconds === 60 ? 1 : 3)).toBe(seconds);
      // denials of who is banned count for nothing
      await denyTimes(terms, 4);
      await passTime(terms, seconds * SECOND_US);
      expect(await denialOf(terms)).toBe('over');
    }
  });

  test('forgets denials that are too far apart', async () => {
    const terms = termsOf({ ladder: LADDER });
    await bench.check([terms], ask(1));
    expect(await denyTimes(terms, 2)).toBe(0);
    await passTime(terms, 10 * SECOND_US);
    expect(await denyTimes(terms, 2)).toBe(0);
    expect(await denyTimes(terms, 1)).toBe(60);
  });

  test.each([
    [599, 3_600],
    [601, 300],
    [1_201, 60],
    [9_999, 60],
  ])('%s s after the end of the second ban the next one is of %s s', async (pause, seconds) => {
    const terms = termsOf({ ladder: LADDER });
    await bench.check([terms], ask(1));
    expect(await denyTimes(terms, 3)).toBe(60);
    await passTime(terms, 60 * SECOND_US);
    expect(await denyTimes(terms, 3)).toBe(300);
    await passTime(terms, (300 + pause) * SECOND_US);
    expect(await denyTimes(terms, 3)).toBe(seconds);
  });

  test('and what is written of it, is gone when it is forgotten', async () => {
    const terms = termsOf({ ladder: LADDER });
    await bench.check([terms], ask(1));
    await denyTimes(terms, 3);
    await passTime(terms, (60 + 599) * SECOND_US);
    expect(await bench.raw.exists(bench.standingKey(terms))).toBe(1);
    await passTime(terms, 2 * SECOND_US);
    expect(await bench.raw.exists(bench.standingKey(terms))).toBe(0);
  });

  test('does not climb in shadow', async () => {
    const terms = { ...termsOf({ ladder: LADDER, blockMs: 1_000 }), isShadow: true };
    for (let time = 0; time < 6; time++) expect((await bench.check([terms], ask(1))).admitted).toBe(true);
    expect(await bench.raw.exists(bench.standingKey(terms))).toBe(0);
  });
});

describe('a ban by people', () => {
  test('of one policy leaves the others, and one of all does not', async () => {
    const subject = randomNamespace();
    const [one, other] = [termsOf({ storedName: 'one' }, subject), termsOf({ storedName: 'other' }, subject)];
    await ban(one, 'one');
    expect([await denialOf(one), await denialOf(other)]).toEqual(['banned', undefined]);
    await ban(one, '');
    expect([await denialOf(one), await denialOf(other)]).toEqual(['banned', 'banned']);
    expect(await unban(one, 'one')).toBe(true);
    expect(await unban(one, 'one')).toBe(false);
    expect([await denialOf(one), await denialOf(other)]).toEqual(['banned', 'banned']);
    expect(await unban(one, '')).toBe(true);
    expect([await denialOf(one), await denialOf(other)]).toEqual([undefined, undefined]);
  });

  test('ends at its time, changes no record, and charges nothing', async () => {
    const terms = termsOf();
    await ban(terms, 'p');
    const before = await bench.dump();
    expect(await retryUs(terms)).toBeLessThanOrEqual(60 * SECOND_US);
    await bench.check([terms], ask(1, { chargeDenied: true }));
    expect(await bench.dump()).toBe(before);
    await passTime(terms, 60 * SECOND_US);
    expect((await bench.check([terms], ask(1))).admitted).toBe(true);
  });
});

describe('a limit in shadow', () => {
  test('denies nobody whom its ladder banned before, tells it, and charges nothing', async () => {
    const terms = { ...termsOf({ ladder: LADDER }), isShadow: false };
    await bench.check([terms], ask(1));
    await denyTimes(terms, 3);
    const before = await bench.dump();
    const reply = await bench.check([{ ...terms, isShadow: true }], ask(1));
    expect(reply.admitted).toBe(true);
    expect(onlyLimit(reply)).toMatchObject({ denial: 'banned', isByPeople: false, used: 1, mark: 0 });
    expect(await bench.dump()).toBe(before);
  });

  test.each(['', 'p'])('denies whom people banned under %j', async (policy) => {
    const terms = { ...termsOf({ ladder: LADDER }), isShadow: true };
    await ban(terms, policy);
    const { allowed, granted, limits } = await bench.store.checkRateLimit([terms], ask(1), bench.call);
    expect({ allowed, granted }).toEqual({ allowed: false, granted: 0 });
    expect(limits[0]).toMatchObject({ denial: 'banned', denies: true, used: 0 });
    await unban(terms, policy);
    expect((await bench.check([terms], ask(1))).admitted).toBe(true);
  });
});

test('Unban forgets the way to the ban of a ladder', async () => {
  const terms = termsOf({ ladder: LADDER });
  await bench.check([terms], ask(1));
  await denyTimes(terms, 3);
  expect(await unban(terms, 'p')).toBe(true);
  expect(await denyTimes(terms, 2)).toBe(0);
  expect(await denyTimes(terms, 1)).toBe(60);
});

describe('Reset', () => {
  test('forgets what was charged and what denials led to', async () => {
    const terms = termsOf({ ladder: LADDER, blockMs: 5_000 });
    await bench.check([terms], ask(1));
    expect(await denyTimes(terms, 1)).toBe(0);
    expect(await reset(terms)).toBe(true);
    expect((await bench.check([terms], ask(1))).admitted).toBe(true);
    const laddered = termsOf({ ladder: LADDER });
    await bench.check([laddered], ask(1));
    expect(await denyTimes(laddered, 3)).toBe(60);
    expect(await reset(laddered)).toBe(true);
    expect(await reset(laddered)).toBe(false);
    expect((await bench.check([laddered], ask(1))).admitted).toBe(true);
    expect(await denyTimes(laddered, 3)).toBe(60);
  });

  test('leaves what people set, and the other policies', async () => {
    const subject = randomNamespace();
    const [one, other] = [
      termsOf({ storedName: 'one' }, subject),
      termsOf({ storedName: 'other', blockMs: 60_000 }, subject),
    ];
    await ban(one, 'one');
    await bench.people.overrideRateLimit(one, 7, 60_000, bench.call);
    await bench.check([other], ask(1));
    await bench.check([other], ask(1));
    expect(await reset(one)).toBe(false);
    expect(onlyLimit(await bench.peek([one], ask(1)))).toMatchObject({ denial: 'banned', capacity: 7 });
    expect(await denialOf(other)).toBe('over');
  });
});
