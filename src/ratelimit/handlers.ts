import { invalidField } from '../errors.js';
import { RateLimitServiceService, type Check } from '../gen/shardkeep/ratelimit/v1/ratelimit.js';
import { handWritten, implement, type Rpc } from '../grpc/rpc.js';
import { anything, integer, list, message, text } from '../grpc/rules.js';
import type { Call } from '../redis/call.js';
import {
  askOf,
  checkAsked,
  cost,
  limits,
  minCost,
  permitInline,
  requestId,
  toAnswer,
  toResponse,
  type AnswerOptions,
  type Asked,
} from './fields.js';
import { holdRpcs, type HoldHandlerOptions } from './hold-handlers.js';
import type { RateLimiter } from './limiter.js';
import type { RatePolicies } from './policies.js';
import type { Remembered, Reservation, Reservations } from './reservations.js';
import { statsRpcs } from './stats-handlers.js';
import type { RateLimitStatsStore } from './stats-store.js';
import { standingRpcs, type StandingHandlerOptions } from './standing-handlers.js';
import type { RateLimitDecision } from './decision.js';
import type { RateLimitStore } from './store.js';
import type { LimitTerms } from './terms.js';
import { checkRateLimitResponseWriter, decodeCheckRateLimitRequest } from './wire.js';

export interface RateLimitHandlerOptions extends HoldHandlerOptions, StandingHandlerOptions {
  readonly limiter: RateLimiter;
  readonly store: RateLimitStore;
  readonly reservations: Reservations;
  readonly statsStore: RateLimitStatsStore;
  readonly policies: RatePolicies;
  /** Redis's clock, about, Unix ms. */
  readonly nowMs: () => number;
}

const MAX_CHECKS = 100;
const MAX_RESERVATION_TTL_MS = 86_400_000n;
const DEFAULT_RESERVATION_TTL_MS = 60_000;
/** How long a call with a request id is answered the same. */
const REQUEST_TTL_MS = 600_000;

const reservationId = text({ minBytes: 1, maxBytes: 512, pattern: /^[A-Za-z0-9_-]+$/ });

export function rateLimitRpcs(options: RateLimitHandlerOptions): readonly Rpc[] {
  const { limiter, store, reservations, policies, nowMs } = options;

  const check = (asked: Asked): void => {
    checkAsked(policies, asked);
  };
  const checkInOneStep = (asked: Asked, field: string): void => {
    if (!store.isAtomic(checkAsked(policies, asked)))
      throw invalidField(field, 'needs limits of one subject on a Cluster');
  };
  const answerOptions = (wantHeaders: boolean): AnswerOptions => ({
    policyVersion: policies.version,
    wantHeaders,
    nowMs: wantHeaders ? nowMs() : 0,
  });
  const decide = async (asked: Asked & { readonly requestId: string }, call: Call): Promise<RateLimitDecision> => {
    const terms = policies.termsOf(asked.limits);
    if (asked.requestId === '') return limiter.checkRateLimit(terms, askOf(asked), call);
    const memory: Remembered = { kind: 'check', requestId: asked.requestId, ttlMs: REQUEST_TTL_MS };
    return (await reserve(terms, asked, memory, call)).decision;
  };
  /** While Redis is away there is a decision, and nothing to settle. */
  const reserve = async (
    terms: readonly LimitTerms[],
    asked: Asked,
    memory: Remembered,
    call: Call,
  ): Promise<Reservation> => {
    let made: Reservation | undefined;
    const decision = await limiter.orOnLoss(terms, askOf(asked), call, async () => {
      made = await reservations.reserve(terms, askOf(asked), memory, call);
      return made.decision;
    });
    return made === undefined || decision.degraded ? { decision, reservationId: '', expiresAtMs: 0 } : made;
  };

  return implement(RateLimitServiceService, {
    checkRateLimit: handWritten({
      decode: decodeCheckRateLimitRequest,
      permit: permitInline,
      rules: { limits, cost, minCost, chargeDenied: anything, requestId, wantHeaders: anything },
      check: (request) => {
        if (request.requestId === '') check(request);
        else checkInOneStep(request, 'request_id');
      },
      handle: async (request, call) => toAnswer(await decide(request, call), answerOptions(request.wantHeaders)),
      writer: checkRateLimitResponseWriter,
    }),
    checkManyRateLimits: {
      permit: ({ checks }, principal) => {
        for (const one of checks) permitInline(one, principal);
      },
      rules: { checks: list(message<Check>({ limits, cost, minCost }), { min: 1, max: MAX_CHECKS }) },
      check: ({ checks }) => {
        checks.forEach((one, index) => {
          checkAsked(policies, one, `checks[${String(index)}].`);
        });
      },
      handle: async ({ checks }, call) => {
        const decisions = await Promise.all(
          checks.map((one) => limiter.checkRateLimit(policies.termsOf(one.limits), askOf(one), call)),
        );
        return { decisions: decisions.map((decision) => toResponse(toAnswer(decision, answerOptions(false)))) };
      },
    },
    peekRateLimit: {
      permit: permitInline,
      rules: { limits, cost, wantHeaders: anything },
      check,
      handle: async (request, call) => {
        const decision = await store.peekRateLimit(policies.termsOf(request.limits), askOf(request), call);
        const {
          allowed,
          retryAfterMs,
          limits: states,
          policyVersion,
          headers,
        } = toResponse(toAnswer(decision, answerOptions(request.wantHeaders)));
        return { allowed, retryAfterMs, limits: states, policyVersion, headers };
      },
    },
    reserveRateLimit: {
      permit: permitInline,
      rules: {
        ...{ limits, cost, minCost, chargeDenied: anything, requestId, wantHeaders: anything },
        ttlMs: integer({ min: 0n, max: MAX_RESERVATION_TTL_MS }),
      },
      check: (request) => {
        checkInOneStep(request, 'limits');
      },
      handle: async (request, call) => {
        const terms = policies.termsOf(request.limits);
        const memory: Remembered = {
          kind: 'reserve',
          requestId: request.requestId,
          ttlMs: request.ttlMs === 0n ? DEFAULT_RESERVATION_TTL_MS : Number(request.ttlMs),
        };
        const made = await reserve(terms, request, memory, call);
        return {
          decision: toResponse(toAnswer(made.decision, answerOptions(request.wantHeaders))),
          reservationId: made.reservationId,
          expiresAtMs: BigInt(made.expiresAtMs),
        };
      },
    },
    settleRateLimit: {
      rules: { reservationId, cost: integer({ min: 0, max: 64 }) },
      handle: async (request, call) => {
        const charged = await reservations.settle(request.reservationId, request.cost, call);
        return { settled: charged !== undefined, charged: charged ?? 0 };
      },
    },
    refundRateLimit: {
      rules: { reservationId },
      handle: async (request, call) => ({ refunded: await reservations.refund(request.reservationId, call) }),
    },
    ...standingRpcs(options),
    ...holdRpcs(options),
    ...statsRpcs(options.statsStore),
    listPolicies: {
      rules: {},
      handle: () => Promise.resolve({ policies: policies.list(), policyVersion: policies.version }),
    },
  });
}
