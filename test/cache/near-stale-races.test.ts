import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { CacheServiceService } from '../../src/gen/shardkeep/cache/v1/cache.js';
import { makeMutant, type Mutation } from '../support/mutant.js';
import { serviceUrl, startRedis, until, type RedisServer } from '../support/redis-server.js';
import { randomNamespace } from '../support/service.js';
import { killServiceProcesses, startServiceProcess, type ServiceProcess } from '../support/service-process.js';
import { startTcpProxy, type TcpProxy } from '../support/tcp-proxy.js';
import { bytes, lasting, near, NEAR, readsOn, type Cache } from './near-support.js';

/**
 * The races by which a memory near the caller comes to keep what is no longer so: R7, a change while the read is on its
 * way, and R8, a change that is never told because the connection broke. As in stale-races.test.ts each is run against
 * the product and against builds whose guard was taken out, and only these may end stale. A proxy in front of Redis
 * decides what arrives when.
 */

interface World extends NearService {
  /** The same data through another process, which the proxy does not stand before. */
  readonly other: Cache;
}

/** A process that answers from memory; its Redis is behind the proxy. */
interface NearService {
  readonly cache: Cache;
  readonly service: ServiceProcess;
  readonly proxy: TcpProxy;
}

/** A race for a key that holds `old`, untagged; answers what a read that begins after it returns: 'old' would be stale. */
type Race = (world: World) => Promise<string>;

const NAMESPACE = randomNamespace();
const OLD = bytes('old');
const NEW = bytes('new');
/** What the connection that tells of changes has said, and no other. */
const TRACKING = 'TRACKING';
let key = '';

let redis: RedisServer;
let another: ServiceProcess;
let product: NearService;
const endings: (() => unknown)[] = [];
beforeAll(async () => {
  redis = await startRedis();
  another = await startServiceProcess({ REDIS_URL: redis.url, NAMESPACE });
  product = await startNear();
});
afterAll(async () => {
  await killServiceProcesses();
  for (const end of endings) await end();
  await redis.remove();
});

async function startNear(main?: string): Promise<NearService> {
  const proxy = await startTcpProxy(redis.port);
  endings.push(() => proxy.close());
  const env = { REDIS_URL: serviceUrl(proxy.port), NAMESPACE, ...NEAR };
  const service = await startServiceProcess(env, main === undefined ? {} : { main });
  return { cache: service.channel().of(CacheServiceService), service, proxy };
}

async function run(race: Race, near: NearService): Promise<string> {
  const other = another.channel().of(CacheServiceService);
  key = `raced:${randomNamespace()}`;
  await other.set({ key, value: OLD, expiry: lasting });
  await remember(near.cache, 'of no race');
  try {
    return await race({ ...near, other });
  } finally {
    near.proxy.release();
  }
}

/** Goes over the connection that tells of changes, so what came before on it has arrived. */
async function trackedRead(cache: Cache): Promise<void> {
  expect(await near(cache, `never asked for: ${randomNamespace()}`)).toBeUndefined();
}

async function read(cache: Cache): Promise<string> {
  return (await near(cache, key)) ?? 'miss';
}

/** Reads until the answer comes from memory. */
async function remember(cache: Cache, remembered: string): Promise<void> {
  await until(async () => {
    await near(cache, remembered);
    const before = await readsOn(redis);
    await near(cache, remembered);
    return (await readsOn(redis)) === before;
  });
}

/** Whether the process has logged this since: a race before may have made it do so, too. */
function newLine({ logs }: ServiceProcess, message: string): () => boolean {
  const seen = logs.length;
  return () => logs.slice(seen).some(({ msg }) => msg === message);
}

/** Begins a read whose answer is held back. */
async function readOnItsWay({ cache, proxy }: World): Promise<{ readonly answer: Promise<string> }> {
  proxy.hold(TRACKING);
  const answer = read(cache);
  await proxy.holds('old');
  return { answer };
}

interface Guard {
  readonly takenOut: string;
  readonly mutations: readonly Mutation[];
}

