/** What a check says of a history. */

/** Of the invariants in docs/operations/faults.md. */
export type Invariant = 'I1' | 'I2' | 'I3' | 'I4' | 'I5' | 'I6' | 'I7' | 'I8' | 'I9' | 'row';

export interface Violation {
  readonly invariant: Invariant;
  readonly what: string;
}

/** Collects violations; of many that are alike it tells the first few. */
export class Violations {
  readonly list: Violation[] = [];
  private readonly counts = new Map<Invariant, number>();

  add(invariant: Invariant, what: string): void {
    const count = (this.counts.get(invariant) ?? 0) + 1;
    this.counts.set(invariant, count);
    if (count <= TOLD_OF_EACH) this.list.push({ invariant, what });
    else if (count === TOLD_OF_EACH + 1) this.list.push({ invariant, what: 'and more' });
  }
}

const TOLD_OF_EACH = 5;
