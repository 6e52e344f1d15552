import { randomBytes } from 'node:crypto';
import type { Logger } from 'pino';
import { invalidField } from '../errors.js';
import type { Call } from '../redis/call.js';
import { UnexpectedReplyError } from '../redis/lua-script.js';
import type { Redis } from '../redis/redis.js';
import type { LimitResult, RateLimitDecision } from './decision.js';
import { limitKeys, limitsArguments, type Ask } from './limit-scripts.js';
import { besideLists } from './listed.js';
import { Refunds } from './refunds.js';
import {
  checkRateLimitScript,
  peekRateLimitScript,
  reserveRateLimitScript,
  type Decision,
  type LimitReply,
  type OtherWindow,
} from './scripts.js';
import { hasPenalty, type LimitTerms } from './terms.js';

interface SeveralAsks extends Ask {
  /** Undefined: one. */
  readonly calls?: number;
}

/** The limits of one script, with their places in the request. */
interface Group {
  readonly places: readonly number[];
  readonly limits: readonly LimitTerms[];
}

const MAX_WINDOW_TRIES = 3;
const HOLDER_BYTES = 12;

/** Rate limits on the `limit` Redis. */
export class RateLimitStore {
  private readonly nowMs = (): number => this.redis.clock.nowMs();
  private readonly refunds: Refunds;

  constructor(
    private readonly redis: Redis,
    logger: Logger,
  ) {
    this.refunds = new Refunds(redis, logger);
  }

  /**
   * Charges every limit or none. Limits of several subjects on a Cluster lie in several slots: they are looked at first and
   * charged only when all would admit, or where a denial leaves something behind; when one then loses a race, the others are
   * taken back. That never admits more than a limit allows. Where the outcome of a charge is unknown it may stay until its
   * window is over.
   */
  checkRateLimit(limits: readonly LimitTerms[], ask: Ask, call: Call): Promise<RateLimitDecision> {
    return besideLists(limits, ask, this.nowMs, (counted) => {
      const asked = withHolder(counted, ask);
      if (!this.isAtomic(counted)) return this.checkAcrossSlots(counted, this.groupsOf(counted), asked, call);
      return this.decide(checkRateLimitScript, counted, asked, call).then((reply) => decisionInOneStep(counted, reply));
    });
  }

  private async checkAcrossSlots(
    limits: readonly LimitTerms[],
    groups: readonly Group[],
    asked: Ask,
    call: Call,
  ): Promise<RateLimitDecision> {
    const looks = await Promise.all(groups.map((group) => this.look(group, asked, call)));
    const hasRoom = looks.every(isAdmitted);
    // as many as each of them has room for
    const cost = hasRoom ? Math.min(...looks.map((look) => look.units)) : asked.cost;
    const agreed = asked.minCost > 0 && (hasRoom || asked.chargeDenied) ? { ...asked, cost, minCost: 0 } : asked;
    const isMeant = (group: Group, look: Decision | undefined): boolean =>
      hasRoom || asked.chargeDenied || (look?.admitted === 0 && group.limits.some(hasPenalty));
    const meant = groups.filter((group, index) => isMeant(group, looks[index]));
    const gate = hasRoom && !asked.chargeDenied ? tightestOf(groups, looks) : undefined;
    const replies = await this.chargeGroups(meant, agreed, call, gate);
    const admitted = replies.flatMap((reply) => (reply !== undefined && isAdmitted(reply) ? [reply] : []));
    if (admitted.length === groups.length) return decisionOf(limits, groups, admitted);

    if (!asked.chargeDenied) await this.refundAdmitted(meant, replies, agreed, call);
    const stands = looks.map((look, index) => {
      const group = groups[index];
      const reply = group && replies[meant.indexOf(group)];
      // what was taken back is as it was seen before
      return reply === undefined || (isAdmitted(reply) && !asked.chargeDenied) ? look : reply;
    });
    return { ...decisionOf(limits, groups, stands), allowed: false, granted: 0 };
  }

  /**
   * Each finds room or not; when one fails, the others are taken back. A gate is charged before the others, and where it has
   * no room they are not: of many calls at once as many go on as it admits, and not each with a charge somewhere.
   */
  private async chargeGroups(
    groups: readonly Group[],
    ask: Ask,
    call: Call,
    gate: Group | undefined,
  ): Promise<(Decision | undefined)[]> {
    const opening = gate && (await this.charge(gate, ask, call));
    if (opening?.admitted === 0) return groups.map((group) => (group === gate ? opening : undefined));
    const charging = groups.map((group) =>
      group === gate && opening ? Promise.resolve(opening) : this.charge(group, ask, call),
    );
    const charges = await Promise.allSettled(charging);
    if (charges.some(({ status }) => status === 'rejected')) {
      const replies = charges.map((charge) => (charge.status === 'fulfilled' ? charge.value : undefined));
      await this.refundAdmitted(groups, replies, ask, call);
    }
    return Promise.all(charging);
  }

