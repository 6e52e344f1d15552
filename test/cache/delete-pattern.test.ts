import { status as Code } from '@grpc/grpc-js';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { KeyPattern } from '../../src/cache/key-pattern.js';
import {
  CacheServiceService,
  type DeletePatternRequest,
  type DeletePatternResponse,
} from '../../src/gen/shardkeep/cache/v1/cache.js';
import { failureOf } from '../support/client.js';
import { rawRedis, type RawRedis } from '../support/raw-redis.js';
import { onEachTopology, randomNamespace, sharedRedisUrl, startTestService } from '../support/service.js';
import { openStream } from '../support/stream-client.js';
import { packEntry } from './entry-bytes.js';

onEachTopology('DeletePattern', (service, topology) => {
  let raw: RawRedis;
  beforeAll(async () => {
    raw = await rawRedis(topology);
  });
  afterAll(async () => {
    await raw.close();
  });

  async function deletePattern(request: Partial<DeletePatternRequest>): Promise<DeletePatternResponse | undefined> {
    const messages = await openStream(service().channel, CacheServiceService.deletePattern, request).result;
    expect(messages.map(({ done }) => done)).toEqual(messages.map((_, index) => index === messages.length - 1));
    return messages.at(-1);
  }

  /** Answers which of them hold something. */
  async function left(names: readonly string[]): Promise<string[]> {
    const { exists } = await service().cache.exists({ keys: [...names] });
    return names.filter((_, index) => exists[index]);
  }

  async function make(names: readonly string[]): Promise<void> {
    await Promise.all(names.map((key) => service().cache.set({ key, value: Buffer.from('v') })));
  }

  test('removes what matches, on every master, and nothing else', async () => {
    const mobs = Array.from({ length: 300 }, (_, index) => `mob:${String(index)}:hp`);
    const others = ['mob', 'mob:', 'mob:1', 'mob:1:hpx', 'Mob:1:hp', 'xmob:1:hp'];
    await make([...mobs, ...others]);
    expect(await deletePattern({ pattern: 'mob:*:hp' })).toEqual({
      scanned: 303n,
      matched: 300n,
      deleted: 300n,
      done: true,
    });
    for (let from = 0; from < mobs.length; from += 256) expect(await left(mobs.slice(from, from + 256))).toEqual([]);
    expect(await left(others)).toEqual(others);
    expect(await deletePattern({ pattern: 'mob:*:hp' })).toMatchObject({ matched: 0n, deleted: 0n, done: true });
  });

  test('only counts in a dry run', async () => {
    const names = ['dry:1', 'dry:2', 'dry:3'];
    await make(names);
    expect(await deletePattern({ pattern: 'dry:?', dryRun: true })).toEqual({
      scanned: 3n,
      matched: 3n,
      deleted: 0n,
      done: true,
    });
    expect(await left(names)).toEqual(names);
  });

  test('takes keys of any kind', async () => {
    const { cache, namespace } = service();
    await cache.increment({ key: 'kind:counter', delta: 7n });
    await raw.command('RPUSH', `${namespace}:cache:{kind:list}`, 'item');
    await raw.command('ZADD', `${namespace}:cache:{kind:zset}`, '1', 'member');
    await make(['kind:entry']);
    expect(await deletePattern({ pattern: 'kind:*' })).toMatchObject({ matched: 4n, deleted: 4n });
  });

  test('does not count a header without a value', async () => {
    const redisKey = `${service().namespace}:cache:{stub:1}`;
    await raw.command('SET', redisKey, packEntry({ flags: 0 }));
    expect(await deletePattern({ pattern: 'stub:*', dryRun: true })).toMatchObject({ scanned: 1n, matched: 0n });
    expect(await deletePattern({ pattern: 'stub:*' })).toMatchObject({ scanned: 1n, matched: 0n, deleted: 0n });
  });

  test('refuses a pattern that could match everything, unless it is meant', async () => {
    const mine = await startTestService({ REDIS_URL: sharedRedisUrl(topology) });
    const call = (request: Partial<DeletePatternRequest>) =>
      openStream(mine.channel, CacheServiceService.deletePattern, request).result;
    const last = async (request: Partial<DeletePatternRequest>) => (await call(request)).at(-1);
    await mine.cache.set({ key: 'all:1', value: Buffer.from('v') });
    await mine.cache.set({ key: 'x', value: Buffer.from('v') });
    await make(['all:1']);
    for (const pattern of ['*', '?x', '**', '*x']) {
      const refused = { code: Code.FAILED_PRECONDITION, reason: 'BROAD_PATTERN' };
      expect(await failureOf(call({ pattern }))).toMatchObject(refused);
      expect(await failureOf(call({ pattern, dryRun: true }))).toMatchObject(refused);
    }
    expect(await mine.cache.exists({ keys: ['all:1', 'x'] })).toEqual({ exists: [true, true] });
    expect(await last({ pattern: '?', allowAll: true })).toMatchObject({ matched: 1n, deleted: 1n });
    expect(await last({ pattern: '*', allowAll: true })).toMatchObject({ scanned: 1n, deleted: 1n, done: true });
    // the same key of another namespace
    expect(await left(['all:1'])).toEqual(['all:1']);
    await mine.stop();
  });

  test('matches special characters as they are written, and Redis finds every one', async () => {
    const character = fc.constantFrom(
      'a',
      'b',
      ':',
      '{',
      '}',
      '%',
      '*',
      '?',
      '[',
      ']',
      '\\',
      '^',
      'ü',
      '中',
      '😀',
      '\n',
    );
    const name = fc.array(character, { minLength: 1, maxLength: 5 }).map((chars) => chars.join(''));
    const part = fc.oneof(
      { weight: 3, arbitrary: character.map((char) => (/[*?[\]\\]/.test(char) ? `\\${char}` : char)) },
      fc.constantFrom('*', '?'),
    );
    const pattern = fc.array(part, { minLength: 1, maxLength: 4 }).map((parts) => parts.join(''));
    await fc.assert(
      fc.asyncProperty(fc.uniqueArray(name, { minLength: 1, maxLength: 30 }), pattern, async (names, tail) => {
        const family = `${randomNamespace()}{%`;
        const all = names.map((each) => family + each);
        await make(all);
        const whole = `${family}${tail}`;
        const matching = new Set(all.filter((each) => new KeyPattern(whole).matches(each)));
        const answer = await deletePattern({ pattern: whole });
        expect(answer).toMatchObject({ matched: BigInt(matching.size), deleted: BigInt(matching.size) });
        expect(await left(all)).toEqual(all.filter((each) => !matching.has(each)));
      }),
      { numRuns: 25 },
    );
  });

  test('runs only so often at once', async () => {
    await make(['busy:1']);
    const calls = Array.from({ length: 12 }, () =>
      openStream(service().channel, CacheServiceService.deletePattern, { pattern: 'busy:*', dryRun: true }),
    );
    const codes = await Promise.all(calls.map((call) => call.code()));
    expect(codes.filter((code) => code === Code.OK).length).toBeGreaterThanOrEqual(2);
    const refused = calls.filter((_, index) => codes[index] !== Code.OK);
    expect(refused.length).toBeGreaterThan(0);
    for (const call of refused) {
      expect(await failureOf(call.result)).toMatchObject({ code: Code.RESOURCE_EXHAUSTED, reason: 'OVERLOADED' });
    }
    expect(await deletePattern({ pattern: 'busy:*' })).toMatchObject({ deleted: 1n });
  });
});
