import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { CacheServiceService, FillStatus, GetOrLeaseStatus } from '../../src/gen/shardkeep/cache/v1/cache.js';
import type { PromiseClient } from '../support/client.js';
import { makeMutant, type Mutant, type Mutation } from '../support/mutant.js';
import { rawRedis, type RawRedis } from '../support/raw-redis.js';
import { until } from '../support/redis-server.js';
import { randomNamespace, sharedRedisUrl } from '../support/service.js';
import { killServiceProcesses, startServiceProcess, type ServiceProcess } from '../support/service-process.js';

/**
 * The races by which caches come to serve what is no longer so. Each is run against the product and against a build whose
 * guard was taken out: only the second may end stale.
 */

type Cache = PromiseClient<typeof CacheServiceService>;

interface World {
  readonly cache: Cache;
  /** The same data through another process of the product. */
  readonly other: Cache;
  readonly raw: RawRedis;
}

/** A race; answers what a read that begins after it returns: 'old' would be stale. */
type Race = (world: World) => Promise<string>;

const OLD = Buffer.from('old');
const NEW = Buffer.from('new');
let key = '';
const minute = { $case: 'ttlMs', value: 60_000n } as const;

const NAMESPACE = randomNamespace();
const TAG_TABLE = `${NAMESPACE}:tags:{tags:${NAMESPACE}}`;
const env = { REDIS_URL: sharedRedisUrl('standalone'), NAMESPACE };
const mutants: Mutant[] = [];
let raw: RawRedis;
let product: ServiceProcess;
let another: ServiceProcess;
beforeAll(async () => {
  raw = await rawRedis('standalone');
  [product, another] = await Promise.all([startServiceProcess(env), startServiceProcess(env)]);
});
afterAll(async () => {
  await killServiceProcesses();
  for (const mutant of mutants) mutant.remove();
  await raw.close();
});

async function lease(cache: Cache, leaseMs = 60_000n): Promise<Buffer> {
  const { status, leaseToken } = await cache.getOrLease({ key, leaseMs });
  expect(status).toBe(GetOrLeaseStatus.LEASED);
  return leaseToken;
}

const fill = (cache: Cache, leaseToken: Buffer, value: Buffer, tags: string[] = []): ReturnType<Cache['fill']> =>
  cache.fill({ key, leaseToken, result: { $case: 'value', value }, expiry: minute, tags });

async function read({ cache }: World): Promise<string> {
  return (await cache.get({ key })).entry?.value.toString() ?? 'miss';
}

/** A wall clock that is an hour ahead, or behind. */
function clockShift(hours: number): string {
  const shift = `const now = Date.now; Date.now = () => now() + ${String(hours * 3_600_000)};`;
  return `data:text/javascript,${encodeURIComponent(shift)}`;
}

async function runOn(service: ServiceProcess, race: Race): Promise<string> {
  key = `raced:${randomNamespace()}`;
  return race({
    cache: service.channel().of(CacheServiceService),
    other: another.channel().of(CacheServiceService),
    raw,
  });
}

async function runMutated(race: Race, mutations: readonly Mutation[], nodeArgs: readonly string[]): Promise<string> {
  const mutant = makeMutant(...mutations);
  mutants.push(mutant);
  const service = await startServiceProcess(env, { nodeArgs, main: mutant.main });
  const outcome = await runOn(service, race);
  await service.stop();
  return outcome;
}

const anyLease: Mutation = {
  file: 'cache/lua/fill.lua',
  from: "if not holds_lease(lease, token) then return {'LEASE_LOST', '0'} end",
  to: 'header = header or {version = 0, fields = {}}\nlease = lease or pack_lease(token, now_ms, now_ms)',
};

