import { expect, test } from '@jest/globals';
import fc from 'fast-check';
import { ChangeFeed } from '../../src/cache/watch/change-feed.js';
import { ChangeRing } from '../../src/cache/watch/change-ring.js';
import { EvictionCounter } from '../../src/cache/watch/eviction-counter.js';
import { Watcher, type Changes, type Subscription } from '../../src/cache/watch/watcher.js';
import { coverOf, type BroadcastEvents, type KeyBroadcast } from '../../src/redis/broadcast.js';
import type { Redis } from '../../src/redis/redis.js';
import { until } from '../support/redis-server.js';
import { ScriptedTracking } from './scripted-tracking.js';

/** The order of what Redis says, which no test can force on a real one. */

const NOTHING: Subscription = {
  ...{ cursor: Buffer.alloc(0), addEvictions: false },
  ...{ addKeys: [], removeKeys: [], addPrefixes: [], removePrefixes: [], addTags: [], removeTags: [] },
};

function worldOf(): { feed: ChangeFeed; tracking: ScriptedTracking; broadcast: BroadcastEvents; open: () => Watcher } {
  const tracking = new ScriptedTracking();
  let broadcast: BroadcastEvents | undefined;
  const createBroadcast = (events: BroadcastEvents): KeyBroadcast => {
    broadcast = events;
    return { follow: () => undefined, covers: () => true, close: () => undefined } as unknown as KeyBroadcast;
  };
  // neither tags nor evictions are watched here
  const redis = {} as unknown as Redis;
  const feed = new ChangeFeed({ redis, tracking, createBroadcast });
  if (broadcast === undefined) throw new Error('nobody broadcasts');
  return { feed, tracking, broadcast, open: () => new Watcher('ns', feed, new EvictionCounter(redis)) };
}

/** A watcher whose changes are taken as soon as they are there. */
class Taken {
  readonly messages: Changes[] = [];

  constructor(readonly watcher: Watcher) {
    void this.takeAll();
  }

  /** What was told since the last time. */
  async told(): Promise<Changes[]> {
    await new Promise(setImmediate);
    return this.messages.splice(0);
  }

  private async takeAll(): Promise<void> {
    for (;;) {
      const next = await this.watcher.next();
      if (next === undefined) return;
      this.messages.push(next);
    }
  }
}

const NAME = 'ns:cache:{k}';
const QUIET = { keys: [], tags: [], evicted: 0, resync: false };

test('a key is in force when Redis has answered, and told when Redis was asked for the next change', async () => {
  const { tracking, open } = worldOf();
  const { watcher, ...taken } = taking(open());
  watcher.subscribe({ ...NOTHING, addKeys: ['k'] });
  expect(await taken.told()).toEqual([]);
  await tracking.last().answer('1');
  expect(await taken.told()).toEqual([expect.objectContaining({ ...QUIET, subscriptionsInForce: 1 })]);

  tracking.last().change();
  await until(() => tracking.reads.length === 2);
  // whoever read now could read what is overwritten before Redis tells of that
  expect(await taken.told()).toEqual([]);
  // and again, while the answer is on its way
  tracking.last().change();
  await tracking.last().answer('1');
  expect(await taken.told()).toEqual([expect.objectContaining({ keys: ['k'] })]);
  await until(() => tracking.reads.length === 3);
  await tracking.last().answer('1');
  expect(await taken.told()).toEqual([expect.objectContaining({ keys: ['k'] })]);
});

test('a key that cannot be followed: everything may be old, now and when it can be again', async () => {
  const { tracking, open } = worldOf();
  const { watcher, ...taken } = taking(open());
  watcher.subscribe({ ...NOTHING, addKeys: ['k'] });
  await tracking.last().answer('1');
  await taken.told();
  tracking.last().change();
  await until(() => tracking.reads.length === 2);
  await tracking.last().answer(new Error('away'));
  expect(await taken.told()).toEqual([expect.objectContaining({ resync: true, subscriptionsInForce: 0 })]);
  await until(() => tracking.reads.length === 3);
  await tracking.last().answer(new Error('still away'));
  expect(await taken.told()).toEqual([]);
  await until(() => tracking.reads.length === 4);
  await tracking.last().answer('1');
  expect(await taken.told()).toEqual([expect.objectContaining({ resync: true, subscriptionsInForce: 1 })]);
});

