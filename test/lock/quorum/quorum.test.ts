import { status as Code } from '@grpc/grpc-js';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import {
  AcquireLockStatus,
  LockOwnershipStatus,
  type AcquireLockResponse,
} from '../../../src/gen/shardkeep/lock/v1/lock.js';
import { keys } from '../../../src/redis/keys.js';
import { failureOf } from '../../support/client.js';
import { until, type RedisServer } from '../../support/redis-server.js';
import { sharedRedisUrl, startTestService, type TestService } from '../../support/service.js';
import { admitNow, startMasters } from './quorum-support.js';

/** LockService on three masters, seen by the callers of two services. */

const { GRANTED, HELD } = AcquireLockStatus;
const { DONE, NOT_HOLDER } = LockOwnershipStatus;
const MAX_TTL_MS = 60_000;
const LONG_MS = 30_000n;

let masters: readonly RedisServer[];
let services: readonly TestService[];
let namespace: string;

beforeAll(async () => {
  masters = await startMasters(3);
  namespace = await admitNow(masters);
  const env = {
    REDIS_URL: sharedRedisUrl('standalone'),
    NAMESPACE: namespace,
    LOCK_REDIS_URLS: masters.map(({ url }) => url).join(','),
    LOCK_QUORUM_MAX_TTL_MS: String(MAX_TTL_MS),
    // nothing here is about slow masters, and the machine may be busy
    LOCK_QUORUM_NODE_TIMEOUT_MS: '1000',
  };
  services = await Promise.all([startTestService(env), startTestService(env)]);
});
afterAll(async () => {
  await Promise.all(services.map((service) => service.stop()));
  await Promise.all(masters.map((master) => master.remove()));
});

function service(index = 0): TestService {
  const one = services[index % services.length];
  if (one === undefined) throw new RangeError('no service');
  return one;
}

function fenceOf({ grants }: AcquireLockResponse): bigint {
  return grants[0]?.fencingToken ?? 0n;
}

async function acquire(resource: string, index = 0, ttlMs = LONG_MS): Promise<AcquireLockResponse> {
  const reply = await service(index).locks.acquireLock({
    resources: [resource],
    ttlMs,
    owner: `shard-${String(index)}`,
  });
  expect(reply.status).toBe(GRANTED);
  return reply;
}

/** What each master says who has its vote. */
function votesOf(resource: string): Promise<readonly unknown[]> {
  return Promise.all(masters.map((master) => master.command('HGET', keys.lock(namespace, resource), 'vote')));
}

/** Lets masters lose their votes, as one would that restarted. */
async function loseVotes(resource: string, ...indexes: readonly number[]): Promise<void> {
  const fields = ['vote', 'vote_until', 'vote_since', 'vote_owner', 'vote_rounds'];
  for (const index of indexes) await masters[index]?.command('HDEL', keys.lock(namespace, resource), ...fields);
}

