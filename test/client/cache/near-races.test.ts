import { setImmediate as nextTurn } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { NearCache } from '../../../src/client/cache/near/near-cache.js';
import type { WatchResponse } from '../../../src/gen/shardkeep/cache/v1/cache.js';
import type { Mutation } from '../../support/mutant.js';
import { until } from '../../support/redis-server.js';
import { randomNamespace, sharedRedisUrl, startTestService, type TestService } from '../../support/service.js';
import { bytes, lasting, NearClient, nearCacheWithout, textOf, type NearCacheClass } from './near-support.js';

/**
 * The races by which a client comes to keep what is no longer so: R7, a change while the read is on its way, and R8, a change
 * of which the word is late or lost. Each is run against the product and against builds whose guard was taken out, and only
 * these may end stale. A gate between the client and Watch decides what arrives when; everything else is real.
 */

interface World {
  readonly reader: NearClient;
  /** The same data through another process of the service, and another client. */
  readonly other: TestService['cache'];
  /** Holds `old`, untagged. */
  readonly key: string;
}

/** Answers what a read that begins after it returns: 'old' would be stale. */
type Race = (world: World) => Promise<string>;

interface Guard {
  readonly takenOut: string;
  readonly mutations: readonly Mutation[];
}

const NEAR = 'near-cache.js';
const FEED = 'change-feed.js';

let service: TestService;
let another: TestService;
beforeAll(async () => {
  const env = { REDIS_URL: sharedRedisUrl('standalone'), NAMESPACE: randomNamespace() };
  [service, another] = await Promise.all([startTestService(env), startTestService(env)]);
});
afterAll(async () => {
  await Promise.all([service.stop(), another.stop()]);
});

async function run(race: Race, NearCacheClass: NearCacheClass = NearCache): Promise<string> {
  const reader = new NearClient(service.address, { NearCacheClass });
  const key = `raced:${randomNamespace()}`;
  try {
    await another.cache.set({ key, value: bytes('old'), expiry: lasting });
    return await race({ reader, other: another.cache, key });
  } finally {
    await reader.close();
  }
}

const write = (cache: TestService['cache'], key: string): Promise<unknown> =>
  cache.set({ key, value: bytes('new'), expiry: lasting });

const tellsOf =
  (key: string) =>
  ({ keys }: WatchResponse): boolean =>
    keys.includes(key);

/** That the race was run as it is meant. */
function mustBe(answer: string, expected: string): void {
  if (answer !== expected) throw new Error(`answered ${answer}`);
}

/** Waits until the service has told of a key, and the client has taken it in. */
async function untilTold({ reader, key }: World): Promise<void> {
  await reader.gate.untilSaid(tellsOf(key));
  await nextTurn();
}

/** Nothing is kept of the key, but it is watched. */
async function watched({ reader, key }: World): Promise<void> {
  await reader.remember(key);
  reader.near.forget(key);
}

