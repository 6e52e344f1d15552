import { setImmediate as nextTurn } from 'node:timers/promises';
import { expect, test } from '@jest/globals';
import fc from 'fast-check';
import { ChangeFeed } from '../../../src/client/cache/near/change-feed.js';
import { NearCache } from '../../../src/client/cache/near/near-cache.js';
import { WatchedKeys } from '../../../src/client/cache/near/watched-keys.js';
import { WatchRequests } from '../../../src/client/cache/near/watch-requests.js';
import { SILENT } from '../../../src/client/logger.js';
import { Entry } from '../../../src/gen/shardkeep/cache/v1/cache.js';
import { ScriptedWatch } from './scripted-watch.js';

/** Everything that reaches the near cache, in every order that a service and its network may choose. */

const KEYS = ['a', 'b'];
const TAGS = ['t', 'u'];

/** What a key holds; `state` grows with each change of it, also where it holds nothing afterwards. */
interface Held {
  readonly state: number;
  readonly entry: Entry | undefined;
  /** Which of this process's own invalidations ended it. */
  endedBy?: number;
}

/** What a read that begins now may answer. */
interface Floor {
  /** The oldest state. */
  readonly state: number;
  /** How many invalidations of its own this process has seen the end of. */
  readonly invalidations: number;
}

/** A Redis, the reads on their way to it and back, and what this process has been told. */
class World {
  readonly watch = new ScriptedWatch();
  readonly near = new NearCache(this.watch, { maxEntries: 2 }, SILENT);
  readonly stale: string[] = [];
  private readonly history = new Map(KEYS.map((key) => [key, [{ state: 0, entry: undefined }] as Held[]]));
  private readonly oldest = new Map(KEYS.map((key) => [key, 0]));
  private invalidations = 0;
  private readonly pending: (() => void)[] = [];

  now(key: string): Held {
    const held = this.history.get(key)?.at(-1);
    if (held === undefined) throw new Error('no such key');
    return held;
  }

  /** `late`: Redis runs the read when it is answered, not when it is sent. */
  get(key: string, late: boolean): void {
    const floor = this.floorOf(key);
    void this.near
      .get(key, () => this.load(key, late))
      .then((entry) => {
        this.seen(key, floor, entry);
      });
  }

  getMany(late: boolean): void {
    const floors = KEYS.map((key) => this.floorOf(key));
    const load = (keys: readonly string[]): Promise<(Entry | undefined)[]> =>
      Promise.all(keys.map((key) => this.load(key, late)));
    void this.near.getMany([...KEYS, ...KEYS], load).then((entries) => {
      for (const [index, entry] of entries.entries()) {
        const place = index % KEYS.length;
        this.seen(KEYS[place] ?? '', floors[place] ?? { state: 0, invalidations: 0 }, entry);
      }
    });
  }

  /** As an RPC of another name does it. */
  async readAlone(key: string, late: boolean): Promise<void> {
    const floor = this.floorOf(key);
    const reading = this.near.begin(key);
    const entry = await this.load(key, late);
    this.near.keep(reading, entry);
    this.seen(key, floor, entry);
  }

  answer(which: number): void {
    this.pending.splice(which % Math.max(1, this.pending.length), 1)[0]?.();
  }

  write(key: string, tags: readonly string[] | undefined, own: boolean): void {
    if (own) this.near.forget(key);
    const state = this.now(key).state + 1;
    const entry = tags && Entry.fromPartial({ version: BigInt(state), tags: [...tags] });
    this.change(key, entry);
    this.watch.tellKey(key, () => {
      this.raise(key, state);
    });
    if (!own) return;
    this.near.forget(key);
    this.raise(key, state);
  }