describe('AcquireLock', () => {
  test('is granted by all masters, and refused to others, who are told the holder', async () => {
    const granted = await acquire('held');
    await until(async () => (await votesOf('held')).every((vote) => vote === granted.lockToken));
    const refused = await service(1).locks.acquireLock({ resources: ['held'], ttlMs: LONG_MS });
    expect(refused).toMatchObject({
      status: HELD,
      lockToken: '',
      blockingResource: 'held',
      holder: { owner: 'shard-0', fencingToken: fenceOf(granted), permits: 0 },
    });
    expect(refused.holder?.ttlMs).toBeGreaterThan(0n);
    expect(refused.holder?.ttlMs).toBeLessThanOrEqual(LONG_MS);
  });

  test("is granted by a majority whose third master votes for another, and the token of a failed try is nobody's", async () => {
    const resource = 'third-is-elsewhere';
    const first = await acquire(resource);
    await loseVotes(resource, 2);
    const refused = await service(1).locks.acquireLock({ resources: [resource], ttlMs: LONG_MS });
    expect(refused.status).toBe(HELD);
    // what the failed try was granted is given back
    await until(async () => (await votesOf(resource))[2] === null);
    const { locks } = service();
    const state = await locks.getLock({ resource });
    expect(state).toMatchObject({ fencingToken: fenceOf(first), holderCount: 1n });
    expect(await locks.checkFencingToken({ resource, fencingToken: fenceOf(first) })).toMatchObject({ valid: true });
    expect(await locks.extendLock({ resources: [resource], lockToken: first.lockToken })).toMatchObject({
      status: DONE,
    });
  });

  test('of 30 at once over two services exactly one is granted, and tokens grow from round to round', async () => {
    let last = 0n;
    for (let round = 0; round < 5; round++) {
      const replies = await Promise.all(
        Array.from({ length: 30 }, (_, index) =>
          service(index).locks.acquireLock({ resources: ['one'], ttlMs: LONG_MS, waitMs: 300n }),
        ),
      );
      const granted = replies.filter(({ status }) => status === GRANTED);
      expect(granted).toHaveLength(1);
      const [reply] = granted;
      if (reply === undefined) throw new Error('unreachable');
      expect(fenceOf(reply)).toBeGreaterThan(last);
      last = fenceOf(reply);
      expect(await service(round).locks.releaseLock({ resources: ['one'], lockToken: reply.lockToken })).toMatchObject({
        status: DONE,
      });
    }
  });

  test('with wait_ms is granted when the holder releases, and when its lease ends', async () => {
    for (const [resource, ttlMs] of [
      ['released', LONG_MS],
      ['lapsed', 300n],
    ] as const) {
      const first = await acquire(resource, 0, ttlMs);
      const waiting = service(1).locks.acquireLock(
        { resources: [resource], ttlMs: LONG_MS, waitMs: 10_000n },
        { deadline: Date.now() + 10_000 },
      );
      const { lockToken } = first;
      if (ttlMs === LONG_MS) await service().locks.releaseLock({ resources: [resource], lockToken });
      const second = await waiting;
      expect(second.status).toBe(GRANTED);
      expect(fenceOf(second)).toBeGreaterThan(fenceOf(first));
    }
  });

  test('with wait_ms over answers who holds it', async () => {
    await acquire('waited-for');
    const startedAt = performance.now();
    const reply = await service(1).locks.acquireLock({ resources: ['waited-for'], ttlMs: LONG_MS, waitMs: 200n });
    expect(reply).toMatchObject({ status: HELD, holder: { owner: 'shard-0' } });
    expect(performance.now() - startedAt).toBeLessThan(2_000);
  });

  test('a retry of a request is answered the same grant, by any service and at the same time', async () => {
    const request = { resources: ['same'], ttlMs: LONG_MS, requestId: 'a-request-that-is-sent-again' };
    const replies = await Promise.all(
      Array.from({ length: 6 }, (_, index) => service(index).locks.acquireLock(request)),
    );
    const again = await service(1).locks.acquireLock(request);
    for (const reply of replies) expect(reply).toMatchObject({ status: GRANTED, lockToken: again.lockToken });
    expect(again.status).toBe(GRANTED);
    expect(fenceOf(again)).toBe((await service().locks.getLock({ resource: 'same' })).fencingToken);
    expect(await service().locks.releaseLock({ resources: ['same'], lockToken: again.lockToken })).toMatchObject({
      status: DONE,
    });
  });

  test('a retry finds its token although a master has lost its vote and gives a new one', async () => {
    const request = { resources: ['found-again'], ttlMs: LONG_MS, requestId: 'a-request-that-lost-a-vote' };
    const first = await service().locks.acquireLock(request);
    await loseVotes('found-again', 0);
    const second = await service(1).locks.acquireLock(request);
    expect(second).toMatchObject({ status: GRANTED, lockToken: first.lockToken, grants: first.grants });
  });

  test.each([
    ['several resources', { resources: ['a', 'b'] }],
    ['permits', { resources: ['a'], permits: 1 }],
    ['re-entry', { resources: ['a'], reentrant: true, owner: 'shard-1' }],
  ])('is no lock of %s', async (_, request) => {
    const error = await failureOf(service().locks.acquireLock({ ttlMs: LONG_MS, ...request }));
    expect(error.code).toBe(Code.FAILED_PRECONDITION);
    expect(error.reason).toBe('LOCK_MODE');
  });

  test.each([BigInt(MAX_TTL_MS + 1), 19n])('a lease of %s ms is refused', async (ttlMs) => {
    const { locks } = service();
    const lockToken = 'A'.repeat(32);
    const calls = [
      locks.acquireLock({ resources: ['long'], ttlMs }),
      locks.extendLock({ resources: ['long'], lockToken, ttlMs }),
    ];
    for (const call of calls) expect((await failureOf(call)).code).toBe(Code.INVALID_ARGUMENT);
  });
});

