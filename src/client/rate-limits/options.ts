import type { OptionNames } from '../arguments.js';
import { CALL_OPTIONS, type CallOptions } from '../transport/method.js';
import type { RateLimitOrMany } from './limit.js';

export interface CheckRateLimitOptions extends CallOptions {
  /** Units to take from every limit, 1 to 64, not above the smallest limit; 1 where it is absent. */
  readonly cost?: number;
  /** Enough where `cost` units are not left, 1 to `cost`; not with a cost of a single limit. As `cost` where it is absent. */
  readonly minCost?: number;
  /** Charges a denied call too, as far as there is room, so that who goes on asking stays denied. For attempts that are abuse. */
  readonly chargeDenied?: boolean;
  /** Whether the answer has `headers`. */
  readonly wantHeaders?: boolean;
  /**
   * Makes a retry safe: the call has an id, and for 10 minutes another try is answered the same and charged once. It costs the
   * service about 400 bytes of Redis for each admitted call in that time, and half of its speed, so it is for limits that are
   * rarely asked. Not for several subjects on a Cluster (InvalidArgumentError).
   */
  readonly retrySafe?: boolean;
  /**
   * Your own id in place of the one that `retrySafe` makes, 16 to 128 bytes that no other call for the first limit's subject
   * has: for retries of yours.
   */
  readonly requestId?: string;
}

export interface CheckOptions extends CheckRateLimitOptions {
  /** A policy may have another limit for it. One that it does not know changes nothing. */
  readonly role?: string;
}

export interface PeekRateLimitOptions extends CallOptions {
  /** Units that would be taken from every limit, 1 to 64; 1 where it is absent. */
  readonly cost?: number;
  /** Whether the answer has `headers`. */
  readonly wantHeaders?: boolean;
}

export interface ReserveRateLimitOptions extends CallOptions {
  /** As in CheckRateLimitOptions; so are the next three. */
  readonly cost?: number;
  readonly minCost?: number;
  readonly chargeDenied?: boolean;
  readonly wantHeaders?: boolean;
  /** How long it may be settled or refunded, 1 to 86,400,000 (a day); a minute where it is absent. */
  readonly ttlMs?: number;
  /** False: it is not tried again when the answer was lost. */
  readonly retrySafe?: boolean;
  /** Your own id, 16 to 128 bytes, for retries of yours. */
  readonly requestId?: string;
}

/** One of several checks. */
export interface RateLimitCheck {
  readonly limits: RateLimitOrMany;
  /** As in CheckRateLimitOptions; so is the next. */
  readonly cost?: number;
  readonly minCost?: number;
}

export interface OverrideRateLimitOptions extends CallOptions {
  /** Units in a window in place of the policy's; 0: the policy's own again. */
  readonly limit: number;
  /** 1 to 31,536,000,000 (365 days). */
  readonly ttlMs: number;
}

export interface BanOptions extends CallOptions {
  /** The configured policy under which; under all where it is absent. */
  readonly policy?: string;
  /** Why, up to 256 bytes, for `listBans` and the audit log. */
  readonly reason?: string;
}

export interface UnbanOptions extends CallOptions {
  /** The configured policy under which; the ban under all where it is absent. */
  readonly policy?: string;
}

export interface ListBansOptions extends CallOptions {
  /** What the subjects begin with; all where it is absent. */
  readonly subjectPrefix?: string;
  /** Subjects in one answer, 1 to 1,000; 100 where it is absent. */
  readonly pageSize?: number;
}

export interface HoldConcurrencyOptions {
  /** Slots of every limit, 1 to 64; 1 where it is absent. */
  readonly cost?: number;
  /** How long to wait for the decision; 2,000 where it is absent. */
  readonly timeoutMs?: number;
  /** Gives the slots up, also when they are held. */
  readonly signal?: AbortSignal;
}

export interface RateLimitStatsOptions extends CallOptions {
  /** How many of the subjects that were denied most, 0 to 100; none where it is absent. */
  readonly hottestCount?: number;
}

export const CHECK_RATE_LIMIT_OPTIONS: OptionNames<CheckRateLimitOptions> = {
  ...CALL_OPTIONS,
  cost: true,
  minCost: true,
  chargeDenied: true,
  wantHeaders: true,
  requestId: true,
};
export const CHECK_OPTIONS: OptionNames<CheckOptions> = { ...CHECK_RATE_LIMIT_OPTIONS, role: true };
export const PEEK_RATE_LIMIT_OPTIONS: OptionNames<PeekRateLimitOptions> = {
  ...CALL_OPTIONS,
  cost: true,
  wantHeaders: true,
};
export const RESERVE_RATE_LIMIT_OPTIONS: OptionNames<ReserveRateLimitOptions> = {
  ...CHECK_RATE_LIMIT_OPTIONS,
  ttlMs: true,
};
export const RATE_LIMIT_CHECK: OptionNames<RateLimitCheck> = { limits: true, cost: true, minCost: true };
export const OVERRIDE_RATE_LIMIT_OPTIONS: OptionNames<OverrideRateLimitOptions> = {
  ...CALL_OPTIONS,
  limit: true,
  ttlMs: true,
};
export const BAN_OPTIONS: OptionNames<BanOptions> = { ...CALL_OPTIONS, policy: true, reason: true };
export const UNBAN_OPTIONS: OptionNames<UnbanOptions> = { ...CALL_OPTIONS, policy: true };
export const LIST_BANS_OPTIONS: OptionNames<ListBansOptions> = { ...CALL_OPTIONS, subjectPrefix: true, pageSize: true };
export const HOLD_CONCURRENCY_OPTIONS: OptionNames<HoldConcurrencyOptions> = {
  cost: true,
  timeoutMs: true,
  signal: true,
};
export const RATE_LIMIT_STATS_OPTIONS: OptionNames<RateLimitStatsOptions> = { ...CALL_OPTIONS, hottestCount: true };
