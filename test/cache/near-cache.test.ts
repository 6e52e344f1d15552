import { describe, expect, test } from '@jest/globals';
import { pino } from 'pino';
import { NearCache, type Judge } from '../../src/cache/near-cache.js';
import { parseRedisUrl } from '../../src/config/redis-url.js';
import { KeyTracking } from '../../src/redis/tracking.js';
import { startRedis, until } from '../support/redis-server.js';
import { fromRedis, ROOMY, scripted, takeAll, type ScriptedRead } from './scripted-tracking.js';

/** What is kept of a read, and for how long. */

describe('a read', () => {
  test('is kept, and answers until the key changes', async () => {
    const { near, tracking } = scripted();
    const first = near.get('k', takeAll, fromRedis);
    await tracking.last().answer('1');
    expect(await first).toBe('1');
    expect(await near.get('k', takeAll, fromRedis)).toBe('1');
    expect(tracking.reads).toHaveLength(1);
    tracking.last().change();
    const second = near.get('k', takeAll, fromRedis);
    await tracking.last().answer('2');
    expect(await second).toBe('2');
    expect(tracking.reads).toHaveLength(2);
    expect(near.stats).toMatchObject({ hits: 1, misses: 2, entries: 1 });
  });

  test('that is on its way answers all who ask meanwhile', async () => {
    const { near, tracking } = scripted();
    const answers = [1, 2, 3].map(() => near.get('k', takeAll, fromRedis));
    await tracking.last().answer('1');
    expect(await Promise.all(answers)).toEqual(['1', '1', '1']);
    expect(tracking.reads).toHaveLength(1);
  });

  test.each<[string, (near: NearCache, read: ScriptedRead) => void]>([
    [
      'Redis tells of',
      (_, read) => {
        read.change();
      },
    ],
    [
      'this process made',
      (near) => {
        near.drop('k');
      },
    ],
    [
      'cannot be told which key it was of',
      (near) => {
        near.clear();
      },
    ],
  ])('that is on its way at a change that %s answers who waited, and nobody else', async (_, change) => {
    const { near, tracking } = scripted();
    const waited = near.get('k', takeAll, fromRedis);
    const read = tracking.last();
    change(near, read);
    const later = near.get('k', takeAll, fromRedis);
    expect(tracking.reads).toHaveLength(2);
    await tracking.last().answer('new');
    await read.answer('old');
    expect([await waited, await later]).toEqual(['old', 'new']);
    expect(await near.get('k', takeAll, fromRedis)).toBe('new');
    expect(read.stopped).toBe(1);
  });

  test('that was changed before its answer came is not kept, whoever waited for it', async () => {
    const { near, tracking } = scripted();
    const waited = [near.get('k', takeAll, fromRedis), near.get('k', takeAll, fromRedis)];
    tracking.last().change();
    await tracking.last().answer('old');
    expect(await Promise.all(waited)).toEqual(['old', 'old']);
    expect(near.stats).toMatchObject({ entries: 0, bytes: 0 });
  });

  test('that is kept at a change that this process made is dropped', async () => {
    const { near, tracking } = scripted();
    void near.get('k', takeAll, fromRedis);
    await tracking.last().answer('old');
    near.drop('other');
    expect(near.stats.entries).toBe(1);
    near.drop('k');
    expect(near.stats).toMatchObject({ entries: 0, bytes: 0 });
    expect(tracking.last().stopped).toBe(1);
  });

  test('that fails is made again by Redis itself, and not kept', async () => {
    const { near, tracking } = scripted();
    const failed = near.get('k', takeAll, fromRedis);
    await tracking.last().answer(new Error('away'));
    expect(await failed).toBe('from Redis');
    void near.get('k', takeAll, fromRedis);
    expect(tracking.reads).toHaveLength(2);
  });

  test('of a key that is not there is kept where its creation is told at once, and nowhere else', async () => {
    for (const keepsMissing of [true, false]) {
      const { near, tracking } = scripted({ keepsMissing });
      const answer = near.get('k', takeAll, fromRedis);
      await tracking.last().answer(null);
      expect(await answer).toBe('none');
      expect(near.stats.entries).toBe(keepsMissing ? 1 : 0);
      expect(tracking.last().stopped).toBe(keepsMissing ? 0 : 1);
    }
  });

  test('is no answer any more when its time is over', async () => {
    const { near, tracking } = scripted({ ttlMs: 20 });
    void near.get('k', takeAll, fromRedis);
    await tracking.last().answer('1');
    await until(() => {
      void near.get('k', takeAll, fromRedis);
      return tracking.reads.length === 2;
    });
    expect(tracking.reads[0]?.stopped).toBe(1);
  });
});

