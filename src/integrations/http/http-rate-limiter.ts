import type { ServerResponse } from 'node:http';
import { finished } from 'node:stream';
import {
  Code,
  InvalidArgumentError,
  ShardkeepError,
  type RateLimit,
  type RateLimitDecision,
} from '../../client/index.js';
import type { RateLimitInfo, RateLimitOptions } from './options.js';
import { WarningThrottle } from './warning-throttle.js';
import { quotaOf, type Quota } from './quota.js';
import { subjectOf } from './subject.js';

/** What is to become of a request. */
export type Outcome =
  /** It goes on: the limiter has nothing to say of it. */
  | { readonly status: 'passed' }
  | { readonly status: 'admitted' | 'denied'; readonly decision: RateLimitDecision; readonly info: RateLimitInfo }
  /** Nobody can decide, and such requests are not let through. */
  | { readonly status: 'unavailable'; readonly retryAfterSeconds: number }
  /** The client is gone, so nobody knows who it was, and nobody waits for an answer. */
  | { readonly status: 'abandoned' };

const PASSED: Outcome = { status: 'passed' };
const DEFAULT_TIMEOUT_MS = 250;
/** As long as Node lets a request take to arrive, unless told otherwise; the charge of one that takes longer stays. */
const MAX_RESERVED_MS = 300_000;
const DEFAULT_RETRY_AFTER_MS = 1_000;

/** These are about the limiter or its credential, not about the service: the same tomorrow, and to be seen. */
const WRONG: ReadonlySet<Code> = new Set([
  Code.INVALID_ARGUMENT,
  Code.FAILED_PRECONDITION,
  Code.UNAUTHENTICATED,
  Code.PERMISSION_DENIED,
  Code.UNIMPLEMENTED,
]);

/** What differs from framework to framework. */
export interface HttpFramework<Request, Response> {
  /** What the application has called, for what is said of its options. */
  readonly of: string;
  readonly addressOf: (request: Request) => string | undefined;
  readonly rawOf: (response: Response) => ServerResponse;
}

interface Charge<Request, Response> {
  readonly request: Request;
  readonly response: Response;
  readonly reservationId: string;
}

/** Decides requests; how a framework is told is up to whoever asks. */
export class HttpRateLimiter<Request extends object, Response extends object> {
  private readonly quota: Quota<Request, Response>;
  private readonly warnings: WarningThrottle;
  /** A limiter that is in a request's way twice counts it once. */
  private readonly seen = new WeakSet<Request>();
  private readonly timeoutMs: number;
  /** Whether what becomes of a request may give it back. */
  private readonly isCorrected: boolean;

  /** Throws InvalidArgumentError for options that no request could be decided by; each by itself was checked. */
  constructor(
    private readonly options: RateLimitOptions<Request, Response>,
    private readonly framework: HttpFramework<Request, Response>,
  ) {
    this.quota = quotaOf(framework.of, options);
    this.warnings = new WarningThrottle(options.logger);
    this.timeoutMs = options.timeoutMs ?? DEFAULT_TIMEOUT_MS;
    this.isCorrected = options.skipFailedRequests === true || options.skipSuccessfulRequests === true;
  }

  /** Throws what the options' functions throw, and errors that no retry would help. */
  async decide(request: Request, response: Response): Promise<Outcome> {
    if (this.seen.has(request)) return PASSED;
    this.seen.add(request);
    const { skip, keyGenerator = this.framework.addressOf, role: roleOf } = this.options;
    if (skip !== undefined && (await skip(request, response))) return PASSED;

    const key = String((await keyGenerator(request, response)) ?? '');
    if (key === '') {
      const raw = this.framework.rawOf(response);
      if (raw.destroyed || raw.socket?.destroyed === true) return { status: 'abandoned' };
      throw new TypeError(
        'a request has no key: it has no address (is `trust proxy` set?), or keyGenerator answers none',
      );
    }
    const role = roleOf === undefined ? undefined : await roleOf(request, response);
    const policy = await this.quota.of(request, response);
    const { cost: costOf = 1 } = this.options;
    const cost = typeof costOf === 'number' ? costOf : await costOf(request, response);
    const limit = { subject: subjectOf(key), policy, cost, ...(role !== undefined && { role }) };
    let decision: RateLimitDecision;
    try {
      decision = await this.ask(limit, request, response);
    } catch (error) {
      this.sayUnknownPolicy(error, policy);
      return this.withoutDecision(error);
    }
    // the policy denies while Redis is away: that is not what the client did
    if (!decision.allowed && decision.degraded) return unavailable(decision.retryAfterMs);
    const info = infoOf(decision, key);
    Reflect.set(request, this.options.requestPropertyName ?? 'rateLimit', info);
    if (decision.allowed) return { status: 'admitted', decision, info };
    await this.options.onLimit?.(request, response, decision);
    return { status: 'denied', decision, info };
  }

