import { beforeAll, describe, expect, test } from '@jest/globals';
import {
  InvalidArgumentError,
  type AcquireLockOptions,
  type CacheAsideOptions,
  type CallOptions,
  type CharacterClaimRequest,
  type CheckOptions,
  type HoldLockOptions,
  type InlineRateLimitPolicy,
  type PushToListOptions,
  type ReserveRateLimitOptions,
  type SessionLogin,
  type SetEntry,
  type ShardkeepClient,
  type ValidateSessionOptions,
  type WriteThroughOptions,
} from '../../src/client/index.js';
import { sdkClient } from '../support/sdk-client.js';
import { randomNamespace, sharedRedisUrl, startTestService, type TestService } from '../support/service.js';

/** Options that nobody reads, as callers without a compiler give them. */

let service: TestService;
beforeAll(async () => {
  service = await startTestService({ url: sharedRedisUrl('standalone') });
});

type Areas = Pick<ShardkeepClient, 'cache' | 'sessions' | 'locks' | 'rateLimits' | 'health'>;
type MethodName<Area extends keyof Areas> = Extract<keyof Areas[Area], string>;

/** A call whose arguments no compiler has seen. */
function plainly<Area extends keyof Areas>(
  client: ShardkeepClient,
  area: Area,
  method: MethodName<Area>,
  args: readonly unknown[],
): unknown {
  const call = client[area][method] as (...given: unknown[]) => unknown;
  return call.apply(client[area], [...args]);
}

type Case<Area extends keyof Areas> = [MethodName<Area>, unknown[], string[]];

const ID = 'a'.repeat(22);
const TOKEN = 'x'.repeat(43);
const policy = { name: 'x', algorithm: 'sliding_exact', limit: 5, windowMs: 60_000 };
const limit = { subject: 'user:ada', policy };
const character = { userId: 'ada', characterId: 'knight' };
const epoch = { ...character, epoch: 1 };
const lock = { resources: ['r'], lockToken: 't'.repeat(43) };
const load = () => 1;
/** An option of every call that is none. */
const late = { timeout: 5 };

const cache: Case<'cache'>[] = [
  ['with', [{ codecs: {} }], ['codecs']],
  ['get', ['k', late], ['timeout']],
  ['get', ['k', 5], ['options']],
  ['getEntry', ['k', null], ['options']],
  ['getMany', [['k'], late], ['timeout']],
  ['getMany', ['k'], ['keys']],
  ['getMany', [], ['keys']],
  ['set', ['k', 1, { guards: {}, ttl: 5, timeoutMs: 5 }], ['guards', 'ttl']],
  ['set', ['k', 1, { ifAbsent: true }], ['ifAbsent']],
  ['set', ['k', 1, { toString: true }], ['toString']],
  ['set', ['k', 1, 3600], ['options']],
  ['set', ['k', 1, [{ ttlMs: 5 }]], ['options']],
  ['set', ['k', 1, { guard: { resource: 'r', fencingToken: 1, epoch: 1 } }], ['guard.epoch']],
  ['set', ['k', 1, { condition: { version: 1, absent: true } }], ['condition.absent']],
  ['set', ['k', 1, { ttlMs: Infinity }], ['ttlMs']],
  ['set', [5, 1, { noExpiry: true }], ['key']],
  ['setMany', [[{ key: 'k', value: 1 }], late], ['timeout']],
  [
    'setMany',
    [
      [
        { key: 'k', value: 1 },
        { key: 'l', value: 1, ttl: 5 },
      ],
    ],
    ['entries[1].ttl'],
  ],
  ['setMany', [[null]], ['entries[0]']],
  ['delete', ['k', { guards: {} }], ['guards']],
  ['deleteMany', [['k'], { guard: { resource: 'r', fencingToken: 1 } }], ['guard']],
  ['deleteMany', [5], ['keys']],
  ['exists', ['k', late], ['timeout']],
  ['touch', ['k', { staleMs: 5 }], ['staleMs']],
  ['getTtl', ['k', late], ['timeout']],
  ['increment', ['k', 1, { max: 5 }], ['max']],
  ['increment', ['k', 1, { guard: { resource: 'r', fencingToken: 1, token: 1 } }], ['guard.token']],
  ['incrementWithin', ['k', 1, { ceil: 5 }], ['ceil']],
  ['addToSet', ['k', ['m'], { maxLength: 5 }], ['maxLength']],
  ['removeFromSet', ['k', ['m'], late], ['timeout']],
  ['getSetMembers', ['k', late], ['timeout']],
  ['pushToList', ['k', ['m'], { maxMembers: 5 }], ['maxMembers']],
  ['getList', ['k', { count: 5 }], ['count']],
  ['cacheAside', ['k', load, { ttl: 5 }], ['ttl']],
  ['taggedCache', ['k', ['t'], load, { tags: ['u'] }], ['tags']],
  ['writeThrough', ['k', 1, load, { condition: 'absent' }], ['condition']],
  ['warm', ['k', load, { ttl: 5 }], ['ttl']],
  ['warmMany', [[{ key: 'k', loader: load }], { parallel: 5 }], ['parallel']],
  ['warmMany', [[{ key: 'k', loader: load, ttl: 5 }]], ['entries[0].ttl']],
  ['warmMany', [[null]], ['entries[0]']],
  ['invalidateByTag', ['t', { mode: 'soft' }], ['mode']],
  ['invalidateTags', [['t'], { mode: 'soft' }], ['mode']],
  ['deletePattern', ['k*', { dry: true }], ['dry']],
  ['deletePattern', ['k*', { onProgress: true }], ['onProgress']],
  ['getCacheStats', [{ hotKeys: 5 }], ['hotKeys']],
  ['memo', [], ['body']],
];

