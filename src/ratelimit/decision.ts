import type { Denial } from './scripts.js';
import type { LimitTerms } from './terms.js';

/** One limit after a decision. */
export interface LimitResult {
  readonly terms: LimitTerms;
  readonly denial: Denial | undefined;
  /** Whether that denied the call; else the limit only watches. */
  readonly denies: boolean;
  readonly used: number;
  readonly capacity: number;
  /** 0 unless denied. */
  readonly retryAfterMs: number;
  /** 0 where it was not looked at. */
  readonly resetAtMs: number;
  /** How long a denied call is denied by a block or a ban, rounded down; 0 where it is not. */
  readonly heldMs: number;
  /** False: not looked at, and all of it told as in use. */
  readonly isChecked: boolean;
}

export interface RateLimitDecision {
  readonly allowed: boolean;
  /** Units that were charged to each limit without a cost of its own; 0: denied. */
  readonly granted: number;
  readonly limits: readonly LimitResult[];
  /** All limits were decided in one step. */
  readonly atomic: boolean;
  /** Redis is away, and what the policies say of that decided. */
  readonly degraded: boolean;
  /** Redis was not asked, since it is known to deny that. */
  readonly fromMemory?: true;
}

/** Part of a limit in use from which on there is not much left. */
const NEAR_PART = 0.8;

/** Whether most of a limit is in use. */
export function isNear({ used, capacity }: Pick<LimitResult, 'used' | 'capacity'>): boolean {
  return used >= capacity * NEAR_PART;
}