describe('ExtendLock', () => {
  test('moves the end of the lease on every master, later and earlier', async () => {
    const { lockToken, expiresAtMs } = await acquire('extended', 0, 10_000n);
    const { locks } = service(1);
    const later = await locks.extendLock({ resources: ['extended'], lockToken, ttlMs: 50_000n });
    expect(later.status).toBe(DONE);
    expect(later.expiresAtMs).toBeGreaterThan(expiresAtMs + 30_000n);
    const earlier = await locks.extendLock({ resources: ['extended'], lockToken, ttlMs: 5_000n });
    expect(earlier.expiresAtMs).toBeLessThan(later.expiresAtMs - 30_000n);
  });

  test('is done where a majority has the vote, and keeps what is left where it has not', async () => {
    const { lockToken } = await acquire('kept');
    const { locks } = service();
    await loseVotes('kept', 0);
    expect(await locks.extendLock({ resources: ['kept'], lockToken })).toMatchObject({ status: DONE });
    await loseVotes('kept', 1);
    expect(await locks.extendLock({ resources: ['kept'], lockToken })).toMatchObject({
      status: NOT_HOLDER,
      notHeldResources: ['kept'],
    });
    expect((await votesOf('kept'))[2]).toBe(lockToken);
  });

  test.each(['extendLock', 'releaseLock'] as const)('%s knows one resource only', async (rpc) => {
    const request = { resources: ['a', 'b'], lockToken: 'A'.repeat(32) };
    const error = await failureOf(service().locks[rpc](request));
    expect(error.code).toBe(Code.FAILED_PRECONDITION);
    expect(error.reason).toBe('LOCK_MODE');
  });
});

describe('ReleaseLock', () => {
  test('takes the vote of every master, and is not done twice', async () => {
    const { lockToken } = await acquire('freed');
    const { locks } = service(1);
    expect(await locks.releaseLock({ resources: ['freed'], lockToken })).toMatchObject({ status: DONE });
    expect(await locks.releaseLock({ resources: ['freed'], lockToken })).toMatchObject({
      status: NOT_HOLDER,
      notHeldResources: ['freed'],
    });
    await until(async () => (await votesOf('freed')).every((vote) => vote === null));
    const state = await locks.getLock({ resource: 'freed' });
    expect(state).toMatchObject({ holders: [], holderCount: 0n });
    expect(state.fencingToken).toBeGreaterThan(0n);
  });

  test('is done where a majority had the vote, and not where less had, of which nothing is left either', async () => {
    const { locks } = service();
    const one = await acquire('most');
    await loseVotes('most', 0);
    expect(await locks.releaseLock({ resources: ['most'], lockToken: one.lockToken })).toMatchObject({ status: DONE });
    const other = await acquire('few');
    await loseVotes('few', 0, 1);
    expect(await locks.releaseLock({ resources: ['few'], lockToken: other.lockToken })).toMatchObject({
      status: NOT_HOLDER,
    });
    await until(async () => (await votesOf('few')).every((vote) => vote === null));
  });

  test('with the token of another changes nothing', async () => {
    const { lockToken } = await acquire('theirs');
    const stranger = { resources: ['theirs'], lockToken: 'A-stranger_s-token-of-32-letters' };
    expect(await service().locks.releaseLock(stranger)).toMatchObject({ status: NOT_HOLDER });
    await until(async () => (await votesOf('theirs')).every((vote) => vote === lockToken));
  });
});

test('GetLock tells the holder and its lease', async () => {
  const granted = await acquire('seen');
  const { holders, fencingToken, holderCount } = await service(1).locks.getLock({ resource: 'seen' });
  expect({ fencingToken, holderCount }).toEqual({ fencingToken: fenceOf(granted), holderCount: 1n });
  expect(holders).toMatchObject([{ owner: 'shard-0', fencingToken: fenceOf(granted), permits: 0 }]);
  // what counts ends before the votes do
  expect(holders[0]?.expiresAtMs).toBeGreaterThan(granted.expiresAtMs);
  expect(await service().locks.getLock({ resource: 'never-seen' })).toMatchObject({ holders: [], fencingToken: 0n });
});
