import { setTimeout as sleep } from 'node:timers/promises';
import type { Logger } from 'pino';
import type { Call } from '../redis/call.js';
import { keys } from '../redis/keys.js';
import type { Redis } from '../redis/redis.js';
import {
  checkRateLimitScript,
  peekRateLimitScript,
  refundRateLimitScript,
  resetRateLimitScript,
  type CheckReply,
} from './scripts.js';

/** One subject under one policy, with the policy's values. */
export interface LimitTerms {
  readonly subject: string;
  readonly policyName: string;
  /** Given with the request: lives apart from the configured policies. */
  readonly inline: boolean;
  readonly limit: number;
  readonly windowMs: number;
}

/** One limit after a decision. */
export interface LimitResult {
  readonly terms: LimitTerms;
  readonly over: boolean;
  readonly used: number;
  /** 0 unless over. */
  readonly retryAfterMs: number;
  readonly resetAtMs: number;
}

export interface RateLimitDecision {
  readonly allowed: boolean;
  readonly limits: readonly LimitResult[];
  /** All limits were decided in one step. */
  readonly atomic: boolean;
}

/** The limits of one script, with their places in the request. */
interface Group {
  readonly places: readonly number[];
  readonly limits: readonly LimitTerms[];
}

const REFUND_TIMEOUT_MS = 5_000;
/** Waited between the tries of a refund: a Redis that broke off is back within a second, or not soon. */
const REFUND_PAUSES_MS = [20, 80, 300, 1_000];

/** Rate limits on the `limit` Redis. */
export class RateLimitStore {
  constructor(
    private readonly redis: Redis,
    private readonly logger: Logger,
  ) {}

  /**
   * Charges `cost` to every limit or to none. Limits of several subjects on a Cluster lie in several slots: they are
   * looked at first and charged only when all would admit; when one then loses a race, the others are taken back. That
   * never admits more than a limit allows. Where the outcome of a charge is unknown it may stay until its window is over.
   */
  async checkRateLimit(limits: readonly LimitTerms[], cost: number, call: Call): Promise<RateLimitDecision> {
    const groups = this.groupsOf(limits);
    const [only] = groups;
    if (groups.length === 1 && only !== undefined) {
      return decisionOf(limits, groups, [await this.charge(only, cost, call)]);
    }
    const looks = await Promise.all(groups.map((group) => this.look(group, cost, call)));
    if (!looks.every(({ admitted }) => admitted)) return decisionOf(limits, groups, looks);

    const charging = groups.map((group) => this.charge(group, cost, call));
    const charges = await Promise.allSettled(charging);
    const denied = charges.some((charge) => charge.status === 'rejected' || !charge.value.admitted);
    if (denied) {
      await Promise.all(
        groups.map(async (group, index) => {
          const charge = charges[index];
          if (charge?.status === 'fulfilled' && charge.value.admitted) await this.refund(group, charge.value, call);
        }),
      );
    }
    // throws what a charge threw, now that the others are taken back
    const replies = await Promise.all(charging);
    if (!denied) return decisionOf(limits, groups, replies);
    // what was taken back is as it was seen before
    const stands = replies.map((reply, index) => (reply.admitted ? (looks[index] ?? reply) : reply));
    return decisionOf(limits, groups, stands);
  }

  /** What checkRateLimit would decide; writes nothing. */
  async peekRateLimit(limits: readonly LimitTerms[], cost: number, call: Call): Promise<RateLimitDecision> {
    const groups = this.groupsOf(limits);
    return decisionOf(limits, groups, await Promise.all(groups.map((group) => this.look(group, cost, call))));
  }

  /** Answers for each limit whether something had been charged to it. */
  resetRateLimit(limits: readonly LimitTerms[], call: Call): Promise<boolean[]> {
    return Promise.all(
      limits.map((terms) => this.redis.run(resetRateLimitScript.bind({ ring: ringOf(terms, call) }, {}), call)),
    );
  }

  /** One script a group: everything on a single Redis, one subject on a Cluster. */
  private groupsOf(limits: readonly LimitTerms[]): Group[] {
    const places = limits.map((_, place) => place);
    if (limits.length === 1 || this.redis.topology === 'standalone') return [{ places, limits }];
    const bySlot = new Map<string, number[]>();
    limits.forEach(({ subject }, place) => {
      bySlot.set(subject, [...(bySlot.get(subject) ?? []), place]);
    });
    return [...bySlot.values()].map((some) => ({
      places: some,
      limits: some.flatMap((place) => limits[place] ?? []),
    }));
  }

  private charge({ limits }: Group, cost: number, call: Call): Promise<CheckReply> {
    return this.redis.run(checkRateLimitScript.bind(ringsOf(limits, call), argumentsOf(limits, cost)), call);
  }

  private look({ limits }: Group, cost: number, call: Call): Promise<CheckReply> {
    return this.redis.run(peekRateLimitScript.bind(ringsOf(limits, call), argumentsOf(limits, cost)), call);
  }

  /** Takes a charge back, on a call of its own: the request's may end first. Idempotent, so it is tried again. */
  private async refund({ limits }: Group, charge: CheckReply, { namespace }: Call): Promise<void> {
    const call: Call = { namespace, deadlineAt: performance.now() + REFUND_TIMEOUT_MS, ended: false };
    await Promise.all(
      limits.map(async (terms, index) => {
        const bound = refundRateLimitScript.bind(
          { ring: ringOf(terms, call) },
          { time: String(charge.limits[index]?.time ?? 0), windowMs: String(terms.windowMs) },
        );
        for (const pauseMs of [...REFUND_PAUSES_MS, undefined]) {
          try {
            await this.redis.run(bound, call);
            return;
          } catch (error) {
            if (pauseMs === undefined) {
              this.logger.warn(
                { policy: terms.policyName, err: error },
                'charge not taken back, it lapses with its window',
              );
            } else {
              await sleep(pauseMs);
            }
          }
        }
      }),
    );
  }
}

function ringOf({ subject, policyName, inline, windowMs }: LimitTerms, { namespace }: Call): string {
  return inline
    ? keys.inlineRateLimit(namespace, subject, policyName, windowMs)
    : keys.rateLimit(namespace, subject, policyName);
}

function ringsOf(limits: readonly LimitTerms[], call: Call): { '...rings': string[] } {
  return { '...rings': limits.map((terms) => ringOf(terms, call)) };
}

function argumentsOf(limits: readonly LimitTerms[], cost: number): { cost: string; '...limits': string[] } {
  const numbers: string[] = [];
  for (const { limit, windowMs } of limits) numbers.push(String(limit), String(windowMs));
  return { cost: String(cost), '...limits': numbers };
}

/** Puts the replies of the groups back into the order of the request. */
function decisionOf(
  limits: readonly LimitTerms[],
  groups: readonly Group[],
  replies: readonly CheckReply[],
): RateLimitDecision {
  const results: (LimitResult | undefined)[] = limits.map(() => undefined);
  groups.forEach(({ places }, index) => {
    const reply = replies[index];
    places.forEach((place, position) => {
      const terms = limits[place];
      const answer = reply?.limits[position];
      if (terms === undefined || answer === undefined) return;
      results[place] = {
        terms,
        over: answer.over,
        used: answer.used,
        retryAfterMs: Math.ceil(answer.retryAfterUs / 1_000),
        resetAtMs: Math.ceil(answer.resetAtUs / 1_000),
      };
    });
  });
  return {
    allowed: replies.every(({ admitted }) => admitted),
    limits: results.filter((result) => result !== undefined),
    atomic: groups.length === 1,
  };
}
