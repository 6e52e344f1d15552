import {
  Algorithm,
  CalendarUnit,
  Enforcement,
  OnRedisLoss,
  type ListPoliciesResponse,
  type Policy,
} from '../../gen/shardkeep/ratelimit/v1/ratelimit.js';
import type { RateLimitAlgorithm } from './limit.js';

/** A policy of the service; one of several limits is told as one for each. `unknown`: the service is newer than this client. */
export interface ConfiguredRateLimitPolicy {
  readonly name: string;
  readonly algorithm: RateLimitAlgorithm | 'calendar' | 'unknown';
  /** Units in a window. */
  readonly limit: number;
  /** Undefined of `calendar`. */
  readonly windowMs: number | undefined;
  /** Of `token_bucket`: how many there can be at most. */
  readonly burst: number | undefined;
  /** Of `calendar`: the window, and the IANA name of the time zone it is in. */
  readonly calendarUnit: 'minute' | 'hour' | 'day' | 'week' | 'month' | 'unknown' | undefined;
  readonly timeZone: string | undefined;
  /** What its denials do: deny, nothing, or deny for a share of the subjects. */
  readonly enforcement: 'on' | 'shadow' | 'percent' | 'unknown';
  /** Of `percent`: the share, 0 to 100. */
  readonly enforcementPercent: number | undefined;
  /** Of a policy with several limits: the kind of subject that this one is for. */
  readonly subjectKind: string | undefined;
  /** Limits by role. */
  readonly tiers: Readonly<Record<string, number>>;
  /** What holds while Redis is away: UnavailableError, admit, deny, or a part of the limit in each process. */
  readonly onRedisLoss: 'fail' | 'allow' | 'deny' | 'local_fraction' | 'unknown';
  /** Of `local_fraction`: that part, 0 to 1. */
  readonly localFraction: number | undefined;
  /** How long who was denied stays denied. */
  readonly blockMs: number | undefined;
  /** So many denials `withinMs` are a ban of the first length of the ladder, then of the second; `decayMs` goes a step down. */
  readonly ban:
    | {
        readonly after: number;
        readonly withinMs: number;
        readonly ladderMs: readonly number[];
        readonly decayMs: number;
      }
    | undefined;
  /** How many entries its lists have. */
  readonly allowedCount: number;
  readonly deniedCount: number;
}

export interface ConfiguredRateLimitPolicies {
  /** In the order of their names. */
  readonly policies: readonly ConfiguredRateLimitPolicy[];
  /** Changes whenever they do. */
  readonly policyVersion: string;
}

const ALGORITHMS: Readonly<Record<number, ConfiguredRateLimitPolicy['algorithm']>> = {
  [Algorithm.SLIDING_EXACT]: 'sliding_exact',
  [Algorithm.SLIDING_BUCKETS]: 'sliding_buckets',
  [Algorithm.TOKEN_BUCKET]: 'token_bucket',
  [Algorithm.FIXED]: 'fixed',
  [Algorithm.CALENDAR]: 'calendar',
  [Algorithm.CONCURRENCY]: 'concurrency',
};
const CALENDAR_UNITS: Readonly<Record<number, ConfiguredRateLimitPolicy['calendarUnit']>> = {
  [CalendarUnit.MINUTE]: 'minute',
  [CalendarUnit.HOUR]: 'hour',
  [CalendarUnit.DAY]: 'day',
  [CalendarUnit.WEEK]: 'week',
  [CalendarUnit.MONTH]: 'month',
};
const ENFORCEMENTS: Readonly<Record<number, ConfiguredRateLimitPolicy['enforcement']>> = {
  [Enforcement.ON]: 'on',
  [Enforcement.SHADOW]: 'shadow',
  [Enforcement.PERCENT]: 'percent',
};
const ON_REDIS_LOSS: Readonly<Record<number, ConfiguredRateLimitPolicy['onRedisLoss']>> = {
  [OnRedisLoss.FAIL]: 'fail',
  [OnRedisLoss.ALLOW]: 'allow',
  [OnRedisLoss.DENY]: 'deny',
  [OnRedisLoss.LOCAL_FRACTION]: 'local_fraction',
};

export function toPolicies({ policies, policyVersion }: ListPoliciesResponse): ConfiguredRateLimitPolicies {
  return { policies: policies.map(toPolicy), policyVersion };
}

function toPolicy(policy: Policy): ConfiguredRateLimitPolicy {
  const { name, limit, allowedCount, deniedCount, ban } = policy;
  const isCalendar = policy.algorithm === Algorithm.CALENDAR;
  const isPercent = policy.enforcement === Enforcement.PERCENT;
  const isLocal = policy.onRedisLoss === OnRedisLoss.LOCAL_FRACTION;
  return {
    name,
    algorithm: ALGORITHMS[policy.algorithm] ?? 'unknown',
    limit,
    windowMs: isCalendar ? undefined : Number(policy.windowMs),
    burst: policy.algorithm === Algorithm.TOKEN_BUCKET ? policy.burst : undefined,
    calendarUnit: isCalendar ? (CALENDAR_UNITS[policy.calendarUnit] ?? 'unknown') : undefined,
    timeZone: isCalendar ? policy.timeZone : undefined,
    enforcement: ENFORCEMENTS[policy.enforcement] ?? 'unknown',
    enforcementPercent: isPercent ? policy.enforcementPercent : undefined,
    subjectKind: policy.subjectKind === '' ? undefined : policy.subjectKind,
    tiers: Object.fromEntries(policy.tiers),
    onRedisLoss: ON_REDIS_LOSS[policy.onRedisLoss] ?? 'unknown',
    localFraction: isLocal ? policy.localFraction : undefined,
    blockMs: policy.blockMs === 0n ? undefined : Number(policy.blockMs),
    ban: ban && {
      after: ban.after,
      withinMs: Number(ban.withinMs),
      ladderMs: ban.ladderMs.map(Number),
      decayMs: Number(ban.decayMs),
    },
    allowedCount,
    deniedCount,
  };
}