const races: readonly {
  readonly name: string;
  readonly race: Race;
  readonly safe: string;
  readonly guards: readonly Guard[];
}[] = [
  {
    name: 'R7: a write through another process while the read is on its way',
    race: async (world) => {
      const { cache, proxy, other } = world;
      const first = await readOnItsWay(world);
      await other.set({ key, value: NEW, expiry: lasting });
      await proxy.holds('invalidate');
      // both in one piece: the change is told before whoever waits for the answer gets to it
      proxy.release();
      expect(await first.answer).toBe('old');
      return read(cache);
    },
    safe: 'new',
    guards: [
      {
        takenOut: 'what changed on its way is not kept',
        mutations: [{ file: 'cache/near-cache.js', from: '!read.current || this.kept', to: 'this.kept' }],
      },
      {
        takenOut: 'the listener is there before the read is sent',
        mutations: [
          { file: 'redis/tracked-node.js', from: 'const listener = this.listen(key, onChange);', to: 'let listener;' },
          {
            file: 'redis/tracked-node.js',
            from: 'return { value, tracked: true, stop };',
            to: 'listener = this.listen(key, onChange); return { value, tracked: true, stop };',
          },
        ],
      },
    ],
  },
  {
    name: 'R7: a write through the same process while the read is on its way, then a read that could join it',
    race: async (world) => {
      const { cache, proxy } = world;
      const first = await readOnItsWay(world);
      await cache.set({ key, value: NEW, expiry: lasting });
      const second = read(cache);
      // answered by another connection to Redis, after the service began with the one before
      await cache.get({ key });
      proxy.release();
      expect(await first.answer).toBe('old');
      return second;
    },
    safe: 'new',
    guards: [
      {
        takenOut: 'a write drops the read that is on its way',
        mutations: [{ file: 'cache/near-cache.js', from: 'this.reads.get(key)?.read;', to: 'undefined;' }],
      },
    ],
  },
  {
    name: 'R7: an invalidation of the tag while the clock of tags is on its way',
    race: async ({ cache, proxy, other }) => {
      const tagged = { key, value: OLD, expiry: lasting, tags: ['guild'] };
      await other.set(tagged);
      // the read that follows the clock, but none before it
      proxy.hold('YES\r\n*3\r\n$6\r\nZSCORE');
      expect(await read(cache)).toBe('old');
      await proxy.holds('+OK\r\n,');
      await other.invalidateTags({ tags: ['guild'] });
      await proxy.holds('invalidate');
      proxy.release();
      await trackedRead(cache);
      // behind the clock that was asked for when it had arrived
      await cache.get({ key });
      await other.set(tagged);
      await trackedRead(cache);
      expect(await read(cache)).toBe('old');
      await other.invalidateTags({ tags: ['guild'] });
      await trackedRead(cache);
      return read(cache);
    },
    safe: 'miss',
    guards: [
      {
        takenOut: 'a clock that moved on its way is not followed',
        mutations: [
          {
            file: 'cache/tags.js',
            from: 'if (isCurrent())\n                this.followed = clock;',
            to: 'this.followed = clock;',
          },
        ],
      },
    ],
  },
  {
    name: 'R8: the connection breaks with the invalidation on its way',
    race: async ({ cache, service, proxy, other }) => {
      await remember(cache, key);
      proxy.hold(TRACKING);
      await other.set({ key, value: NEW, expiry: lasting });
      await proxy.holds('invalidate');
      const isLost = newLine(service, 'redis push connection error');
      proxy.cut(TRACKING);
      await until(isLost);
      return read(cache);
    },
    safe: 'new',
    guards: [
      {
        takenOut: 'a lost connection ends what was tracked over it',
        mutations: [
          {
            file: 'redis/tracked-node.js',
            from: 'onLost: (failedAttempts) => {\n                this.tell();',
            to: 'onLost: (failedAttempts) => {',
          },
        ],
      },
    ],
  },
  {
    name: 'R8: the connection falls silent, while the service goes on asking over it',
    race: async ({ cache, service, proxy, other }) => {
      await remember(cache, key);
      proxy.hold(TRACKING);
      await other.set({ key, value: NEW, expiry: lasting });
      await proxy.holds('invalidate');
      const isGivenUp = newLine(service, 'redis push connection is silent');
      await until(() => {
        // every write to the socket begins its own timeout anew
        trackedRead(cache).catch(() => undefined);
        return isGivenUp();
      });
      return read(cache);
    },
    safe: 'new',
    guards: [
      {
        takenOut: 'a silent connection is given up',
        mutations: [
          {
            file: 'redis/push-connection.js',
            from: "this.reconnect('redis push connection is silent')",
            to: "this.logger.warn('redis push connection is silent')",
          },
        ],
      },
    ],
  },
];

describe.each(races)('$name', ({ race, safe, guards }) => {
  test('ends without the old value', async () => {
    expect(await run(race, product)).toBe(safe);
  });

  test.each(guards)('ends with it where this is taken out: $takenOut', async ({ mutations }) => {
    const mutant = makeMutant(...mutations);
    endings.push(() => {
      mutant.remove();
    });
    const mutated = await startNear(mutant.main);
    expect(await run(race, mutated)).toBe('old');
    await mutated.service.stop('SIGKILL');
  });
});