  private async refundAdmitted(
    groups: readonly Group[],
    replies: readonly (Decision | undefined)[],
    ask: Ask,
    call: Call,
  ): Promise<void> {
    await Promise.all(
      groups.map(async (group, index) => {
        const reply = replies[index];
        if (reply !== undefined && isAdmitted(reply)) await this.refunds.refund(group.limits, reply, ask, call);
      }),
    );
  }

  /**
   * So many calls that are alike, one after the other, in one step: limits in one slot, without blocks, ladders or slots, and
   * an ask that is neither for a part nor charged when denied.
   */
  async checkAlike(limits: readonly LimitTerms[], ask: Ask, count: number, call: Call): Promise<Decision> {
    return this.decide(checkRateLimitScript, limits, { ...ask, calls: count }, call);
  }

  /** What checkRateLimit would decide; writes nothing. */
  peekRateLimit(limits: readonly LimitTerms[], ask: Ask, call: Call): Promise<RateLimitDecision> {
    return besideLists(limits, ask, this.nowMs, async (counted) => {
      const groups = this.groupsOf(counted);
      return decisionOf(counted, groups, await Promise.all(groups.map((group) => this.look(group, ask, call))));
    });
  }

  /**
   * Like checkRateLimit, remembered under `key` for `ttlMs`: who asks again is answered the same. All are in one slot. Throws
   * INVALID_FIELD where what is remembered `asked` for something else.
   */
  async reserve(
    limits: readonly LimitTerms[],
    ask: Ask,
    { key, ttlMs, asked }: { readonly key: string; readonly ttlMs: number; readonly asked: string },
    call: Call,
  ): Promise<{ readonly decision: RateLimitDecision; readonly nowUs: number }> {
    if (!this.isAtomic(limits)) throw new RangeError('the limits of a reservation are in one slot');
    const ownCosts = limits.map(({ cost }) => (cost === undefined ? '0' : '1')).join('');
    const reply = await this.inItsWindow(async (nowMs) => {
      const bound = reserveRateLimitScript.bind(
        { reservation: key, '...limits': limitKeys(limits, call) },
        { ttlMs: String(ttlMs), asked, ownCosts, ...argumentsOf(limits, ask, nowMs) },
      );
      const answer = await this.redis.run(bound, call);
      if (answer === undefined) throw invalidField('request_id', 'is that of a call with other limits or costs');
      return answer;
    });
    return { decision: decisionInOneStep(limits, reply), nowUs: reply.nowUs };
  }

  /** Whether limits can be decided in one step. */
  isAtomic(limits: readonly LimitTerms[]): boolean {
    const [first] = limits;
    return this.redis.topology === 'standalone' || limits.every(({ countedAs }) => countedAs === first?.countedAs);
  }

  /** One script a group: everything on a single Redis, one subject on a Cluster. */
  private groupsOf(limits: readonly LimitTerms[]): Group[] {
    if (this.redis.topology === 'standalone') return [{ places: limits.map((_, place) => place), limits }];
    const bySlot = new Map<string, number[]>();
    limits.forEach(({ countedAs }, place) => {
      bySlot.set(countedAs, [...(bySlot.get(countedAs) ?? []), place]);
    });
    return [...bySlot.values()].map((some) => ({
      places: some,
      limits: some.flatMap((place) => limits[place] ?? []),
    }));
  }

  private charge(group: Group, ask: Ask, call: Call): Promise<Decision> {
    return this.decide(checkRateLimitScript, group.limits, ask, call);
  }

  private look(group: Group, ask: Ask, call: Call): Promise<Decision> {
    return this.decide(peekRateLimitScript, group.limits, { ...ask, chargeDenied: false }, call);
  }

  private decide(
    script: typeof checkRateLimitScript,
    limits: readonly LimitTerms[],
    ask: SeveralAsks,
    call: Call,
  ): Promise<Decision> {
    const named = { '...limits': limitKeys(limits, call) };
    return this.inItsWindow((nowMs) => this.redis.run(script.bind(named, argumentsOf(limits, ask, nowMs)), call));
  }

