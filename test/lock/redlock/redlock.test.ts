import { status as Code } from '@grpc/grpc-js';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { AcquireLockStatus, LockOwnershipStatus } from '../../../src/gen/shardkeep/lock/v1/lock.js';
import { failureOf } from '../../support/client.js';
import { rawRedis, type RawRedis } from '../../support/raw-redis.js';
import {
  randomNamespace,
  sharedRedisUrl,
  startTestService,
  TOPOLOGIES,
  type TestService,
} from '../../support/service.js';

/** LockService where its locks are those of redlock, on one Redis and on a Cluster, seen by its callers. */

const { GRANTED, HELD } = AcquireLockStatus;
const { DONE, NOT_HOLDER } = LockOwnershipStatus;
const LONG_MS = 60_000n;

describe.each(TOPOLOGIES)('on %s', (topology) => {
  // no other test has locks behind it; the braces put all of them in one slot
  const prefix = `{${randomNamespace()}}`;
  let services: readonly TestService[];
  let redis: RawRedis;

  beforeAll(async () => {
    const env = {
      REDIS_URL: sharedRedisUrl(topology),
      LOCK_COMPATIBLE: 'redlock',
      LOCK_COMPATIBLE_PREFIX: prefix,
    };
    services = await Promise.all([startTestService(env), startTestService(env)]);
    redis = await rawRedis(topology);
  });
  afterAll(async () => {
    await redis.close();
    await Promise.all(services.map((service) => service.stop()));
  });

  function service(index = 0): TestService {
    const one = services[index % services.length];
    if (one === undefined) throw new RangeError('no service');
    return one;
  }

  test('a lock is one string behind the prefix, with the token and nothing else', async () => {
    const { locks } = service();
    const granted = await locks.acquireLock({ resources: ['plain'], ttlMs: LONG_MS, owner: 'shard-1' });
    expect(granted).toMatchObject({
      status: GRANTED,
      grants: [{ resource: 'plain', fencingToken: 0n, holdCount: 1 }],
    });
    const key = `${prefix}plain`;
    expect(await redis.command('GET', key)).toEqual(Buffer.from(granted.lockToken));
    expect(await redis.command('PEXPIRETIME', key)).toBe(Number(granted.expiresAtMs));
    const { lockToken } = granted;
    expect(await locks.releaseLock({ resources: ['plain'], lockToken })).toMatchObject({ status: DONE });
    expect(await redis.command('EXISTS', key)).toBe(0);
    expect(await locks.releaseLock({ resources: ['plain'], lockToken })).toMatchObject({ status: NOT_HOLDER });
    expect(await locks.getLock({ resource: 'plain' })).toMatchObject({ holders: [], holderCount: 0n });
  });

  test('several resources are taken all or none, extended and released each for itself', async () => {
    const { locks } = service();
    const first = await locks.acquireLock({ resources: ['b', 'a'], ttlMs: LONG_MS });
    expect(first.grants.map(({ resource }) => resource)).toEqual(['b', 'a']);
    const refused = await service(1).locks.acquireLock({ resources: ['c', 'a'], ttlMs: LONG_MS });
    expect(refused).toMatchObject({ status: HELD, blockingResource: 'a' });
    expect(await locks.getLock({ resource: 'c' })).toMatchObject({ holderCount: 0n });
    const { lockToken } = first;
    const request = { resources: ['a', 'c', 'b'], lockToken };
    const extended = await locks.extendLock({ ...request, ttlMs: 2n * LONG_MS });
    expect(extended).toMatchObject({ status: NOT_HOLDER, notHeldResources: ['c'] });
    const [holder] = (await locks.getLock({ resource: 'b' })).holders;
    expect(holder?.ttlMs).toBeGreaterThan(LONG_MS);
    expect(await locks.releaseLock(request)).toMatchObject({ status: NOT_HOLDER, notHeldResources: ['c'] });
    expect((await service(1).locks.acquireLock({ resources: ['a', 'b'], ttlMs: LONG_MS })).status).toBe(GRANTED);
  });

  test('a lease is extended to a later and to an earlier end', async () => {
    const { locks } = service();
    const { lockToken, expiresAtMs } = await locks.acquireLock({ resources: ['moved'], ttlMs: LONG_MS });
    const held = { resources: ['moved'], lockToken };
    const later = await locks.extendLock({ ...held, ttlMs: 2n * LONG_MS });
    expect(later.expiresAtMs).toBeGreaterThan(expiresAtMs);
    const earlier = await locks.extendLock({ ...held, ttlMs: 1_000n });
    expect(earlier.expiresAtMs).toBeLessThan(expiresAtMs);
  });

  test('a request is answered the same grant by any service and at the same time, and one release frees it', async () => {
    const request = { resources: ['same', 'pair'], ttlMs: LONG_MS, requestId: 'a-request-that-is-sent-again' };
    const replies = await Promise.all(
      Array.from({ length: 6 }, (_, index) => service(index).locks.acquireLock(request)),
    );
    const [{ lockToken } = { lockToken: '' }] = replies;
    for (const reply of replies) expect(reply).toMatchObject({ status: GRANTED, lockToken });
    const stranger = { ...request, requestId: 'a-request-of-somebody-else' };
    expect((await service(1).locks.acquireLock(stranger)).status).toBe(HELD);
    await service(1).locks.releaseLock({ resources: request.resources, lockToken });
    expect((await service(1).locks.acquireLock(stranger)).status).toBe(GRANTED);
  });

  test('a try that ends no later than it is told answers who has it', async () => {
    await service().locks.acquireLock({ resources: ['waited-for'], ttlMs: LONG_MS });
    const startedAt = performance.now();
    const reply = await service(1).locks.acquireLock({ resources: ['waited-for'], ttlMs: LONG_MS, waitMs: 200n });
    expect(reply).toMatchObject({ status: HELD, blockingResource: 'waited-for', waitingCount: 0n });
    expect(performance.now() - startedAt).toBeLessThan(2_000);
  });

  test.each([
    ['permits', { permits: 1 }],
    ['re-entry', { reentrant: true, owner: 'shard-1' }],
  ])('there are no %s', async (_, request) => {
    const error = await failureOf(service().locks.acquireLock({ resources: ['exclusive'], ...request }));
    expect(error).toMatchObject({ code: Code.FAILED_PRECONDITION, reason: 'LOCK_MODE' });
  });

  test('nothing looks at all locks or takes one by force', async () => {
    const { locks } = service();
    for (const call of [
      locks.listLocks({}),
      locks.forceReleaseLock({ resource: 'any', reason: 'a test' }),
      locks.cleanupExpiredLocks({}),
      locks.getLockStats({}),
    ]) {
      expect(await failureOf(call)).toMatchObject({ code: Code.FAILED_PRECONDITION, reason: 'LOCK_MODE' });
    }
  });

  test('there are no fencing tokens to check', async () => {
    await service().locks.acquireLock({ resources: ['unfenced'], ttlMs: LONG_MS });
    const error = await failureOf(service().locks.checkFencingToken({ resource: 'unfenced', fencingToken: 1n }));
    expect(error).toMatchObject({ code: Code.FAILED_PRECONDITION, reason: 'LOCK_MODE' });
  });

  test.each([
    ['has no expiry', ['SET', 'VALUE'], []],
    ['is no string', ['HSET', 'field', 'VALUE'], ['PEXPIRE', '60000']],
  ] as const)('a key that %s is no lock, and nothing happens to it', async (what, [write, ...values], expiry) => {
    const resource = `data: ${what}`;
    const key = `${prefix}${resource}`;
    await redis.command(write, key, ...values);
    const [expire, ...args] = expiry;
    if (expire !== undefined) await redis.command(expire, key, ...args);
    const before = await redis.command('DUMP', key);
    const { locks } = service();
    for (const call of [locks.acquireLock({ resources: ['beside', resource] }), locks.getLock({ resource })]) {
      expect(await failureOf(call)).toMatchObject({ code: Code.FAILED_PRECONDITION, reason: 'WRONG_TYPE' });
    }
    const nobody = { resources: [resource], lockToken: 'A'.repeat(32) };
    expect(await locks.extendLock(nobody)).toMatchObject({ status: NOT_HOLDER });
    expect(await locks.releaseLock(nobody)).toMatchObject({ status: NOT_HOLDER });
    expect(await redis.command('DUMP', key)).toEqual(before);
    expect(await locks.getLock({ resource: 'beside' })).toMatchObject({ holderCount: 0n });
  });
});