const sessions: Case<'sessions'>[] = [
  ['createSession', [{ userId: 'u', maxSessions: 1, ttlMs: 5 }], ['maxSessions', 'ttlMs']],
  ['createSession', [{ userId: 'u', client: { useragent: 'x' } }], ['client.useragent']],
  ['createSession', [{ userId: 'u' }, late], ['timeout']],
  ['validateSession', [TOKEN, { maxAuthAge: 5 }], ['maxAuthAge']],
  ['validateSession', [TOKEN, { client: { device: 'x' } }], ['client.device']],
  ['getSession', [ID, late], ['timeout']],
  ['updateSession', [ID, {}, { version: 1 }], ['version']],
  ['updateSession', [ID, {}, { guard: { resource: 'r', fencingToken: 1, epoch: 1 } }], ['guard.epoch']],
  ['extendSession', [ID, { ttlMs: 5, ...late }], ['timeout']],
  ['rotateSession', [TOKEN, { reauthenticate: true }], ['reauthenticate']],
  ['destroySession', [ID, { inMs: 5 }], ['inMs']],
  ['destroyUserSessions', ['u', { blockMs: 5 }], ['blockMs']],
  ['destroyAllSessions', [{ why: 'x' }], ['why']],
  ['listUserSessions', ['u', { pageSize: 5 }], ['pageSize']],
  ['watchSessions', [{ users: ['u'], all: true }], ['users']],
  ['watchSessions', [{ all: true, cursor: 5 }], ['cursor']],
  ['watchSessions', [{ all: true }, { cursor: '' }], ['cursor']],
  ['watchSessions', [{ all: true }, { onResync: true }], ['onResync']],
  ['claimCharacter', [{ ...character, sessionId: ID, takeover: true }], ['takeover']],
  ['claimCharacter', [{ ...character, sessionId: ID }, late], ['timeout']],
  ['releaseCharacter', [epoch, late], ['timeout']],
  ['getCharacterClaim', [character, late], ['timeout']],
  ['checkCharacterClaim', [epoch, late], ['timeout']],
  ['getSessionStats', [late], ['timeout']],
  ['cleanupExpiredSessions', [late], ['timeout']],
];

