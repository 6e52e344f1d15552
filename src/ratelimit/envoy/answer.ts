import {
  Code,
  Unit,
  type HeaderValue,
  type RateLimitResponse,
  type RateLimitResponse_DescriptorStatus,
} from '../../gen/envoy/service/ratelimit/v3/ratelimit.js';
import type { CalendarUnit } from '../calendar.js';
import type { LimitResult } from '../decision.js';
import { headersOf, leftMs, remainingOf } from '../headers.js';
import type { PolicyTerms } from '../terms.js';
import type { Decided } from './asked.js';

/** The units that windows can have, and their lengths. */
export const UNIT_MS: ReadonlyMap<Unit, number> = new Map([
  [Unit.SECOND, 1_000],
  [Unit.MINUTE, 60_000],
  [Unit.HOUR, 3_600_000],
  [Unit.DAY, 86_400_000],
  [Unit.WEEK, 604_800_000],
  [Unit.MONTH, 2_592_000_000],
]);
const UNIT_OF_MS = new Map([...UNIT_MS].map(([unit, ms]) => [ms, unit]));
const CALENDAR_UNITS: Readonly<Record<CalendarUnit, Unit>> = {
  minute: Unit.MINUTE,
  hour: Unit.HOUR,
  day: Unit.DAY,
  week: Unit.WEEK,
  month: Unit.MONTH,
};

/** `nowMs`: of Redis's clock, about. */
export function toResponse(decided: Decided, nowMs: number, options: { readonly headers: boolean }): RateLimitResponse {
  return {
    overallCode: decided.allowed ? Code.OK : Code.OVER_LIMIT,
    statuses: decided.results.map((result) => statusOf(result, nowMs)),
    responseHeadersToAdd: options.headers && decided.limits.length > 0 ? headerValues(decided, nowMs) : [],
  };
}

function statusOf(result: LimitResult | undefined, nowMs: number): RateLimitResponse_DescriptorStatus {
  if (result === undefined) {
    return { code: Code.OK, currentLimit: undefined, limitRemaining: 0, durationUntilReset: undefined };
  }
  const { terms, denies: isOver, capacity, retryAfterMs } = result;
  const untilMs = isOver ? retryAfterMs : leftMs(result, nowMs);
  return {
    code: isOver ? Code.OVER_LIMIT : Code.OK,
    currentLimit: {
      name: terms.policy.name,
      // what a bucket holds is not what it admits in its window
      requestsPerUnit: terms.policy.burst === undefined ? capacity : terms.limit,
      unit: unitOf(terms.policy),
    },
    limitRemaining: remainingOf(result),
    durationUntilReset: {
      seconds: BigInt(Math.floor(untilMs / 1_000)),
      nanos: Math.floor(untilMs % 1_000) * 1_000_000,
    },
  };
}

function unitOf({ calendar, windowMs }: PolicyTerms): Unit {
  if (calendar !== undefined) return CALENDAR_UNITS[calendar.unit];
  return UNIT_OF_MS.get(windowMs) ?? Unit.UNKNOWN_UNSPECIFIED;
}

function headerValues(decided: Pick<Decided, 'allowed' | 'limits'>, nowMs: number): HeaderValue[] {
  const { rateLimit, rateLimitPolicy, retryAfter } = headersOf(decided, nowMs);
  return [
    { key: 'ratelimit', value: rateLimit },
    { key: 'ratelimit-policy', value: rateLimitPolicy },
    { key: 'retry-after', value: retryAfter },
  ].filter(({ value }) => value !== '');
}
