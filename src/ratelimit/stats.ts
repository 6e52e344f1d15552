import { MostFrequent } from '../most-frequent.js';
import type { ProcessCounts } from '../redis/stats-sender.js';
import { isNear, type LimitResult, type RateLimitDecision } from './decision.js';
import type { PolicyTerms } from './terms.js';

/**
 * What is counted of each policy, and where its number stands: in this process, and in the lists that `add-stats.lua` keeps.
 * A counter never changes its place, and a new one goes behind the last: services of different versions add to one list.
 * The first eight are what a call came to under the policy. Each call is one of them: the greatest, where it has several
 * limits under the policy.
 */
export const COUNTER = {
  /** Admitted: not looked at since Redis is away, with room, with little room, and against what a limit in shadow says. */
  unchecked: 0,
  ok: 1,
  near: 2,
  shadowOver: 3,
  shadowBanned: 4,
  /** Denied: by another policy only, and by this one. */
  deniedByOther: 5,
  over: 6,
  banned: 7,
  /** Of those that this policy denied, without asking Redis. */
  fromMemory: 8,
  /** While Redis was away, by what the policy says of that. */
  degradedAllow: 9,
  degradedDeny: 10,
  degradedLocal: 11,
} as const;

export type CounterName = keyof typeof COUNTER;
export type Counter = (typeof COUNTER)[CounterName];
export type CounterValues = Readonly<Record<CounterName, number>>;

/** What a call came to. */
type Outcome = (typeof COUNTER)[
  'unchecked' | 'ok' | 'near' | 'shadowOver' | 'shadowBanned' | 'deniedByOther' | 'over' | 'banned'];

/** What all policies given with requests are counted under; no configured one is called so. */
export const INLINE = '(inline)';

const COUNTERS = Object.keys(COUNTER).length;
/** Subjects of a policy that are counted at once. One of more than 1/128 of all its denials is always among them. */
const MAX_DENIED = 128;
/** Policies that are not configured any more and still have counters; the oldest go first. */
const MAX_REMOVED = 256;
const NO_OUTCOME = -1;

/** What this process counted of one policy. */
export class PolicyCounts {
  /** By `COUNTER`. */
  readonly values = new Float64Array(COUNTERS);
  /** Bans that began: by the policy's ladder, and by Ban. */
  bansByLadder = 0;
  bansByRequest = 0;
  /** Slots that open streams hold. */
  slotsHeld = 0;
  /** The greatest outcome among the limits of the call that is counted now. */
  outcome: Outcome | typeof NO_OUTCOME = NO_OUTCOME;
  private deniedSubjects: MostFrequent | undefined;

  count(counter: Counter): void {
    this.values[counter] = (this.values[counter] ?? 0) + 1;
  }

  denied({ terms, denial, heldMs }: LimitResult, fromMemory: boolean): void {
    this.deniedSubjects ??= new MostFrequent(MAX_DENIED);
    this.deniedSubjects.add(terms.countedAs);
    const { ladder } = terms.policy;
    if (ladder === undefined || denial !== 'banned' || fromMemory || terms.listing !== undefined) return;
    // only the denial that began a ban is told that all of it is left
    if (ladder.stepsMs.includes(heldMs)) this.bansByLadder++;
  }

  takeDenied(): { name: string; count: number }[] {
    const taken = this.deniedSubjects?.all() ?? [];
    this.deniedSubjects?.clear();
    return taken;
  }
}

/** What this process counted of the rate limits of one namespace since it started: a few additions for each decision. */
export class RateLimitCounts implements ProcessCounts {
  /** Decisions. */
  readonly values = new Float64Array(1);
  readonly beganAt = performance.now();
  /** What goes on is not counted by the fleet. */
  readonly ongoing = 0;
  /** Bans by Ban under all policies. */
  bansUnderAll = 0;
  private readonly policies = new Map<string, PolicyCounts>();

  constructor(private readonly isConfigured: (policy: string) => boolean) {}

  /** Of every policy that something was decided under, with those that were asked for. */
  all(): IterableIterator<[policy: string, counts: PolicyCounts]> {
    return this.policies.entries();
  }

  get parts(): [policy: string, values: Float64Array][] {
    return Array.from(this.policies, ([policy, { values }]) => [policy, values]);
  }

  /** `name`: of a configured policy, or INLINE. */
  of(name: string): PolicyCounts {
    return this.policies.get(name) ?? this.add(name);
  }