const locks: Case<'locks'>[] = [
  ['withLock', ['r', { ttlMs: 5 }, load], ['ttlMs']],
  ['withLock', ['r', { wait: 5 }, load], ['wait']],
  ['withLock', ['r', null, load], ['options']],
  ['withLock', ['r', load, { leaseMs: 500 }], ['body']],
  ['holdLock', ['r', { ttlMs: 5 }], ['ttlMs']],
  ['acquireLock', ['r', { ttl: 5 }], ['ttl']],
  ['acquireLock', ['r', 5000], ['options']],
  ['releaseLock', [lock, late], ['timeout']],
  ['extendLock', [lock, 5, late], ['timeout']],
  ['checkFencingToken', ['r', 1, late], ['timeout']],
  ['getLock', ['r', late], ['timeout']],
  ['listLocks', [{ startsWith: 'r' }], ['startsWith']],
  ['watchLocks', [{ resource: 'r' }], ['resource']],
  ['watchLocks', [], ['options']],
  ['watchLocks', [{ resources: 'r' }], ['resources']],
  ['forceReleaseLock', ['r', 'x', { fencingToken: 5 }], ['fencingToken']],
  ['cleanupExpiredLocks', [late], ['timeout']],
  ['getLockStats', [{ hottest: 5 }], ['hottest']],
];

const rateLimits: Case<'rateLimits'>[] = [
  ['check', ['user:ada', policy, { costs: 5 }], ['costs']],
  ['check', ['user:ada', { ...policy, brust: 5 }], ['limits[0].inlinePolicy.brust']],
  ['checkRateLimit', [limit, { role: 'x' }], ['role']],
  ['checkRateLimit', [[limit, { ...limit, roles: 'x' }]], ['limits[1].roles']],
  ['checkManyRateLimits', [[{ limits: limit, costs: 5 }]], ['checks[0].costs']],
  ['checkManyRateLimits', [[{ limits: limit }], { cost: 5 }], ['cost']],
  ['peekRateLimit', [limit, { headers: true }], ['headers']],
  ['reserveRateLimit', [limit, { ttl: 5 }], ['ttl']],
  ['settleRateLimit', ['x', 1, late], ['timeout']],
  ['refundRateLimit', ['x', late], ['timeout']],
  ['resetRateLimit', [limit, late], ['timeout']],
  ['overrideRateLimit', ['user:ada', 'chat', { limit: 5, ttlMs: 5, cost: 5 }], ['cost']],
  ['ban', ['user:ada', 5, { why: 'x' }], ['why']],
  ['unban', ['user:ada', { reason: 'x' }], ['reason']],
  ['listBans', [{ prefix: 'user:' }], ['prefix']],
  ['holdConcurrency', [limit, { slots: 5 }], ['slots']],
  ['listPolicies', [late], ['timeout']],
  ['getRateLimitStats', [{ hottest: 5 }], ['hottest']],
];

const health: Case<'health'>[] = [
  ['check', ['', late], ['timeout']],
  ['watch', ['', { timeoutMs: 5 }], ['timeoutMs']],
];

/** What answers a stream or a cache, or runs what it is given, has no promise to reject. */
const AT_ONCE: ReadonlySet<string> = new Set([
  ...['with', 'memo', 'destroyAllSessions', 'watchSessions', 'listLocks', 'watchLocks', 'listBans', 'watch'],
]);

async function failureOf(client: ShardkeepClient, area: keyof Areas, method: string, args: unknown[]) {
  try {
    const answer = plainly(client, area, method as never, args);
    if (!AT_ONCE.has(method)) return await (answer as Promise<unknown>).catch((error: unknown) => error);
    for await (const _ of answer as AsyncIterable<unknown>) return undefined;
  } catch (error) {
    if (AT_ONCE.has(method)) return error;
    throw error;
  }
  return undefined;
}

function refusals<Area extends keyof Areas>(area: Area, cases: Case<Area>[]): void {
  describe(`of ${area}`, () => {
    test.each(cases)('%s(…%j) names %j', async (method, args, fields) => {
      const error = await failureOf(sdkClient(service.address), area, method, args);
      expect(error).toBeInstanceOf(InvalidArgumentError);
      expect(error).toMatchObject({ reason: 'INVALID_FIELD', fields });
    });

    test('every method with options is there', () => {
      const client = sdkClient(service.address);
      const names = Object.getOwnPropertyNames(Object.getPrototypeOf(client[area]) as object);
      const called = new Set<string>(cases.map(([method]) => method));
      expect(names.filter((name) => !called.has(name) && !WITHOUT_OPTIONS.has(name))).toEqual([]);
    });
  });
}

const WITHOUT_OPTIONS: ReadonlySet<string> = new Set([
  ...['constructor', 'close', 'circuitState', 'nearCacheStats'],
  // private
  ...['deleteAll', 'view', 'hold', 'charge'],
]);