  /** Forgets what was counted for a key. */
  async resetKey(key: string): Promise<void> {
    await this.options.client.rateLimits.resetRateLimit({ subject: subjectOf(key), policy: this.quota.counted });
  }

  private async ask(limit: RateLimit, request: Request, response: Response): Promise<RateLimitDecision> {
    const { rateLimits } = this.options.client;
    const { timeoutMs } = this;
    const asking = { timeoutMs, wantHeaders: true };
    const { retrySafe = false } = this.options;
    if (!this.isCorrected) return rateLimits.checkRateLimit(limit, { ...asking, retrySafe });
    const { policy } = limit;
    const ttlMs = typeof policy === 'string' ? MAX_RESERVED_MS : Math.min(policy.windowMs, MAX_RESERVED_MS);
    const reservation = await rateLimits.reserveRateLimit(limit, { ...asking, ttlMs });
    if (reservation.status === 'reserved') {
      const { reservationId } = reservation;
      // called once, also when the response is over already
      finished(this.framework.rawOf(response), (abandoned) => {
        void this.correct({ request, response, reservationId }, abandoned === undefined || abandoned === null);
      });
    }
    return reservation.decision;
  }

  private async correct(
    { request, response, reservationId }: Charge<Request, Response>,
    wasAnswered: boolean,
  ): Promise<void> {
    const { skipFailedRequests = false, skipSuccessfulRequests = false, requestWasSuccessful } = this.options;
    try {
      const isSuccess =
        wasAnswered &&
        (await (requestWasSuccessful === undefined
          ? this.framework.rawOf(response).statusCode < 400
          : requestWasSuccessful(request, response)));
      if (!(isSuccess ? skipSuccessfulRequests : skipFailedRequests)) return;
      await this.options.client.rateLimits.refundRateLimit(reservationId);
    } catch (error) {
      this.warnings.tell(error, 'a request that does not count could not be given back');
    }
  }

  /** Else nothing but the failure of each request told of a name that is misspelt here, or left out there. */
  private sayUnknownPolicy(error: unknown, policy: RateLimit['policy']): void {
    if (typeof policy !== 'string' || !(error instanceof InvalidArgumentError)) return;
    if (error.fields.some((field) => field.endsWith('policyName')))
      this.warnings.tell(error, `the service has no rate limit policy "${policy}": requests fail`);
  }

  private withoutDecision(error: unknown): Outcome {
    if (!(error instanceof ShardkeepError) || WRONG.has(error.code)) throw error;
    if (this.options.failMode === 'closed') {
      this.warnings.tell(error, 'rate limits are unavailable: requests are refused');
      return unavailable(error.retryAfterMs ?? DEFAULT_RETRY_AFTER_MS);
    }
    this.warnings.tell(error, 'rate limits are unavailable: requests pass uncounted');
    return PASSED;
  }
}

function unavailable(retryAfterMs: number): Outcome {
  return { status: 'unavailable', retryAfterSeconds: Math.max(1, Math.ceil(retryAfterMs / 1_000)) };
}

function infoOf(decision: RateLimitDecision, key: string): RateLimitInfo {
  const { limit, remaining, resetAtMs } = decision;
  const resetTime = resetAtMs === undefined ? undefined : new Date(resetAtMs);
  return { limit, used: limit - remaining, remaining, resetTime, key, decision };
}
