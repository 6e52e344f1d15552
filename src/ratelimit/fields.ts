import { invalidField } from '../errors.js';
import {
  Algorithm,
  LimitStatus,
  type CheckRateLimitResponse,
  type InlinePolicy,
  type Limit,
  type LimitState,
  type Subjects,
} from '../gen/shardkeep/ratelimit/v1/ratelimit.js';
import { notAllowed, type Principal } from '../grpc/principal.js';
import { integer, list, map, message, oneOf, oneOfValues, optional, text, type Rule } from '../grpc/rules.js';
import { isNear } from './decision.js';
import { headersOf, remainingOf } from './headers.js';
import type { Ask } from './limit-scripts.js';
import { inOrder, type RatePolicies } from './policies.js';
import type { LimitResult, RateLimitDecision } from './decision.js';
import { canCountBurst, capacityOf, type LimitTerms } from './terms.js';
import type { PlainCheckRateLimitResponse, PlainLimitState } from './wire.js';

/** Rules and shapes that the RPCs of RateLimitService share. */

export const MAX_LIMITS = 16;
const MAX_COST = 64;
const DEFAULT_COST = 1;
export const MAX_LIMIT = 1_000_000_000;
const MAX_EXACT_LIMIT = 8_192;
const MIN_WINDOW_MS = 10n;
const MAX_WINDOW_MS = 2_592_000_000n;
const MAX_SUBJECT_BYTES = 256;

/** These keep something for each unit. */
const EXACT: ReadonlySet<Algorithm> = new Set([Algorithm.SLIDING_EXACT, Algorithm.CONCURRENCY]);

export const subject = text({ minBytes: 1, maxBytes: MAX_SUBJECT_BYTES });
const subjectOrNone = text({ minBytes: 0, maxBytes: MAX_SUBJECT_BYTES });
export const policyName = text({ minBytes: 1, maxBytes: 32, pattern: /^[a-z0-9_-]+$/ });

const inlinePolicy = message<InlinePolicy>({
  name: policyName,
  algorithm: oneOfValues<Algorithm>(
    Algorithm.SLIDING_EXACT,
    Algorithm.SLIDING_BUCKETS,
    Algorithm.TOKEN_BUCKET,
    Algorithm.FIXED,
    Algorithm.CONCURRENCY,
  ),
  limit: integer({ min: 1, max: MAX_LIMIT }),
  windowMs: integer({ min: MIN_WINDOW_MS, max: MAX_WINDOW_MS }),
  burst: optional(integer({ min: 1, max: MAX_LIMIT })),
});

const limit = message<Limit>({
  subject: subjectOrNone,
  policy: oneOf<Limit['policy']>(
    {
      policyName,
      inlinePolicy: (value, field, violations) => {
        inlinePolicy(value, field, violations);
        if (EXACT.has(value.algorithm) && value.limit > MAX_EXACT_LIMIT) {
          violations.push({ field: `${field}.limit`, description: `must be 1 to ${String(MAX_EXACT_LIMIT)}` });
        }
        if (value.burst !== undefined && value.algorithm !== Algorithm.TOKEN_BUCKET) {
          violations.push({ field: `${field}.burst`, description: 'is for TOKEN_BUCKET only' });
        }
        if (value.burst !== undefined && !canCountBurst(value.burst, value.limit, Number(value.windowMs))) {
          violations.push({ field: `${field}.burst`, description: 'takes longer than 142 years to come back' });
        }
      },
    },
    { required: true },
  ),
  cost: optional(integer({ min: 1, max: MAX_COST })),
  role: optional(policyName),
  subjects: optional(message<Subjects>({ byKind: map(policyName, subject, { max: MAX_LIMITS }) })),
});

export const limits: Rule<Limit[]> = list(
  (value, field, violations) => {
    limit(value, field, violations);
    if (value.subject === '' && value.subjects === undefined) {
      violations.push({ field: `${field}.subject`, description: 'must be set, or `subjects` must be' });
    } else if (value.subject !== '' && value.subjects !== undefined) {
      violations.push({ field: `${field}.subjects`, description: 'does not go with a subject' });
    }
  },
  { min: 1, max: MAX_LIMITS },
);
export const cost = optional(integer({ min: 1, max: MAX_COST }));
export const minCost = optional(integer({ min: 1, max: MAX_COST }));

const presentRequestId = text({ minBytes: 16, maxBytes: 128 });
export const requestId: Rule<string> = (value, field, violations) => {
  if (value !== '') presentRequestId(value, field, violations);
};

