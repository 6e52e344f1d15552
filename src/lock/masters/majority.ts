import { DomainError } from '../../errors.js';
import { redisUnavailable } from '../../redis/errors.js';

/** What holds of locks on several masters, whatever their votes look like. */

/** Shorter leases are over, with the drift of clocks taken off, before a majority has answered. */
export const MIN_TTL_MS = 20;
const NODE_TIMEOUT_MS = 50;
/** By default a step waits no longer than such a part of the lease. */
const NODE_TIMEOUT_SHARE = 20;
/** Clocks run apart by so much, in parts of the lease. */
const DRIFT_RATE = 0.01;
const DRIFT_MS = 2;
const RETRY_AFTER_MS = 50;

export function majorityOf(masterCount: number): number {
  return Math.floor(masterCount / 2) + 1;
}

/** How much earlier a lease counts as over than its masters say. */
export function driftOf(ttlMs: number): number {
  return ttlMs * DRIFT_RATE + DRIFT_MS;
}

/** How long a step waits for silent masters, where nothing else is set. */
export function defaultNodeTimeoutMs(ttlMs = Number.POSITIVE_INFINITY): number {
  return Math.min(NODE_TIMEOUT_MS, ttlMs / NODE_TIMEOUT_SHARE);
}

/** The error where too few masters can be asked, by what they failed with. */
export function tooFew(errors: readonly unknown[]): unknown {
  const telling = errors.find((error) => !(error instanceof DomainError) || error.code === 'REDIS_OUT_OF_MEMORY');
  return telling ?? redisUnavailable('too few masters answer for a majority', errors[0]);
}

export function outcomeUnknown(message: string, cause?: unknown): DomainError {
  return new DomainError('OUTCOME_UNKNOWN', message, { retryAfterMs: RETRY_AFTER_MS, cause });
}
