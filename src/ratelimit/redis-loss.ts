import { performance } from 'node:perf_hooks';
import { DomainError, type ErrorCode } from '../errors.js';
import type { Call } from '../redis/call.js';
import { DeadlineWheel, NO_SLOT, type Timed } from '../wire/deadline-wheel.js';
import { uncheckedLimit } from './denial-memory.js';
import type { Ask } from './limit-scripts.js';
import { LocalLimits, type LocalState } from './local-limits.js';
import type { LimitResult, RateLimitDecision } from './decision.js';
import { capacityOf, type LimitTerms } from './terms.js';

/** Redis was not there, or does not keep up. */
const LOST: ReadonlySet<ErrorCode> = new Set<ErrorCode>(['REDIS_UNAVAILABLE', 'OUTCOME_UNKNOWN', 'OVERLOADED']);
/** What is left of the call's deadline for its answer, at least; and of a long one this part. */
const ANSWER_MARGIN_MS = 50;
const ANSWER_MARGIN_PART = 0.1;
const DENY_RETRY_MS = 1_000;

/** Ends the wait for a Redis that says nothing. */
class Patience implements Timed {
  slot = NO_SLOT;
  next: Timed | undefined;
  previous: Timed | undefined;
  constructor(
    readonly deadlineAt: number,
    readonly expire: () => void,
  ) {}
}

/** One limit that is decided without Redis. */
interface LossState {
  readonly terms: LimitTerms;
  readonly isDenied: boolean;
  /** Of a limit that is counted here. */
  readonly local: LocalState | undefined;
}

/**
 * What the policies say of a Redis that is away or silent: the call is answered within its deadline, by all limits or none.
 * Where one of them says `fail` it fails as other calls do. What was sent and not answered may still be charged.
 */
export class RedisLoss {
  private readonly wheel = new DeadlineWheel();
  /** Calls that were answered without Redis. */
  readonly answered = { allowed: 0, denied: 0 };

  constructor(
    /** Redis's clock, about, Unix ms. */
    private readonly nowMs: () => number,
    readonly local = new LocalLimits(),
  ) {}

  /** What `decide` does, or what is answered in its place. */
  guard(
    limits: readonly LimitTerms[],
    ask: Ask,
    call: Call,
    decide: () => Promise<RateLimitDecision>,
  ): Promise<RateLimitDecision> {
    for (const { policy } of limits) if (policy.onRedisLoss === 'fail') return decide();
    const nowMs = performance.now();
    const leftMs = call.deadlineAt - nowMs;
    if (leftMs <= 0 || call.ended) return decide();
    return new Promise((resolve, reject) => {
      let isAnswered = false;
      const marginMs = Math.max(ANSWER_MARGIN_MS, leftMs * ANSWER_MARGIN_PART);
      const giveUpAt = nowMs + Math.max(leftMs - marginMs, leftMs / 2);
      const patience = new Patience(giveUpAt, () => {
        // nobody waits for an answer, and what is admitted for nobody would be missing elsewhere
        if (call.ended) return;
        isAnswered = true;
        resolve(this.decide(limits, ask, call));
      });
      if (Number.isFinite(giveUpAt)) this.wheel.add(patience);
      decide().then(
        (decision) => {
          this.wheel.remove(patience);
          resolve(decision);
        },
        (error: unknown) => {
          this.wheel.remove(patience);
          if (isAnswered) return;
          const isLost = error instanceof DomainError && LOST.has(error.code);
          if (isLost && !call.ended) resolve(this.decide(limits, ask, call));
          else reject(error instanceof Error ? error : new Error(String(error)));
        },
      );
    });
  }

  private decide(limits: readonly LimitTerms[], ask: Ask, { namespace }: Call): RateLimitDecision {
    const least = ask.minCost > 0 ? ask.minCost : ask.cost;
    let units = ask.cost;
    const states = limits.map((terms): LossState => {
      const { onRedisLoss } = terms.policy;
      if (typeof onRedisLoss === 'string') return { terms, isDenied: onRedisLoss !== 'allow', local: undefined };
      const cost = terms.cost ?? least;
      const local = this.local.look(namespace, terms, onRedisLoss.localFraction, cost);
      if (terms.cost === undefined && !terms.isShadow) units = Math.min(units, local.share - local.used);
      return { terms, isDenied: local.retryAfterMs > 0, local };
    });
    const allowed = states.every(({ terms, isDenied }) => terms.isShadow || !isDenied);
    const granted = ask.minCost > 0 ? units : ask.cost;
    if (allowed) this.answered.allowed++;
    else this.answered.denied++;
    const results = states.map(({ terms, isDenied, local }) => {
      if (local === undefined) return isDenied ? this.deniedLimit(terms) : uncheckedLimit(terms);
      const charged = allowed && !isDenied && ask.isLook !== true ? (terms.cost ?? granted) : 0;
      const resetAfterMs = charged > 0 ? this.local.charge(namespace, terms, charged) : local.resetAfterMs;
      return this.localLimit(terms, { ...local, used: local.used + charged, resetAfterMs });
    });
    return { allowed, granted: allowed ? granted : 0, limits: results, atomic: true, degraded: true };
  }

  private deniedLimit(terms: LimitTerms): LimitResult {
    const capacity = capacityOf(terms);
    return {
      ...{ terms, denial: 'over', denies: !terms.isShadow, used: capacity, capacity, heldMs: 0, isChecked: true },
      ...{ retryAfterMs: DENY_RETRY_MS, resetAtMs: this.nowMs() + DENY_RETRY_MS },
    };
  }

  private localLimit(terms: LimitTerms, { share, used, retryAfterMs, resetAfterMs }: LocalState): LimitResult {
    const isDenied = retryAfterMs > 0;
    return {
      ...{ terms, denial: isDenied ? 'over' : undefined, denies: isDenied && !terms.isShadow },
      ...{ used, capacity: share, heldMs: 0, isChecked: true },
      ...{ retryAfterMs, resetAtMs: this.nowMs() + Math.ceil(resetAfterMs) },
    };
  }
}
