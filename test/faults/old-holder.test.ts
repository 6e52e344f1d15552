import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import { status as Code } from '@grpc/grpc-js';
import { AcquireLockStatus } from '../../src/gen/shardkeep/lock/v1/lock.js';
import { GameServer, killGameServers } from '../lock/game-server-process.js';
import { startRedis, type RedisServer } from '../support/redis-server.js';
import { sharedRedisUrl, startTestService, type Environment, type TestService } from '../support/service.js';

/**
 * A holder that stands still beyond its lease, in the middle of its work, and goes on: the lock could not keep it from
 * writing, the fencing token does. The data is on another Redis than the lock, or in another slot of a Cluster.
 */

const { GRANTED } = AcquireLockStatus;
const REFUSED = `${String(Code.FAILED_PRECONDITION)} OLD_FENCING_TOKEN`;

let cacheRedis: RedisServer;
let stateRedis: RedisServer;
let service: TestService;

afterEach(killGameServers);

const PLACES: readonly (readonly [string, () => Environment])[] = [
  ['two Redis', () => ({ CACHE_REDIS_URL: cacheRedis.url, STATE_REDIS_URL: stateRedis.url })],
  ['Cluster', () => ({ REDIS_URL: sharedRedisUrl('cluster') })],
];

describe.each(PLACES)('on %s', (_, environment) => {
  beforeAll(async () => {
    [cacheRedis, stateRedis] = await Promise.all([startRedis(), startRedis()]);
    service = await startTestService(environment());
  });
  afterAll(async () => {
    await service.stop();
    await Promise.all([cacheRedis.remove(), stateRedis.remove()]);
  });

  test('its guarded writes are refused, of the cache and of a session, once its successor has written', async () => {
    const { session } = await service.sessions.createSession({ userId: 'ada' });
    const sessionId = session?.sessionId ?? '';
    const key = 'inventory';
    const [old, next] = await Promise.all([GameServer.start(service.address), GameServer.start(service.address)]);
    const before = await old.acquire({ resources: ['hero'], ttlMs: 1_000n });
    const guard = { resource: 'hero', fencingToken: before.fencingToken };
    expect(await old.write({ key, sessionId, guard, text: 'first' })).toEqual(['OK', 'OK']);

    old.signal('SIGSTOP');
    // ordered before it stopped, as far as it knows
    const late = old.write({ key, sessionId, guard, text: 'late' });
    const after = await next.acquire({ resources: ['hero'], ttlMs: 60_000n, waitMs: 20_000n });
    expect(after.status).toBe(GRANTED);
    expect(after.fencingToken).toBeGreaterThan(before.fencingToken);
    const newGuard = { resource: 'hero', fencingToken: after.fencingToken };
    expect(await next.write({ key, sessionId, guard: newGuard, text: 'new' })).toEqual(['OK', 'OK']);
    old.signal('SIGCONT');
    expect(await late).toEqual([REFUSED, REFUSED]);

    const { entry } = await service.cache.get({ key });
    expect(entry?.value.toString()).toBe('new');
    const { session: saved } = await service.sessions.getSession({ sessionId });
    expect(saved?.metadata.get('by')).toBe('new');
    const check = { resource: 'hero', fencingToken: before.fencingToken };
    expect(await service.locks.checkFencingToken(check)).toMatchObject({ valid: false });
  });

  test('its writes without a guard get through: it is the token that refuses', async () => {
    const { session } = await service.sessions.createSession({ userId: 'bob' });
    const sessionId = session?.sessionId ?? '';
    const [old, next] = await Promise.all([GameServer.start(service.address), GameServer.start(service.address)]);
    const before = await old.acquire({ resources: ['villain'], ttlMs: 300n });
    old.signal('SIGSTOP');
    const guard = { resource: 'villain', fencingToken: before.fencingToken };
    const late = old.write({ key: 'unguarded', sessionId, guard: undefined, text: 'late' });
    const after = await next.acquire({ resources: ['villain'], ttlMs: 60_000n, waitMs: 20_000n });
    const newGuard = { ...guard, fencingToken: after.fencingToken };
    expect(await next.write({ key: 'unguarded', sessionId, guard: newGuard, text: 'new' })).toEqual(['OK', 'OK']);
    old.signal('SIGCONT');
    expect(await late).toEqual(['OK', 'OK']);
  });
});
