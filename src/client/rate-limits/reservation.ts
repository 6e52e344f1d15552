import type { ReserveRateLimitResponse } from '../../gen/shardkeep/ratelimit/v1/ratelimit.js';
import { toDecision, type RateLimitDecision } from './decision.js';

/**
 * `reserved`: charged, and it may be settled or refunded. `denied`: not charged. `admitted`: there is nothing to settle, since
 * Redis is away and the policies admit then, or a list of the policy decided.
 */
export type RateLimitReservation =
  | {
      readonly status: 'reserved';
      readonly decision: RateLimitDecision;
      /** Up to 512 bytes. */
      readonly reservationId: string;
      /** Until when it may be settled or refunded, Unix milliseconds of Redis's clock. */
      readonly expiresAtMs: number;
    }
  | { readonly status: 'denied' | 'admitted'; readonly decision: RateLimitDecision };

/** `gone`: there is no such reservation (any more), or it was refunded. */
export type RateLimitSettlement =
  | {
      readonly status: 'settled';
      /** Units that the charge of every limit without a cost of its own is now. */
      readonly charged: number;
    }
  | { readonly status: 'gone' };

export function toReservation(response: ReserveRateLimitResponse): RateLimitReservation {
  const decision = toDecision(response.decision);
  const { reservationId, expiresAtMs } = response;
  if (reservationId !== '') return { status: 'reserved', decision, reservationId, expiresAtMs: Number(expiresAtMs) };
  return { status: decision.allowed ? 'admitted' : 'denied', decision };
}
