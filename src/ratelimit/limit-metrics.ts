import type { MetricDefinition, Sample } from '../admin/metrics.js';
import type { LimiterCounts } from './limiter.js';
import type { RatePolicies } from './policies.js';
import {
  COUNTER,
  INLINE,
  type Counter,
  type PolicyCounts,
  type RateLimitCounts,
  type RateLimitStats,
} from './stats.js';

export interface LimitMetricsOptions {
  readonly stats: RateLimitStats;
  readonly limiter: { readonly counts: LimiterCounts };
  readonly policies: Pick<RatePolicies, 'names'>;
}

type Series = readonly (readonly [label: string, counter: Counter])[];

const RESULTS: Series = [
  ['ok', COUNTER.ok],
  ['near', COUNTER.near],
  ['over', COUNTER.over],
  ['banned', COUNTER.banned],
  ['shadow_over', COUNTER.shadowOver],
  ['shadow_banned', COUNTER.shadowBanned],
  ['denied_by_other', COUNTER.deniedByOther],
  ['unchecked', COUNTER.unchecked],
];

const LOSS_MODES: Series = [
  ['allow', COUNTER.degradedAllow],
  ['deny', COUNTER.degradedDeny],
  ['local', COUNTER.degradedLocal],
];

/** Bans under all policies; no policy is called so. */
const ALL_POLICIES = '(all)';

/** What this process counts of rate limits as Prometheus sees it: by namespace and policy, never by subject. */
export function limitMetrics({ stats, limiter, policies }: LimitMetricsOptions): readonly MetricDefinition[] {
  const ofNamespaces = (samplesOf: (counts: RateLimitCounts, namespace: string) => readonly Sample[]) => () =>
    [...stats.all()].flatMap(([namespace, counts]) => samplesOf(counts, namespace));
  type Labels = Readonly<Record<'namespace' | 'policy', string>>;
  const ofPolicies = (samplesOf: (counts: PolicyCounts, labels: Labels) => readonly Sample[]) =>
    ofNamespaces((all, namespace) => {
      // from 0 on, so that the first denial is an increase
      for (const policy of [...policies.names, INLINE]) all.of(policy);
      return [...all.all()].flatMap(([policy, counts]) => samplesOf(counts, { namespace, policy }));
    });
  const counters = (name: string, help: string, label: string, series: Series): MetricDefinition => ({
    name,
    type: 'counter',
    help,
    values: ofPolicies(({ values }, labels) =>
      series.map(([value, place]) => ({ labels: { ...labels, [label]: value }, value: values[place] ?? 0 })),
    ),
  });
  const bansByPolicy = ofPolicies(({ bansByLadder, bansByRequest }, labels) => [
    { labels: { ...labels, by: 'ladder' }, value: bansByLadder },
    { labels: { ...labels, by: 'request' }, value: bansByRequest },
  ]);
  const bansUnderAll = ofNamespaces(({ bansUnderAll: value }, namespace) => [
    { labels: { namespace, policy: ALL_POLICIES, by: 'request' }, value },
  ]);
  return [
    {
      name: 'shardkeep_ratelimit_checks_total',
      type: 'counter',
      help: 'Calls that were admitted or denied.',
      values: ofNamespaces(({ values }, namespace) => [{ labels: { namespace }, value: values[0] ?? 0 }]),
    },
    {
      name: 'shardkeep_ratelimit_coalesced_total',
      type: 'counter',
      help: "Calls that shared another one's call of Redis.",
      values: () => [{ labels: {}, value: limiter.counts.coalesced }],
    },
    counters('shardkeep_ratelimit_decisions_total', 'Calls under a policy, by what they came to.', 'result', RESULTS),
    {
      name: 'shardkeep_ratelimit_denied_from_memory_total',
      type: 'counter',
      help: 'Calls that a policy denied without asking Redis.',
      values: ofPolicies(({ values }, labels) => [{ labels, value: values[COUNTER.fromMemory] ?? 0 }]),
    },
    counters(
      'shardkeep_ratelimit_degraded_total',
      'Calls that were decided while Redis was away, by what the policy says of that.',
      'mode',
      LOSS_MODES,
    ),
    {
      name: 'shardkeep_ratelimit_bans_total',
      type: 'counter',
      help: 'Bans that began, by a ladder of the policy or by Ban.',
      values: () => [...bansByPolicy(), ...bansUnderAll()],
    },
    {
      name: 'shardkeep_ratelimit_slots_held',
      type: 'gauge',
      help: 'Slots that open streams of HoldConcurrency hold.',
      values: ofPolicies(({ slotsHeld }, labels) => [{ labels, value: slotsHeld }]),
    },
    {
      name: 'shardkeep_ratelimit_remembered_subjects',
      type: 'gauge',
      help: 'Subjects whose denials are remembered.',
      values: () => [{ labels: {}, value: limiter.counts.rememberedSubjects }],
    },
  ];
}