/** What requests of several RPCs have in common. */
export interface Asked {
  readonly limits: readonly Limit[];
  readonly cost?: number | undefined;
  readonly minCost?: number | undefined;
  readonly chargeDenied?: boolean;
  readonly isOneEnough?: boolean;
}

/** Throws NOT_ALLOWED where a principal gives a policy with its request that may not. */
export function permitInline({ limits: asked }: Pick<Asked, 'limits'>, { hasInlinePolicies }: Principal): void {
  if (hasInlinePolicies || !asked.some(({ policy }) => policy?.$case === 'inlinePolicy')) return;
  throw notAllowed('inline_policy');
}

/** The terms of a request; throws INVALID_FIELD for what the rules of its fields cannot see. `at`: in front of its fields. */
export function checkAsked(policies: RatePolicies, asked: Asked, at = ''): LimitTerms[] {
  const termsOfEach = policies.termsOfEach(asked.limits, at, asked);
  const terms = inOrder(termsOfEach);
  if (terms.length > 1) refuseTwice(termsOfEach, at);
  if (terms.length > MAX_LIMITS) throw invalidField(`${at}limits`, `must come to ${String(MAX_LIMITS)} limits at most`);
  const callCost = asked.cost ?? DEFAULT_COST;
  if (asked.minCost !== undefined) {
    if (asked.minCost > callCost) throw invalidField(`${at}min_cost`, 'must not be above the cost');
    if (terms.some((one) => one.cost !== undefined)) {
      throw invalidField(`${at}min_cost`, 'does not go with a cost of a single limit');
    }
  }
  const tooDear = terms.find((one) => (one.cost ?? callCost) > capacityOf(one));
  if (tooDear !== undefined) throw invalidField(`${at}cost`, 'must not be above the smallest limit');
  return terms;
}

export function askOf({ cost: asked = DEFAULT_COST, minCost: least, chargeDenied = false }: Asked): Ask {
  return { cost: asked, minCost: least ?? 0, chargeDenied };
}

function refuseTwice(termsOfEach: readonly (readonly LimitTerms[])[], at: string): void {
  const seen = new Set<string>();
  termsOfEach.forEach((terms, index) => {
    for (const { countedAs, policy } of terms) {
      const id = JSON.stringify([countedAs, policy.storedName]);
      if (seen.has(id)) throw invalidField(`${at}limits[${String(index)}]`, 'names a subject and policy a second time');
      seen.add(id);
    }
  });
}

export interface AnswerOptions {
  readonly policyVersion: string;
  readonly wantHeaders: boolean;
  /** Of Redis's clock, about. */
  readonly nowMs: number;
}

export function toAnswer(decision: RateLimitDecision, options: AnswerOptions): PlainCheckRateLimitResponse {
  const { allowed, granted, limits: results, atomic } = decision;
  let retryAfterMs = 0;
  if (!allowed)
    for (const result of results) if (result.denies) retryAfterMs = Math.max(retryAfterMs, result.retryAfterMs);
  return {
    allowed,
    retryAfterMs,
    limits: results.map(toState),
    atomic,
    granted,
    degraded: decision.degraded,
    policyVersion: options.policyVersion,
    headers: options.wantHeaders ? headersOf(decision, options.nowMs) : undefined,
  };
}

/** The same for RPCs whose responses are written by the generated code. */
export function toResponse(answer: PlainCheckRateLimitResponse): CheckRateLimitResponse {
  return {
    ...answer,
    retryAfterMs: BigInt(answer.retryAfterMs),
    limits: answer.limits.map(toLimitState),
  };
}

function toState(result: LimitResult): PlainLimitState {
  const { terms, capacity, retryAfterMs, resetAtMs } = result;
  return {
    subject: terms.subject,
    policy: terms.policy.name,
    status: result.isChecked ? statusOf(result) : LimitStatus.NOT_CHECKED,
    limit: capacity,
    remaining: remainingOf(result),
    retryAfterMs,
    resetAtMs,
    shadow: terms.isShadow && !result.denies,
  };
}

function toLimitState(state: PlainLimitState): LimitState {
  return { ...state, retryAfterMs: BigInt(state.retryAfterMs), resetAtMs: BigInt(state.resetAtMs) };
}

function statusOf(result: LimitResult): LimitStatus {
  if (result.denial === 'banned') return LimitStatus.BANNED;
  if (result.denial === 'over') return LimitStatus.OVER;
  return isNear(result) ? LimitStatus.NEAR : LimitStatus.OK;
}
