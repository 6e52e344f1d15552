import { status as Code } from '@grpc/grpc-js';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import {
  AcquireLockStatus,
  LockOwnershipStatus,
  type AcquireLockRequest,
  type AcquireLockResponse,
} from '../../src/gen/shardkeep/lock/v1/lock.js';
import { failureOf } from '../support/client.js';
import { onEachTopology, sharedRedisUrl, startTestService, type TestService } from '../support/service.js';
import { LockUser, LONG_MS, openAcquire } from './lock-support.js';

const { GRANTED, HELD } = AcquireLockStatus;
const { DONE, NOT_HOLDER } = LockOwnershipStatus;

onEachTopology('several resources', (service, topology) => {
  let user: LockUser;
  let second: TestService;
  beforeAll(async () => {
    user = new LockUser(service());
    second = await startTestService({ REDIS_URL: sharedRedisUrl(topology), NAMESPACE: service().namespace });
  });
  afterAll(async () => {
    await second.stop();
  });
  const acquire = (
    resources: string[],
    request: Partial<AcquireLockRequest> = {},
    { locks }: TestService = service(),
  ): Promise<AcquireLockResponse> =>
    locks.acquireLock({ resources, ttlMs: LONG_MS, ...request }, { deadline: Date.now() + Number(LONG_MS) });
  const holderCounts = async (resources: readonly string[]): Promise<number[]> =>
    (await Promise.all(resources.map((resource) => user.look(resource)))).map(({ holderCount }) => Number(holderCount));

  test('are granted as one, under one token, in the order asked, and released and extended by it', async () => {
    const { locks } = service();
    const resources = ['z', 'ä', 'a', 'Z', 'zz'];
    const answer = await acquire(resources);
    expect(answer.status).toBe(GRANTED);
    expect(answer.grants.map(({ resource }) => resource)).toEqual(resources);
    const { lockToken } = answer;
    const extended = await locks.extendLock({ resources, lockToken, ttlMs: 3_600_000n });
    expect(extended).toMatchObject({ status: DONE, notHeldResources: [] });
    expect(extended.expiresAtMs).toBeGreaterThan(answer.expiresAtMs);
    expect(await locks.releaseLock({ resources: ['a'], lockToken })).toEqual({ status: DONE, notHeldResources: [] });
    expect(await locks.extendLock({ resources, lockToken })).toEqual({
      ...{ status: NOT_HOLDER, expiresAtMs: 0n, notHeldResources: ['a'] },
    });
    expect(await locks.releaseLock({ resources, lockToken })).toEqual({ status: NOT_HOLDER, notHeldResources: ['a'] });
    expect(await holderCounts(resources)).toEqual([0, 0, 0, 0, 0]);
  });

  test('where one is held nothing is granted, and the answer names it', async () => {
    const held = await user.granted('trade:b', { owner: 'bob' });
    const names = ['trade:c', 'trade:b', 'trade:a'];
    expect(await acquire(names)).toMatchObject({ status: HELD, blockingResource: 'trade:b', holder: { owner: 'bob' } });
    expect(await acquire(names, { waitMs: 50n })).toMatchObject({ status: HELD, blockingResource: 'trade:b' });
    await user.untilFree('trade:a');
    expect(await holderCounts(names)).toEqual([0, 1, 0]);
    const waiting = acquire(names, { waitMs: LONG_MS });
    await user.untilWaiting('trade:b', 1);
    await user.release('trade:b', held);
    expect((await waiting).status).toBe(GRANTED);
  });

  test('taken in opposite orders by many, nobody waits for ever', async () => {
    const names = ['p', 'q', 'r'];
    let held = 0;
    const trade = async (order: string[], at: TestService): Promise<void> => {
      for (let round = 0; round < 15; round++) {
        const { status, lockToken } = await acquire(order, { waitMs: LONG_MS }, at);
        expect(status).toBe(GRANTED);
        expect(++held).toBe(1);
        held--;
        await at.locks.releaseLock({ resources: order, lockToken });
      }
    };
    await Promise.all([
      trade(names, service()),
      trade(names.toReversed(), service()),
      trade(['q', 'p', 'r'], second),
      trade(['r', 'p', 'q'], second),
    ]);
    expect(await holderCounts(names)).toEqual([0, 0, 0]);
  });

  test('the leases last from when the last one was granted', async () => {
    const held = await user.granted('late:2');
    const waiting = acquire(['late:1', 'late:2'], { ttlMs: 1_000n, waitMs: 30_000n });
    await user.untilWaiting('late:2', 1);
    // it is kept for as long as it may take, not only for its own lease
    const [first] = (await user.look('late:1')).holders;
    expect((first?.expiresAtMs ?? 0n) - (first?.acquiredAtMs ?? 0n)).toBeGreaterThan(20_000n);
    await user.release('late:2', held);
    const { status, expiresAtMs } = await waiting;
    expect(status).toBe(GRANTED);
    for (const resource of ['late:1', 'late:2']) {
      const [holder] = (await user.look(resource)).holders;
      expect(holder?.expiresAtMs).toBeGreaterThanOrEqual(expiresAtMs);
      expect(holder?.expiresAtMs).toBeLessThanOrEqual(expiresAtMs + 1_000n);
    }
  });

  test('a retry of the request is answered the same grant, also where the first try got stuck half way', async () => {
    const requestId = 'several-with-a-request';
    const held = await user.granted('half:2');
    const given = openAcquire(service(), {
      resources: ['half:1', 'half:2'],
      ttlMs: LONG_MS,
      waitMs: LONG_MS,
      requestId,
    });
    await user.untilWaiting('half:2', 1);
    const retry = acquire(['half:1', 'half:2'], { waitMs: LONG_MS, requestId }, second);
    given.cancel();
    await given.answer.catch(() => undefined);
    await user.release('half:2', held);
    const answer = await retry;
    expect(answer.status).toBe(GRANTED);
    expect((await acquire(['half:1', 'half:2'], { requestId })).grants).toEqual(answer.grants);
    const { locks } = service();
    const released = await locks.releaseLock({ resources: ['half:1', 'half:2'], lockToken: answer.lockToken });
    expect(released.status).toBe(DONE);
  });

  test('who gives up while waiting for a later one leaves nothing behind', async () => {
    await user.granted('gone:2');
    const given = openAcquire(service(), { resources: ['gone:1', 'gone:2'], ttlMs: LONG_MS, waitMs: LONG_MS });
    await user.untilWaiting('gone:2', 1);
    given.cancel();
    expect((await failureOf(given.answer)).code).toBe(Code.CANCELLED);
    await user.untilWaiting('gone:2', 0);
    await user.untilFree('gone:1');
  });
});
