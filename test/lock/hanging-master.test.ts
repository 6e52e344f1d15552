import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, describe, expect, test } from '@jest/globals';
import { AcquireLockStatus } from '../../src/gen/shardkeep/lock/v1/lock.js';
import { keys } from '../../src/redis/keys.js';
import { BARE_LOCKS } from '../support/redis-user.js';
import { until } from '../support/redis-server.js';
import { QuorumBed } from './quorum/quorum-support.js';

/** One of several masters that hangs, while the other two are not of one mind: so its vote would decide. */

const { GRANTED, HELD } = AcquireLockStatus;
/** So long that a call which waits for the master is over before. */
const NODE_TIMEOUT_MS = 10_000;
const DEADLINE_MS = 3_000;

const MODES = [
  { mode: 'the quorum', flags: [], env: {}, keyOf: keys.lock },
  {
    mode: 'locks shared with redlock',
    flags: BARE_LOCKS,
    env: { LOCK_COMPATIBLE: 'redlock' },
    keyOf: (_: string, resource: string) => resource,
  },
] as const;

describe.each(MODES)('in $mode', ({ flags, env, keyOf }) => {
  const bed = new QuorumBed();
  afterEach(bed.clear);

  test('a master that hangs is asked for no vote until it answers again', async () => {
    const settings = { LOCK_QUORUM_NODE_TIMEOUT_MS: String(NODE_TIMEOUT_MS), REDIS_TIMEOUT_MS: '300' };
    const { locks, namespace } = await bed.start({ ...env, ...settings }, flags);
    const acquire = (resource: string) =>
      locks.acquireLock({ resources: [resource], ttlMs: 60_000n }, { deadline: Date.now() + DEADLINE_MS });
    expect((await acquire('split')).status).toBe(GRANTED);
    // what is written to a silent connection keeps its socket from timing out
    const stopped = new AbortController();
    const load = (async () => {
      for (let count = 0; !stopped.signal.aborted; count++)
        await acquire(`load-${String(count)}`).finally(() => sleep(50));
    })();
    await bed.ask(2, 'DEL', keyOf(namespace, 'split'));
    bed.masterAt(1).signal('SIGSTOP');
    await until(async () => {
      const startedAt = performance.now();
      const { status } = await acquire('split');
      // who waits for it is answered at its deadline, if at all
      return status === HELD && performance.now() - startedAt < DEADLINE_MS / 2;
    });
    expect((await acquire('free')).status).toBe(GRANTED);
    stopped.abort();
    await load;

    bed.masterAt(1).signal('SIGCONT');
    bed.masterAt(0).signal('SIGSTOP');
    await until(async () => (await acquire('other')).status === GRANTED);
  });
});