test('requests come into force one after the other, also while later ones are added all the time', async () => {
  const { tracking, open } = worldOf();
  const { watcher, ...taken } = taking(open());
  for (const key of ['a', 'b', 'c']) watcher.subscribe({ ...NOTHING, addKeys: [key] });
  await tracking.reads[1]?.answer('1');
  expect(await taken.told()).toEqual([]);
  await tracking.reads[0]?.answer('1');
  expect(await taken.told()).toEqual([expect.objectContaining({ ...QUIET, subscriptionsInForce: 2 })]);
  tracking.reads[0]?.change();
  await until(() => tracking.reads.length === 4);
  await tracking.last().answer('1');
  expect(await taken.told()).toEqual([expect.objectContaining({ keys: ['a'], subscriptionsInForce: 2 })]);
  watcher.subscribe({ ...NOTHING, removeKeys: ['c'] });
  expect(await taken.told()).toEqual([expect.objectContaining({ ...QUIET, subscriptionsInForce: 4 })]);
});

test('what is in force is told while a request of somebody who comes back is not', async () => {
  const { tracking, broadcast, open } = worldOf();
  const { watcher, ...taken } = taking(open());
  watcher.subscribe({ ...NOTHING, addPrefixes: ['k'] });
  await taken.told();
  watcher.subscribe({ ...NOTHING, addKeys: ['far'], cursor: Buffer.from('of another process') });
  expect(await taken.told()).toEqual([expect.objectContaining({ resync: true, subscriptionsInForce: 1 })]);
  broadcast.onPush(NAME);
  expect(await taken.told()).toEqual([expect.objectContaining({ keys: ['k'], subscriptionsInForce: 1 })]);
  await tracking.last().answer('1');
  expect(await taken.told()).toEqual([expect.objectContaining({ resync: true, subscriptionsInForce: 2 })]);
});

test('to come back with many prefixes to many changes is to read anew; with few, or to nothing, is not', async () => {
  const { broadcast, open } = worldOf();
  const first = taking(open());
  const prefixes = Array.from({ length: 64 }, (_, index) => 'k'.repeat(index + 1));
  first.watcher.subscribe({ ...NOTHING, addPrefixes: prefixes });
  const cursor = (await first.told()).at(-1)?.cursor ?? Buffer.alloc(0);
  for (let index = 0; index < 4_000; index++) broadcast.onPush(`ns:cache:{kk${String(index % 10)}}`);
  const resumed = async (addPrefixes: readonly string[]): Promise<Changes[]> => {
    const { watcher, told } = taking(open());
    watcher.subscribe({ ...NOTHING, addPrefixes, cursor });
    return told();
  };
  expect(await resumed(prefixes)).toEqual([expect.objectContaining({ resync: true, keys: [] })]);
  expect((await resumed(['k', 'kk']))[0]?.keys).toHaveLength(10);
  expect(await resumed([])).toEqual([expect.objectContaining({ ...QUIET, subscriptionsInForce: 1 })]);
});

test('many keys that were lost are each asked for once when Redis is back', async () => {
  const { tracking, open } = worldOf();
  const { watcher, ...taken } = taking(open());
  const count = 1_000;
  watcher.subscribe({ ...NOTHING, addKeys: Array.from({ length: count }, (_, index) => `k${String(index)}`) });
  const unavailable = new Error('Redis is away');
  for (let index = 0; index < count; index++) await tracking.reads[index]?.answer(unavailable);
  await taken.told();
  // some are tried again, the rest when the first of them was found
  await until(() => tracking.reads.length > count);
  for (let index = count; index < 2 * count; index++) await tracking.reads[index]?.answer('1');
  expect(await taken.told()).toContainEqual(expect.objectContaining({ ...QUIET, subscriptionsInForce: 1 }));
  expect(tracking.reads).toHaveLength(2 * count);
});

test('lost keys are tried again also when those that were tried are watched no more', async () => {
  const { tracking, open } = worldOf();
  const { watcher, ...taken } = taking(open());
  const names = Array.from({ length: 300 }, (_, index) => `k${String(index)}`);
  watcher.subscribe({ ...NOTHING, addKeys: names });
  const unavailable = new Error('Redis is away');
  for (const read of [...tracking.reads]) await read.answer(unavailable);
  await until(() => tracking.reads.length > names.length);
  const tried = tracking.reads.slice(names.length);
  watcher.subscribe({ ...NOTHING, removeKeys: names.slice(0, tried.length) });
  for (const read of tried) await read.answer(unavailable);
  const left = names.length - tried.length;
  await until(() => tracking.reads.length === names.length + tried.length + left);
  for (const read of tracking.reads.slice(-left)) await read.answer('1');
  expect(await taken.told()).toContainEqual(expect.objectContaining({ ...QUIET, subscriptionsInForce: 2 }));
});

