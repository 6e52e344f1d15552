import type { Expectations } from './history.js';
import type { Setup } from './setup.js';
import type { World } from './world.js';

/** One row of the fault matrix. */
export interface Row {
  /** `F1-always`: its number in the matrix, and which variant. */
  readonly id: string;
  /** What is done, for the table. */
  readonly what: string;
  readonly setup: Setup;
  readonly expect: Partial<Expectations>;
  /** Why it cannot run on this machine; undefined: it can. */
  readonly skip?: () => string | undefined;
  /** Does it to a system under load, and undoes it; marks the beginning and the end. */
  readonly inject: (world: World) => Promise<void>;
}

const SECOND_MS = 1_000;

/** What holds unless a row says otherwise. */
export const STRICT: Expectations = {
  mayLose: 'nothing',
  // from the mark in the history to the blow
  mayLoseForMs: 250,
  holdersMayOverlap: false,
  limitResets: 0,
  recoveryMs: 5 * SECOND_MS,
  mayFailWith: ['UNAVAILABLE', 'DEADLINE_EXCEEDED'],
  unaffected: [],
  booksMayDiffer: false,
  maxRssMb: 400,
};
