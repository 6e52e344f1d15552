import { majorityOf } from '../masters/majority.js';

/** What is to be done after an answer. `master` and `masters` are numbers of masters, from 0. */
export type Decision =
  /** Wait for more answers. */
  | { readonly status: 'open' }
  /** Raise the fences of these to the token; then tell how it went. */
  | { readonly status: 'raise'; readonly fence: number; readonly masters: readonly number[] }
  /** The lock is granted with this token, by these. */
  | { readonly status: 'won'; readonly fence: number; readonly masters: readonly number[] }
  /** It cannot be granted any more. */
  | { readonly status: 'lost' };

const OPEN: Decision = { status: 'open' };
const LOST: Decision = { status: 'lost' };

/**
 * Counts what the masters answer when they are asked for one lock, and decides as early as can be. The token is the highest
 * that the first majority answered; it is granted when a majority has it as its fence while the vote is the asker's. Two
 * such majorities meet in a master, where one vote ended before the other began: so tokens grow. No clock decides here.
 */
export class Ballot {
  private readonly majority: number;
  private readonly fresh = new Map<number, number>();
  /** Votes that the asker had before: an earlier try of the same request may have been granted with their fence. */
  private readonly again = new Map<number, number>();
  private refusedCount = 0;
  private fence = 0;
  /** Those whose fence is the token while the vote is the asker's; undefined until a token is chosen. */
  private agreed: Set<number> | undefined;
  private raising = 0;

  constructor(private readonly masterCount: number) {
    this.majority = majorityOf(masterCount);
  }

  /** A master gave its vote, with this as its fence now. */
  voted(master: number, fence: number, isAgain: boolean): Decision {
    (isAgain ? this.again : this.fresh).set(master, fence);
    return this.agreed === undefined ? this.choose() : OPEN;
  }

  /** A master did not give its vote, or nobody knows. */
  refused(): Decision {
    this.refusedCount++;
    return this.agreed === undefined ? this.choose() : OPEN;
  }

  /** A master's fence is the token, and the vote was the asker's all the time. */
  raised(master: number): Decision {
    if (this.agreed === undefined) throw new RangeError('nothing is to be raised yet');
    this.raising--;
    this.agreed.add(master);
    return this.settle(this.agreed);
  }

  /** A master's fence was not raised, or nobody knows. */
  notRaised(): Decision {
    if (this.agreed === undefined) throw new RangeError('nothing is to be raised yet');
    this.raising--;
    return this.settle(this.agreed);
  }

  private choose(): Decision {
    const openCount = this.masterCount - this.refusedCount - this.fresh.size - this.again.size;
    if (this.fresh.size + this.again.size + openCount < this.majority) return LOST;
    const same = this.again.size > 0 ? mostCommon(this.again.values()) : undefined;
    if (same !== undefined && same.count >= this.majority) return this.chooseOf(this.again, same.fence);
    // the earlier try may have been granted: its token is answered, if it can still be found
    if (same !== undefined && same.count + openCount >= this.majority) return OPEN;
    if (this.fresh.size + this.again.size < this.majority) return OPEN;
    const votes = new Map([...this.fresh, ...this.again]);
    return this.chooseOf(votes, Math.max(...votes.values()));
  }

  private chooseOf(votes: ReadonlyMap<number, number>, fence: number): Decision {
    const masters = [...votes.keys()];
    this.fence = fence;
    this.agreed = new Set(masters.filter((master) => votes.get(master) === fence));
    if (this.agreed.size >= this.majority) return this.settle(this.agreed);
    const laggards = masters.filter((master) => votes.get(master) !== fence);
    this.raising = laggards.length;
    return { status: 'raise', fence, masters: laggards };
  }

  private settle(agreed: ReadonlySet<number>): Decision {
    if (agreed.size >= this.majority) return { status: 'won', fence: this.fence, masters: [...agreed] };
    return agreed.size + this.raising < this.majority ? LOST : OPEN;
  }
}

function mostCommon(fences: Iterable<number>): { readonly fence: number; readonly count: number } {
  const counts = new Map<number, number>();
  let best = { fence: 0, count: 0 };
  for (const fence of fences) {
    const count = (counts.get(fence) ?? 0) + 1;
    counts.set(fence, count);
    if (count > best.count) best = { fence, count };
  }
  return best;
}
