import { expect, test } from '@jest/globals';
import fc from 'fast-check';
import type { SetRequest } from '../../src/gen/shardkeep/cache/v1/cache.js';
import { onEachTopology, randomNamespace, type TestService } from '../support/service.js';

/** Random histories of one key against a naive model of what the proto says about conditions and versions. */

type Operation =
  | { readonly kind: 'set' | 'ifAbsent' | 'ifPresent' | 'delete' | 'touch' }
  /** `back` 0: the version now; 1: the one before; -1: one that was never given. */
  | { readonly kind: 'ifVersion'; readonly back: number };

const operation: fc.Arbitrary<Operation> = fc.oneof(
  { weight: 4, arbitrary: fc.constantFrom('set', 'ifAbsent', 'ifPresent', 'touch').map((kind) => ({ kind })) },
  { weight: 2, arbitrary: fc.constant({ kind: 'delete' } as const) },
  { weight: 4, arbitrary: fc.integer({ min: -1, max: 2 }).map((back) => ({ kind: 'ifVersion', back }) as const) },
);

/** What the key should hold, and every version it ever had, newest first. */
interface Model {
  entry: { readonly value: string; readonly version: bigint } | undefined;
  readonly versions: bigint[];
}

function versionFor({ versions }: Model, back: number): bigint {
  return back < 0 ? (versions[0] ?? 1n) + 1n : (versions[back] ?? 1n);
}

function conditionOf(step: Operation, model: Model): SetRequest['condition'] {
  switch (step.kind) {
    case 'ifAbsent':
    case 'ifPresent':
      return { $case: step.kind, value: true };
    case 'ifVersion':
      return { $case: 'ifVersion', value: versionFor(model, step.back) };
    default:
      return undefined;
  }
}

function isMet(condition: SetRequest['condition'], { entry }: Model): boolean {
  switch (condition?.$case) {
    case undefined:
      return true;
    case 'ifAbsent':
      return entry === undefined;
    case 'ifPresent':
      return entry !== undefined;
    case 'ifVersion':
      return entry?.version === condition.value;
  }
}

async function write(
  cache: TestService['cache'],
  key: string,
  step: Operation,
  model: Model,
  value: string,
): Promise<void> {
  const condition = conditionOf(step, model);
  const met = isMet(condition, model);
  const { stored, version } = await cache.set({ key, value: Buffer.from(value), condition });
  expect(stored).toBe(met);
  if (!met) {
    expect(version).toBe(model.entry?.version ?? 0n);
    return;
  }
  expect(version).toBeGreaterThan(model.versions[0] ?? 0n);
  model.versions.unshift(version);
  model.entry = { value, version };
}

async function apply(
  cache: TestService['cache'],
  key: string,
  step: Operation,
  model: Model,
  value: string,
): Promise<void> {
  const there = model.entry !== undefined;
  switch (step.kind) {
    case 'delete':
      expect(await cache.delete({ keys: [key] })).toEqual({ deleted: [there] });
      model.entry = undefined;
      return;
    case 'touch':
      expect(await cache.touch({ keys: [key] })).toEqual({ touched: [there] });
      return;
    default:
      await write(cache, key, step, model, value);
  }
}

onEachTopology('a key under conditions', (service) => {
  test('behaves as the naive model says', async () => {
    const { cache } = service();
    await fc.assert(
      fc.asyncProperty(fc.array(operation, { minLength: 1, maxLength: 20 }), async (steps) => {
        const key = `model:${randomNamespace()}`;
        const model: Model = { entry: undefined, versions: [] };
        for (const [index, step] of steps.entries()) {
          await apply(cache, key, step, model, String(index));
          const { entry } = await cache.get({ key });
          const seen = entry === undefined ? undefined : { value: entry.value.toString(), version: entry.version };
          expect(seen).toEqual(model.entry);
        }
      }),
      { numRuns: 60 },
    );
  });
});
