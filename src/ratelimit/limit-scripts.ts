import { createHash } from 'node:crypto';
import type { Call } from '../redis/call.js';
import { keys } from '../redis/keys.js';
import { calendarWindow } from './calendar.js';
import { ALGORITHMS, hasPenalty, type LimitTerms } from './terms.js';

/** What is asked of all limits of a call. */
export interface Ask {
  readonly cost: number;
  /** Enough where `cost` is not left; 0: all or nothing. */
  readonly minCost: number;
  readonly chargeDenied: boolean;
  /** Only looked at; the scripts know that by themselves. */
  readonly isLook?: boolean;
  /** Who has the slots of `concurrency`; of no use elsewhere. */
  readonly holder?: string;
  /** Slots of `concurrency` are held no longer; absent: for the window of their policy. */
  readonly leaseMs?: number;
}

/** The key of a limit's record. */
export function recordOf({ countedAs, policy }: LimitTerms, { namespace }: Call): string {
  return policy.algorithm === 'concurrency'
    ? keys.concurrency(namespace, countedAs, policy.storedName)
    : keys.rateLimit(namespace, countedAs, policy.storedName);
}

/** KEYS of the scripts that decide: standing and record of each limit. */
export function limitKeys(limits: readonly LimitTerms[], call: Call): string[] {
  const named: string[] = [];
  for (const terms of limits) named.push(keys.standing(call.namespace, terms.countedAs), recordOf(terms, call));
  return named;
}

/** Where every process is told of a subject that may be admitted again. `standing`: the key of its standing. */
export function channelOf(topology: 'standalone' | 'cluster', namespace: string, standing: string): string {
  return topology === 'standalone' ? keys.standings(namespace) : keys.standingChannel(standing);
}

/** ARGV of one limit, as `lib/decide.lua` takes them. `nowMs`: of Redis's clock, about. */
export function limitArguments(terms: LimitTerms, ask: Ask, nowMs: number): string[] {
  const { policy, limit } = terms;
  let { windowMs } = policy;
  let calendar: { from_ms: number; until_ms: number } | undefined;
  if (policy.calendar !== undefined) {
    const { fromMs, untilMs } = calendarWindow(policy.calendar.unit, policy.calendar.timeZone, nowMs);
    calendar = { from_ms: fromMs, until_ms: untilMs };
    windowMs = untilMs - fromMs;
  }
  return [
    String(ALGORITHMS[policy.algorithm]),
    String(limit),
    String(windowMs),
    String(terms.cost ?? ask.cost),
    policy.storedName,
    furtherTerms(terms, ask, calendar),
  ];
}

/** ARGV of all limits of a call. */
export function limitsArguments(limits: readonly LimitTerms[], ask: Ask, nowMs: number): readonly string[] {
  const [only] = limits;
  if (limits.length === 1 && only !== undefined) return limitArguments(only, ask, nowMs);
  return limits.flatMap((terms) => limitArguments(terms, ask, nowMs));
}

/** Most limits have none; '' is cheaper to read than {}. */
function furtherTerms(
  terms: LimitTerms,
  ask: Ask,
  calendar: { readonly from_ms: number; readonly until_ms: number } | undefined,
): string {
  const { policy, isShadow } = terms;
  const { burst, blockMs, ladder, algorithm } = policy;
  const isConcurrency = algorithm === 'concurrency';
  if (burst === undefined && !isShadow && !hasPenalty(terms) && calendar === undefined && !isConcurrency) return '';
  return JSON.stringify({
    burst,
    shadow: isShadow || undefined,
    holder: isConcurrency ? ask.holder : undefined,
    lease_ms: isConcurrency ? ask.leaseMs : undefined,
    ...calendar,
    block_ms: blockMs,
    ...(ladder && {
      ban_after: ladder.after,
      ban_within_ms: ladder.withinMs,
      ban_ladder_ms: ladder.stepsMs,
      ban_decay_ms: ladder.decayMs,
    }),
  });
}

/** The share of subjects, 0 to 1, that one belongs to: the same in every process. */
export function shareOf(countedAs: string, storedName: string): number {
  // no subject has a NUL in front of a policy's name
  return createHash('sha256').update(`${countedAs}\0${storedName}`, 'utf8').digest().readUInt32BE(0) / 0x1_0000_0000;
}
