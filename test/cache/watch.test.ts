import { status as Code } from '@grpc/grpc-js';
import { afterAll, afterEach, beforeAll, expect, test } from '@jest/globals';
import { InvalidationMode } from '../../src/gen/shardkeep/cache/v1/cache.js';
import { rawRedis, type RawRedis } from '../support/raw-redis.js';
import { until } from '../support/redis-server.js';
import { onEachTopology, sharedRedisUrl, startTestService, type TestService } from '../support/service.js';
import { Watching } from './watch-support.js';

onEachTopology('Watch', (service, topology) => {
  let raw: RawRedis;
  let other: TestService;
  const open: Watching[] = [];
  beforeAll(async () => {
    raw = await rawRedis(topology);
    other = await startTestService({ REDIS_URL: sharedRedisUrl(topology), NAMESPACE: service().namespace });
  });
  afterAll(async () => {
    await other.stop();
    await raw.close();
  });
  afterEach(async () => {
    for (const { stream } of open) stream.cancel();
    await Promise.all(open.splice(0).map(({ stream }) => stream.code()));
  });

  function watching(channel = service().channel): Watching {
    const watching = new Watching(channel);
    open.push(watching);
    return watching;
  }

  const value = Buffer.from('v');
  const redisKey = (key: string): string => `${service().namespace}:cache:{${key}}`;

  test('a watched key: every write, deletion and expiry is told, whoever did it', async () => {
    const { cache } = other;
    const watch = await watching().add({ addKeys: ['k:1'] });
    const changes: (() => Promise<unknown>)[] = [
      () => cache.set({ key: 'k:1', value }),
      () => cache.touch({ keys: ['k:1'] }),
      () => cache.delete({ keys: ['k:1'] }),
      () => cache.increment({ key: 'k:1', delta: 1n }),
      () => raw.command('DEL', redisKey('k:1')),
      () => raw.command('RPUSH', redisKey('k:1'), 'item'),
      // so long that the expiry is not told together with this, also where the machine stands still for a while
      () => raw.command('PEXPIRE', redisKey('k:1'), '2000'),
    ];
    for (const change of changes) {
      await change();
      await watch.untilKey('k:1');
    }
    // Redis tells of an expiry when it removes the key: at a look at the latest, by itself the later the more keys expire
    await until(async () => (await raw.command('EXISTS', redisKey('k:1'))) === 0);
    await watch.untilKey('k:1');
    expect(watch.resyncs).toBe(0);
    expect(new Set(watch.toldKeys)).toEqual(new Set(['k:1']));
  });

  test('a prefix: keys that begin so, and no others', async () => {
    const { cache } = other;
    const watch = await watching().add({ addPrefixes: ['p:a', 'p:{%'] });
    for (const key of ['p:b', 'p', 'xp:a', 'p:{', 'p:a', 'p:a1', 'p:{%}', 'p:aé']) {
      await cache.set({ key, value });
      if (key.startsWith('p:a') || key.startsWith('p:{%')) await watch.untilKey(key);
    }
    await raw.command('DEL', redisKey('p:a1'));
    await watch.untilKey('p:a1');
    expect(new Set(watch.toldKeys)).toEqual(new Set(['p:a', 'p:a1', 'p:{%}', 'p:aé']));
  });

  test('more prefixes than Redis should compare with each write', async () => {
    const prefixes = Array.from({ length: 40 }, (_, index) => `many:${String(index)}:`);
    const watch = await watching().add({ addPrefixes: prefixes });
    await other.cache.set({ key: 'many:x:1', value });
    for (const prefix of prefixes) await other.cache.set({ key: `${prefix}1`, value });
    for (const prefix of prefixes) if (!watch.toldKeys.includes(`${prefix}1`)) await watch.untilKey(`${prefix}1`);
    expect(watch.toldKeys).not.toContain('many:x:1');
  });

  test('prefixes that come and go while another is followed: nothing of that is missed', async () => {
    const steady = await watching().add({ addPrefixes: ['steady:'] });
    const busy = watching();
    for (let round = 0; round < 12; round++) {
      const key = `steady:${String(round)}`;
      const prefix = `busy:${String(round % 3)}`;
      // each of these makes other connections of the old ones; the write falls in between
      busy.send(round % 2 === 0 ? { addPrefixes: [prefix, 'st'] } : { removePrefixes: [prefix, 'st'] });
      await other.cache.set({ key, value });
      if (!steady.toldKeys.includes(key)) await steady.untilKey(key);
    }
    expect(steady.resyncs).toBe(0);
  });

  test('a tag: invalidations of it, of both kinds', async () => {
    const { cache } = other;
    const watch = await watching().add({ addTags: ['zone:1', 'zone:2'] });
    await cache.set({ key: 'tagged', value, tags: ['zone:1'] });
    await cache.invalidateTags({ tags: ['zone:9'] });
    await cache.invalidateTags({ tags: ['zone:1'], mode: InvalidationMode.SOFT });
    expect((await watch.until(({ tags }) => tags.length > 0)).tags).toEqual([
      { tag: 'zone:1', mode: InvalidationMode.SOFT },
    ]);
    await cache.invalidateTags({ tags: ['zone:1', 'zone:2', 'zone:9'] });
    const told = new Map<string, InvalidationMode>();
    while (told.size < 2) {
      for (const { tag, mode } of (await watch.until(({ tags }) => tags.length > 0)).tags) told.set(tag, mode);
    }
    expect(told).toEqual(
      new Map([
        ['zone:1', InvalidationMode.HARD],
        ['zone:2', InvalidationMode.HARD],
      ]),
    );
    expect(watch.resyncs).toBe(0);
  });

  test('a tag table that is lost: everything may be old', async () => {
    await other.cache.invalidateTags({ tags: ['lost'] });
    const watch = await watching().add({ addTags: ['lost'] });
    await raw.command('DEL', `${service().namespace}:tags:{tags:${service().namespace}}`);
    await watch.until(({ resync }) => resync);
    await other.cache.invalidateTags({ tags: ['lost'] });
    const { tags } = await watch.until((message) => message.tags.length > 0);
    expect(tags).toEqual([{ tag: 'lost', mode: InvalidationMode.HARD }]);
  });

  test('what is taken from the stream is told no more', async () => {
    const watch = await watching().add({ addKeys: ['r:1', 'r:2'], addPrefixes: ['r:p'], addTags: ['r'] });
    await watch.add({ removeKeys: ['r:1', 'never watched'], removePrefixes: ['r:p'], removeTags: ['r'] });
    await other.cache.invalidateTags({ tags: ['r'] });
    for (const key of ['r:1', 'r:p1', 'r:2']) await other.cache.set({ key, value });
    await watch.untilKey('r:2');
    expect(watch.toldKeys).toEqual(['r:2']);
    expect(watch.stream.messages.flatMap(({ tags }) => tags)).toEqual([]);
    // watched by somebody else, it goes on for them
    const both = await watching().add({ addKeys: ['r:2'] });
    await watch.add({ removeKeys: ['r:2'] });
    await other.cache.set({ key: 'r:2', value });
    await both.untilKey('r:2');
  });

  test('another namespace is another world', async () => {
    const elsewhere = await startTestService({ REDIS_URL: sharedRedisUrl(topology) });
    try {
      const watch = await watching(elsewhere.channel).add({ addKeys: ['n:1'], addPrefixes: ['n:'], addTags: ['n'] });
      await other.cache.set({ key: 'n:1', value });
      await other.cache.invalidateTags({ tags: ['n'] });
      await elsewhere.cache.set({ key: 'n:2', value });
      await watch.untilKey('n:2');
      expect(watch.toldKeys).toEqual(['n:2']);
      expect(watch.stream.messages.flatMap(({ tags }) => tags)).toEqual([]);
    } finally {
      await elsewhere.stop();
    }
  });

  test('who comes back is told what changed meanwhile, and only that', async () => {
    const first = await watching().add({ addKeys: ['c:1', 'c:2'], addPrefixes: ['c:p'], addTags: ['c'] });
    await other.cache.set({ key: 'c:1', value });
    await first.untilKey('c:1');
    const { cursor } = first;
    first.stream.cancel();
    await first.stream.code();
    await other.cache.set({ key: 'c:2', value });
    await other.cache.set({ key: 'c:p1', value });
    await other.cache.invalidateTags({ tags: ['c'] });
    // somebody who has seen all of that: the process knows
    const witness = await watching().add({ addKeys: ['c:w'], addPrefixes: ['c:w'] });
    await other.cache.set({ key: 'c:w', value });
    await witness.untilKey('c:w');

    const back = await watching().add({ cursor, addKeys: ['c:1', 'c:2'], addPrefixes: ['c:p'], addTags: ['c'] });
    const isTold = (): boolean =>
      ['c:2', 'c:p1'].every((key) => back.toldKeys.includes(key)) &&
      back.stream.messages.some(({ tags }) => tags.some(({ tag }) => tag === 'c'));
    while (!isTold()) await back.until(() => true);
    expect(back.resyncs).toBe(0);
    expect(back.toldKeys).not.toContain('c:1');
    await other.cache.set({ key: 'c:1', value });
    await back.untilKey('c:1');
  });

  test('who comes back to another process, or with what is no cursor, must read anew', async () => {
    const { cursor } = await watching().add({ addKeys: ['x:1'] });
    for (const wrong of [cursor, Buffer.from('?'), Buffer.alloc(16)]) {
      const watch = watching(other.channel);
      watch.send({ cursor: wrong, addKeys: ['x:1'] });
      await watch.until(({ resync }) => resync);
    }
    const watch = watching();
    watch.send({ cursor, addKeys: ['x:1', 'x:never watched before'] });
    await watch.until(({ resync, requestsInForce }) => resync && requestsInForce === 1n);
    expect(watch.toldKeys).toEqual([]);
  });

  test('a stream without requests, with nothing in them, or half closed lasts', async () => {
    const silent = watching();
    const empty = await watching().add({});
    const half = await watching().add({ addKeys: ['h:1'] });
    half.stream.halfClose();
    await other.cache.set({ key: 'h:1', value });
    await half.untilKey('h:1');
    expect(empty.resyncs).toBe(0);
    silent.stream.cancel();
    expect(await silent.stream.code()).toBe(Code.CANCELLED);
  });

  test('more than a stream may watch ends it', async () => {
    const watch = watching();
    for (let batch = 0; batch < 17; batch++) {
      watch.send({ addKeys: Array.from({ length: 1_024 }, (_, index) => `l:${String(batch)}:${String(index)}`) });
    }
    expect(await watch.stream.code()).toBe(Code.RESOURCE_EXHAUSTED);
  });
});
