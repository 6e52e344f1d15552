import type { Call } from '../redis/call.js';
import type { Ask } from './limit-scripts.js';
import type { Decision, LimitReply } from './scripts.js';
import type { RateLimitDecision } from './decision.js';
import { resultOf, type RateLimitStore } from './store.js';
import { hasPenalty, type LimitTerms, type PolicyTerms } from './terms.js';

/** One of several calls that are alike. */
interface Waiting {
  readonly limits: readonly LimitTerms[];
  readonly call: Call;
  readonly resolve: (decision: RateLimitDecision) => void;
  readonly reject: (error: unknown) => void;
}

interface Alike {
  readonly limits: readonly LimitTerms[];
  readonly ask: Ask;
  readonly namespace: string;
  readonly waiting: Waiting[];
}

/** So many at most are one call of the script. */
const MAX_ALIKE = 1_000;

/**
 * Gathers the calls of one turn of the event loop that ask the same of the same limits into one call of the script, which
 * decides them one after the other: order of arrival says who is admitted.
 */
export class CoalescedChecks {
  /** By the first subject, whose calls may differ in all else. */
  private open = new Map<string, Alike[]>();
  /** Calls that shared the script's call of another one. */
  coalesced = 0;

  constructor(private readonly store: Pick<RateLimitStore, 'checkRateLimit' | 'checkAlike' | 'isAtomic'>) {}

  check(limits: readonly LimitTerms[], ask: Ask, call: Call): Promise<RateLimitDecision> {
    if (!this.canShare(limits, ask)) return this.store.checkRateLimit(limits, ask, call);
    return new Promise((resolve, reject) => {
      this.alikeFor(limits, ask, call).waiting.push({ limits, call, resolve, reject });
    });
  }

  private alikeFor(limits: readonly LimitTerms[], ask: Ask, { namespace }: Call): Alike {
    const subject = limits[0]?.countedAs ?? '';
    const sameSubject = this.open.get(subject);
    const known = sameSubject?.find((other) => isAlike(other, limits, ask, namespace));
    if (known !== undefined) return known;
    // as `BatchedScripts` does: the command is written at the end of the turn, so this comes before it
    if (this.open.size === 0) {
      process.nextTick(() => {
        this.sendAll();
      });
    }
    const alike: Alike = { limits, ask, namespace, waiting: [] };
    if (sameSubject === undefined) this.open.set(subject, [alike]);
    else sameSubject.push(alike);
    return alike;
  }

  /** Calls alike leave the same behind one after the other as in one step. */
  private canShare(limits: readonly LimitTerms[], ask: Ask): boolean {
    if (ask.minCost > 0 || ask.chargeDenied) return false;
    for (const terms of limits) {
      if (terms.isShadow || hasPenalty(terms) || terms.policy.algorithm === 'concurrency') return false;
    }
    return limits.length === 1 || this.store.isAtomic(limits);
  }

  private sendAll(): void {
    const { open } = this;
    this.open = new Map();
    for (const sameSubject of open.values()) {
      for (const { ask, waiting } of sameSubject) {
        const [first] = waiting;
        if (waiting.length === 1 && first !== undefined) this.sendAlone(ask, first);
        else for (let at = 0; at < waiting.length; at += MAX_ALIKE) this.send(ask, waiting.slice(at, at + MAX_ALIKE));
      }
    }
  }

  private send(ask: Ask, waiting: readonly Waiting[]): void {
    const living = waiting.filter(({ call }) => !call.ended);
    if (living.length < waiting.length) {
      // the store refuses them
      for (const each of waiting) if (each.call.ended) this.sendAlone(ask, each);
    }
    const [first] = living;
    if (first === undefined) return;
    if (living.length === 1) {
      this.sendAlone(ask, first);
      return;
    }
    this.coalesced += living.length - 1;
    this.store.checkAlike(first.limits, ask, living.length, callOfAll(living)).then(
      (decision) => {
        living.forEach(({ limits, resolve }, index) => {
          resolve(decisionOfOne(decision, limits, { ask, index, count: living.length }));
        });
      },
      (error: unknown) => {
        for (const { reject } of living) reject(error);
      },
    );
  }

  private sendAlone(ask: Ask, { limits, call, resolve, reject }: Waiting): void {
    this.store.checkRateLimit(limits, ask, call).then(resolve, reject);
  }
}

/** Until the last of them ends. */
function callOfAll(waiting: readonly Waiting[]): Call {
  return {
    namespace: waiting[0]?.call.namespace ?? '',
    deadlineAt: Math.max(...waiting.map(({ call }) => call.deadlineAt)),
    get ended() {
      return waiting.every(({ call }) => call.ended);
    },
  };
}

/** What the script decided about the call with this place among so many. */
function decisionOfOne(
  { admitted, units, limits: repliesAfter, deniedLimits }: Decision,
  limits: readonly LimitTerms[],
  { ask, index, count }: { readonly ask: Ask; readonly index: number; readonly count: number },
): RateLimitDecision {
  const allowed = index < admitted;
  const replies = allowed ? repliesAfter : deniedLimits;
  const admittedLater = allowed ? Math.min(admitted, count) - 1 - index : 0;
  return {
    allowed,
    granted: allowed ? units : 0,
    limits: limits.flatMap((terms, position) => {
      const reply: LimitReply | undefined = replies[position];
      if (reply === undefined) return [];
      return [resultOf(terms, { ...reply, used: reply.used - admittedLater * (terms.cost ?? ask.cost) })];
    }),
    atomic: true,
    degraded: false,
  };
}

/** Whether a call asks the same of the same limits. */
function isAlike(
  { limits: others, ask: other, namespace }: Alike,
  limits: readonly LimitTerms[],
  ask: Ask,
  ownNamespace: string,
): boolean {
  return (
    namespace === ownNamespace &&
    other.cost === ask.cost &&
    others.length === limits.length &&
    limits.every((terms, index) => isSame(terms, others[index]))
  );
}

/** By what the script is told, as the policies may have been replaced between two calls. */
function isSame(terms: LimitTerms, other: LimitTerms | undefined): boolean {
  return (
    terms.countedAs === other?.countedAs &&
    terms.limit === other.limit &&
    terms.cost === other.cost &&
    (terms.policy === other.policy || isSamePolicy(terms.policy, other.policy))
  );
}

function isSamePolicy(one: PolicyTerms, other: PolicyTerms): boolean {
  return (
    one.storedName === other.storedName &&
    one.algorithm === other.algorithm &&
    one.windowMs === other.windowMs &&
    one.burst === other.burst
  );
}