  invalidate(tag: string, own: boolean): void {
    if (own) this.near.forgetTags([tag]);
    const ended = KEYS.filter((key) => this.now(key).entry?.tags.includes(tag) === true);
    for (const key of ended) {
      if (own) this.now(key).endedBy = this.invalidations + 1;
      this.change(key, undefined);
    }
    const states = this.states();
    this.watch.tellTag(tag, () => {
      for (const key of ended) this.raise(key, states.get(key) ?? 0);
    });
    if (!own) return;
    this.near.forgetTags([tag]);
    this.invalidations++;
  }

  resync(): void {
    const states = this.states();
    this.watch.tellResync(() => {
      for (const key of KEYS) this.raise(key, states.get(key) ?? 0);
    });
  }

  break(): void {
    this.watch.break();
    for (const [key, state] of this.states()) this.raise(key, state);
  }

  /** Everything that is on its way arrives, so nothing old may be answered any more. */
  async settle(): Promise<void> {
    for (let quiet = 0; quiet < 2; quiet++) {
      while (this.watch.takeRequest() || this.watch.deliver() || this.pending.length > 0) {
        quiet = 0;
        this.answer(0);
        await nextTurn();
      }
      await nextTurn();
    }
    for (const [key, state] of this.states()) this.raise(key, state);
  }

  private load(key: string, late: boolean): Promise<Entry | undefined> {
    const sent = this.now(key).entry;
    return new Promise((resolve) => {
      this.pending.push(() => {
        resolve(late ? this.now(key).entry : sent);
      });
    });
  }

  private floorOf(key: string): Floor {
    return { state: this.oldest.get(key) ?? 0, invalidations: this.invalidations };
  }

  private seen(key: string, floor: Floor, entry: Entry | undefined): void {
    const isRight = this.history
      .get(key)
      ?.some(
        (held) =>
          held.entry?.version === entry?.version &&
          held.state >= floor.state &&
          (held.endedBy ?? Infinity) > floor.invalidations,
      );
    if (isRight !== true) this.stale.push(`${key}: ${String(entry?.version)} before ${String(floor.state)}`);
    // who has seen a state is not shown an earlier one
    if (entry !== undefined) this.raise(key, Number(entry.version));
  }

  private raise(key: string, state: number): void {
    this.oldest.set(key, Math.max(this.oldest.get(key) ?? 0, state));
  }

  private states(): Map<string, number> {
    return new Map(KEYS.map((key) => [key, this.now(key).state]));
  }

  private change(key: string, entry: Entry | undefined): void {
    this.history.get(key)?.push({ state: this.now(key).state + 1, entry });
  }
}

const key = fc.constantFrom(...KEYS);
const late = fc.boolean();
const own = fc.boolean();
const step = fc.oneof(
  { weight: 6, arbitrary: fc.record({ what: fc.constant('get' as const), key, late }) },
  { weight: 1, arbitrary: fc.record({ what: fc.constant('getMany' as const), late }) },
  { weight: 1, arbitrary: fc.record({ what: fc.constant('readAlone' as const), key, late }) },
  { weight: 5, arbitrary: fc.record({ what: fc.constant('answer' as const), which: fc.nat({ max: 3 }) }) },
  {
    weight: 3,
    arbitrary: fc.record({
      what: fc.constant('write' as const),
      key,
      tags: fc.option(fc.subarray(TAGS), { nil: undefined }),
      own,
    }),
  },
  { weight: 1, arbitrary: fc.record({ what: fc.constant('invalidate' as const), tag: fc.constantFrom(...TAGS), own }) },
  { weight: 5, arbitrary: fc.record({ what: fc.constant('takeRequest' as const) }) },
  { weight: 5, arbitrary: fc.record({ what: fc.constant('deliver' as const) }) },
  { weight: 1, arbitrary: fc.constantFrom({ what: 'resync' as const }, { what: 'break' as const }) },
  { weight: 2, arbitrary: fc.record({ what: fc.constant('settle' as const), key }) },
);