  /** Counts a decision once under each of its policies. */
  decided(decision: RateLimitDecision): void {
    this.values[0] = (this.values[0] ?? 0) + 1;
    const { allowed, limits, degraded, fromMemory = false } = decision;
    for (const limit of limits) {
      const counts = this.of(partOf(limit.terms.policy));
      const outcome = outcomeOf(limit, allowed);
      if (outcome > counts.outcome) counts.outcome = outcome;
      if (outcome >= COUNTER.over) counts.denied(limit, fromMemory);
    }
    for (const { terms } of limits) {
      const counts = this.of(partOf(terms.policy));
      if (counts.outcome === NO_OUTCOME) continue;
      counts.count(counts.outcome);
      if (fromMemory && counts.outcome >= COUNTER.over) counts.count(COUNTER.fromMemory);
      if (degraded && terms.listing === undefined) counts.count(lossOf(terms.policy));
      counts.outcome = NO_OUTCOME;
    }
  }

  /** Counts the slots of a stream, until what it answers is called. */
  holding({ limits }: RateLimitDecision, units: number): () => void {
    const held = limits
      .filter(({ denial, terms }) => denial === undefined && terms.listing === undefined)
      .map(({ terms }) => ({ counts: this.of(partOf(terms.policy)), slots: terms.cost ?? units }));
    for (const { counts, slots } of held) counts.slotsHeld += slots;
    return () => {
      for (const { counts, slots } of held) counts.slotsHeld -= slots;
    };
  }

  /** Ban was called; '': under all policies. */
  banned(policy: string): void {
    if (policy === '') this.bansUnderAll++;
    else this.of(policy).bansByRequest++;
  }

  /** The subjects that were denied most, with their policy in front. */
  takeHot(limit: number): { name: string; count: number }[] {
    return Array.from(this.policies, ([policy, counts]) =>
      counts.takeDenied().map(({ name, count }) => ({ name: deniedName(policy, name), count })),
    )
      .flat()
      .sort((one, other) => other.count - one.count)
      .slice(0, limit);
  }

  private add(name: string): PolicyCounts {
    const removed = [...this.policies].filter(
      ([each, { slotsHeld }]) => each !== INLINE && slotsHeld === 0 && !this.isConfigured(each),
    );
    for (const [each] of removed.slice(0, -MAX_REMOVED)) this.policies.delete(each);
    const counts = new PolicyCounts();
    this.policies.set(name, counts);
    return counts;
  }
}

/** What this process counted, by namespace. */
export class RateLimitStats {
  private readonly counts = new Map<string, RateLimitCounts>();

  /** `isConfigured`: counters of other policies are not kept for ever. */
  constructor(private readonly isConfigured: (policy: string) => boolean = () => true) {}

  of(namespace: string): RateLimitCounts {
    let counts = this.counts.get(namespace);
    if (counts === undefined) {
      counts = new RateLimitCounts(this.isConfigured);
      this.counts.set(namespace, counts);
    }
    return counts;
  }

  /** Of every namespace that was asked for. */
  all(): IterableIterator<[namespace: string, counts: RateLimitCounts]> {
    return this.counts.entries();
  }
}

/** A subject and the policy that denied it, as one name; names of policies have no spaces. */
function deniedName(policy: string, subject: string): string {
  return `${policy} ${subject}`;
}

/** Undefined for what is no such name. */
export function deniedOf(name: string): { policy: string; subject: string } | undefined {
  const space = name.indexOf(' ');
  return space < 1 ? undefined : { policy: name.slice(0, space), subject: name.slice(space + 1) };
}

/** Only configured policies are stored under their own name. */
function partOf({ name, storedName }: PolicyTerms): string {
  return name === storedName ? name : INLINE;
}

function outcomeOf(limit: LimitResult, allowed: boolean): Outcome {
  const { denial, denies, isChecked } = limit;
  if (!allowed) {
    if (!denies) return COUNTER.deniedByOther;
    return denial === 'banned' ? COUNTER.banned : COUNTER.over;
  }
  if (denial !== undefined) return denial === 'banned' ? COUNTER.shadowBanned : COUNTER.shadowOver;
  if (!isChecked) return COUNTER.unchecked;
  return isNear(limit) ? COUNTER.near : COUNTER.ok;
}

function lossOf({ onRedisLoss }: PolicyTerms): Counter {
  if (typeof onRedisLoss === 'object') return COUNTER.degradedLocal;
  return onRedisLoss === 'allow' ? COUNTER.degradedAllow : COUNTER.degradedDeny;
}
