import { describe, expect, test } from '@jest/globals';
import { InvalidArgumentError, type Cache } from '../../../src/client/index.js';
import { errorOf } from '../../support/client-error.js';
import { sdkClient } from '../../support/sdk-client.js';

/** Nobody listens there: what is found out all the same was found out before anything was sent. */
const NOWHERE = '127.0.0.1:1';
const run = { count: 0 };
const runs = (): number => ++run.count;

/** As a caller in plain JavaScript gives it. */
const loose = (value: unknown): never => value as never;

const TAGS = { tags: ['a', 'b', 'a'] };
const MANY = Array.from({ length: 33 }, (_, index) => String(index));

const ENTRY_OPTIONS: [object, string][] = [
  [{ ttlMs: NaN }, 'ttlMs'],
  [{ ttlMs: 0 }, 'ttlMs'],
  [{ ttlMs: '60000' }, 'ttlMs'],
  [{ ttlMs: null }, 'ttlMs'],
  [{ ttlMs: 31_536_000_001 }, 'ttlMs'],
  [{ ttlMs: 1n }, 'ttlMs'],
  [{ ttlMs: 1, noExpiry: true }, 'ttlMs'],
  [{ staleMs: 1 }, 'staleMs'],
  [{ ttlMs: 1, staleMs: -1 }, 'staleMs'],
  [{ ttlMs: 1, staleMs: 31_536_000_000 }, 'staleMs'],
  [{ jitterPercent: 91 }, 'jitterPercent'],
  [{ jitterPercent: 1.5 }, 'jitterPercent'],
  [{ jitterPercent: '5' }, 'jitterPercent'],
  [{ tags: 'season' }, 'tags'],
  [{ tags: [''] }, 'tags[0]'],
  [{ tags: ['a', 7] }, 'tags[1]'],
  [{ tags: ['half a pair \ud800'] }, 'tags[0]'],
  [{ tags: ['é'.repeat(65)] }, 'tags[0]'],
  [TAGS, 'tags[2]'],
  [{ tags: MANY }, 'tags'],
];

const LOAD_OPTIONS: [object, string][] = [
  [{ refreshThreshold: 5 }, 'refreshThreshold'],
  [{ refreshThreshold: 0 }, 'refreshThreshold'],
  [{ refreshThreshold: NaN }, 'refreshThreshold'],
  [{ refreshThreshold: '0.5' }, 'refreshThreshold'],
  [{ absentTtlMs: 0 }, 'absentTtlMs'],
  [{ maxLoadMs: Infinity }, 'maxLoadMs'],
  [{ maxLoadMs: NaN }, 'maxLoadMs'],
  [{ maxLoadMs: 2 ** 31 }, 'maxLoadMs'],
  [{ maxLoadMs: 0 }, 'maxLoadMs'],
  [{ failureBackoffMs: -1 }, 'failureBackoffMs'],
  [{ failureBackoffMs: 600_001 }, 'failureBackoffMs'],
  [{ waitMs: Infinity }, 'waitMs'],
  [{ leaseMs: 999 }, 'leaseMs'],
  [{ timeoutMs: NaN }, 'timeoutMs'],
  [{ timeoutMs: '5' }, 'timeoutMs'],
  [{ whileStale: 'constructor' }, 'whileStale'],
  [{ whileStale: '__proto__' }, 'whileStale'],
  [{ whileStale: null }, 'whileStale'],
];

const GUARDS: [object, string][] = [
  [{ guard: { resource: 'lock', fencingToken: 1.5 } }, 'guard.fencingToken'],
  [{ guard: { resource: 'lock', fencingToken: 0 } }, 'guard.fencingToken'],
  [{ guard: { resource: 'lock', fencingToken: '7' } }, 'guard.fencingToken'],
  [{ guard: { resource: 'lock' } }, 'guard.fencingToken'],
  [{ guard: null }, 'guard'],
];

const cacheOf = (): Cache => sdkClient(NOWHERE, { timeoutMs: 1_000 }).cache;

/** The field that was refused; fails where the call throws instead of rejecting, or anything of the caller's ran. */
async function refusedIn(call: () => Promise<unknown>): Promise<string | undefined> {
  const before = run.count;
  const error = await errorOf(call());
  if (!(error instanceof InvalidArgumentError)) throw error;
  if (run.count !== before) throw new Error('the loader or the writer ran', { cause: error });
  return error.fields[0];
}

