import type { Ask } from './limit-scripts.js';
import type { LimitResult, RateLimitDecision } from './decision.js';
import { capacityOf, type LimitTerms } from './terms.js';

/** How long a list bans, as far as an answer can say it: the longest ban there is, 365 days. */
const BANNED_MS = 31_536_000_000;

/**
 * Decides what the lists of policies say, and asks `decide` for the others: a call that a list bans asks nobody. Lists of a
 * limit that only watches deny nothing. `nowMs`: Redis's clock, about; read only where a list decides.
 */
export function besideLists(
  limits: readonly LimitTerms[],
  { cost }: Pick<Ask, 'cost'>,
  nowMs: () => number,
  decide: (counted: readonly LimitTerms[]) => Promise<RateLimitDecision>,
): Promise<RateLimitDecision> {
  const counted = countedOf(limits);
  return counted === limits ? decide(limits) : decideOthers(limits, counted, cost, { nowMs: nowMs(), decide });
}

/** Some limits are on lists. */
async function decideOthers(
  limits: readonly LimitTerms[],
  counted: readonly LimitTerms[],
  cost: number,
  {
    nowMs,
    decide,
  }: { readonly nowMs: number; readonly decide: (counted: readonly LimitTerms[]) => Promise<RateLimitDecision> },
): Promise<RateLimitDecision> {
  const isBanned = limits.some(({ listing, isShadow }) => listing === 'denied' && !isShadow);
  if (isBanned) {
    const results = limits.map((terms) => {
      const result = listedResult(terms, nowMs);
      return terms.listing === undefined
        ? { ...result, used: result.capacity, resetAtMs: 0, isChecked: false }
        : result;
    });
    return { allowed: false, granted: 0, limits: results, atomic: true, degraded: false };
  }
  if (counted.length === 0) {
    const results = limits.map((terms) => listedResult(terms, nowMs));
    return { allowed: true, granted: cost, limits: results, atomic: true, degraded: false };
  }
  const decision = await decide(counted);
  const byTerms = new Map(decision.limits.map((result) => [result.terms, result]));
  return { ...decision, limits: limits.map((terms) => byTerms.get(terms) ?? listedResult(terms, nowMs)) };
}

/** The limits that no list decides. */
export function countedOf(limits: readonly LimitTerms[]): readonly LimitTerms[] {
  return limits.some(({ listing }) => listing !== undefined)
    ? limits.filter(({ listing }) => listing === undefined)
    : limits;
}

function listedResult(terms: LimitTerms, nowMs: number): LimitResult {
  const capacity = capacityOf(terms);
  const common = { terms, used: 0, capacity, isChecked: true };
  return terms.listing === 'denied'
    ? {
        ...common,
        denial: 'banned',
        denies: !terms.isShadow,
        retryAfterMs: BANNED_MS,
        resetAtMs: nowMs + BANNED_MS,
        heldMs: BANNED_MS,
      }
    : { ...common, denial: undefined, denies: false, retryAfterMs: 0, resetAtMs: nowMs, heldMs: 0 };
}