  /** Asks with windows of the calendar by a copy of Redis's clock, and then by what Redis says it is. */
  private inItsWindow(
    decide: (nowMs: number) => Promise<Decision | OtherWindow>,
    nowMs = this.nowMs(),
    triesLeft = MAX_WINDOW_TRIES,
  ): Promise<Decision> {
    // not awaited: of many checks a second each promise counts
    return decide(nowMs).then((reply) => {
      if (reply.admitted !== undefined) return reply;
      if (triesLeft === 1) throw new UnexpectedReplyError('Redis is in no window of the calendar');
      return this.inItsWindow(decide, Math.floor(reply.nowUs / 1_000), triesLeft - 1);
    });
  }
}

/** The one that has room for the fewest more units: for all who ask at once the same. */
function tightestOf(groups: readonly Group[], looks: readonly Decision[]): Group | undefined {
  let tightest: { readonly group: Group; readonly room: number; readonly name: string } | undefined;
  groups.forEach((group, index) => {
    const enforced = (looks[index]?.limits ?? []).filter((_, at) => group.limits[at]?.isShadow === false);
    const room = Math.min(...enforced.map(({ capacity, used }) => capacity - used));
    const name = group.limits[0]?.countedAs ?? '';
    const isTighter =
      tightest === undefined || room < tightest.room || (room === tightest.room && name < tightest.name);
    if (isTighter) tightest = { group, room, name };
  });
  return tightest?.group;
}

/** Names who has slots of `concurrency`. */
export function newHolder(): string {
  return randomBytes(HOLDER_BYTES).toString('base64url');
}

/** Only slots have holders, and random bytes take longer than most of a check. */
function withHolder(limits: readonly LimitTerms[], ask: Ask): Ask {
  if (ask.holder !== undefined || limits.every(({ policy }) => policy.algorithm !== 'concurrency')) return ask;
  return { ...ask, holder: newHolder() };
}

function argumentsOf(
  limits: readonly LimitTerms[],
  ask: SeveralAsks,
  nowMs: number,
): { calls: string; minCost: string; chargeDenied: string; '...limits': readonly string[] } {
  return {
    calls: String(ask.calls ?? 1),
    minCost: String(ask.minCost),
    chargeDenied: ask.chargeDenied ? '1' : '0',
    '...limits': limitsArguments(limits, ask, nowMs),
  };
}

function isAdmitted({ admitted }: Decision): boolean {
  return admitted > 0;
}

function decisionInOneStep(limits: readonly LimitTerms[], reply: Decision): RateLimitDecision {
  const allowed = isAdmitted(reply);
  return {
    allowed,
    granted: allowed ? reply.units : 0,
    limits: resultsOf(limits, reply),
    atomic: true,
    degraded: false,
  };
}

function resultsOf(limits: readonly LimitTerms[], reply: Decision): LimitResult[] {
  const answers = isAdmitted(reply) ? reply.limits : reply.deniedLimits;
  if (answers.length !== limits.length) throw new UnexpectedReplyError('other limits are answered than were asked');
  const results: LimitResult[] = [];
  for (const [index, terms] of limits.entries()) {
    const answer = answers[index];
    if (answer !== undefined) results.push(resultOf(terms, answer));
  }
  return results;
}

/** Puts the replies of the groups back into the order of the request. */
function decisionOf(
  limits: readonly LimitTerms[],
  groups: readonly Group[],
  replies: readonly Decision[],
): RateLimitDecision {
  const results: (LimitResult | undefined)[] = limits.map(() => undefined);
  groups.forEach(({ places, limits: own }, index) => {
    const reply = replies[index];
    if (reply === undefined) return;
    const answers = resultsOf(own, reply);
    places.forEach((place, position) => {
      results[place] = answers[position];
    });
  });
  const allowed = replies.every(isAdmitted);
  return {
    allowed,
    granted: allowed ? Math.min(...replies.map(({ units }) => units)) : 0,
    limits: results.filter((result) => result !== undefined),
    atomic: groups.length === 1,
    degraded: false,
  };
}

/** A limit as a script answered it. */
export function resultOf(
  terms: LimitTerms,
  { denial, isByPeople, used, capacity, retryAfterUs, resetAtUs, mark }: LimitReply,
): LimitResult {
  return {
    terms,
    denial,
    denies: denial !== undefined && (!terms.isShadow || isByPeople),
    used,
    capacity,
    retryAfterMs: Math.ceil(retryAfterUs / 1_000),
    resetAtMs: Math.ceil(resetAtUs / 1_000),
    heldMs: denial === undefined ? 0 : Math.floor(mark / 1_000),
    isChecked: true,
  };
}
