import { invalidField } from '../errors.js';
import type {
  HoldConcurrencyResponse,
  Limit,
  RateLimitServiceService,
} from '../gen/shardkeep/ratelimit/v1/ratelimit.js';
import type { Implementation, StreamContext } from '../grpc/rpc.js';
import type { Slots } from './concurrency-store.js';
import { askOf, checkAsked, cost, limits, permitInline, toAnswer, toResponse } from './fields.js';
import type { HeldSlots } from './hold/held-slots.js';
import type { RatePolicies } from './policies.js';
import type { RateLimitCounts, RateLimitStats } from './stats.js';
import { newHolder, type RateLimitStore } from './store.js';

export interface HoldHandlerOptions {
  readonly store: Pick<RateLimitStore, 'isAtomic'>;
  readonly policies: RatePolicies;
  readonly stats: RateLimitStats;
  readonly openHeldSlots: (slots: Slots) => HeldSlots;
}

/** Renewed each third of it, which must leave time for an answer. */
const MIN_LEASE_MS = 500;

export function holdRpcs({
  store,
  policies,
  stats,
  openHeldSlots,
}: HoldHandlerOptions): Pick<Implementation<typeof RateLimitServiceService>, 'holdConcurrency'> {
  return {
    holdConcurrency: {
      permit: permitInline,
      rules: { limits, cost },
      check: (request) => {
        const terms = checkAsked(policies, request);
        request.limits.forEach((limit, index) => {
          checkLease(policies, limit, `limits[${String(index)}]`);
        });
        if (!store.isAtomic(terms)) throw invalidField('limits', 'must be of one subject on a Cluster');
      },
      onDrain: 'end',
      holds: true,
      handle: (request, call) => {
        const { namespace } = call.principal;
        const terms = policies.termsOf(request.limits);
        const { cost: units } = askOf(request);
        const slots = openHeldSlots({ namespace, holder: newHolder(), limits: terms, cost: units });
        return hold(slots, { policies, counts: stats.of(namespace), units }, call);
      },
    },
  };
}

async function* hold(
  slots: HeldSlots,
  {
    policies,
    counts,
    units,
  }: { readonly policies: RatePolicies; readonly counts: RateLimitCounts; readonly units: number },
  call: StreamContext,
): AsyncGenerator<HoldConcurrencyResponse, void> {
  // whoever waits for the slots to be lost would not hear of the end
  call.whenEnded(() => {
    slots.stop();
  });
  let letGo: (() => void) | undefined;
  try {
    const decision = await slots.take(call);
    counts.decided(decision);
    if (decision.allowed) letGo = counts.holding(decision, units);
    const options = { policyVersion: policies.version, wantHeaders: false, nowMs: 0 };
    yield { decision: toResponse(toAnswer(decision, options)) };
    if (decision.allowed) await slots.over;
  } finally {
    letGo?.();
    await slots.letGo();
  }
}

function checkLease(policies: RatePolicies, limit: Limit, field: string): void {
  const isInline = limit.policy?.$case === 'inlinePolicy';
  for (const { policy } of policies.termsOf([limit])) {
    if (policy.algorithm !== 'concurrency') {
      throw invalidField(`${field}.${isInline ? 'inline_policy.algorithm' : 'policy_name'}`, 'must be CONCURRENCY');
    }
    if (policy.windowMs < MIN_LEASE_MS) {
      const least = `must be ${String(MIN_LEASE_MS)} ms or more to be held`;
      throw invalidField(`${field}.${isInline ? 'inline_policy.window_ms' : 'policy_name'}`, least);
    }
  }
}
