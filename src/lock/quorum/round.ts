import { randomBytes } from 'node:crypto';
import { performance } from 'node:perf_hooks';
import type { Call } from '../../redis/call.js';
import { driftOf, majorityOf } from '../masters/majority.js';
import { Ballot, type Decision } from './ballot.js';
import type { QuorumCounts } from './counts.js';
import type { Voter } from './master.js';
import {
  giveBackVoteScript,
  grantVoteScript,
  raiseFenceScript,
  type GrantReply,
  type HeldReply,
  type RaiseReply,
  type VotedReply,
} from './scripts.js';

/** What a round asks for. */
export interface RoundTerms {
  /** Keys. */
  readonly lock: string;
  readonly marker: string;
  readonly lockToken: string;
  readonly owner: string;
  readonly ttlMs: number;
  /** A fencing token in µs: the clock of this machine, or above the last one seen. */
  readonly proposal: number;
  readonly maxSkewUs: number;
  readonly fenceRetentionMs: number;
  /** How long a step waits for masters that have not answered. */
  readonly nodeTimeoutMs: number;
}

export interface RoundWon {
  readonly status: 'granted';
  readonly fencingToken: number;
  /** The earliest end of what counts, less the drift of clocks; Unix ms of the masters' clocks. */
  readonly expiresAtMs: number;
  /** The same on the clock of `performance.now()`. */
  readonly validUntil: number;
  /** Undoes it, where nobody takes it. */
  readonly giveBack: () => void;
}

export interface RoundLost {
  /** `held`: another has a majority. `undecided`: nobody is known to have. */
  readonly status: 'held' | 'undecided';
  /** Who has votes; the one with most first. */
  readonly holders: readonly HeldBy[];
  /** The highest fencing token that was heard of; 0: none was. */
  readonly lastToken: number;
  /** What masters failed with. */
  readonly errors: readonly unknown[];
}

/** One lock token and the masters that say it has their vote. */
export interface HeldBy {
  readonly votes: number;
  readonly replies: readonly HeldReply[];
}

export type RoundOutcome = RoundWon | RoundLost;

const ROUND_BYTES = 6;

/**
 * Asks all masters for one lock, once: a step for the votes and, where they are not of one mind on the fencing token, a
 * second to raise those that are behind. It ends as soon as the outcome is certain, and each step after `nodeTimeoutMs`
 * whoever is silent. What was granted in a lost round is given back on every master, also on those that answer late.
 */
export class Round {
  private readonly id = randomBytes(ROUND_BYTES).toString('base64url');
  private readonly ballot: Ballot;
  private readonly sentAt = performance.now();
  private readonly call: Call;
  private readonly voted = new Map<number, VotedReply>();
  private readonly held: HeldReply[] = [];
  private readonly errors: unknown[] = [];
  /** Masters of which it is not known that they gave no vote. */
  private readonly perhaps = new Set<number>();
  private readonly silent = new Set<number>();
  private resolve: (outcome: RoundOutcome) => void = () => undefined;
  private timer: NodeJS.Timeout | undefined;
  private state: 'voting' | 'raising' | 'won' | 'lost' = 'voting';

  constructor(
    private readonly masters: readonly Voter[],
    private readonly terms: RoundTerms,
    private readonly counts: QuorumCounts,
    private readonly namespace: string,
  ) {
    this.ballot = new Ballot(masters.length);
    this.call = { namespace, deadlineAt: this.sentAt + terms.nodeTimeoutMs, ended: false };
  }

  run(): Promise<RoundOutcome> {
    return new Promise((resolve) => {
      this.resolve = resolve;
      this.timer = setTimeout(() => {
        this.onTimeOver();
      }, this.terms.nodeTimeoutMs);
      this.masters.forEach((master, index) => {
        this.silent.add(index);
        this.perhaps.add(index);
        this.askForVote(master).then(
          (reply) => {
            this.onVote(index, reply);
          },
          (error: unknown) => {
            this.errors.push(error);
            this.onNoVote(index, 'failed');
          },
        );
      });
    });
  }

  private askForVote(master: Voter): Promise<GrantReply> {
    const { lock, marker, lockToken, ttlMs, proposal, maxSkewUs, owner, fenceRetentionMs } = this.terms;
    return master.run(
      grantVoteScript.bind(
        { lock, marker },
        {
          lockToken,
          round: this.id,
          ttlMs: String(ttlMs),
          proposal: String(proposal),
          maxSkewUs: String(maxSkewUs),
          owner,
          fenceRetentionMs: String(fenceRetentionMs),
        },
      ),
      this.call,
    );
  }

  private onVote(index: number, reply: GrantReply): void {
    const { address } = this.masterAt(index);
    if (reply.status === 'granted' || reply.status === 'again') {
      if (!this.hear(index, reply.status)) {
        // what was sent after it may have overtaken it, where the script had to be sent as text
        if (this.state === 'lost') this.giveBackTo(index);
        return;
      }
      this.voted.set(index, reply);
      this.act(this.ballot.voted(index, reply.fence, reply.status === 'again'));
      return;
    }
    this.perhaps.delete(index);
    if (reply.status === 'held') this.held.push(reply);
    if (reply.status === 'amnesia') this.masterAt(index).noteAmnesia();
    if (reply.status === 'clock_skew' && this.isOnlyLate(reply.aheadMs)) {
      this.onNoVote(index, 'late');
      return;
    }
    if (reply.status === 'clock_skew') this.counts.alarm(address, reply.aheadMs);
    this.onNoVote(index, reply.status);
  }