test('no answer is older than what was told, done or answered before it was asked for, and what is quiet is kept', async () => {
  let kept = 0;
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 40, maxLength: 160, size: 'max' }), async (steps) => {
      const world = new World();
      try {
        await world.settle();
        for (const each of steps) {
          switch (each.what) {
            case 'get':
              world.get(each.key, each.late);
              break;
            case 'getMany':
              world.getMany(each.late);
              break;
            case 'readAlone':
              void world.readAlone(each.key, each.late);
              break;
            case 'answer':
              world.answer(each.which);
              break;
            case 'write':
              world.write(each.key, each.tags, each.own);
              break;
            case 'invalidate':
              world.invalidate(each.tag, each.own);
              break;
            case 'takeRequest':
              world.watch.takeRequest();
              break;
            case 'deliver':
              world.watch.deliver();
              break;
            case 'resync':
              world.resync();
              break;
            case 'break':
              world.break();
              break;
            case 'settle':
              await world.settle();
              // often enough for it to be kept, where the stream is there
              for (let reads = 0; reads < 4; reads++) {
                world.get(each.key, false);
                await world.settle();
              }
          }
          await nextTurn();
        }
        await world.settle();
        for (const each of KEYS) world.get(each, false);
        await world.settle();
        expect(world.stale).toEqual([]);
        expect(world.near.stats.bytes === 0).toBe(world.watch.watched.keys.size === 0);
        kept += world.near.stats.hits;
      } finally {
        world.near.close();
      }
    }),
    { numRuns: 1000 },
  );
  expect(kept).toBeGreaterThan(100);
});

test('what the service is told to watch is what is watched', () => {
  const name = fc.nat({ max: 3 }).map(String);
  const word = fc.record({ isKey: fc.boolean(), name, isLast: fc.boolean() });
  fc.assert(
    fc.property(fc.array(word, { maxLength: 60, size: 'max' }), (words) => {
      const service = new ScriptedWatch();
      const call = service.watch();
      const requests = new WatchRequests();
      const wanted = { keys: new Set<string>(), tags: new Set<string>() };
      for (const { isKey, name, isLast } of words) {
        const names = isKey ? wanted.keys : wanted.tags;
        const kind = isKey ? 'key' : 'tag';
        if (names.delete(name)) requests.remove(kind, name);
        else {
          names.add(name);
          requests.add(kind, name);
        }
        if (isLast) for (const request of requests.take()) call.write(request);
      }
      for (const request of requests.take()) call.write(request);
      while (service.takeRequest());
      expect(service.watched).toEqual(wanted);
    }),
  );
});

test('keys make room for the tags of others, and what leaves leaves at the service too', async () => {
  const service = new ScriptedWatch();
  const feed = new ChangeFeed(service, SILENT, {
    onChanged: () => undefined,
    onResync: () => undefined,
    onLost: () => undefined,
  });
  feed.start();
  const watched = new WatchedKeys(feed, { maxBytes: 1e9, maxKeys: 8_000 });
  for (let index = 0; index < 12_000; index++) {
    const key = watched.watch(`key:${String(index)}`);
    watched.setTags(key, [`before:${String(index)}`, 'of all']);
    watched.setTags(key, [`tag:${String(index)}`, `other:${String(index)}`, 'of all']);
    if (index % 1_000 === 0) await nextTurn();
    if (index % 3_000 === 0) while (service.takeRequest());
  }
  await nextTurn();
  while (service.takeRequest());
  expect(service.mostWatched).toBeLessThanOrEqual(16_384);
  expect(service.watched.keys.size + service.watched.tags.size).toBe(feed.size);
  // three names a key, and one for all of them
  expect(service.watched.keys.size).toBe(Math.floor((16_384 - 1) / 3));
  expect(service.watched.keys.has('key:11999')).toBe(true);
  watched.clear();
  await nextTurn();
  while (service.takeRequest());
  expect(service.watched).toEqual({ keys: new Set(), tags: new Set() });
  feed.close();
});