test('a cursor from before something was watched cannot tell what it missed', async () => {
  const { tracking, open } = worldOf();
  const early = taking(open());
  early.watcher.subscribe(NOTHING);
  const cursor = (await early.told()).at(-1)?.cursor ?? Buffer.alloc(0);
  expect(cursor).toHaveLength(16);

  const first = taking(open());
  first.watcher.subscribe({ ...NOTHING, addKeys: ['k'] });
  await tracking.last().answer('1');
  const later = (await first.told()).at(-1)?.cursor ?? Buffer.alloc(0);

  const [missed, seen] = [taking(open()), taking(open())];
  missed.watcher.subscribe({ ...NOTHING, addKeys: ['k'], cursor });
  seen.watcher.subscribe({ ...NOTHING, addKeys: ['k'], cursor: later });
  expect(await missed.told()).toEqual([expect.objectContaining({ resync: true })]);
  expect(await seen.told()).toEqual([expect.objectContaining({ ...QUIET, subscriptionsInForce: 1 })]);
});

test('a database that was emptied, and connections that come and go, under a prefix', async () => {
  const { broadcast, open } = worldOf();
  const { watcher, ...taken } = taking(open());
  watcher.subscribe({ ...NOTHING, addPrefixes: ['k'] });
  expect(await taken.told()).toEqual([expect.objectContaining({ ...QUIET, subscriptionsInForce: 1 })]);
  broadcast.onPush(NAME);
  broadcast.onPush('ns:cache:{other}');
  broadcast.onPush('ns:cache:{k-without-its-brace');
  expect(await taken.told()).toEqual([expect.objectContaining({ keys: ['k'] })]);
  broadcast.onPush(undefined);
  expect(await taken.told()).toEqual([expect.objectContaining({ resync: true, subscriptionsInForce: 1 })]);
  broadcast.onLost();
  broadcast.onPush(NAME);
  expect(await taken.told()).toEqual([expect.objectContaining({ resync: true, subscriptionsInForce: 0 })]);
  broadcast.onInForce([]);
  expect(await taken.told()).toEqual([expect.objectContaining({ resync: true, subscriptionsInForce: 1 })]);
});

test('changes that nobody takes are joined, and told in parts', async () => {
  const { broadcast, open } = worldOf();
  const watcher = open();
  watcher.subscribe({ ...NOTHING, addPrefixes: ['k'] });
  for (let index = 0; index < 6_000; index++) broadcast.onPush(`ns:cache:{k${String(index % 3_000)}}`);
  const taken = taking(watcher);
  const told = await taken.told();
  expect(told.map(({ keys }) => keys.length)).toEqual([1_024, 1_024, 952]);
  // a cursor would leave out what is still to come
  expect(told.map(({ cursor }) => cursor === undefined)).toEqual([true, true, false]);
  expect(new Set(told.flatMap(({ keys }) => keys)).size).toBe(3_000);
});

test('the ring knows the latest changes, and which cursors are too old', () => {
  const ring = new ChangeRing(3);
  const change = (name: string) => ({ kind: 'key', topics: 'key', name }) as const;
  const start = ring.cursor();
  expect(ring.positionOf(start)).toBe(0);
  for (const name of ['a', 'b', 'c']) ring.push(change(name));
  expect([...ring.after(0)].map((each) => each.kind === 'key' && each.name)).toEqual(['a', 'b', 'c']);
  ring.push(change('d'));
  expect(ring.positionOf(start)).toBeUndefined();
  expect([...ring.after(1)].map((each) => each.kind === 'key' && each.name)).toEqual(['b', 'c', 'd']);
  expect(new ChangeRing(3).positionOf(ring.cursor())).toBeUndefined();
});

test('a cover of prefixes covers all, and none of it begins with another', () => {
  const prefix = fc.string({ unit: fc.constantFrom('a', 'b', ':'), minLength: 1, maxLength: 6 });
  fc.assert(
    fc.property(fc.array(prefix, { minLength: 1, maxLength: 60 }), (prefixes) => {
      const cover = coverOf(prefixes.map((each) => `ns:${each}`));
      expect(cover.length).toBeLessThanOrEqual(16);
      for (const each of prefixes) expect(cover.filter((some) => `ns:${each}`.startsWith(some))).toHaveLength(1);
      for (const one of cover) expect(cover.filter((some) => some.startsWith(one))).toEqual([one]);
    }),
  );
});

function taking(watcher: Watcher): { watcher: Watcher; told: () => Promise<Changes[]> } {
  const taken = new Taken(watcher);
  return { watcher, told: () => taken.told() };
}

test('a cover does not end within a character', () => {
  const faces = Array.from({ length: 17 }, (_, index) => String.fromCodePoint(0x1f600 + index));
  expect(coverOf(faces.map((face) => `ns:cache:{${face}`))).toEqual(['ns:cache:{']);
});
