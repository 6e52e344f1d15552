import { Buffer } from 'node:buffer';
import { randomUUID } from 'node:crypto';
import type { Logger } from '../logger.js';
import type { Rpc } from '../rpc/rpc.js';
import { CALL_OPTIONS, type CallOptions } from '../transport/method.js';
import { toBan, type RateLimitBan } from './bans.js';
import { toDecision, toOutlook, type RateLimitDecision, type RateLimitOutlook } from './decision.js';
import { slotsOf, type DeniedSlots, type HeldSlots } from './held-slots.js';
import { listIn, optionsIn } from '../arguments.js';
import { toInt64 } from '../int64.js';
import { limitMessages, type RateLimitOrMany, type RateLimitPolicy, type RateLimitSubject } from './limit.js';
import {
  BAN_OPTIONS,
  CHECK_OPTIONS,
  CHECK_RATE_LIMIT_OPTIONS,
  HOLD_CONCURRENCY_OPTIONS,
  LIST_BANS_OPTIONS,
  OVERRIDE_RATE_LIMIT_OPTIONS,
  PEEK_RATE_LIMIT_OPTIONS,
  RATE_LIMIT_CHECK,
  RATE_LIMIT_STATS_OPTIONS,
  RESERVE_RATE_LIMIT_OPTIONS,
  UNBAN_OPTIONS,
  type BanOptions,
  type CheckOptions,
  type CheckRateLimitOptions,
  type HoldConcurrencyOptions,
  type ListBansOptions,
  type OverrideRateLimitOptions,
  type PeekRateLimitOptions,
  type RateLimitCheck,
  type RateLimitStatsOptions,
  type ReserveRateLimitOptions,
  type UnbanOptions,
} from './options.js';
import { toPolicies, type ConfiguredRateLimitPolicies } from './policies.js';
import { toReservation, type RateLimitReservation, type RateLimitSettlement } from './reservation.js';
import { toStats, type RateLimitStats } from './stats.js';

const DEFAULT_HOLD_TIMEOUT_MS = 2_000;

/**
 * Rate limits that are exact however many processes ask. A limit is a subject under a policy: who, and how much. "Over the
 * limit" is an answer; errors are InvalidArgumentError with the wrong `fields` (also for a policy that is not configured),
 * UnavailableError while the service is away (or Redis, unless the policy says what holds then), ResourceExhaustedError when
 * it is overloaded, DeadlineExceededError.
 */
export class RateLimits {
  constructor(
    private readonly rpc: Rpc['rateLimits'],
    private readonly logger: Logger,
  ) {}

  /**
   * May this subject do that now? Charges `cost` units if so, and nothing if not. For several limits at once there is
   * `checkRateLimit`, which says what a retry does.
   */
  async check(
    subject: RateLimitSubject,
    policy: RateLimitPolicy,
    options: CheckOptions = {},
  ): Promise<RateLimitDecision> {
    const { role } = optionsIn(options, CHECK_OPTIONS);
    return this.charge(role === undefined ? { subject, policy } : { subject, policy, role }, options);
  }

  /**
   * Asks for `cost` units of every limit, all or nothing: a denied call is charged nowhere. On a Cluster limits of several
   * subjects are not decided in one step (`atomic` false): they never admit more than they should, and may deny for a moment
   * what they would have admitted. With `retrySafe` a call whose answer was lost is tried again and charged once; without, it
   * fails with UnavailableError whose `outcomeUnknown` is true, and may have been charged.
   */
  async checkRateLimit(limits: RateLimitOrMany, options: CheckRateLimitOptions = {}): Promise<RateLimitDecision> {
    return this.charge(limits, optionsIn(options, CHECK_RATE_LIMIT_OPTIONS));
  }

  /**
   * Up to 100 checks that have nothing to do with each other, in one trip; the answers are in their order. Not tried again
   * when the answer was lost.
   */
  async checkManyRateLimits(
    checks: readonly RateLimitCheck[],
    options: CallOptions = {},
  ): Promise<readonly RateLimitDecision[]> {
    const asked = listIn(checks, 'checks').map((check, index) => {
      const at = `checks[${String(index)}]`;
      const { limits, cost, minCost } = optionsIn(check, RATE_LIMIT_CHECK, at);
      return { limits: limitMessages(limits, `${at}.`), cost, minCost };
    });
    const { decisions } = await this.rpc.checkManyRateLimits({ checks: asked }, optionsIn(options, CALL_OPTIONS));
    return decisions.map(toDecision);
  }