describe.each(TOPOLOGIES)('without a prefix on %s', (topology) => {
  let service: TestService;

  beforeAll(async () => {
    service = await startTestService({ REDIS_URL: sharedRedisUrl(topology), LOCK_COMPATIBLE: 'redlock' });
  });
  afterAll(async () => {
    await service.stop();
  });

  test.each([
    ['its own namespace', (namespace: string) => `${namespace}:locks:7`],
    ['a record of another', () => 'other:session:{7}:id'],
    ['the marks of another', () => 'other:meta'],
  ])('no RPC touches %s', async (_, resourceOf) => {
    const { locks, namespace } = service;
    const resource = resourceOf(namespace);
    const held = { resources: [resource], lockToken: 'A'.repeat(32) };
    for (const call of [
      locks.acquireLock({ resources: [resource] }),
      locks.extendLock(held),
      locks.releaseLock(held),
      locks.getLock({ resource }),
    ]) {
      expect((await failureOf(call)).code).toBe(Code.INVALID_ARGUMENT);
    }
  });

  test('several resources are of one slot where slots matter', async () => {
    const tag = randomNamespace();
    const { locks } = service;
    const together = await locks.acquireLock({ resources: [`{${tag}}:a`, `{${tag}}:b`], ttlMs: 1_000n });
    expect(together.status).toBe(GRANTED);
    const apart = locks.acquireLock({ resources: [`${tag}:a`, `${tag}:b`], ttlMs: 1_000n });
    if (topology === 'standalone') expect((await apart).status).toBe(GRANTED);
    else expect(await failureOf(apart)).toMatchObject({ code: Code.FAILED_PRECONDITION, reason: 'LOCK_MODE' });
  });
});
