import { DOWN_AFTER_MS } from '../../support/redis-sentinel.js';
import type { Expectations } from '../history.js';
import type { Row } from '../row.js';
import type { Setup } from '../setup.js';
import type { World } from '../world.js';

const RECOVERY_MS = 2 * DOWN_AFTER_MS + 3_000;
/** Of a master that may take writes only while a replica has what it was told a second ago at most. */
const MIN_REPLICAS = ['--min-replicas-to-write', '1', '--min-replicas-max-lag', '1'];
/** The replica's word comes once a second, is believed for one more, and its age is looked at ten times in that. */
const BELIEVED_MS = 3_000;

const setup: Setup = { servicesLive: true, sentinelReplicas: 1, afterMs: 8_000 };
/** What had not reached the replica is gone, and with it who held a lock. */
const lossy: Partial<Expectations> = {
  mayLose: DOWN_AFTER_MS,
  holdersMayOverlap: true,
  limitResets: 1,
  recoveryMs: RECOVERY_MS,
};

async function failOver(world: World, signal: 'SIGKILL' | 'SIGSTOP'): Promise<void> {
  const { sentinel } = world;
  const old = sentinel.servers[0];
  if (old === undefined) throw new Error('no master');
  const what = `${signal} of the master`;
  const startMs = performance.now();
  world.begin(what);
  if (signal === 'SIGKILL') await old.stop(signal);
  else old.signal(signal);
  // callers are to be well twice `down-after` and 3 s from here
  world.end(what);
  await sentinel.untilFailedOverFrom(old);
  world.figure('new master after', `${(performance.now() - startMs).toFixed(0)} ms`);
  if (signal === 'SIGKILL') return;
  // what it had in its sockets when it stopped it answers now, before anybody can tell it that it is no master any more
  const goesOn = 'the old master goes on';
  world.begin(goesOn);
  old.signal('SIGCONT');
  world.end(goesOn);
}

/** F3: the master of a Sentinel setup goes. */
export const sentinelFaults: readonly Row[] = [
  {
    id: 'F3-kill',
    what: 'Sentinel with `down-after-milliseconds` 1000, a master and a replica: kill -9 of the master',
    setup,
    expect: lossy,
    inject: (world) => failOver(world, 'SIGKILL'),
  },
  {
    id: 'F3-stop',
    what: 'the same, the master stopped by SIGSTOP until the replica has taken over',
    setup,
    // what it had in its sockets when it stopped it takes when it goes on, and nobody is told so
    expect: { ...lossy, mayLoseForMs: BELIEVED_MS },
    inject: (world) => failOver(world, 'SIGSTOP'),
  },
  {
    id: 'F3-min-replicas',
    what: 'the same as F3-stop, two replicas, `min-replicas-to-write 1` and `min-replicas-max-lag 1`',
    setup: { ...setup, sentinelReplicas: 2, redisFlags: MIN_REPLICAS },
    expect: { ...lossy, mayLoseForMs: BELIEVED_MS },
    inject: (world) => failOver(world, 'SIGSTOP'),
  },
];
