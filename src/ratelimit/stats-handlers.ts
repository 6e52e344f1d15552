import type { PolicyStats, RateLimitServiceService } from '../gen/shardkeep/ratelimit/v1/ratelimit.js';
import type { Implementation } from '../grpc/rpc.js';
import { integer } from '../grpc/rules.js';
import type { RateLimitStatsStore } from './stats-store.js';
import type { CounterValues } from './stats.js';

const MAX_HOTTEST = 100;

export function statsRpcs(
  stats: Pick<RateLimitStatsStore, 'getRateLimitStats'>,
): Pick<Implementation<typeof RateLimitServiceService>, 'getRateLimitStats'> {
  return {
    getRateLimitStats: {
      access: 'admin',
      rules: { hottestCount: integer({ min: 0, max: MAX_HOTTEST }) },
      handle: async ({ hottestCount }, call) => {
        const { policies, minutes, hottest } = await stats.getRateLimitStats(hottestCount, call);
        return {
          policies: policies.map(({ policy, counts }) => toPolicyStats(policy, counts)),
          minutes,
          hottest: hottest.map(({ policy, subject, denied }) => ({ policy, subject, denied: BigInt(denied) })),
        };
      },
    },
  };
}

function toPolicyStats(policy: string, counts: CounterValues): PolicyStats {
  const { unchecked, ok, near, shadowOver, shadowBanned } = counts;
  return {
    policy,
    admitted: BigInt(unchecked + ok + near + shadowOver + shadowBanned),
    denied: BigInt(counts.over + counts.banned),
    shadowDenied: BigInt(shadowOver + shadowBanned),
    deniedFromMemory: BigInt(counts.fromMemory),
    degraded: BigInt(counts.degradedAllow + counts.degradedDeny + counts.degradedLocal),
  };
}