const races: readonly {
  readonly name: string;
  readonly race: Race;
  readonly safe: string;
  readonly mutations: readonly Mutation[];
  readonly nodeArgs?: readonly string[];
}[] = [
  {
    name: 'R1: a Delete during the load, then the late Fill',
    race: async (world) => {
      const token = await lease(world.cache);
      await world.other.delete({ keys: [key] });
      await fill(world.cache, token, OLD);
      return read(world);
    },
    safe: 'miss',
    mutations: [anyLease],
  },
  {
    name: 'R1: a Set during the load, then the late Fill',
    race: async (world) => {
      const token = await lease(world.cache);
      await world.other.set({ key, value: NEW });
      await fill(world.cache, token, OLD);
      return read(world);
    },
    safe: 'new',
    mutations: [anyLease],
  },
  {
    name: 'R2: InvalidateTags during the load of an entry that had the tag',
    race: async (world) => {
      await fill(world.cache, await lease(world.cache), Buffer.from('older'), ['guild']);
      await world.other.invalidateTags({ tags: ['guild'] });
      const token = await lease(world.cache);
      await world.other.invalidateTags({ tags: ['guild'] });
      await fill(world.cache, token, OLD, ['guild']);
      return read(world);
    },
    safe: 'miss',
    mutations: [
      {
        file: 'cache/lease-store.js',
        from: 'Number(leaseToken.readBigUInt64BE(TOKEN_BYTES))',
        to: '(await this.tags.of(call.namespace).ensureClock())',
      },
    ],
  },
  {
    name: 'R3: the same with a tag that only the load finds out',
    race: async (world) => {
      const token = await lease(world.cache);
      await world.other.invalidateTags({ tags: ['found out'] });
      await fill(world.cache, token, OLD, ['found out']);
      return read(world);
    },
    safe: 'miss',
    mutations: [
      {
        file: 'cache/lease-store.js',
        from: 'Number(leaseToken.readBigUInt64BE(TOKEN_BYTES))',
        to: 'Number.MAX_SAFE_INTEGER',
      },
    ],
  },
  {
    name: 'R4: a holder who slept through its lease, after another one filled',
    race: async (world) => {
      const token = await lease(world.cache, 1n);
      let next = await world.other.getOrLease({ key, leaseMs: 60_000n });
      await until(async () => {
        if (next.status !== GetOrLeaseStatus.LEASED) next = await world.other.getOrLease({ key, leaseMs: 60_000n });
        return next.status === GetOrLeaseStatus.LEASED;
      });
      await fill(world.other, next.leaseToken, NEW);
      await fill(world.cache, token, OLD);
      return read(world);
    },
    safe: 'new',
    mutations: [anyLease],
  },
  {
    name: 'R5: the tag table is lost',
    race: async (world) => {
      await fill(world.cache, await lease(world.cache), OLD, ['guild']);
      await world.other.invalidateTags({ tags: ['guild'] });
      await world.raw.command('DEL', TAG_TABLE);
      return read(world);
    },
    safe: 'miss',
    mutations: [{ file: 'cache/tags.js', from: 'clock === undefined || ', to: '' }],
  },
  {
    name: 'R5: the tag table is lost, and begun anew by another tag',
    race: async (world) => {
      await fill(world.cache, await lease(world.cache), OLD, ['guild']);
      await world.other.invalidateTags({ tags: ['guild'] });
      await world.raw.command('DEL', TAG_TABLE);
      await world.cache.invalidateTags({ tags: ['another'] });
      return read(world);
    },
    safe: 'miss',
    mutations: [
      {
        file: 'cache/lua/invalidate-tags.lua',
        from: "if not previous then redis.call('ZADD', tags, generation, TAG_FLOOR) end",
        to: "if not previous then redis.call('ZADD', tags, 0, TAG_FLOOR) end",
      },
    ],
  },
  {
    name: 'R6: the clock of the host that fills is an hour ahead',
    race: async (world) => {
      await fill(world.cache, await lease(world.cache), OLD, ['guild']);
      await world.other.invalidateTags({ tags: ['guild'] });
      return read(world);
    },
    safe: 'miss',
    nodeArgs: ['--import', clockShift(1)],
    mutations: [
      {
        file: 'cache/lease-store.js',
        from: 'Number(leaseToken.readBigUInt64BE(TOKEN_BYTES))',
        to: 'Date.now() * 1000',
      },
    ],
  },
  {
    name: 'R9: a version that is met again after Delete and Set',
    race: async (world) => {
      const { version } = await world.cache.set({ key, value: Buffer.from('first') });
      await world.cache.delete({ keys: [key] });
      await world.cache.set({ key, value: NEW });
      await world.cache.set({ key, value: OLD, condition: { $case: 'ifVersion', value: version } });
      return read(world);
    },
    safe: 'new',
    mutations: [
      { file: 'redis/lua/clock.lua', from: 'return math.max(previous + 1, now_us)', to: 'return previous + 1' },
    ],
  },
];

describe.each(races)('$name', ({ race, safe, mutations, nodeArgs }) => {
  test('ends without the old value', async () => {
    const service = nodeArgs === undefined ? product : await startServiceProcess(env, { nodeArgs });
    expect(await runOn(service, race)).toBe(safe);
  });

  test('ends with it where the guard is taken out', async () => {
    expect(await runMutated(race, mutations, nodeArgs ?? [])).toBe('old');
  });
});

test('R6: a clock that is an hour behind loses nothing either', async () => {
  const behind = await startServiceProcess(env, { nodeArgs: ['--import', clockShift(-1)] });
  const outcome = await runOn(behind, async (world) => {
    await world.other.invalidateTags({ tags: ['guild'] });
    expect((await fill(world.cache, await lease(world.cache), NEW, ['guild'])).status).toBe(FillStatus.FILLED);
    return read(world);
  });
  expect(outcome).toBe('new');
});
