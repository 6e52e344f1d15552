import type { Section } from './section.js';
import { Scope } from './scope.js';

export interface Pace {
  readonly quick: boolean;
  readonly rounds: number;
  readonly warmUpMs: number;
  readonly measureMs: number;
}

export const FULL: Pace = { quick: false, rounds: 5, warmUpMs: 400, measureMs: 1_500 };
export const QUICK: Pace = { quick: true, rounds: 2, warmUpMs: 200, measureMs: 600 };

export interface SuiteContext {
  readonly scope: Scope;
  readonly pace: Pace;
  /** Tells the person who waits. */
  readonly say: (line: string) => void;
}

/** One question, measured. */
export interface Suite {
  readonly name: string;
  run(context: SuiteContext): Promise<Section>;
}

/** The steps of something that grows: all of them, or for a short look the ends. */
export function stepsOf(steps: readonly number[], { quick }: Pace): readonly number[] {
  return quick ? steps.filter((_, index) => index === 0 || index === steps.length - 1) : steps;
}

/** Ends what a part of a suite has started before the next one begins, so that no Redis full of keys stands beside it. */
export async function inScopeOfItsOwn<Result>(
  context: SuiteContext,
  run: (context: SuiteContext) => Promise<Result>,
): Promise<Result> {
  const scope = new Scope();
  context.scope.onClose(() => scope.close());
  try {
    return await run({ ...context, scope });
  } finally {
    await scope.close();
  }
}
