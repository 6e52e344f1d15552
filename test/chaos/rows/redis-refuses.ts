import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { startServiceProcess } from '../../support/service-process.js';
import type { Row } from '../row.js';
import type { World } from '../world.js';

const FULL_MS = 3_000;
/** Until Redis has been told that it may hold more again. */
const UNDONE_MS = 1_000;
/** What only reads, frees or extends. */
const WITHOUT_MEMORY = [
  ...['session.validate', 'session.read', 'session.destroy', 'session.verify'],
  ...['cache.get', 'lock.release'],
];
const READS = ['session.read', 'session.verify', 'cache.get'];
const EX_CONFIG = 78;

async function usedBytes(world: World): Promise<number> {
  return Number(/^used_memory:(\d+)/m.exec(String(await world.redis.command('INFO', 'memory')))?.[1]);
}

/** F9, F10 and F26: Redis answers, and refuses. */
export const redisRefuses: readonly Row[] = [
  {
    id: 'F9-full',
    what: 'Redis is full for 3 s, with `noeviction`',
    setup: { servicesLive: true },
    expect: { mayFailWith: ['RESOURCE_EXHAUSTED'], unaffected: WITHOUT_MEMORY },
    inject: (world) =>
      world.fault('Redis is full', {
        inject: () => world.redis.command('CONFIG', 'SET', 'maxmemory', '1mb'),
        forMs: FULL_MS,
        undo: () => world.redis.command('CONFIG', 'SET', 'maxmemory', '0'),
      }),
  },
  {
    id: 'F10-lru',
    what: 'Redis is full for 3 s, with `allkeys-lru`, which the services say at start is wrong',
    setup: { servicesLive: true, redisFlags: ['--maxmemory-policy', 'allkeys-lru'] },
    expect: {
      mayLose: 'anything',
      // what came while it evicted as well
      mayLoseForMs: FULL_MS + UNDONE_MS,
      holdersMayOverlap: true,
      limitResets: 5,
      booksMayDiffer: true,
      mayFailWith: ['RESOURCE_EXHAUSTED', 'UNAVAILABLE', 'DEADLINE_EXCEEDED'],
    },
    inject: async (world) => {
      const warned = world.services.every(({ running }) =>
        running.logs.some(({ maxmemoryPolicy }) => maxmemoryPolicy === 'allkeys-lru'),
      );
      world.claim('every service says at start that sessions may be evicted', warned);
      const env = { REDIS_URL: world.redis.url, STRICT_EVICTION: '1' };
      const strict = await startServiceProcess(env, { until: 'nothing' });
      world.claim('with STRICT_EVICTION none starts', (await strict.exited).code === EX_CONFIG);
      const fewer = Math.floor(0.97 * (await usedBytes(world)));
      await world.fault('Redis evicts', {
        inject: () => world.redis.command('CONFIG', 'SET', 'maxmemory', String(fewer)),
        forMs: FULL_MS,
        undo: () => world.redis.command('CONFIG', 'SET', 'maxmemory', '0'),
      });
      const evicted = /^evicted_keys:(\d+)/m.exec(String(await world.redis.command('INFO', 'stats')))?.[1];
      world.figure('keys evicted:', evicted ?? '0');
    },
  },
  {
    id: 'F26-disk',
    what: 'Redis cannot write its snapshot for 3 s and refuses writes (`MISCONF`)',
    setup: { servicesLive: true, redisFlags: ['--enable-protected-configs', 'yes'] },
    expect: { unaffected: READS },
    inject: async (world) => {
      // whoever runs this may write anywhere, so the folder goes
      const folder = await mkdtemp(join(tmpdir(), 'shardkeep-chaos-disk-'));
      const { redis } = world;
      await redis.command('CONFIG', 'SET', 'dir', folder);
      await rm(folder, { recursive: true });
      await world.fault('no disk', {
        inject: async () => {
          await redis.command('CONFIG', 'SET', 'save', '3600 1');
          await redis.command('BGSAVE');
        },
        forMs: FULL_MS,
        undo: async () => {
          await redis.command('CONFIG', 'SET', 'save', '');
          await redis.command('CONFIG', 'SET', 'dir', tmpdir());
        },
      });
    },
  },
];
