import type { ReplicaTerms } from '../redis/connection.js';
import type { RedisPlan } from '../redis/roles.js';
import type { EnvironmentSettings } from './environment.js';

/** What sessions and locks wait for before they are answered. Tells what is wrong in `problems`. */
export function planReplicas(
  settings: EnvironmentSettings,
  plan: RedisPlan | undefined,
  problems: string[],
): ReplicaTerms | undefined {
  const { STATE_REPLICAS: count, STATE_REPLICAS_TIMEOUT_MS: timeoutMs, REDIS_TIMEOUT_MS } = settings;
  if (count === 0) return undefined;
  if (plan?.kind === 'embedded') problems.push('STATE_REPLICAS: the Redis inside the service has no replicas');
  // the connection stands still while it waits, and would count as silent
  if (timeoutMs >= REDIS_TIMEOUT_MS) problems.push('STATE_REPLICAS_TIMEOUT_MS: must be below REDIS_TIMEOUT_MS');
  return { count, timeoutMs };
}
