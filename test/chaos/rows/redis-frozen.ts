import { createClient } from 'redis';
import { setTimeout as sleep } from 'node:timers/promises';
import { asOurselves } from '../../support/redis-user.js';
import type { Row } from '../row.js';
import type { World } from '../world.js';

const BUSY_MS = 3_000;
const FLUSH_EVERY_MS = 50;
const FLUSHES = 100;

async function freeze(world: World, forMs: number): Promise<void> {
  const { redis } = world;
  await world.fault(`SIGSTOP of Redis for ${String(forMs)} ms`, {
    inject: () => {
      redis.signal('SIGSTOP');
    },
    forMs,
    undo: () => {
      redis.signal('SIGCONT');
    },
  });
}

function frozen(id: string, forMs: number): Row {
  return {
    id,
    what: `Redis stopped by SIGSTOP for ${String(forMs / 1_000)} s`,
    setup: { servicesLive: true, persistence: 'aof-everysec' },
    expect: {},
    inject: (world) => freeze(world, forMs),
  };
}

/** F2, F11 and F25: Redis is there and does not answer, or has forgotten its scripts. */
export const redisFrozen: readonly Row[] = [
  frozen('F2-200ms', 200),
  frozen('F2-2s', 2_000),
  frozen('F2-10s', 10_000),
  {
    id: 'F11-flush',
    what: '`SCRIPT FLUSH` every 50 ms, 100 times',
    setup: { servicesLive: true },
    expect: { mayFailWith: [], recoveryMs: 0 },
    inject: async (world) => {
      const what = 'SCRIPT FLUSH';
      world.begin(what);
      for (let flush = 0; flush < FLUSHES; flush++) {
        await world.redis.command('SCRIPT', 'FLUSH');
        await sleep(FLUSH_EVERY_MS);
      }
      world.end(what);
    },
  },
  {
    id: 'F25-busy',
    what: 'another client runs a script without end for 3 s, then `SCRIPT KILL`',
    setup: { servicesLive: true, redisFlags: ['--busy-reply-threshold', '100'] },
    expect: {},
    inject: async (world) => {
      const other = createClient({ url: asOurselves(world.redis.url), socket: { reconnectStrategy: false } });
      other.on('error', () => undefined);
      await other.connect();
      const running = other.eval('while true do end').catch(() => undefined);
      await world.fault('a script without end', {
        inject: () => undefined,
        forMs: BUSY_MS,
        undo: () => world.redis.command('SCRIPT', 'KILL'),
      });
      await running;
      other.destroy();
    },
  },
];
