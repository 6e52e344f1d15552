import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { decodePageToken } from '../../src/cache/page-token.js';
import { rawRedis, type RawRedis } from '../support/raw-redis.js';
import { onEachTopology, randomNamespace } from '../support/service.js';
import { addAll, bytesIn, membersOf, readPages, textsOf } from './set-pages.js';

const MAX_ANSWER_BYTES = 1_048_576;
const LARGEST_MEMBER = 65_536;

/** Texts make a hash table, and up to 512 numbers the form that SSCAN answers only as a whole. */
const KINDS = ['texts', 'numbers'] as const;
const memberOf = (kind: (typeof KINDS)[number], index: number): Buffer =>
  Buffer.from(kind === 'texts' ? `player:${String(index)}` : String(index));
const membersFrom = (kind: (typeof KINDS)[number], count: number, first = 0): Buffer[] =>
  Array.from({ length: count }, (_, index) => memberOf(kind, first + index));

function endsInsideBucket(key: string, pageToken: string): boolean {
  const [, , , seen = ''] = decodePageToken(key, pageToken)?.split(':') ?? [];
  return seen !== '';
}

onEachTopology('the pages of a set', (service, topology) => {
  let raw: RawRedis;
  beforeAll(async () => {
    raw = await rawRedis(topology);
  });
  afterAll(async () => {
    await raw.close();
  });

  const redisKey = (key: string): string => `${service().namespace}:cache:{${key}}`;
  const newKey = (): string => `pages:${randomNamespace()}`;

  test('of 50,000 members hold every one exactly once', async () => {
    const { cache } = service();
    const key = newKey();
    const members = membersFrom('texts', 50_000);
    await addAll(cache, key, members);
    const pages = await readPages(cache, key, 1_000);
    expect(membersOf(pages)).toEqual(textsOf(members).sort());
    expect(pages.every(({ members: found, size }) => found.length <= 1_000 && size === 50_000n)).toBe(true);
    await cache.delete({ keys: [key] });
  });

  describe.each(KINDS)('of %s', (kind) => {
    test.each([1, 3, 50, 199, 200, 1_000])('hold at most %s of 200, and every one once', async (pageSize) => {
      const { cache } = service();
      const key = newKey();
      const members = membersFrom(kind, 200);
      await addAll(cache, key, members);
      const pages = await readPages(cache, key, pageSize);
      expect(membersOf(pages)).toEqual(textsOf(members).sort());
      expect(Math.max(...pages.map(({ members: found }) => found.length))).toBeLessThanOrEqual(pageSize);
      expect(pages.length).toBeGreaterThanOrEqual(200 / pageSize);
    });
  });

  test('that may be larger than the set are one, of 100 members unless asked for another number', async () => {
    const { cache } = service();
    const key = newKey();
    await addAll(cache, key, membersFrom('numbers', 100));
    expect(await readPages(cache, key, 100)).toHaveLength(1);
    const { members, nextPageToken } = await cache.getSetMembers({ key });
    expect({ count: members.length, nextPageToken }).toEqual({ count: 100, nextPageToken: '' });
    await cache.addToSet({ key, members: membersFrom('numbers', 1, 100) });
    expect((await cache.getSetMembers({ key })).members).toHaveLength(100);
  });

  test('of large members hold at most 1 MiB', async () => {
    const { cache } = service();
    const key = newKey();
    const members = Array.from({ length: 100 }, (_, index) => Buffer.alloc(LARGEST_MEMBER - (index % 5), index));
    await addAll(cache, key, members);
    const pages = await readPages(cache, key, 1_000);
    expect(membersOf(pages)).toEqual(textsOf(members).sort());
    expect(Math.max(...pages.map((page) => bytesIn(page.members)))).toBeLessThanOrEqual(MAX_ANSWER_BYTES);
    await cache.delete({ keys: [key] });
  });

  test('of members small and large, mixed, are filled by bytes and by number', async () => {
    const { cache } = service();
    const key = newKey();
    const small = membersFrom('texts', 2_000);
    const large = Array.from({ length: 40 }, (_, index) => Buffer.alloc(LARGEST_MEMBER, index));
    await addAll(cache, key, small);
    await addAll(cache, key, large);
    const pages = await readPages(cache, key, 1_000);
    expect(membersOf(pages)).toEqual(textsOf([...small, ...large]).sort());
    expect(Math.max(...pages.map((page) => bytesIn(page.members)))).toBeLessThanOrEqual(MAX_ANSWER_BYTES);
    await cache.delete({ keys: [key] });
  });

  test('with a member that is larger than a page hold it alone', async () => {
    const { cache } = service();
    const key = newKey();
    const huge = Buffer.alloc(2_000_000, 7);
    await raw.command('SADD', redisKey(key), huge, 'a', 'b', 'c');
    const pages = await readPages(cache, key, 1_000);
    expect(membersOf(pages)).toEqual(['a', 'b', 'c', huge.toString('latin1')].sort());
    expect(pages.find(({ members }) => bytesIn(members) > MAX_ANSWER_BYTES)?.members).toHaveLength(1);
  });

  test('go on where a set of numbers has become a hash table, without one twice', async () => {
    const { cache } = service();
    const key = newKey();
    const stays = membersFrom('numbers', 300);
    await addAll(cache, key, stays);
    const added = membersFrom('texts', 300);
    const pages = await readPages(cache, key, 50, async (page) => {
      if (page === 3) await addAll(cache, key, added);
    });
    const numbers = membersOf(pages).filter((member) => !member.startsWith('player'));
    expect(numbers).toEqual(textsOf(stays).sort());
  });

  test('of a set that goes in between end, and of one that comes again hold all of it', async () => {
    const { cache } = service();
    const key = newKey();
    await addAll(cache, key, membersFrom('texts', 200));
    const { nextPageToken: pageToken } = await cache.getSetMembers({ key, pageSize: 50 });
    await cache.delete({ keys: [key] });
    expect(await cache.getSetMembers({ key, pageToken })).toEqual({ members: [], nextPageToken: '', size: 0n });
    await addAll(cache, key, membersFrom('numbers', 10));
    expect((await cache.getSetMembers({ key, pageToken })).members).toHaveLength(10);
  });

  test('of a set most of which goes, and whose table shrinks, hold every member that stays', async () => {
    const { cache } = service();
    for (let round = 0; round < 40; round++) {
      const key = newKey();
      // others each time, for one process lays the same members to the same places
      const stays = membersFrom('texts', 45, round * 500);
      const goes = membersFrom('texts', 455, round * 500 + 45);
      await addAll(cache, key, [...stays, ...goes]);
      const found: Buffer[] = [];
      let pageToken = '';
      // until a page ends inside a bucket: the smaller table lays others to what is left of it
      while (!endsInsideBucket(key, pageToken)) {
        const page = await cache.getSetMembers({ key, pageSize: 1, pageToken });
        found.push(...page.members);
        pageToken = page.nextPageToken;
      }
      for (let at = 0; at < goes.length; at += 256) {
        await cache.removeFromSet({ key, members: goes.slice(at, at + 256) });
      }
      while (pageToken !== '') {
        const page = await cache.getSetMembers({ key, pageSize: 1 + (round % 9), pageToken });
        found.push(...page.members);
        pageToken = page.nextPageToken;
      }
      const texts = new Set(textsOf(found));
      expect(textsOf(stays).filter((member) => !texts.has(member))).toEqual([]);
    }
  });

  test('of a set that changes hold what stays, and nothing that never was in it', async () => {
    const { cache } = service();
    const change = fc.record({
      add: fc.boolean(),
      first: fc.integer({ min: 100, max: 800 }),
      count: fc.integer({ min: 1, max: 256 }),
    });
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom(...KINDS),
        fc.integer({ min: 100, max: 600 }),
        fc.integer({ min: 1, max: 90 }),
        fc.array(change, { minLength: 1, maxLength: 30 }),
        async (kind, count, pageSize, changes) => {
          const key = newKey();
          await addAll(cache, key, membersFrom(kind, count));
          const ever = new Set(textsOf(membersFrom(kind, count)));
          const pages = await readPages(cache, key, pageSize, async (page) => {
            const next = changes[page - 1];
            if (next === undefined) return;
            const members = membersFrom(kind, next.count, next.first);
            if (!next.add) await cache.removeFromSet({ key, members });
            else await cache.addToSet({ key, members });
            if (next.add) for (const member of textsOf(members)) ever.add(member);
          });
          const found = new Set(membersOf(pages));
          // the first hundred are never touched
          expect(textsOf(membersFrom(kind, 100)).filter((member) => !found.has(member))).toEqual([]);
          expect([...found].filter((member) => !ever.has(member))).toEqual([]);
          expect(pages.every(({ members }) => members.length <= pageSize)).toBe(true);
          expect(pages.every(({ members }) => new Set(textsOf(members)).size === members.length)).toBe(true);
        },
      ),
      { numRuns: 12, seed: 20_261_204, endOnFailure: true },
    );
  });
});