const races: readonly {
  readonly name: string;
  readonly race: Race;
  readonly safe: string;
  readonly guards: readonly Guard[];
}[] = [
  {
    name: 'R7: a change is told while the read is on its way',
    race: async (world) => {
      const { reader, other, key } = world;
      await watched(world);
      const read = await reader.readOnItsWay(key);
      await write(other, key);
      await untilTold(world);
      mustBe(await read.land(), 'old');
      return reader.get(key);
    },
    safe: 'new',
    guards: [
      {
        takenOut: 'what was told of the key on its way is not kept',
        mutations: [{ file: NEAR, from: '|| reading.changes !== watched.changes', to: '' }],
      },
    ],
  },
  {
    name: 'R7: a change is told while the read is on its way, then a read that could share it',
    race: async (world) => {
      const { reader, other, key } = world;
      await watched(world);
      const read = await reader.readOnItsWay(key);
      await write(other, key);
      await untilTold(world);
      const second = reader.get(key);
      mustBe(await read.land(), 'old');
      return second;
    },
    safe: 'new',
    guards: [
      {
        takenOut: 'only what is current is shared',
        mutations: [{ file: NEAR, from: 'if (!isNew && !(isWatched && this.checkTrust()))', to: 'if (false)' }],
      },
    ],
  },
  {
    name: 'R7: a change before the watch is in force, of a read that was sent before too',
    race: async ({ reader, other, key }) => {
      await reader.get(key);
      reader.gate.holdRequests();
      const read = await reader.readOnItsWay(key);
      await write(other, key);
      const inForce = reader.gate.said.at(-1)?.requestsInForce ?? 0n;
      reader.gate.releaseRequests();
      await reader.gate.untilSaid(({ requestsInForce }) => requestsInForce > inForce);
      await nextTurn();
      mustBe(await read.land(), 'old');
      return reader.get(key);
    },
    safe: 'new',
    guards: [
      {
        takenOut: 'the watch is in force before the read is sent',
        mutations: [{ file: NEAR, from: "feed.requestOf('key', reading.key) > reading.inForce", to: 'false' }],
      },
    ],
  },
  {
    name: 'R7: the client writes, and the word of it is not there yet, while its read is on its way',
    race: async (world) => {
      const { reader, key } = world;
      await watched(world);
      reader.gate.hold(tellsOf(key));
      const read = await reader.readOnItsWay(key);
      reader.near.forget(key);
      await reader.client.rpc.cache.set({ key, value: bytes('new'), expiry: lasting });
      reader.near.forget(key);
      mustBe(await read.land(), 'old');
      return reader.get(key);
    },
    safe: 'new',
    guards: [
      {
        takenOut: 'what is forgotten on its way is not kept',
        mutations: [{ file: NEAR, from: 'watched.changes++;', to: '' }],
      },
    ],
  },
  {
    name: 'R7: a tag of the entry is invalidated while the read is on its way',
    race: async (world) => {
      const { reader, other, key } = world;
      await other.set({ key, value: bytes('old'), expiry: lasting, tags: ['guild'] });
      await watched(world);
      const read = await reader.readOnItsWay(key);
      await other.invalidateTags({ tags: ['guild'] });
      await reader.gate.untilSaid(({ tags }) => tags.length > 0);
      await nextTurn();
      mustBe(await read.land(), 'old');
      return reader.get(key);
    },
    safe: 'miss',
    guards: [
      {
        takenOut: 'what has tags is not kept when one was told on its way',
        mutations: [{ file: NEAR, from: 'if (tags.length > 0)\n            this.generation++;', to: '' }],
      },
    ],
  },
  {
    name: 'R7: a tag that is not watched yet is invalidated',
    race: async (world) => {
      const { reader, other, key } = world;
      await watched(world);
      await other.set({ key, value: bytes('old'), expiry: lasting, tags: ['zone'] });
      await untilTold(world);
      reader.gate.holdRequests();
      mustBe(await reader.get(key), 'old');
      await other.invalidateTags({ tags: ['zone'] });
      return reader.get(key);
    },
    safe: 'miss',
    guards: [
      {
        takenOut: 'the tags of what is kept are watched',
        mutations: [
          { file: NEAR, from: "tags.every((tag) => feed.requestOf('tag', tag) <= reading.inForce)", to: 'true' },
        ],
      },
    ],
  },
  {
    name: 'R7: a newer answer came another way, before the word of the change',
    race: async ({ reader, other, key }) => {
      await reader.remember(key);
      reader.gate.hold(tellsOf(key));
      await write(other, key);
      const reading = reader.near.begin(key);
      // so that it is not kept itself
      reader.near.forgetTags(['of others']);
      const { entry } = await reader.client.rpc.cache.getOrLease({ key, leaseMs: 1_000n });
      reader.near.keep(reading, entry);
      mustBe(textOf(entry), 'new');
      return reader.get(key);
    },
    safe: 'new',
    guards: [
      {
        takenOut: 'what is kept and differs from an answer goes',
        mutations: [
          { file: NEAR, from: 'if (watched.answer(entry))\n            this.watched.drop(watched);', to: '' },
        ],
      },
    ],
  },
  {
    name: 'R8: the service lost sight of Redis, and tells only that, while the read is on its way',
    race: async (world) => {
      const { reader, other, key } = world;
      await watched(world);
      reader.gate.rewrite((message) => (tellsOf(key)(message) ? { ...message, keys: [], resync: true } : message));
      const read = await reader.readOnItsWay(key);
      await write(other, key);
      await untilTold(world);
      mustBe(await read.land(), 'old');
      return reader.get(key);
    },
    safe: 'new',
    guards: [
      {
        takenOut: 'after a resync nothing is kept that was read before',
        mutations: [{ file: NEAR, from: 'reading.generation !== this.generation ||', to: '' }],
      },
    ],
  },
  {
    name: 'R8: the stream breaks with the word on its way',
    race: async ({ reader, other, key }) => {
      await reader.remember(key);
      reader.gate.hold(() => true);
      await write(other, key);
      await reader.gate.untilSaid(tellsOf(key));
      const { streams } = reader.gate;
      reader.gate.cut();
      await until(() => reader.gate.streams > streams);
      return reader.get(key);
    },
    safe: 'new',
    guards: [
      {
        takenOut: 'with the stream goes what is kept',
        mutations: [
          { file: NEAR, from: 'this.reset();\n                this.watched.clear();', to: '' },
          { file: FEED, from: 'this.inForce = 0;\n        this.events', to: 'this.events' },
          { file: FEED, from: 'this.watched.key.clear();', to: '' },
        ],
      },
    ],
  },
  {
    name: 'R8: the stream falls silent',
    race: async ({ reader, other, key }) => {
      await reader.remember(key);
      reader.gate.hold(() => true);
      await write(other, key);
      await until(() => !reader.near.stats.live);
      return reader.get(key);
    },
    safe: 'new',
    guards: [
      {
        takenOut: 'nothing is answered that nobody vouches for',
        mutations: [{ file: NEAR, from: 'if (this.feed.isTrusted)\n            return true;', to: 'return true;' }],
      },
    ],
  },
  {
    name: 'R8: a service that froze vouches again, before it knows what happened meanwhile',
    race: async ({ reader, other, key }) => {
      await reader.remember(key);
      reader.gate.hold(() => true);
      await write(other, key);
      await until(() => !reader.near.stats.live);
      const { said } = reader.gate;
      const before = said.length;
      // a request to watch is a question too
      const elsewhere = `${key}:elsewhere`;
      for (let reads = 0; reads < 2; reads++) await reader.get(elsewhere);
      await until(() => said.length > before);
      reader.gate.releaseBut(tellsOf(key));
      await until(() => reader.near.stats.live);
      return reader.get(key);
    },
    safe: 'new',
    guards: [
      {
        takenOut: 'what was not vouched for in time is gone for good',
        mutations: [{ file: FEED, from: '|| !this.isTrusted)', to: ')' }],
      },
    ],
  },
];

test.each(races)('$name', async ({ race, safe, guards }) => {
  const ends = guards.map(async ({ takenOut, mutations }): Promise<[string, string]> => {
    const Mutant = await nearCacheWithout(mutations);
    // whoever stands still for seconds forgets all, and so does one without a guard
    await until(async () => (await run(race, Mutant)) === 'old');
    return [`without this: ${takenOut}`, 'old'];
  });
  const [product, ...mutants] = await Promise.all([run(race), ...ends]);
  expect(product).toBe(safe);
  expect(mutants).toHaveLength(guards.length);
});