describe('what is wrong is refused before the loader or the writer runs', () => {
  test.each([...ENTRY_OPTIONS, ...LOAD_OPTIONS])('%p of cacheAside and warm', async (options, field) => {
    const cache = cacheOf();
    expect(await refusedIn(() => cache.cacheAside('k', runs, loose(options)))).toBe(field);
    expect(await refusedIn(() => cache.memo(() => cache.cacheAside('k', runs, loose(options))))).toBe(field);
    expect(await refusedIn(() => cache.warm('k', runs, loose(options)))).toBe(field);
    const { failures } = await cache.warmMany([{ key: 'k', loader: runs, ...options }]);
    expect(failures).toEqual([{ key: 'k', error: expect.any(InvalidArgumentError) }]);
  });

  test.each([...ENTRY_OPTIONS, ...GUARDS])('%p of writeThrough, set and setMany', async (options, field) => {
    const cache = cacheOf();
    expect(await refusedIn(() => cache.writeThrough('k', 1, () => void runs(), loose(options)))).toBe(field);
    expect(await refusedIn(() => cache.set('k', 1, loose(options)))).toBe(field);
    expect(await refusedIn(() => cache.setMany([loose({ key: 'k', value: 1, ...options })]))).toBe(field);
  });

  test('a value that cannot be kept, a key that must expire, and a function that is none', async () => {
    const cache = cacheOf();
    expect(await refusedIn(() => cache.writeThrough('k', 1n, () => void runs()))).toBe('value');
    expect(await refusedIn(() => cache.writeThrough('temp:k', 1, () => void runs(), { noExpiry: true }))).toBe(
      'noExpiry',
    );
    expect(await refusedIn(() => cache.cacheAside('temp:k', runs, { noExpiry: true }))).toBe('noExpiry');
    expect(await refusedIn(() => cache.writeThrough('k', 1, loose(undefined)))).toBe('writer');
    expect(await refusedIn(() => cache.cacheAside('k', loose('loader')))).toBe('loader');
    expect(await refusedIn(() => cache.warm('k', loose(undefined)))).toBe('loader');
  });
});

describe('what is wrong is refused before anything is sent', () => {
  test.each<[string, (cache: Cache) => Promise<unknown>, string]>([
    ['a limit that is no number', (cache) => cache.getList('l', { limit: NaN }), 'limit'],
    ['a negative limit', (cache) => cache.getList('l', { limit: -1 }), 'limit'],
    ['half an offset', (cache) => cache.getList('l', { offset: 0.5 }), 'offset'],
    ['a side that every object knows', (cache) => cache.getList('l', { side: loose('constructor') }), 'side'],
    ['a side to push at', (cache) => cache.pushToList('l', [1], { side: loose('top') }), 'side'],
    ['half a length', (cache) => cache.pushToList('l', [1], { maxLength: 1.5 }), 'maxLength'],
    ['items that are none', (cache) => cache.pushToList('l', loose('abc')), 'items'],
    ['members that are none', (cache) => cache.addToSet('s', loose({ length: 1 })), 'members'],
    ['no member at most', (cache) => cache.addToSet('s', [1], { maxMembers: 0 }), 'maxMembers'],
    ['null as what to add', (cache) => cache.increment('n', loose(null)), 'delta'],
    ['text as what to add', (cache) => cache.increment('n', loose('5')), 'delta'],
    ['text as a bound', (cache) => cache.increment('n', 1, { floor: loose('5') }), 'floor'],
    ['null as a bound', (cache) => cache.incrementWithin('n', 1, { ceiling: loose(null) }), 'ceiling'],
    ['another condition', (cache) => cache.set('k', 1, { condition: loose('exists') }), 'condition'],
    [
      'a condition that every object knows',
      (cache) => cache.set('k', 1, { condition: loose('toString') }),
      'condition',
    ],
    ['no condition', (cache) => cache.set('k', 1, { condition: loose(null) }), 'condition'],
    ['half a version', (cache) => cache.set('k', 1, { condition: { version: 1.5 } }), 'condition.version'],
    ['half a token', (cache) => cache.delete('k', loose(GUARDS[0]?.[0])), 'guard.fencingToken'],
    ['keys that are none', (cache) => cache.deleteMany(loose('abc')), 'keys'],
    ['entries that are none', (cache) => cache.setMany(loose('abc')), 'entries'],
    ['entries to warm that are none', (cache) => cache.warmMany(loose(undefined)), 'entries'],
    ['tags that are none', (cache) => cache.invalidateTags(loose('season')), 'tags'],
    ['many minutes', (cache) => cache.getCacheStats({ minutes: 61 }), 'minutes'],
    ['half a hot key', (cache) => cache.getCacheStats({ hotKeyLimit: 0.5 }), 'hotKeyLimit'],
  ])('%s', async (_, call, field) => {
    expect(await refusedIn(() => call(cacheOf()))).toBe(field);
  });
});
