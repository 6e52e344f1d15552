import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { InvalidArgumentError, type HoldLockOptions, type Locks } from '../../../src/client/index.js';
import { errorOf } from '../../support/client-error.js';
import { sharedRedisUrl, startTestService, type TestService } from '../../support/service.js';
import { client, newName } from './locks-support.js';

/** On a stream a wrong field costs all locks of the client, so it must not get there. */

let service: TestService;
beforeAll(async () => {
  service = await startTestService({ REDIS_URL: sharedRedisUrl('standalone') });
});
afterAll(() => service.stop());

interface Wrong {
  readonly resources?: readonly string[];
  readonly options?: HoldLockOptions;
  /** What AcquireLock has no field for. */
  readonly fields?: readonly string[];
}

const MANY = Array.from({ length: 17 }, (_, index) => `r${String(index)}`);
const WRONG: readonly (readonly [string, Wrong])[] = [
  ['no resource', { resources: [] }],
  ['too many resources', { resources: MANY }],
  ['a resource twice', { resources: ['a', 'b', 'a'] }],
  ['an empty resource', { resources: ['a', ''] }],
  ['a resource of 513 bytes', { resources: ['x'.repeat(511) + 'ü'] }],
  ['a resource with NUL', { resources: ['a\0b'] }],
  ['a resource with U+FFFD', { resources: ['\uFFFD'] }],
  ['a resource with half a surrogate pair', { resources: ['\uD800'] }],
  ['a long owner', { options: { owner: 'x'.repeat(129) } }],
  ['an owner with half a surrogate pair', { options: { owner: 'a\uDFFF' } }],
  ['a wait below 0', { options: { waitMs: -1 } }],
  ['a wait above a minute', { options: { waitMs: 60_001 } }],
  ['permits below 0', { options: { permits: -1 } }],
  ['permits above a million', { options: { permits: 1_000_001 } }],
  ['a capacity above a million', { options: { permits: 1, capacity: 1_000_001 } }],
  ['more permits than there are', { options: { permits: 3, capacity: 2 } }],
  ['a capacity without permits', { options: { capacity: 2 } }],
  ['reentrance without an owner', { options: { reentrant: true } }],
  ['several of these', { resources: [''], options: { owner: '\0', waitMs: -5 } }],
  ['a wait that is not whole', { options: { waitMs: 0.5 }, fields: ['waitMs'] }],
  ['a wait that is not a number', { options: { waitMs: Number.NaN }, fields: ['waitMs'] }],
  ['permits that are not whole', { options: { permits: 1.5 }, fields: ['permits'] }],
  ['a lease that a stream cannot keep', { options: { leaseMs: 499 }, fields: ['leaseMs'] }],
  ['a lease that outlives the grace of a stream', { options: { leaseMs: 60_001 }, fields: ['leaseMs'] }],
  ['a delay below 0', { options: { lockDelayMs: -1 }, fields: ['lockDelayMs'] }],
  ['a delay above a minute', { options: { lockDelayMs: 60_001 }, fields: ['lockDelayMs'] }],
  ['a word for a flag', { options: { reentrant: 'true' as unknown as true, owner: 'ada' }, fields: ['reentrant'] }],
  ['no signal', { options: { signal: {} as AbortSignal }, fields: ['signal'] }],
];

describe('holdLock refuses', () => {
  test.each(WRONG)('%s, as the service would, and keeps the other locks', async (_, { resources, options, fields }) => {
    const { locks } = client(service.address);
    const other = await locks.holdLock(newName());
    const names = resources ?? [newName()];
    const error = await errorOf(locks.holdLock(names, options));
    expect(error).toBeInstanceOf(InvalidArgumentError);
    expect(error.fields).toEqual(fields ?? (await errorOf(locks.acquireLock(names, options))).fields);
    // whatever was sent on the stream has been answered when this is
    const next = await locks.holdLock(newName());
    expect([other.signal.aborted, next.signal.aborted]).toEqual([false, false]);
    await Promise.all([other.release(), next.release()]);
  });
});

test('what is wrong is told with its range', async () => {
  const { locks } = client(service.address);
  const error = await errorOf(locks.withLock('a', { leaseMs: 60_001 }, () => Promise.resolve()));
  expect(error.message).toMatch(/leaseMs.*500.*60000/);
});

/** As plain JavaScript may call it. */
function untyped(value: unknown): never {
  return value as never;
}

const NO_LOCKS: readonly (readonly [string, (locks: Locks) => Promise<unknown>, readonly string[]])[] = [
  ['acquireLock(null)', (locks) => locks.acquireLock(untyped(null)), ['resources']],
  ['acquireLock([1])', (locks) => locks.acquireLock(untyped(['a', 1])), ['resources[1]']],
  ['holdLock(undefined)', (locks) => locks.holdLock(untyped(undefined)), ['resources']],
  ['holdLock with an owner that is none', (locks) => locks.holdLock('a', { owner: untyped(7) }), ['owner']],
  ['withLock without a body', (locks) => locks.withLock('a', untyped({})), ['body']],
  ['withLock with a timeout of 0', (locks) => locks.withLock('a', { timeoutMs: 0 }, untyped(Date)), ['timeoutMs']],
  ['releaseLock(undefined)', (locks) => locks.releaseLock(untyped(undefined)), ['lock']],
  ['releaseLock of a text', (locks) => locks.releaseLock(untyped('a')), ['lock']],
  ['releaseLock without a token', (locks) => locks.releaseLock(untyped({ resources: ['a'] })), ['lockToken']],
  ['extendLock of a refusal', (locks) => locks.extendLock(untyped({ status: 'held' }), 1_000), ['resources']],
  ['extendLock(null)', (locks) => locks.extendLock(untyped(null), 1_000), ['lock']],
];

test.each(NO_LOCKS)('%s is an InvalidArgumentError', async (_, call, fields) => {
  const error = await errorOf(call(client(service.address).locks));
  expect(error).toBeInstanceOf(InvalidArgumentError);
  expect(error.fields).toEqual(fields);
});

test.each<[string, readonly string[], HoldLockOptions]>([
  ['the longest names', ['x'.repeat(512), 'ü'.repeat(256), '💎'.repeat(128)], {}],
  ['as many resources as can be', MANY.slice(0, 16), {}],
  ['the longest of all', ['longest'], { owner: 'ü'.repeat(64), leaseMs: 60_000, waitMs: 60_000, lockDelayMs: 60_000 }],
  ['the shortest lease', ['shortest'], { leaseMs: 500, waitMs: 0 }],
  ['all permits of the most', ['most'], { permits: 1_000_000, capacity: 1_000_000 }],
  ['permits without a capacity', ['shared'], { permits: 1, reentrant: true, owner: 'o' }],
])('holdLock takes %s', async (_, resources, options) => {
  const { locks } = client(service.address);
  const lock = await locks.holdLock(resources, options);
  expect(lock.resources).toEqual(resources);
  await lock.release();
});