  /** What `checkRateLimit` would answer; charges nothing. UnavailableError while Redis is away, whatever the policies say. */
  async peekRateLimit(limits: RateLimitOrMany, options: PeekRateLimitOptions = {}): Promise<RateLimitOutlook> {
    const { cost, wantHeaders = false } = optionsIn(options, PEEK_RATE_LIMIT_OPTIONS);
    const request = { limits: limitMessages(limits), cost, wantHeaders };
    return toOutlook(await this.rpc.peekRateLimit(request, options));
  }

  /**
   * A check whose charge may be corrected for `ttlMs`: by `settleRateLimit` when the real cost is known, by `refundRateLimit`
   * when nothing was done. Without either the charge stays. On a Cluster all limits have one subject. Tried again by itself,
   * and charged once.
   */
  async reserveRateLimit(
    limits: RateLimitOrMany,
    options: ReserveRateLimitOptions = {},
  ): Promise<RateLimitReservation> {
    optionsIn(options, RESERVE_RATE_LIMIT_OPTIONS);
    const { cost, minCost, chargeDenied = false, wantHeaders = false, ttlMs } = options;
    const requestId = requestIdOf(options, options.retrySafe !== false);
    const request = {
      ...{ limits: limitMessages(limits), cost, minCost, chargeDenied, requestId, wantHeaders },
      ttlMs: ttlMs === undefined ? 0n : toInt64(ttlMs, 'ttlMs'),
    };
    return toReservation(await this.rpc.reserveRateLimit(request, callOptions(options, requestId !== '')));
  }

  /**
   * Makes the charge what was used, 0 to 64 units of each limit without a cost of its own: less is given back, more is
   * charged as far as there is room. Once: the next try answers the same.
   */
  async settleRateLimit(reservationId: string, cost: number, options: CallOptions = {}): Promise<RateLimitSettlement> {
    const { settled, charged } = await this.rpc.settleRateLimit(
      { reservationId, cost },
      optionsIn(options, CALL_OPTIONS),
    );
    return settled ? { status: 'settled', charged } : { status: 'gone' };
  }

  /**
   * Takes back what a reservation was charged and still counts. False: there is no such reservation (any more), or it was
   * settled, and its charge stays. Safe to retry.
   */
  async refundRateLimit(reservationId: string, options: CallOptions = {}): Promise<boolean> {
    return (await this.rpc.refundRateLimit({ reservationId }, optionsIn(options, CALL_OPTIONS))).refunded;
  }

  /**
   * Forgets what was charged, and blocks and bans that came of denials; bans by `ban` and overrides stay. Answers for each
   * limit whether something had been charged. Safe to retry.
   */
  async resetRateLimit(limits: RateLimitOrMany, options: CallOptions = {}): Promise<readonly boolean[]> {
    const request = { limits: limitMessages(limits) };
    return (await this.rpc.resetRateLimit(request, optionsIn(options, CALL_OPTIONS))).reset;
  }

  /**
   * Gives one subject another limit under a configured policy, until the answered time (Unix milliseconds of Redis's clock);
   * with a limit of 0 the policy's own again, and undefined is answered. Safe to retry: the time begins anew.
   */
  async overrideRateLimit(
    subject: string,
    policy: string,
    options: OverrideRateLimitOptions,
  ): Promise<number | undefined> {
    const { limit, ttlMs } = optionsIn(options, OVERRIDE_RATE_LIMIT_OPTIONS);
    const asked = { subject, policyName: policy, limit, ttlMs: toInt64(ttlMs, 'ttlMs') };
    const { expiresAtMs } = await this.rpc.overrideRateLimit(asked, options);
    return expiresAtMs === 0n ? undefined : Number(expiresAtMs);
  }

