import type { BanState } from '../../gen/shardkeep/ratelimit/v1/ratelimit.js';

/** A subject that is denied everything, or everything under one policy. */
export interface RateLimitBan {
  /** An address as it counts, such as `ip:2001:db8::/64`. */
  readonly subject: string;
  /** Undefined: under all policies. */
  readonly policy: string | undefined;
  /** Unix milliseconds of Redis's clock. */
  readonly expiresAtMs: number;
  /** Undefined where the ladder of a policy banned, or nobody said why. */
  readonly reason: string | undefined;
  /** The step of the ladder, from 1; undefined where somebody banned. */
  readonly ladderStep: number | undefined;
}

export function toBan({ subject, policyName, expiresAtMs, reason, ladderStep }: BanState): RateLimitBan {
  return {
    subject,
    policy: policyName === '' ? undefined : policyName,
    expiresAtMs: Number(expiresAtMs),
    reason: reason === '' ? undefined : reason,
    ladderStep: ladderStep === 0 ? undefined : ladderStep,
  };
}