  /** A master that hung finds a proposal old when it gets to it, however right its clock is. */
  private isOnlyLate(aheadMs: number): boolean {
    const elapsedMs = performance.now() - this.sentAt;
    return aheadMs < 0 && -aheadMs <= elapsedMs + this.terms.maxSkewUs / 1_000;
  }

  private onNoVote(index: number, answer: 'held' | 'clock_skew' | 'amnesia' | 'failed' | 'late'): void {
    if (this.hear(index, answer)) this.act(this.ballot.refused());
  }

  /** Whether an answer comes in time to count for something. */
  private hear(
    index: number,
    answer: 'granted' | 'again' | 'held' | 'clock_skew' | 'amnesia' | 'failed' | 'late',
  ): boolean {
    if (!this.silent.delete(index)) return false;
    this.counts.answered(this.masterAt(index).address, answer);
    return this.state === 'voting';
  }

  private act(decision: Decision): void {
    switch (decision.status) {
      case 'open':
        return;
      case 'raise':
        this.raise(decision.fence, decision.masters);
        return;
      case 'won':
        this.win(decision.fence, decision.masters);
        return;
      case 'lost':
        this.lose();
    }
  }

  private raise(fence: number, masters: readonly number[]): void {
    this.state = 'raising';
    clearTimeout(this.timer);
    const { lock, marker, lockToken, maxSkewUs, nodeTimeoutMs } = this.terms;
    this.timer = setTimeout(() => {
      this.onTimeOver();
    }, nodeTimeoutMs);
    const call = { ...this.call, deadlineAt: performance.now() + nodeTimeoutMs };
    const bound = raiseFenceScript.bind(
      { lock, marker },
      { lockToken, fence: String(fence), maxSkewUs: String(maxSkewUs) },
    );
    for (const index of masters) {
      const master = this.masterAt(index);
      master.run(bound, call).then(
        (reply) => {
          this.onRaise(index, reply);
        },
        () => {
          if (this.state === 'raising') this.act(this.ballot.notRaised());
        },
      );
    }
  }

  private onRaise(index: number, reply: RaiseReply): void {
    const master = this.masterAt(index);
    if (reply.status === 'clock_skew') this.counts.alarm(master.address, reply.aheadMs);
    if (reply.status === 'amnesia') master.noteAmnesia();
    if (this.state !== 'raising') return;
    this.act(reply.status === 'raised' ? this.ballot.raised(index) : this.ballot.notRaised());
  }

  private onTimeOver(): void {
    for (const index of this.silent) this.counts.answered(this.masterAt(index).address, 'late');
    this.silent.clear();
    this.lose();
  }

  private win(fence: number, masters: readonly number[]): void {
    const driftMs = driftOf(this.terms.ttlMs);
    let leftMs = Number.POSITIVE_INFINITY;
    let expiresAtMs = Number.POSITIVE_INFINITY;
    for (const index of masters) {
      const vote = this.voted.get(index);
      if (vote === undefined) throw new RangeError('a master counts that gave no vote');
      leftMs = Math.min(leftMs, vote.leftMs);
      expiresAtMs = Math.min(expiresAtMs, vote.untilMs);
    }
    // a vote began after it was asked for, so it ends after this
    const validUntil = this.sentAt + leftMs - driftMs;
    if (performance.now() >= validUntil) {
      this.lose();
      return;
    }
    const outcome = this.state === 'raising' ? 'raised' : 'granted';
    this.end('won', outcome, {
      status: 'granted',
      fencingToken: fence,
      expiresAtMs: Math.floor(expiresAtMs - driftMs),
      validUntil,
      giveBack: () => {
        this.state = 'lost';
        this.giveBack();
      },
    });
  }

  private lose(): void {
    const holders = byHolder(this.held);
    const isHeld = (holders[0]?.votes ?? 0) >= majorityOf(this.masters.length);
    const fences = [...this.voted.values(), ...this.held].map(({ fence }) => fence);
    this.end('lost', isHeld ? 'refused' : 'undecided', {
      status: isHeld ? 'held' : 'undecided',
      holders,
      lastToken: Math.max(0, ...fences),
      errors: this.errors,
    });
    this.giveBack();
  }

  private end(
    state: 'won' | 'lost',
    counted: 'granted' | 'raised' | 'refused' | 'undecided',
    outcome: RoundOutcome,
  ): void {
    clearTimeout(this.timer);
    this.state = state;
    this.counts.ended(counted);
    this.resolve(outcome);
  }

  private giveBack(): void {
    for (const index of this.perhaps) this.giveBackTo(index);
  }

  private giveBackTo(index: number): void {
    const { lock, lockToken, fenceRetentionMs, ttlMs } = this.terms;
    // nobody is left to tell of a failure: the vote then ends by itself
    this.masterAt(index)
      .run(
        giveBackVoteScript.bind({ lock }, { lockToken, round: this.id, fenceRetentionMs: String(fenceRetentionMs) }),
        { namespace: this.namespace, deadlineAt: performance.now() + ttlMs, ended: false },
      )
      .catch(() => undefined);
  }

  private masterAt(index: number): Voter {
    const master = this.masters[index];
    if (master === undefined) throw new RangeError(`no master ${String(index)}`);
    return master;
  }
}

/** Those who have votes, the one with most first. */
export function byHolder(replies: readonly HeldReply[]): readonly HeldBy[] {
  const byToken = new Map<string, HeldReply[]>();
  for (const reply of replies) {
    const ofToken = byToken.get(reply.lockToken);
    if (ofToken === undefined) byToken.set(reply.lockToken, [reply]);
    else ofToken.push(reply);
  }
  return [...byToken.values()]
    .map((ofToken) => ({ votes: ofToken.length, replies: ofToken }))
    .sort((one, other) => other.votes - one.votes);
}
