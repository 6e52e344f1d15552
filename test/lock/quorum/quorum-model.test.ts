import { describe, expect, test } from '@jest/globals';
import { SeededRandom } from '../../support/seeded-random.js';
import { playModel, type ModelRules } from './quorum-model.js';
import { violationsOf } from './token-history.js';

/** The order of fencing tokens of a quorum, against 4,000 seeds of an adversary for each number of masters. */

const SEEDS = 4_000;

interface Found {
  readonly grants: number;
  /** Games with such a violation. */
  readonly duplicates: number;
  readonly backwards: number;
}

/** Plays all seeds, or up to the first violation where one is enough. */
function check(rules: ModelRules, { untilFound = false } = {}): Found {
  let [grants, duplicates, backwards] = [0, 0, 0];
  for (let seed = 1; seed <= SEEDS; seed++) {
    if (untilFound && duplicates + backwards > 0) break;
    const history = playModel(rules, new SeededRandom(seed));
    const violations = violationsOf(history);
    grants += history.length;
    if (violations.duplicates > 0) duplicates++;
    if (violations.backwards > 0) backwards++;
  }
  return { grants, duplicates, backwards };
}

const PRODUCT = {
  proposals: true,
  raise: 'conditional',
  restarts: 'forget_all',
  quarantine: true,
} as const;
const WITHOUT_RESTARTS = { ...PRODUCT, proposals: false, restarts: 'never' } as const;

describe.each([3, 5])('of %i masters', (masters) => {
  test('tokens grow although masters forget all, when they are kept out and proposals are near their clocks', () => {
    const { grants, duplicates, backwards } = check({ masters, ...PRODUCT });
    expect({ duplicates, backwards }).toEqual({ duplicates: 0, backwards: 0 });
    // a game in which nobody gets the lock proves nothing
    expect(grants).toBeGreaterThan(SEEDS);
  });

  test('tokens grow without any clock, when masters forget votes only', () => {
    const found = check({ masters, ...WITHOUT_RESTARTS, restarts: 'forget_votes', quarantine: false });
    expect(found).toMatchObject({ duplicates: 0, backwards: 0 });
    expect(found.grants).toBeGreaterThan(SEEDS);
  });

  test.each<[string, Omit<ModelRules, 'masters'>]>([
    ['the token is the highest answer', { ...WITHOUT_RESTARTS, raise: 'none' }],
    ['a fence is raised for whoever has lost the vote', { ...WITHOUT_RESTARTS, raise: 'unconditional' }],
    ['masters that forgot are only kept out', { ...PRODUCT, proposals: false }],
    ['masters that forgot vote at once', { ...PRODUCT, quarantine: false }],
  ])('it is found out when %s', (_, rules) => {
    const { duplicates, backwards } = check({ masters, ...rules }, { untilFound: true });
    expect(duplicates + backwards).toBeGreaterThan(0);
  });
});
