import type { QuorumPlan } from '../lock/quorum/create-quorum-locks.js';
import type { RedlockPlan } from '../lock/redlock/create-redlock-locks.js';
import { describeTarget, type StandaloneTarget } from '../redis/connection.js';
import { keys } from '../redis/keys.js';
import type { EnvironmentSettings } from './environment.js';
import { logsIn } from './redis-access.js';
import { parseTarget, withSeedSettings } from './redis-plan.js';

/** Where locks are. Both undefined: in the Redis of the role `state`, by scripts of this service alone. */
export interface LockPlan {
  readonly quorum: QuorumPlan | undefined;
  readonly redlock: RedlockPlan | undefined;
}

/** Tells what is wrong in `problems`. */
export function planLocks(settings: EnvironmentSettings, namespace: string, problems: string[]): LockPlan {
  return settings.LOCK_COMPATIBLE === 'redlock'
    ? { quorum: undefined, redlock: planRedlock(settings, namespace, problems) }
    : { quorum: planQuorum(settings, problems), redlock: undefined };
}

function planQuorum(settings: EnvironmentSettings, problems: string[]): QuorumPlan | undefined {
  const targets = planMasters(settings, problems);
  if (targets === undefined) return undefined;
  if (targets.length !== 3 && targets.length !== 5) {
    problems.push(
      `LOCK_REDIS_URLS: must name 3 or 5 masters, not ${String(targets.length)}: 1 has no majority to lose one of, ` +
        'and an even number can lose no more of them than one less',
    );
  }
  return {
    targets,
    maxTtlMs: settings.LOCK_QUORUM_MAX_TTL_MS,
    nodeTimeoutMs: settings.LOCK_QUORUM_NODE_TIMEOUT_MS,
    maxSkewMs: settings.LOCK_QUORUM_MAX_CLOCK_SKEW_MS,
  };
}

function planRedlock(settings: EnvironmentSettings, namespace: string, problems: string[]): RedlockPlan | undefined {
  const prefix = settings.LOCK_COMPATIBLE_PREFIX ?? '';
  if (keys.redlock(namespace, prefix, '') === undefined) {
    problems.push('LOCK_COMPATIBLE_PREFIX: begins as the keys of this service do, so that no lock could be taken');
  }
  const targets = planMasters(settings, problems);
  if (targets === undefined && settings.LOCK_REDIS_URLS !== undefined) return undefined;
  if (targets !== undefined && ![1, 3, 5].includes(targets.length)) {
    problems.push(
      `LOCK_REDIS_URLS: must name 1, 3 or 5 masters, not ${String(targets.length)}, the same as the users of redlock: ` +
        'an even number can lose no more of them than one less',
    );
  }
  const { REDIS_URL, STATE_REDIS_URL, REDIS_HOST, REDIS_PORT } = settings;
  const isShared = [REDIS_URL, STATE_REDIS_URL, REDIS_HOST, REDIS_PORT].some((setting) => setting !== undefined);
  if (targets === undefined && !isShared) {
    problems.push(
      'LOCK_COMPATIBLE: users of redlock cannot reach a Redis inside the service; name theirs by LOCK_REDIS_URLS, ' +
        'STATE_REDIS_URL or REDIS_URL',
    );
  }
  return { prefix, targets: targets ?? [], nodeTimeoutMs: settings.LOCK_QUORUM_NODE_TIMEOUT_MS };
}

/** The masters of LOCK_REDIS_URLS; undefined where there is none. Tells what is wrong in `problems`. */
function planMasters(settings: EnvironmentSettings, problems: string[]): readonly StandaloneTarget[] | undefined {
  if (settings.LOCK_REDIS_URLS === undefined) return undefined;
  const problem = (message: string): void => {
    problems.push(`LOCK_REDIS_URLS: ${message}`);
  };
  const problemsBefore = problems.length;
  const targets: StandaloneTarget[] = [];
  for (const url of settings.LOCK_REDIS_URLS.split(',').map((part) => part.trim())) {
    const target = withSeedSettings(parseTarget('LOCK_REDIS_URLS', url, problems), settings, problems);
    if (target?.topology === 'standalone') targets.push(target);
    else if (target !== undefined) problem('must name masters that know nothing of each other, no Cluster or Sentinel');
  }
  if (problems.length > problemsBefore) return undefined;
  if (new Set(targets.map(describeTarget)).size < targets.length) problem('names a master twice');
  const isOpen = targets.some((target) => !logsIn(target));
  if (settings.NODE_ENV === 'production' && isOpen && !settings.ALLOW_REDIS_WITHOUT_PASSWORD) {
    problem('a master has no password; in production set one, or ALLOW_REDIS_WITHOUT_PASSWORD=1');
  }
  return targets;
}
