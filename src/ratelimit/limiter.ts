import type { Call } from '../redis/call.js';
import { CoalescedChecks } from './coalesced-checks.js';
import type { DenialMemory } from './denial-memory.js';
import type { Ask } from './limit-scripts.js';
import { besideLists, countedOf } from './listed.js';
import type { RedisLoss } from './redis-loss.js';
import { RateLimitStats, type RateLimitCounts } from './stats.js';
import type { RateLimitDecision } from './decision.js';
import type { RateLimitStore } from './store.js';
import type { LimitTerms } from './terms.js';

/** What checks came to that did not each ask Redis; since the start. */
export interface LimiterCounts {
  /** Denied from memory. */
  readonly remembered: number;
  /** Shared the call of another one. */
  readonly coalesced: number;
  /** Answered by what the policies say of a Redis that is away. */
  readonly degradedAllowed: number;
  readonly degradedDenied: number;
  /** Subjects in memory now. */
  readonly rememberedSubjects: number;
}

/** Rate limits of this process: asks Redis only for what it does not know, once for calls that are alike. */
export class RateLimiter {
  private readonly checks: CoalescedChecks;
  private readonly memory: DenialMemory;
  private readonly loss: RedisLoss;
  private readonly nowMs: () => number;
  private readonly stats: RateLimitStats;
  private readonly store: Pick<RateLimitStore, 'peekRateLimit'>;
  private remembered = 0;

  constructor({
    store,
    memory,
    loss,
    nowMs,
    stats = new RateLimitStats(),
  }: {
    readonly store: Pick<RateLimitStore, 'checkRateLimit' | 'checkAlike' | 'peekRateLimit' | 'isAtomic'>;
    readonly memory: DenialMemory;
    readonly loss: RedisLoss;
    /** Redis's clock, about, Unix ms. */
    readonly nowMs: () => number;
    /** Each decision is counted there. */
    readonly stats?: RateLimitStats;
  }) {
    this.nowMs = nowMs;
    this.store = store;
    this.checks = new CoalescedChecks(store);
    this.memory = memory;
    this.loss = loss;
    this.stats = stats;
  }

  /** Like RateLimitStore's; also answers while Redis is away, where all policies say how. */
  checkRateLimit(limits: readonly LimitTerms[], ask: Ask, call: Call): Promise<RateLimitDecision> {
    const stats = this.stats.of(call.namespace);
    if (countedOf(limits) === limits) return this.checkCounted(limits, ask, call, stats);
    const unlisted = (counted: readonly LimitTerms[]): Promise<RateLimitDecision> =>
      this.checkCounted(counted, ask, call, undefined);
    return besideLists(limits, ask, this.nowMs, unlisted).then((decision) => {
      stats.decided(decision);
      return decision;
    });
  }

  /** `stats`: undefined where it is only a part of what is decided. */
  private checkCounted(
    limits: readonly LimitTerms[],
    ask: Ask,
    call: Call,
    stats: RateLimitCounts | undefined,
  ): Promise<RateLimitDecision> {
    const denial = this.memory.recall(limits, ask, call);
    if (denial !== undefined) {
      this.remembered++;
      stats?.decided(denial);
      return Promise.resolve(denial);
    }
    const asked = this.memory.askedNow();
    return this.loss
      .guard(limits, ask, call, () => this.checks.check(limits, ask, call))
      .then((decision) => {
        stats?.decided(decision);
        if (!decision.allowed) this.memory.remember(decision, ask, call, asked);
        return decision;
      });
  }

  /** Like RateLimitStore's; denials that are known ask nobody, and a Redis that is away is answered for as in checks. */
  peekRateLimit(limits: readonly LimitTerms[], ask: Ask, call: Call): Promise<RateLimitDecision> {
    return besideLists(limits, ask, this.nowMs, (counted) => {
      const denial = this.memory.recall(counted, ask, call);
      if (denial !== undefined) {
        this.remembered++;
        return Promise.resolve(denial);
      }
      const look = (): Promise<RateLimitDecision> => this.store.peekRateLimit(counted, ask, call);
      return this.loss.guard(counted, { ...ask, isLook: true }, call, look);
    });
  }

  /** What `decide` does, or what the policies say of a Redis that is away. */
  orOnLoss(
    limits: readonly LimitTerms[],
    ask: Ask,
    call: Call,
    decide: () => Promise<RateLimitDecision>,
  ): Promise<RateLimitDecision> {
    return this.loss.guard(limits, ask, call, decide).then((decision) => {
      this.stats.of(call.namespace).decided(decision);
      return decision;
    });
  }

  get counts(): LimiterCounts {
    const { allowed, denied } = this.loss.answered;
    return {
      remembered: this.remembered,
      coalesced: this.checks.coalesced,
      degradedAllowed: allowed,
      degradedDenied: denied,
      rememberedSubjects: this.memory.size,
    };
  }
}