  /**
   * Denies a subject everything, or everything under one configured policy, for 1 to 31,536,000,000 ms (365 days). Answers
   * until when, Unix milliseconds of Redis's clock. Safe to retry: the time begins anew.
   */
  async ban(subject: string, ttlMs: number, options: BanOptions = {}): Promise<number> {
    const { policy = '', reason = '' } = optionsIn(options, BAN_OPTIONS);
    const request = { subject, policyName: policy, ttlMs: toInt64(ttlMs, 'ttlMs'), reason };
    return Number((await this.rpc.ban(request, options)).expiresAtMs);
  }

  /**
   * Ends a ban, by `ban` or by a policy's ladder, and answers whether there was one. What was charged stays charged:
   * `resetRateLimit` lets in at once. Safe to retry.
   */
  async unban(subject: string, options: UnbanOptions = {}): Promise<boolean> {
    const { policy = '' } = optionsIn(options, UNBAN_OPTIONS);
    return (await this.rpc.unban({ subject, policyName: policy }, options)).unbanned;
  }

  /**
   * Who is banned, in no order, page by page as you read. For people and tools: it looks through the subjects of the
   * namespace. A ban that is there all the time comes at least once. `timeoutMs` is for each page.
   */
  async *listBans(options: ListBansOptions = {}): AsyncGenerator<RateLimitBan, void, undefined> {
    const { subjectPrefix = '', pageSize = 0 } = optionsIn(options, LIST_BANS_OPTIONS);
    let pageToken: Buffer = Buffer.alloc(0);
    do {
      const { bans, nextPageToken } = await this.rpc.listBans({ subjectPrefix, pageSize, pageToken }, options);
      yield* bans.map(toBan);
      pageToken = nextPageToken;
    } while (pageToken.length > 0);
  }

  /**
   * Takes slots of `concurrency` policies whose window is 500 ms or more, all or nothing, and holds them until they are
   * released. They are free at once when this process dies, and after the policy's window when the service does. Never waits
   * for a slot. `timeoutMs` is for the decision. UnavailableError while the service drains or Redis is away; safe to retry.
   */
  async holdConcurrency(
    limits: RateLimitOrMany,
    options: HoldConcurrencyOptions = {},
  ): Promise<HeldSlots | DeniedSlots> {
    optionsIn(options, HOLD_CONCURRENCY_OPTIONS);
    const { cost, timeoutMs = DEFAULT_HOLD_TIMEOUT_MS, signal } = options;
    const request = { limits: limitMessages(limits), cost };
    return slotsOf(
      () => this.rpc.holdConcurrency(request, { signal }),
      timeoutMs,
      (reason) => {
        this.logger.debug({ err: reason }, 'slots of a concurrency limit are lost');
      },
    );
  }

  /** The configured policies. Asks no Redis. */
  async listPolicies(options: CallOptions = {}): Promise<ConfiguredRateLimitPolicies> {
    return toPolicies(await this.rpc.listPolicies({}, optionsIn(options, CALL_OPTIONS)));
  }

  /**
   * What all services decided in the last hour, and who is denied most. For operators: about 2 s behind, and to be asked every
   * few seconds at most.
   */
  async getRateLimitStats(options: RateLimitStatsOptions = {}): Promise<RateLimitStats> {
    const { hottestCount = 0 } = optionsIn(options, RATE_LIMIT_STATS_OPTIONS);
    return toStats(await this.rpc.getRateLimitStats({ hottestCount }, options));
  }

  private async charge(limits: RateLimitOrMany, options: CheckRateLimitOptions): Promise<RateLimitDecision> {
    const { cost, minCost, chargeDenied = false, wantHeaders = false } = options;
    const requestId = requestIdOf(options, options.retrySafe === true);
    const request = { limits: limitMessages(limits), cost, minCost, chargeDenied, requestId, wantHeaders };
    return toDecision(await this.rpc.checkRateLimit(request, callOptions(options, requestId !== '')));
  }
}

/** '': none. */
function requestIdOf({ requestId }: { readonly requestId?: string }, isWanted: boolean): string {
  return requestId ?? (isWanted ? randomUUID() : '');
}

function callOptions({ timeoutMs, signal }: CallOptions, retrySafe: boolean): CallOptions {
  return { retrySafe, ...(timeoutMs !== undefined && { timeoutMs }), ...(signal !== undefined && { signal }) };
}