describe('what the store', () => {
  test('does not take is answered by Redis itself until the key changes', async () => {
    const { near, tracking } = scripted();
    const refuse: Judge<string> = () => 'refused';
    const answer = near.get('k', refuse, fromRedis);
    await tracking.last().answer('tagged');
    expect(await answer).toBe('from Redis');
    expect(await near.get('k', refuse, fromRedis)).toBe('from Redis');
    expect(tracking.reads).toHaveLength(1);
    tracking.last().change();
    const changed = near.get('k', takeAll, fromRedis);
    await tracking.last().answer('plain');
    expect(await changed).toBe('plain');
  });

  test('takes no longer is answered by Redis itself', async () => {
    const { near, tracking } = scripted();
    let expired = false;
    const judge: Judge<string> = (packed, from) => (expired ? 'refused' : takeAll(packed, from));
    void near.get('k', judge, fromRedis);
    await tracking.last().answer('x'.repeat(1_000));
    const { bytes } = near.stats;
    expired = true;
    expect(await near.get('k', judge, fromRedis)).toBe('from Redis');
    // what nobody will be given is not kept
    expect(bytes - near.stats.bytes).toBe(1_000);
    expect(near.stats).toMatchObject({ hits: 0, misses: 2 });
  });

  test('cannot say now is answered by Redis itself, and from memory once it can', async () => {
    const { near, tracking } = scripted();
    let known = false;
    const judge: Judge<string> = (packed, from) => (known ? takeAll(packed, from) : 'undecided');
    const first = near.get('k', judge, fromRedis);
    await tracking.last().answer('tagged');
    expect(await first).toBe('from Redis');
    expect(await near.get('k', judge, fromRedis)).toBe('from Redis');
    known = true;
    expect(await near.get('k', judge, fromRedis)).toBe('tagged');
    expect(tracking.reads).toHaveLength(1);
  });

  test('cannot read fails for all who waited, and is not kept', async () => {
    const { near, tracking } = scripted();
    const unreadable: Judge<string> = () => {
      throw new Error('another kind');
    };
    const answers = Promise.allSettled([1, 2].map(() => near.get('k', unreadable, fromRedis)));
    await tracking.last().answer('5');
    expect((await answers).map(({ status }) => status)).toEqual(['rejected', 'rejected']);
    expect(near.stats).toMatchObject({ entries: 0, bytes: 0 });
  });

  test('is shown is a copy: what is kept holds no more memory than its bytes', async () => {
    const redis = await startRedis();
    await redis.command('SET', 't-near:k', 'x'.repeat(300));
    const tracking = new KeyTracking(parseRedisUrl(redis.url), pino({ level: 'silent' }));
    const near = new NearCache({ ...ROOMY, tracking });
    const sizes: (number | undefined)[] = [];
    const judge: Judge<number> = (packed) => ({ value: sizes.push(packed?.buffer.byteLength) });
    await near.get('t-near:k', judge, () => Promise.resolve(0));
    await near.get('t-near:k', judge, () => Promise.resolve(0));
    expect(sizes[0]).toBeGreaterThan(300);
    expect(sizes[1]).toBe(300);
    await tracking.close();
    await redis.remove();
  });
});
