import { performance } from 'node:perf_hooks';
import type { Call } from '../redis/call.js';
import { keys } from '../redis/keys.js';
import type { ShardChannels } from '../redis/shard-channels.js';
import type { Ask } from './limit-scripts.js';
import { StandingChannels, type StandingChannel } from './standing-channels.js';
import type { LimitResult, RateLimitDecision } from './decision.js';
import { capacityOf, hasPenalty, type LimitTerms } from './terms.js';

export interface DenialMemoryOptions {
  readonly channels: Pick<ShardChannels, 'listen'>;
  readonly topology: 'standalone' | 'cluster';
  /** Other policies drop all that came of the ones before. */
  readonly policies: { readonly version: string };
  readonly maxSubjects?: number;
}

/** When a call was sent to Redis, to be told with its denial. */
export interface AskedAt {
  readonly atMs: number;
  readonly sequence: number;
  readonly policyVersion: string;
}

/** A denial of a subject by one limit. */
interface Denial {
  readonly result: LimitResult;
  /** A call that costs as much or more is denied too. */
  readonly cost: number;
  /** On the clock of `performance.now()`, as the next. */
  untilMs: number;
  /** When the limit could admit the call: behind the end of a ban or block there may be nothing left yet. */
  readonly roomAtMs: number;
}

interface Subject {
  readonly channel: StandingChannel | undefined;
  denials: Denial[];
  /** Until when its channel is of use. */
  neededUntilMs: number;
}

const MAX_SUBJECTS = 10_000;
/** Of one subject: as many limits as a call may have. */
const MAX_DENIALS = 16;
/** So long a denial is remembered at most that nobody would tell the end of. */
const UNHEARD_MS = 1_000;
/** A channel outlives what was known under it: who was denied is likely to be again. */
const CHANNEL_LINGER_MS = 10_000;
const SWEEP_MS = 1_000;
/** Subjects of which it is known when room was last made for them; older than that nothing is remembered that was asked before. */
const MAX_TOLD = 4_096;

/**
 * Denials that Redis need not be asked for again: nothing but a reset, refund, unban or other limit admits a denied call
 * before its time, and those are told on a channel. A denial ends no later than Redis would end it: its time counts from
 * when Redis was asked.
 */
export class DenialMemory {
  private readonly subjects = new Map<string, Subject>();
  private readonly channels: StandingChannels;
  private readonly maxSubjects: number;
  private readonly heard = new Map<string, number>();
  /** Subjects that room was made for, and when, in the order of events; the latest last. */
  private readonly told = new Map<string, number>();
  /** Of what was told until then not all is known any more. */
  private forgottenUntil = 0;
  private sequence = 0;
  private policyVersion: string;
  private sweepTimer: NodeJS.Timeout | undefined;

  constructor(private readonly options: DenialMemoryOptions) {
    this.maxSubjects = options.maxSubjects ?? MAX_SUBJECTS;
    this.policyVersion = options.policies.version;
    this.channels = new StandingChannels(options.channels, options.topology, {
      onRoomMade: (standing) => {
        this.onRoomMade(standing);
      },
      onHeard: (channel) => {
        this.onHeard(channel);
      },
      onLost: (channel) => {
        this.onLost(channel);
      },
    });
  }

  /** Subjects that something is kept of. */
  get size(): number {
    return this.subjects.size;
  }

  askedNow(): AskedAt {
    return { atMs: performance.now(), sequence: this.sequence, policyVersion: this.options.policies.version };
  }

  /**
   * The denial of a call that is known to be denied; undefined where Redis has to be asked. That is so too where a limit
   * would count the denial, which only a subject that is blocked or banned under it is spared.
   */
  recall(limits: readonly LimitTerms[], ask: Ask, { namespace }: Call): RateLimitDecision | undefined {
    if (this.subjects.size === 0 || ask.chargeDenied || ask.minCost > 0) return undefined;
    if (this.policyVersion !== this.options.policies.version) this.startAnew();
    const nowMs = performance.now();
    let found: Map<LimitTerms, Denial> | undefined;
    for (const terms of limits) {
      const denial = this.denialOf(terms, ask, namespace, nowMs);
      if (denial !== undefined) (found ??= new Map()).set(terms, denial);
      else if (hasPenalty(terms) && !terms.isShadow) return undefined;
    }
    if (found === undefined) return undefined;
    const denials = found;
    const results = limits.map((terms) => {
      const denial = denials.get(terms);
      if (denial === undefined) return uncheckedLimit(terms);
      return { ...denial.result, terms, retryAfterMs: Math.max(1, Math.ceil(denial.roomAtMs - nowMs)) };
    });
    return { allowed: false, granted: 0, limits: results, atomic: true, degraded: false, fromMemory: true };
  }

  /** Keeps a denial that Redis decided. */
  remember(decision: RateLimitDecision, ask: Ask, { namespace }: Call, asked: AskedAt): void {
    if (decision.allowed || decision.degraded || ask.chargeDenied || ask.minCost > 0) return;
    if (asked.policyVersion !== this.options.policies.version) return;
    if (this.policyVersion !== asked.policyVersion) this.startAnew();
    for (const result of decision.limits) {
      const { terms, denies } = result;
      if (!denies) continue;
      const lifeMs = hasPenalty(terms) ? result.heldMs : result.retryAfterMs - 1;
      if (lifeMs > 0) this.keep(result, terms.cost ?? ask.cost, lifeMs, namespace, asked);
    }
  }