describe('names that nobody reads are refused', () => {
  refusals('cache', cache);
  refusals('sessions', sessions);
  refusals('locks', locks);
  refusals('rateLimits', rateLimits);
  refusals('health', health);
});

describe('nothing is done of a call that has one', () => {
  test('the value, the user and the lock are as they were', async () => {
    const client = sdkClient(service.address);
    const name = randomNamespace();
    await client.cache.set(name, 'newer');
    await failureOf(client, 'cache', 'set', [name, 'older', { guards: { resource: name, fencingToken: 1 } }]);
    expect(await client.cache.get(name)).toBe('newer');
    const login = { userId: name };
    expect(await client.sessions.createSession(login)).toMatchObject({ status: 'created' });
    await failureOf(client, 'sessions', 'destroyUserSessions', [name, { blockMs: 60_000 }]);
    expect(await client.sessions.listUserSessions(name)).toMatchObject({ totalCount: 1 });
    let ran = false;
    const body = () => {
      ran = true;
    };
    await failureOf(client, 'locks', 'withLock', [name, { ttlMs: 5 }, body]);
    expect(ran).toBe(false);
    expect(await client.locks.getLock(name)).toMatchObject({ holderCount: 0, fencingToken: undefined });
  });
});

/** All options at once; the compiler sees to it that none is left out. */
type All<Options> = Readonly<Required<Options>>;

