import type { GetRateLimitStatsResponse } from '../../gen/shardkeep/ratelimit/v1/ratelimit.js';

/** What was decided under one policy in the last minutes. */
export interface RateLimitPolicyStats {
  /** Its name; `(inline)` for all policies that were given with calls. */
  readonly policy: string;
  readonly admitted: number;
  readonly denied: number;
  /** Of those admitted, the ones that it would have denied and only watched. */
  readonly shadowDenied: number;
  /** Of those denied, the ones that Redis was not asked for. */
  readonly deniedFromMemory: number;
  /** What it decided while Redis was away. */
  readonly degraded: number;
}

export interface DeniedSubject {
  readonly subject: string;
  readonly policy: string;
  /** In this minute and the one before, at least. */
  readonly denied: number;
}

/** What all services decided in the namespace. */
export interface RateLimitStats {
  readonly policies: readonly RateLimitPolicyStats[];
  /** How many minutes they are of, the current one among them; up to 60. */
  readonly minutes: number;
  /** Those with the most denials first. */
  readonly hottest: readonly DeniedSubject[];
}

export function toStats({ policies, minutes, hottest }: GetRateLimitStatsResponse): RateLimitStats {
  return {
    policies: policies.map(({ policy, admitted, denied, shadowDenied, deniedFromMemory, degraded }) => ({
      policy,
      admitted: Number(admitted),
      denied: Number(denied),
      shadowDenied: Number(shadowDenied),
      deniedFromMemory: Number(deniedFromMemory),
      degraded: Number(degraded),
    })),
    minutes,
    hottest: hottest.map(({ subject, policy, denied }) => ({ subject, policy, denied: Number(denied) })),
  };
}