  /** Room was made for a subject: what was asked before that is known no more. */
  onRoomMade(standing: string): void {
    this.told.delete(standing);
    this.told.set(standing, ++this.sequence);
    if (this.told.size > MAX_TOLD) {
      for (const [oldest, sequence] of this.told) {
        this.told.delete(oldest);
        this.forgottenUntil = sequence;
        break;
      }
    }
    this.drop(standing);
  }

  close(): void {
    clearInterval(this.sweepTimer);
    this.sweepTimer = undefined;
    for (const standing of [...this.subjects.keys()]) this.forget(standing);
  }

  private denialOf(terms: LimitTerms, ask: Ask, namespace: string, nowMs: number): Denial | undefined {
    const subject = this.subjects.get(keys.standing(namespace, terms.countedAs));
    if (subject === undefined) return undefined;
    const cost = terms.cost ?? ask.cost;
    let longest: Denial | undefined;
    for (const denial of subject.denials) {
      if (denial.cost > cost || denial.untilMs <= nowMs || !isSameLimit(denial.result.terms, terms)) continue;
      if (longest === undefined || denial.untilMs > longest.untilMs) longest = denial;
    }
    return longest;
  }

  private keep(result: LimitResult, cost: number, lifeMs: number, namespace: string, asked: AskedAt): void {
    const standing = keys.standing(namespace, result.terms.countedAs);
    if (this.forgottenUntil > asked.sequence || (this.told.get(standing) ?? 0) > asked.sequence) return;
    const untilMs = asked.atMs + lifeMs;
    // on Cluster each has a channel of its own, which costs more than to ask once a second
    const needsChannel = lifeMs > UNHEARD_MS || this.options.topology === 'standalone';
    const subject = this.subjectOf(standing, namespace, needsChannel);
    const { channel } = subject;
    const isHeard = channel?.isHeard === true && (this.heard.get(channel.name) ?? 0) <= asked.sequence;
    subject.neededUntilMs = Math.max(subject.neededUntilMs, untilMs);
    const others = subject.denials.filter(
      (other) => !(other.cost >= cost && other.untilMs <= untilMs && isSameLimit(other.result.terms, result.terms)),
    );
    subject.denials = [
      ...others.slice(1 - MAX_DENIALS),
      {
        ...{ result, cost, roomAtMs: asked.atMs + result.retryAfterMs },
        untilMs: isHeard ? untilMs : Math.min(untilMs, asked.atMs + UNHEARD_MS),
      },
    ];
  }

  private subjectOf(standing: string, namespace: string, needsChannel: boolean): Subject {
    const known = this.subjects.get(standing);
    if (known !== undefined && (known.channel !== undefined || !needsChannel)) return known;
    const subject: Subject = {
      channel: needsChannel ? this.channels.open(namespace, standing) : undefined,
      denials: known?.denials ?? [],
      neededUntilMs: known?.neededUntilMs ?? 0,
    };
    this.subjects.set(standing, subject);
    if (this.subjects.size > this.maxSubjects) {
      const [oldest] = this.subjects.keys();
      if (oldest !== undefined) this.forget(oldest);
    }
    this.sweepTimer ??= setInterval(() => {
      this.sweep();
    }, SWEEP_MS).unref();
    return subject;
  }

  /** What was told while nobody listened is not known. */
  private onHeard({ name, standings }: StandingChannel): void {
    this.heard.set(name, ++this.sequence);
    for (const standing of standings) this.drop(standing);
  }

  private onLost({ standings }: StandingChannel): void {
    const latestMs = performance.now() + UNHEARD_MS;
    for (const standing of standings) {
      for (const denial of this.subjects.get(standing)?.denials ?? []) {
        denial.untilMs = Math.min(denial.untilMs, latestMs);
      }
    }
  }

  /** Forgets the denials of a subject, and listens on for a while. */
  private drop(standing: string): void {
    const subject = this.subjects.get(standing);
    if (subject === undefined) return;
    subject.denials = [];
    subject.neededUntilMs = Math.min(subject.neededUntilMs, performance.now() + CHANNEL_LINGER_MS);
  }

  private forget(standing: string): void {
    const subject = this.subjects.get(standing);
    this.subjects.delete(standing);
    const channel = subject?.channel;
    if (channel === undefined) return;
    this.channels.close(channel.name, standing);
    if (channel.standings.size === 0 && this.options.topology === 'cluster') this.heard.delete(channel.name);
  }

  private startAnew(): void {
    this.policyVersion = this.options.policies.version;
    for (const standing of [...this.subjects.keys()]) this.drop(standing);
  }

  private sweep(): void {
    const nowMs = performance.now();
    for (const [standing, subject] of this.subjects) {
      if (subject.neededUntilMs <= nowMs) this.forget(standing);
    }
    if (this.subjects.size > 0) return;
    clearInterval(this.sweepTimer);
    this.sweepTimer = undefined;
  }
}

/** A limit that nobody looked at. */
export function uncheckedLimit(terms: LimitTerms): LimitResult {
  const capacity = capacityOf(terms);
  return {
    ...{ terms, denial: undefined, denies: false, used: capacity, capacity },
    ...{ retryAfterMs: 0, resetAtMs: 0, heldMs: 0, isChecked: false },
  };
}

/** Whether two limits of one subject deny the same calls, under the same policies. */
function isSameLimit(one: LimitTerms, other: LimitTerms): boolean {
  return (
    one.policy.storedName === other.policy.storedName &&
    one.limit === other.limit &&
    one.isShadow === other.isShadow &&
    one.policy.burst === other.policy.burst
  );
}
