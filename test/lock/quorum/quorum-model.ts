import { Ballot, type Decision } from '../../../src/lock/quorum/ballot.js';
import type { SeededRandom } from '../../support/seeded-random.js';
import type { GrantedToken } from './token-history.js';

/**
 * The quorum as a game against an adversary who delays and loses messages, ends votes at any step and restarts masters.
 * What is decided is decided by the product's own Ballot; the masters are the scripts' rules in short, and any of these
 * rules can be left out.
 */

export interface ModelRules {
  readonly masters: number;
  /** Whether a grant answers at least the proposal, and refuses one that is too far from the master's clock. */
  readonly proposals: boolean;
  /** `none`: the highest answer is the token, whoever knows of it. */
  readonly raise: 'conditional' | 'unconditional' | 'none';
  readonly restarts: 'never' | 'forget_votes' | 'forget_all';
  /** Whether a master that forgot is kept out for a while. */
  readonly quarantine: boolean;
}

const OPERATIONS = 14;
const CLOCK_SKEW = 40;
/** Clocks of services and masters are at most so far from the adversary's. */
const CLOCK_ERROR = 18;
const QUARANTINE = 2 * CLOCK_SKEW + 1;
const LOSS = 0.08;
const RETRY = 0.15;
const MAX_STEPS = 3_000;

interface Master {
  readonly clockError: number;
  fence: number;
  vote: string | undefined;
  keptOutUntil: number;
}

interface Acquire {
  readonly lockToken: string;
  readonly ballot: Ballot;
  readonly sentAt: number;
  state: 'voting' | 'raising' | 'granted' | 'over';
}

type Message = (step: number) => void;

export function playModel(rules: ModelRules, random: SeededRandom): readonly GrantedToken[] {
  return new Game(rules, random).play();
}

class Game {
  private readonly masters: Master[];
  private readonly messages: Message[] = [];
  private readonly acquires: Acquire[] = [];
  private readonly granted: GrantedToken[] = [];
  private readonly clockErrors: readonly number[];
  private started = 0;

  constructor(
    private readonly rules: ModelRules,
    private readonly random: SeededRandom,
  ) {
    this.masters = Array.from({ length: rules.masters }, () => ({
      clockError: random.between(-CLOCK_ERROR, CLOCK_ERROR),
      fence: 0,
      vote: undefined,
      keptOutUntil: 0,
    }));
    this.clockErrors = [0, 1, 2].map(() => random.between(-CLOCK_ERROR, CLOCK_ERROR));
  }

  play(): readonly GrantedToken[] {
    for (let step = 2 * CLOCK_SKEW; step < MAX_STEPS; step++) {
      if (this.started === OPERATIONS && this.messages.length === 0) break;
      this.move(step);
    }
    return this.granted;
  }

  private move(step: number): void {
    const { random, rules } = this;
    const chosen = random.next();
    if (chosen < 0.06 && this.started < OPERATIONS) {
      this.start(step);
    } else if (chosen < 0.1) {
      // a lease is over here, whatever the clocks elsewhere say
      random.pick(this.masters).vote = undefined;
    } else if (chosen < 0.12 && rules.restarts !== 'never') {
      this.restart(random.pick(this.masters), step);
    } else if (chosen < 0.14 && this.acquires.length > 0) {
      const acquire = random.pick(this.acquires);
      if (acquire.state === 'voting' || acquire.state === 'raising') this.lose(acquire);
      else if (acquire.state === 'granted') this.release(acquire);
    } else if (this.messages.length > 0) {
      const [message] = this.messages.splice(random.below(this.messages.length), 1);
      if (!random.chance(LOSS)) message?.(step);
    }
  }

  private start(step: number): void {
    const { random } = this;
    this.started++;
    const earlier = this.acquires.length > 0 && random.chance(RETRY) ? random.pick(this.acquires) : undefined;
    const lockToken = earlier?.lockToken ?? `lock-${String(this.started)}`;
    const acquire: Acquire = { lockToken, ballot: new Ballot(this.masters.length), sentAt: step, state: 'voting' };
    this.acquires.push(acquire);
    const proposal = step + random.pick(this.clockErrors);
    this.masters.forEach((master, index) => {
      this.send((at) => {
        this.answer(master, index, acquire, proposal, at);
      });
    });
  }

  private answer(master: Master, index: number, acquire: Acquire, proposal: number, step: number): void {
    const vote = this.vote(master, acquire.lockToken, proposal, step);
    this.send((at) => {
      if (acquire.state !== 'voting') return;
      const { ballot } = acquire;
      this.act(acquire, vote === undefined ? ballot.refused() : ballot.voted(index, vote.fence, vote.isAgain), at);
    });
  }

  private vote(
    master: Master,
    lockToken: string,
    proposal: number,
    step: number,
  ): { readonly fence: number; readonly isAgain: boolean } | undefined {
    if (step < master.keptOutUntil) return undefined;
    if (master.vote === lockToken) return { fence: master.fence, isAgain: true };
    if (master.vote !== undefined) return undefined;
    if (this.rules.proposals) {
      if (Math.abs(proposal - step - master.clockError) > CLOCK_SKEW) return undefined;
      master.fence = Math.max(master.fence + 1, proposal);
    } else {
      master.fence++;
    }
    master.vote = lockToken;
    return { fence: master.fence, isAgain: false };
  }

  private act(acquire: Acquire, decision: Decision, step: number): void {
    switch (decision.status) {
      case 'open':
        return;
      case 'lost':
        this.lose(acquire);
        return;
      case 'won':
        acquire.state = 'granted';
        this.granted.push({
          fencingToken: decision.fence,
          lockToken: acquire.lockToken,
          sentAt: acquire.sentAt,
          returnedAt: step,
        });
        return;
      case 'raise':
        acquire.state = 'raising';
        for (const index of decision.masters) this.raise(acquire, index, decision.fence, step);
    }
  }

  private raise(acquire: Acquire, index: number, fence: number, step: number): void {
    const { ballot } = acquire;
    const tell = (isRaised: boolean, at: number): void => {
      if (acquire.state !== 'raising') return;
      this.act(acquire, isRaised ? ballot.raised(index) : ballot.notRaised(), at);
    };
    if (this.rules.raise === 'none') {
      tell(true, step);
      return;
    }
    this.send((at) => {
      const master = this.masters[index];
      if (master === undefined) return;
      const isVoter = master.vote === acquire.lockToken && at >= master.keptOutUntil;
      const isRaised =
        this.rules.raise === 'unconditional' ||
        (isVoter && (!this.rules.proposals || fence <= at + master.clockError + CLOCK_SKEW));
      if (isRaised) master.fence = Math.max(master.fence, fence);
      this.send((later) => {
        tell(isRaised, later);
      });
    });
  }

  private lose(acquire: Acquire): void {
    this.release(acquire);
  }

  private release(acquire: Acquire): void {
    acquire.state = 'over';
    for (const master of this.masters) {
      this.send(() => {
        if (master.vote === acquire.lockToken) master.vote = undefined;
      });
    }
  }

  private restart(master: Master, step: number): void {
    master.vote = undefined;
    if (this.rules.restarts === 'forget_all') master.fence = 0;
    if (this.rules.quarantine) master.keptOutUntil = step + QUARANTINE;
  }

  private send(message: Message): void {
    this.messages.push(message);
  }
}
