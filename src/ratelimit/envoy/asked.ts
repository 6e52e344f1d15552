import type { RateLimiter } from '../limiter.js';
import type { Ask } from '../limit-scripts.js';
import type { Call } from '../../redis/call.js';
import type { LimitResult, RateLimitDecision } from '../decision.js';
import type { LimitTerms } from '../terms.js';

/** A descriptor of a request, and how it is limited. */
export interface Asked {
  /** Undefined: it is not. */
  readonly terms: LimitTerms | undefined;
  /** 0: looks and charges nothing. */
  readonly hits: number;
  /** The hits count even if they are more than is left. */
  readonly chargeDenied: boolean;
}

/** What became of a request. */
export interface Decided {
  readonly allowed: boolean;
  /** In the order of what was asked; undefined where it is not limited. */
  readonly results: readonly (LimitResult | undefined)[];
  /** Each limit once. */
  readonly limits: readonly LimitResult[];
}

/** More than any limit has. */
const MOST_HITS = 1_000_000_001;
const ASK: Ask = { cost: 1, minCost: 0, chargeDenied: false };

/**
 * Decides about all that is asked: when one is over its limit nothing is charged, but of those that count whether or not
 * there is room. A look is over where one more would be.
 */
export async function decide(
  asked: readonly Asked[],
  limiter: Pick<RateLimiter, 'checkRateLimit' | 'peekRateLimit'>,
  call: Call,
): Promise<Decided> {
  const looked = eachLimit(
    asked.filter(({ hits }) => hits === 0),
    () => 1,
  );
  const charged = eachLimit(asked.filter(({ hits, chargeDenied }) => hits > 0 && !chargeDenied));
  const counted = eachLimit(asked.filter(({ hits, chargeDenied }) => hits > 0 && chargeDenied));
  const some = (
    limits: readonly LimitTerms[],
    ask: 'checkRateLimit' | 'peekRateLimit',
  ): Promise<RateLimitDecision>[] => (limits.length === 0 ? [] : [limiter[ask](limits, ASK, call)]);
  const looks = Promise.all(some(looked, 'peekRateLimit'));
  const [ofLooks, ofCharged, ofCounted] = await Promise.all([
    looks,
    looks.then((decisions) =>
      Promise.all(some(charged, decisions.every(({ allowed }) => allowed) ? 'checkRateLimit' : 'peekRateLimit')),
    ),
    Promise.all(counted.map((terms) => limiter.checkRateLimit([terms], { ...ASK, chargeDenied: true }, call))),
  ]);
  const lookResults = byLimit(ofLooks);
  const chargeResults = byLimit([...ofCharged, ...ofCounted]);
  return {
    allowed: [...ofLooks, ...ofCharged, ...ofCounted].every(({ allowed }) => allowed),
    results: asked.map(({ terms, hits }) => terms && (hits === 0 ? lookResults : chargeResults).get(idOf(terms))),
    limits: [...new Map([...lookResults, ...chargeResults]).values()],
  };
}

/** The limits, each once: descriptors that come to the same one take their units together. */
function eachLimit(asked: readonly Asked[], sum = (one: number, other: number): number => one + other): LimitTerms[] {
  const limits = new Map<string, LimitTerms>();
  for (const { terms, hits } of asked) {
    if (terms === undefined) continue;
    const id = idOf(terms);
    limits.set(id, { ...terms, cost: Math.min(MOST_HITS, sum(limits.get(id)?.cost ?? 0, hits)) });
  }
  return [...limits.values()];
}

function byLimit(decisions: readonly RateLimitDecision[]): Map<string, LimitResult> {
  return new Map(decisions.flatMap(({ limits }) => limits.map((result) => [idOf(result.terms), result])));
}

function idOf({ countedAs, policy }: LimitTerms): string {
  return JSON.stringify([countedAs, policy.storedName]);
}
