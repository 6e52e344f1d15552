import type { Row } from '../row.js';
import type { Setup } from '../setup.js';
import type { World } from '../world.js';

const DOWN_MS = 1_500;
const EVERYSEC_MS = 1_000;
/** Redis syncs once a second and waits up to another for a sync that is still on its way. */
const EVERYSEC_WINDOW_MS = 2 * EVERYSEC_MS;

const live: Setup = { servicesLive: true };

async function restartRedis(world: World, signal: NodeJS.Signals): Promise<void> {
  await world.fault(`${signal} of Redis`, {
    inject: () => world.redis.stop(signal),
    forMs: DOWN_MS,
    undo: () => world.redis.restart(),
  });
}

/** F1: Redis goes and comes back with what it kept. */
export const redisRestarts: readonly Row[] = [
  {
    id: 'F1-always',
    what: 'Redis with `appendfsync always`: kill -9, started again after 1.5 s',
    setup: { ...live, persistence: 'aof-always' },
    expect: {},
    inject: (world) => restartRedis(world, 'SIGKILL'),
  },
  {
    id: 'F1-everysec',
    what: 'Redis with `appendfsync everysec`: kill -9, started again after 1.5 s',
    setup: { ...live, persistence: 'aof-everysec' },
    // a process that dies leaves what it wrote to the kernel; only a machine that dies loses a second
    expect: { mayLose: EVERYSEC_WINDOW_MS },
    inject: (world) => restartRedis(world, 'SIGKILL'),
  },
  {
    id: 'F1-clean',
    what: 'Redis with `appendfsync everysec`: SIGTERM, started again after 1.5 s',
    setup: { ...live, persistence: 'aof-everysec' },
    expect: {},
    inject: (world) => restartRedis(world, 'SIGTERM'),
  },
  {
    id: 'F1-nothing',
    what: 'Redis without persistence: kill -9, started again empty after 1.5 s',
    setup: { ...live, persistence: 'none' },
    expect: { mayLose: 'anything', holdersMayOverlap: true, limitResets: 1 },
    inject: (world) => restartRedis(world, 'SIGKILL'),
  },
];
