import {
  Algorithm,
  CalendarUnit,
  Enforcement,
  OnRedisLoss,
  type Policy,
} from '../gen/shardkeep/ratelimit/v1/ratelimit.js';
import type { AlgorithmName, PolicyTerms } from './terms.js';

const PROTO_ALGORITHMS: Readonly<Record<AlgorithmName, Algorithm>> = {
  sliding_exact: Algorithm.SLIDING_EXACT,
  sliding_buckets: Algorithm.SLIDING_BUCKETS,
  token_bucket: Algorithm.TOKEN_BUCKET,
  fixed: Algorithm.FIXED,
  calendar: Algorithm.CALENDAR,
  concurrency: Algorithm.CONCURRENCY,
};

const PROTO_UNITS = {
  minute: CalendarUnit.MINUTE,
  hour: CalendarUnit.HOUR,
  day: CalendarUnit.DAY,
  week: CalendarUnit.WEEK,
  month: CalendarUnit.MONTH,
};

const PROTO_LOSSES = { fail: OnRedisLoss.FAIL, allow: OnRedisLoss.ALLOW, deny: OnRedisLoss.DENY };

/** A configured limit as ListPolicies answers it. */
export function toPolicy(policy: PolicyTerms): Policy {
  const { name, algorithm, limit, windowMs, burst, calendar, enforced, tiers, subjectKind = '' } = policy;
  const { onRedisLoss, blockMs = 0, ladder, allow, deny } = policy;
  const isLocal = typeof onRedisLoss === 'object';
  return {
    name,
    algorithm: PROTO_ALGORITHMS[algorithm],
    limit,
    windowMs: BigInt(windowMs),
    burst: algorithm === 'token_bucket' ? (burst ?? limit) : 0,
    calendarUnit: calendar === undefined ? CalendarUnit.UNSPECIFIED : PROTO_UNITS[calendar.unit],
    timeZone: calendar?.timeZone ?? '',
    enforcement: enforced === 1 ? Enforcement.ON : enforced === 0 ? Enforcement.SHADOW : Enforcement.PERCENT,
    enforcementPercent: Math.round(enforced * 100),
    subjectKind,
    tiers: new Map(Object.entries(tiers)),
    onRedisLoss: isLocal ? OnRedisLoss.LOCAL_FRACTION : PROTO_LOSSES[onRedisLoss],
    localFraction: isLocal ? onRedisLoss.localFraction : 0,
    blockMs: BigInt(blockMs),
    ban: ladder && {
      after: ladder.after,
      withinMs: BigInt(ladder.withinMs),
      ladderMs: ladder.stepsMs.map(BigInt),
      decayMs: BigInt(ladder.decayMs),
    },
    allowedCount: allow?.size ?? 0,
    deniedCount: deny?.size ?? 0,
  };
}