describe('what is right is taken', () => {
  const { signal } = new AbortController();
  const call: All<CallOptions> = { timeoutMs: 30_000, signal, retrySafe: true };
  const requestId = () => `request:${randomNamespace()}`;

  test('every option of a cache', async () => {
    const client = sdkClient(service.address);
    const { cache: values } = client;
    const key = randomNamespace();
    const guard = { resource: key, fencingToken: 1 };
    const life = { ttlMs: 60_000, staleMs: 5, jitterPercent: 5, tags: [key] };
    const options = { ...life, condition: 'absent', guard } as const;
    const entry: All<Omit<SetEntry, 'noExpiry'>> = { ...options, key, value: 1 };
    expect(await plainly(client, 'cache', 'set', [key, 1, { ...options, ...call }])).toMatchObject({ stored: true });
    expect(await plainly(client, 'cache', 'setMany', [[{ ...entry, condition: 'present' }], call])).toHaveLength(1);
    const through: All<Omit<WriteThroughOptions, 'noExpiry'>> = { ...life, ...call, guard };
    expect(await plainly(client, 'cache', 'writeThrough', [key, 2, load, through])).toMatchObject({ stored: true });
    const waits = { maxLoadMs: 5_000, waitMs: 5, leaseMs: 5_000, failureBackoffMs: 5, absentTtlMs: 5 };
    const { retrySafe, ...aside } = call;
    const terms: All<Omit<CacheAsideOptions, 'noExpiry'>> = {
      ...{ ...life, ...waits, ...aside },
      refreshThreshold: 0.5,
      whileStale: 'wait',
    };
    expect(await plainly(client, 'cache', 'cacheAside', [key, load, terms])).toBe(2);
    const warmed = await plainly(client, 'cache', 'warmMany', [[{ key, loader: load, ...terms }], { signal }]);
    expect(warmed).toMatchObject({ failed: 0 });
    const push: All<Omit<PushToListOptions, 'noExpiry'>> = {
      ...{ ...call, ttlMs: 60_000, refreshExpiry: true },
      side: 'head',
      maxLength: 5,
    };
    expect(await values.pushToList(`${key}:list`, [1], push)).toBe(1);
    const within = { floor: 0, ceiling: 5, requestId: requestId(), guard, ttlMs: 60_000 };
    expect(await values.increment(`${key}:count`, 1, { ...within, ...call })).toBe(1);
    expect(await values.delete(key, { ...call, guard })).toBe(true);
    expect(retrySafe).toBe(true);
  });

  test('every option of sessions', async () => {
    const { sessions: logins } = sdkClient(service.address);
    const userId = randomNamespace();
    const client = { ip: '203.0.113.7', userAgent: 'x', deviceId: 'y' };
    const texts = { username: 'x', roles: [], permissions: [], organizationId: 'x', characterId: 'x', metadata: {} };
    const login: All<Omit<SessionLogin, 'replacesSessionToken'>> = {
      ...{ ...texts, userId, client, profile: 'default', idleTtlMs: 60_000 },
      authenticatedAtMs: Date.now(),
      requestId: requestId(),
      evictSessionIds: [],
    };
    const created = await logins.createSession(login, call);
    if (created.status !== 'created') throw new Error(created.status);
    const { sessionToken, session } = created;
    const presented: All<ValidateSessionOptions> = { ...call, client, maxAuthAgeMs: 60_000 };
    expect(await logins.validateSession(sessionToken, presented)).toMatchObject({ status: 'valid' });
    const { sessionId } = session;
    const guard = { resource: userId, fencingToken: 1 };
    await logins.updateSession(sessionId, texts, { ...call, expectedVersion: session.version, noTouch: true, guard });
    const request: All<CharacterClaimRequest> = {
      ...{ userId, characterId: 'x', sessionId, owner: 'x' },
      policy: 'takeover_after_drain',
      drainMs: 5,
    };
    const claimed = await logins.claimCharacter(request, call);
    expect(claimed.status).toBe('claimed');
    const rotation = { ...call, client, reauthenticated: true };
    expect(await logins.rotateSession(sessionToken, rotation)).toMatchObject({ status: 'rotated' });
    const words = { reason: 'x', message: 'x', effectiveInMs: 5, keepSessionId: '', blockForMs: 5 };
    expect(await logins.destroyUserSessions(userId, { ...call, ...words })).toMatchObject({ destroyedCount: 1 });
  });

  test('every option of locks', async () => {
    const client = sdkClient(service.address);
    const terms = { owner: 'x', permits: 1, capacity: 2, reentrant: false, waitMs: 5, timeoutMs: 30_000, signal };
    const acquiring: All<AcquireLockOptions> = { ...terms, ttlMs: 60_000, requestId: requestId() };
    expect(await client.locks.acquireLock(randomNamespace(), acquiring)).toMatchObject({ status: 'granted' });
    const holding: All<HoldLockOptions> = { ...terms, leaseMs: 5_000, lockDelayMs: 5 };
    expect(await client.locks.withLock(randomNamespace(), holding, () => Promise.resolve('ran'))).toBe('ran');
  });

  test('every option of rate limits', async () => {
    const { rateLimits: quotas } = sdkClient(service.address);
    const subject = `user:${randomNamespace()}`;
    const bucket: All<InlineRateLimitPolicy> = {
      ...{ name: 'x', limit: 5, windowMs: 60_000, burst: 5 },
      algorithm: 'token_bucket',
    };
    const asking = { ...call, cost: 2, minCost: 1, chargeDenied: true, wantHeaders: true };
    const checking: All<CheckOptions> = { ...asking, requestId: requestId(), role: 'x' };
    expect(await quotas.check(subject, bucket, checking)).toMatchObject({ allowed: true });
    const reserving: All<ReserveRateLimitOptions> = { ...asking, requestId: requestId(), ttlMs: 60_000 };
    expect(await quotas.reserveRateLimit({ subject, policy: bucket }, reserving)).toMatchObject({ status: 'reserved' });
    const each = { subject, policy: bucket, cost: 1, role: 'x' };
    expect(await quotas.checkManyRateLimits([{ limits: each }], call)).toHaveLength(1);
  });

  test('an answer as an argument, and options that are undefined whatever their names', async () => {
    const client = sdkClient(service.address);
    const name = randomNamespace();
    const granted = await client.locks.acquireLock(name);
    if (granted.status !== 'granted') throw new Error(granted.status);
    const [grant] = granted.lock.grants;
    const options = { guard: grant, guards: undefined };
    const stored = await plainly(client, 'cache', 'set', [name, 1, options]);
    expect(stored).toMatchObject({ stored: true });
    const entry = await client.cache.getEntry(name);
    if (entry === undefined) throw new Error('nothing is there');
    expect(await client.cache.set(name, 2, { condition: entry })).toMatchObject({ stored: true });
    expect(await client.locks.extendLock(granted.lock, 5_000)).toMatchObject({ status: 'done' });
    expect(await client.locks.releaseLock(granted.lock)).toMatchObject({ status: 'done' });
  });
});
