import { performance } from 'node:perf_hooks';
import { setTimeout as sleep } from 'node:timers/promises';
import { GameServer } from '../../test/lock/game-server-process.js';
import { startRedis } from '../../test/support/redis-server.js';
import { atMost, formatMs, type GoalResult, type Table } from '../harness/section.js';
import { startService, startStandalone } from '../harness/servers.js';
import { median, spread } from '../harness/statistics.js';
import type { SuiteContext } from '../harness/suite.js';
import { connectService } from '../programs/service-client.js';

/** How long the others wait when something dies or stands still. */

const HAND_OVER_GOAL_MS = 50;
const NODE_TIMEOUT_MS = 50;
const QUORUM_GOAL_MS = NODE_TIMEOUT_MS + 10;
const LEASE_MS = 60_000n;
/** The client has closed its connection long before. */
const REST_MS = 20;

export interface LockFaults {
  readonly goals: readonly GoalResult[];
  readonly table: Table;
}

export async function measureLockFaults(context: SuiteContext): Promise<LockFaults> {
  const handOversMs = await measureKilledHolder(context);
  const { wholeMs, stoppedMs } = await measureStoppedMaster(context);
  const row = (what: string, timesMs: readonly number[]): string[] => {
    const { min, max } = spread(timesMs);
    return [what, formatMs(median(timesMs)), formatMs(min), formatMs(max)];
  };
  return {
    goals: [
      atMost('holder killed to next grant, HoldLocks, ms', HAND_OVER_GOAL_MS, spread(handOversMs), ' ms'),
      atMost('acquire with 1 of 3 masters stopped, ms', QUORUM_GOAL_MS, spread(stoppedMs), ' ms'),
    ],
    table: {
      title: 'How long the others wait',
      columns: ['what', 'p50 ms', 'least', 'most'],
      rows: [
        row('from SIGKILL of a holder to the grant of who waits, with a lease of 60 s', handOversMs),
        row('acquire and release, 3 masters', wholeMs),
        row('acquire and release, 1 of 3 masters stopped', stoppedMs),
      ],
    },
  };
}

async function measureKilledHolder({ scope, pace }: SuiteContext): Promise<number[]> {
  const redis = await startStandalone(scope);
  const service = await startService(scope, { redis, listen: '127.0.0.1:0' });
  const { locks } = connectService(service.address, 'service-pipeline');
  const timesMs: number[] = [];
  for (let round = 0; round < pace.rounds * 4; round++) {
    const resources = [`killed-${round}`];
    const holder = await GameServer.start(service.address);
    await holder.hold({ resources, ttlMs: LEASE_MS });
    const granted = locks
      .acquireLock({ resources, ttlMs: LEASE_MS, waitMs: 9_000n })
      .then(({ lockToken }) => ({ at: performance.now(), isGranted: lockToken !== '' }));
    while ((await locks.getLock({ resource: `killed-${round}` })).waitingCount === 0n) await sleep(1);
    const killedAt = performance.now();
    holder.signal('SIGKILL');
    const { at, isGranted } = await granted;
    if (!isGranted) throw new Error('the lock was not handed over');
    timesMs.push(at - killedAt);
    await sleep(REST_MS);
  }
  await service.stop();
  return timesMs;
}

async function measureStoppedMaster({ scope, pace }: SuiteContext): Promise<{
  readonly wholeMs: number[];
  readonly stoppedMs: number[];
}> {
  const masters = await Promise.all([startRedis(), startRedis(), startRedis()]);
  scope.onClose(async () => {
    await Promise.all(masters.map((master) => master.remove()));
  });
  const redis = await startStandalone(scope);
  const service = await startService(scope, {
    redis,
    env: {
      LOCK_REDIS_URLS: masters.map(({ url }) => url).join(','),
      // so that new masters vote soon
      LOCK_QUORUM_MAX_TTL_MS: '1000',
      LOCK_QUORUM_NODE_TIMEOUT_MS: String(NODE_TIMEOUT_MS),
    },
  });
  const { locks } = connectService(service.address, 'service-pipeline');
  const take = async (name: string): Promise<number> => {
    const resources = [name];
    const startedAt = performance.now();
    const { lockToken } = await locks.acquireLock({ resources, ttlMs: 1_000n });
    const tookMs = performance.now() - startedAt;
    if (lockToken === '') throw new Error('not granted');
    await locks.releaseLock({ resources, lockToken });
    return tookMs;
  };
  const takeMany = async (prefix: string): Promise<number[]> => {
    const timesMs: number[] = [];
    for (let round = 0; round < pace.rounds * 20; round++) timesMs.push(await take(`${prefix}-${round}`));
    return timesMs;
  };
  const wholeMs = await takeMany('whole');
  masters[0].signal('SIGSTOP');
  const stoppedMs = await takeMany('stopped');
  masters[0].signal('SIGCONT');
  await service.stop();
  return { wholeMs, stoppedMs };
}
