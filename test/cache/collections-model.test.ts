import { expect, test } from '@jest/globals';
import fc from 'fast-check';
import { ListSide } from '../../src/gen/shardkeep/cache/v1/cache.js';
import { onEachTopology, randomNamespace, type TestService } from '../support/service.js';
import { membersOf, readPages, textsOf } from './set-pages.js';

/** Random histories of one key against a naive model of what the proto says about sets, lists and their expiry. */

const RUNS = { numRuns: 60, seed: 20_261_205, endOnFailure: true };
const MINUTE = 60_000n;
const DEFAULT_MINUTES = 1;

/** Few enough to meet again, with bytes that no text has. */
const item = fc.oneof(
  { weight: 4, arbitrary: fc.integer({ min: 0, max: 12 }).map((index) => Buffer.from([0xff, index])) },
  { weight: 1, arbitrary: fc.uint8Array({ minLength: 1, maxLength: 40 }).map((bytes) => Buffer.from(bytes)) },
);
const items = fc.array(item, { minLength: 1, maxLength: 8 });
/** Minutes, 0 for no expiry; each other than the default. */
const minutes = fc.option(fc.constantFrom(0, 10, 20, 30), { nil: undefined });
const bound = fc.option(fc.integer({ min: 1, max: 10 }), { nil: undefined });
const side = fc.constantFrom(ListSide.HEAD, ListSide.TAIL);

type Cache = TestService['cache'];
type Expiry = { $case: 'ttlMs'; value: bigint } | { $case: 'noExpiry'; value: boolean } | undefined;

function expiryOf(wanted: number | undefined): Expiry {
  if (wanted === undefined) return undefined;
  return wanted === 0 ? { $case: 'noExpiry', value: true } : { $case: 'ttlMs', value: BigInt(wanted) * MINUTE };
}

/** The minutes that a key was given, by what is left of them; undefined where it is not there. */
async function minutesOf(cache: Cache, key: string): Promise<number | undefined> {
  const [ttl] = (await cache.getTtl({ keys: [key] })).items;
  if (ttl?.exists !== true) return undefined;
  return ttl.ttlMs === undefined ? 0 : Number((ttl.ttlMs + MINUTE - 1n) / MINUTE);
}

/** What a key holds, and the minutes it was given; undefined: nothing. */
class Model {
  texts: string[] = [];
  minutes: number | undefined;

  written(given: { minutes: number | undefined; refresh: boolean }): void {
    if (this.minutes === undefined || given.refresh) this.minutes = given.minutes ?? DEFAULT_MINUTES;
  }

  emptied(): void {
    if (this.texts.length === 0) this.minutes = undefined;
  }
}

const setStep = fc.oneof(
  { weight: 3, arbitrary: fc.record({ add: items, max: bound, minutes, refresh: fc.boolean() }) },
  { weight: 2, arbitrary: fc.record({ remove: items }) },
  { weight: 1, arbitrary: fc.record({ read: fc.integer({ min: 1, max: 12 }) }) },
);

async function applyToSet(
  cache: Cache,
  key: string,
  step: typeof setStep extends fc.Arbitrary<infer S> ? S : never,
  model: Model,
) {
  if ('read' in step) {
    expect(membersOf(await readPages(cache, key, step.read))).toEqual([...model.texts].sort());
    return;
  }
  const before = model.texts.length;
  if ('remove' in step) {
    const gone = new Set(textsOf(step.remove));
    model.texts = model.texts.filter((text) => !gone.has(text));
    model.emptied();
    const size = model.texts.length;
    expect(await cache.removeFromSet({ key, members: step.remove })).toEqual({
      removedCount: before - size,
      size: BigInt(size),
    });
    return;
  }
  const all = [...new Set([...model.texts, ...textsOf(step.add)])];
  const applied = all.length === before || all.length <= (step.max ?? Infinity);
  if (applied) {
    model.texts = all;
    model.written(step);
  }
  const size = model.texts.length;
  const request = { key, members: step.add, maxMembers: step.max, refreshExpiry: step.refresh };
  expect(await cache.addToSet({ ...request, expiry: expiryOf(step.minutes) })).toEqual({
    applied,
    addedCount: size - before,
    size: BigInt(size),
  });
}

const listStep = fc.oneof(
  { weight: 3, arbitrary: fc.record({ push: items, side, max: bound, minutes, refresh: fc.boolean() }) },
  {
    weight: 2,
    arbitrary: fc.record({ side, offset: fc.integer({ min: 0, max: 15 }), limit: fc.integer({ min: 1, max: 15 }) }),
  },
);

async function applyToList(
  cache: Cache,
  key: string,
  step: typeof listStep extends fc.Arbitrary<infer S> ? S : never,
  model: Model,
) {
  const fromHead = step.side === ListSide.HEAD;
  if ('limit' in step) {
    const counted = fromHead ? model.texts : [...model.texts].reverse();
    const end = step.offset + step.limit;
    const answer = await cache.getList({ key, side: step.side, offset: BigInt(step.offset), limit: step.limit });
    expect({ ...answer, items: textsOf(answer.items) }).toEqual({
      items: counted.slice(step.offset, end),
      length: BigInt(counted.length),
      nextOffset: end < counted.length ? BigInt(end) : undefined,
    });
    return;
  }
  const pushed = textsOf(step.push);
  const all = fromHead ? [...pushed.reverse(), ...model.texts] : [...model.texts, ...pushed];
  const kept = Math.min(all.length, step.max ?? all.length);
  model.texts = fromHead ? all.slice(0, kept) : all.slice(all.length - kept);
  model.written(step);
  const request = { key, side: step.side, items: step.push, maxLength: step.max, refreshExpiry: step.refresh };
  expect(await cache.pushToList({ ...request, expiry: expiryOf(step.minutes) })).toEqual({
    length: BigInt(kept),
    trimmedCount: BigInt(all.length - kept),
  });
}

onEachTopology('the history of', (service) => {
  test('a set is that of its model', async () => {
    const { cache } = service();
    await fc.assert(
      fc.asyncProperty(fc.array(setStep, { minLength: 1, maxLength: 20 }), async (steps) => {
        const key = `set:${randomNamespace()}`;
        const model = new Model();
        for (const step of steps) {
          await applyToSet(cache, key, step, model);
          expect(await minutesOf(cache, key)).toBe(model.minutes);
        }
      }),
      RUNS,
    );
  });

  test('a list is that of its model', async () => {
    const { cache } = service();
    await fc.assert(
      fc.asyncProperty(fc.array(listStep, { minLength: 1, maxLength: 20 }), async (steps) => {
        const key = `list:${randomNamespace()}`;
        const model = new Model();
        for (const step of steps) {
          await applyToList(cache, key, step, model);
          expect(await minutesOf(cache, key)).toBe(model.minutes);
        }
      }),
      RUNS,
    );
  });
});
