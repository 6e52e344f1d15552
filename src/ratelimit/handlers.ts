import { invalidField } from '../errors.js';
import {
  Algorithm,
  LimitStatus,
  RateLimitServiceService,
  type InlinePolicy,
  type Limit,
  type LimitState,
} from '../gen/shardkeep/ratelimit/v1/ratelimit.js';
import { handWritten, implement, type Rpc } from '../grpc/rpc.js';
import { integer, list, message, oneOf, oneOfValues, optional, text } from '../grpc/rules.js';
import type { RatePolicies } from './policies.js';
import type { LimitResult, LimitTerms, RateLimitDecision, RateLimitStore } from './store.js';
import {
  checkRateLimitResponseWriter,
  decodeCheckRateLimitRequest,
  type PlainCheckRateLimitResponse,
  type PlainLimitState,
} from './wire.js';

export interface RateLimitHandlerOptions {
  readonly store: RateLimitStore;
  readonly policies: RatePolicies;
}

const MAX_LIMITS = 16;
const MAX_COST = 64;
const DEFAULT_COST = 1;
const MAX_EXACT_LIMIT = 8_192;
const MIN_WINDOW_MS = 10n;
const MAX_WINDOW_MS = 2_592_000_000n;
/** Part of a limit in use from which on its status is NEAR. */
const NEAR_PART = 0.8;

const policyName = text({ minBytes: 1, maxBytes: 32, pattern: /^[a-z0-9_-]+$/ });

const limits = list(
  message<Limit>({
    subject: text({ minBytes: 1, maxBytes: 256 }),
    policy: oneOf<Limit['policy']>(
      {
        policyName,
        inlinePolicy: message<InlinePolicy>({
          name: policyName,
          algorithm: oneOfValues<Algorithm>(Algorithm.SLIDING_EXACT),
          limit: integer({ min: 1, max: MAX_EXACT_LIMIT }),
          windowMs: integer({ min: MIN_WINDOW_MS, max: MAX_WINDOW_MS }),
        }),
      },
      { required: true },
    ),
  }),
  { min: 1, max: MAX_LIMITS },
);
const cost = optional(integer({ min: 1, max: MAX_COST }));

export function rateLimitRpcs({ store, policies }: RateLimitHandlerOptions): readonly Rpc[] {
  const check = (request: { readonly limits: readonly Limit[]; readonly cost?: number | undefined }): void => {
    const terms = policies.termsOf(request.limits);
    if (terms.length > 1) refuseTwice(terms);
    if (request.cost !== undefined && terms.some(({ limit }) => limit < (request.cost ?? 0))) {
      throw invalidField('cost', 'must not be above the smallest limit');
    }
  };

  return implement(RateLimitServiceService, {
    checkRateLimit: handWritten({
      decode: decodeCheckRateLimitRequest,
      rules: { limits, cost },
      check,
      handle: async (request, call) =>
        toAnswer(await store.checkRateLimit(policies.termsOf(request.limits), request.cost ?? DEFAULT_COST, call)),
      writer: checkRateLimitResponseWriter,
    }),
    peekRateLimit: {
      rules: { limits, cost },
      check,
      handle: async (request, call) => {
        const terms = policies.termsOf(request.limits);
        const answer = toAnswer(await store.peekRateLimit(terms, request.cost ?? DEFAULT_COST, call));
        return {
          allowed: answer.allowed,
          retryAfterMs: BigInt(answer.retryAfterMs),
          limits: answer.limits.map(toLimitState),
        };
      },
    },
    resetRateLimit: {
      rules: { limits },
      check,
      handle: async (request, call) => ({
        reset: await store.resetRateLimit(policies.termsOf(request.limits), call),
      }),
    },
    listPolicies: {
      rules: {},
      handle: () => Promise.resolve({ policies: policies.list() }),
    },
  });
}

function refuseTwice(terms: readonly LimitTerms[]): void {
  const seen = new Set<string>();
  terms.forEach(({ subject, policyName: name, inline }, index) => {
    const id = JSON.stringify([subject, name, inline]);
    if (seen.has(id)) throw invalidField(`limits[${String(index)}]`, 'names a subject and policy a second time');
    seen.add(id);
  });
}

function toAnswer({ allowed, limits: results, atomic }: RateLimitDecision): PlainCheckRateLimitResponse {
  let retryAfterMs = 0;
  if (!allowed) for (const result of results) retryAfterMs = Math.max(retryAfterMs, result.retryAfterMs);
  return { allowed, retryAfterMs, limits: results.map(toState), atomic };
}

function toState({ terms, over, used, retryAfterMs, resetAtMs }: LimitResult): PlainLimitState {
  return {
    subject: terms.subject,
    policy: terms.policyName,
    status: statusOf(over, used, terms.limit),
    limit: terms.limit,
    remaining: Math.max(0, terms.limit - used),
    retryAfterMs,
    resetAtMs,
  };
}

function toLimitState(state: PlainLimitState): LimitState {
  return { ...state, retryAfterMs: BigInt(state.retryAfterMs), resetAtMs: BigInt(state.resetAtMs) };
}

function statusOf(over: boolean, used: number, limit: number): LimitStatus {
  if (over) return LimitStatus.OVER;
  return used >= limit * NEAR_PART ? LimitStatus.NEAR : LimitStatus.OK;
}
