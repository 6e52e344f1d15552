import { performance } from 'node:perf_hooks';
import type { Call } from '../../redis/call.js';
import { driftOf, majorityOf } from '../masters/majority.js';
import { poll, type Respondent } from '../masters/poll.js';
import type { RedlockNode } from './redlock-node.js';
import {
  acquireRedlockScript,
  giveBackRedlockScript,
  releaseRedlockScript,
  type AcquireReply,
  type HeldReply,
  type TakenReply,
} from './scripts.js';

/** What a round asks for. */
export interface RoundTerms {
  /** Keys. */
  readonly locks: readonly string[];
  readonly lockToken: string;
  /** Whether other calls may ask with the same token. */
  readonly hasRequest: boolean;
  readonly ttlMs: number;
  /** How long silent nodes are waited for. */
  readonly timeoutMs: number;
}

export interface RoundWon {
  readonly status: 'granted';
  /** When the majority that lasts longest is over, less the drift of clocks; Unix ms of the nodes' clocks. */
  readonly expiresAtMs: number;
  /** Undoes it, where nobody takes it. */
  readonly giveBack: () => void;
}

export interface RoundLost {
  /** `held`: another has a majority. `split`: nobody is known to have. `foreign`: a key is no lock. */
  readonly status: 'held' | 'split' | 'foreign';
  /** Of the one who has most votes. */
  readonly holder: HeldReply | undefined;
  /** What nodes failed with. */
  readonly errors: readonly unknown[];
}

function isTaken(reply: AcquireReply): reply is TakenReply {
  return reply.status === 'granted' || reply.status === 'again';
}

/**
 * Asks all nodes for the locks, once, until the outcome is certain. What a lost round was granted is given back on every
 * node, also on those that answer late: redlock's users would find it in their way until it ends.
 *
 * Several calls with one token can be under way at once. Then only what this one was first to be granted may be given back,
 * and only while nobody was answered with it since; of a node that never answers that is not known, and it keeps the lock
 * for the rest of its lease.
 */
export class Round {
  private readonly sentAt = performance.now();
  private readonly majority: number;
  private readonly taken = new Map<RedlockNode, TakenReply>();
  private readonly silent: Set<RedlockNode>;
  private isUndone = false;

  constructor(
    private readonly nodes: readonly RedlockNode[],
    private readonly terms: RoundTerms,
    private readonly call: Call,
  ) {
    this.majority = majorityOf(nodes.length);
    this.silent = new Set(nodes);
  }

  async run(): Promise<RoundWon | RoundLost> {
    const { locks, lockToken, ttlMs, timeoutMs } = this.terms;
    const bound = acquireRedlockScript.bind({ '...locks': locks }, { lockToken, ttlMs: String(ttlMs) });
    const { replies, errors } = await poll(
      this.nodes.map((node) => this.listen(node)),
      bound,
      {
        call: this.call,
        timeoutMs,
        isCertain: (soFar) => {
          const votes = soFar.replies.filter(isTaken).length;
          return votes >= this.majority || votes + soFar.unknownCount < this.majority;
        },
      },
    );
    const won = this.won(replies.filter(isTaken));
    if (won !== undefined) return won;
    this.giveBack();
    const { holder, votes } = mostVotes(replies.filter((reply) => reply.status === 'held'));
    if (replies.some(({ status }) => status === 'foreign')) return { status: 'foreign', holder, errors };
    return { status: votes >= this.majority ? 'held' : 'split', holder, errors };
  }

  /** A node whose answers are noted, also when nobody waits for them any more. */
  private listen(node: RedlockNode): Respondent<AcquireReply> {
    return {
      run: async (bound, call) => {
        const reply = await node.run(bound, call).finally(() => this.silent.delete(node));
        if (isTaken(reply)) {
          this.taken.set(node, reply);
          if (this.isUndone) this.giveBackTo(node, reply);
        }
        return reply;
      },
    };
  }

  private won(taken: readonly TakenReply[]): RoundWon | undefined {
    const last = nthLongest(taken, this.majority);
    if (last === undefined) return undefined;
    const driftMs = this.nodes.length === 1 ? 0 : driftOf(this.terms.ttlMs);
    // a lease began after it was asked for, so it ends after this
    const isOver = this.nodes.length > 1 && performance.now() >= this.sentAt + last.leftMs - driftMs;
    if (isOver) return undefined;
    return {
      status: 'granted',
      expiresAtMs: Math.floor(last.untilMs - driftMs),
      giveBack: () => {
        this.giveBack();
      },
    };
  }

  private giveBack(): void {
    this.isUndone = true;
    for (const [node, reply] of this.taken) this.giveBackTo(node, reply);
    if (this.terms.hasRequest) return;
    const { locks, lockToken } = this.terms;
    // behind what was asked, on the same connection: a node that goes on does both
    for (const node of this.silent) this.send(node, releaseRedlockScript.bind({ '...locks': locks }, { lockToken }));
  }

  private giveBackTo(node: RedlockNode, { status, untilMs }: TakenReply): void {
    if (status === 'again') return;
    const { locks, lockToken } = this.terms;
    this.send(node, giveBackRedlockScript.bind({ '...locks': locks }, { lockToken, untilMs: String(untilMs) }));
  }

  /** Nobody is left to tell of a failure: the lease then ends by itself. */
  private send(node: RedlockNode, bound: Parameters<RedlockNode['run']>[0]): void {
    const deadlineAt = performance.now() + this.terms.ttlMs;
    node.run(bound, { namespace: this.call.namespace, deadlineAt, ended: false }).catch(() => undefined);
  }
}

/** Who has most votes, as the one says whose vote lasts longest. */
export function mostVotes(held: readonly HeldReply[]): {
  readonly holder: HeldReply | undefined;
  readonly votes: number;
} {
  const byHolder = new Map<string, HeldReply[]>();
  for (const reply of held) byHolder.set(reply.holder, [...(byHolder.get(reply.holder) ?? []), reply]);
  const [most = []] = [...byHolder.values()].sort((one, other) => other.length - one.length);
  return { holder: nthLongest(most, 1), votes: most.length };
}

/** Of several ends the one of this number, from the longest lease down. */
function nthLongest<Reply extends { readonly leftMs: number }>(
  replies: readonly Reply[],
  n: number,
): Reply | undefined {
  return [...replies].sort((one, other) => other.leftMs - one.leftMs)[n - 1];
}
