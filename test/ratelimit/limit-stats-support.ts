import { expect } from '@jest/globals';
import type { Limit, PolicyStats, RateLimitServiceService } from '../../src/gen/shardkeep/ratelimit/v1/ratelimit.js';
import type { PromiseClient } from '../support/client.js';
import { someone } from './slots-support.js';

export type RateLimits = PromiseClient<typeof RateLimitServiceService>;

const HOUR_MS = 3_600_000;

/** Policies whose names say what they are for. */
export const POLICIES = {
  rate_policies: {
    five: { algorithm: 'sliding_exact', limit: 5, window_ms: HOUR_MS },
    other: { algorithm: 'fixed', limit: 1_000, window_ms: HOUR_MS },
    watched: { algorithm: 'fixed', limit: 1, window_ms: HOUR_MS, enforcement: 'shadow' },
    slots: { algorithm: 'concurrency', limit: 2, window_ms: HOUR_MS },
    ladder: {
      ...{ algorithm: 'fixed', limit: 1, window_ms: HOUR_MS },
      ban: { after: 2, within_ms: HOUR_MS, ladder_ms: [HOUR_MS], decay_ms: HOUR_MS },
    },
    lists: { algorithm: 'fixed', limit: 1, window_ms: HOUR_MS, allow: ['user:vip'], deny: ['user:villain'] },
    join: {
      limits: [
        { per: 'ip', algorithm: 'fixed', limit: 2, window_ms: HOUR_MS },
        { per: 'user', algorithm: 'fixed', limit: 100, window_ms: HOUR_MS },
      ],
    },
    allows: { algorithm: 'fixed', limit: 5, window_ms: HOUR_MS, on_redis_loss: 'allow' },
    denies: { algorithm: 'fixed', limit: 5, window_ms: HOUR_MS, on_redis_loss: 'deny' },
    halves: { algorithm: 'fixed', limit: 2, window_ms: HOUR_MS, on_redis_loss: { local_fraction: 0.5 } },
  },
  rpc_limits: [
    {
      rpc: 'shardkeep.session.v1.SessionService/CreateSession',
      policy: 'join',
      subjects: [
        { kind: 'user', field: 'user_id' },
        { kind: 'ip', field: 'metadata.ip' },
      ],
    },
  ],
  envoy_domains: { edge: { descriptors: [{ key: 'user', policy: 'five', subject: 'user:{user}' }] } },
};

export const under = (policy: string, subject = someone(), cost?: number): Limit => ({
  ...{ subject, policy: { $case: 'policyName', value: policy }, cost, role: undefined, subjects: undefined },
});

/** Counts of policies that are not 0. */
export type Stats = Record<string, Partial<Record<keyof PolicyStats, number>>>;

/** How much more there is. */
export function statsSince(before: Stats, now: Stats): Stats {
  return Object.fromEntries(
    Object.entries(now).flatMap(([policy, counts]) => {
      const more = Object.entries(counts)
        .map(([name, count]) => [name, count - (before[policy]?.[name as keyof PolicyStats] ?? 0)] as const)
        .filter(([, count]) => count !== 0);
      return more.length === 0 ? [] : [[policy, Object.fromEntries(more)]];
    }),
  );
}

export async function statsOf(rateLimits: RateLimits): Promise<Stats> {
  const { policies, minutes } = await rateLimits.getRateLimitStats({});
  expect(minutes).toBeLessThanOrEqual(60);
  const names = policies.map(({ policy }) => policy);
  expect(names).toEqual(names.toSorted());
  return Object.fromEntries(
    policies.map(({ policy, ...counts }) => [
      policy,
      Object.fromEntries(
        Object.entries(counts)
          .filter(([, count]) => count !== 0n)
          .map(([name, count]) => [name, Number(count)]),
      ),
    ]),
  );
}
