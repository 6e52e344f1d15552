import { status as Code } from '@grpc/grpc-js';
import { afterEach, describe, expect, test } from '@jest/globals';
import { AcquireLockStatus, LockOwnershipStatus, LockServiceService } from '../../../src/gen/shardkeep/lock/v1/lock.js';
import { keys } from '../../../src/redis/keys.js';
import { failureOf } from '../../support/client.js';
import { checkHealth } from '../../support/health-client.js';
import { until } from '../../support/redis-server.js';
import { startServiceProcess } from '../../support/service-process.js';
import { QuorumBed } from './quorum-support.js';

/** Masters of a quorum that hang, and services that are killed. */

const { GRANTED, HELD } = AcquireLockStatus;
const { DONE } = LockOwnershipStatus;
const SERVICE = 'shardkeep.lock.v1.LockService';

const bed = new QuorumBed();
afterEach(bed.clear);

describe('with one of three masters stopped', () => {
  test('every RPC is done within the deadline of its caller', async () => {
    const { locks } = await bed.start();
    bed.masterAt(1).signal('SIGSTOP');
    const soon = (): { readonly deadline: number } => ({ deadline: Date.now() + 1_000 });
    for (let round = 0; round < 5; round++) {
      const { status, lockToken } = await locks.acquireLock({ resources: ['r'] }, soon());
      expect(status).toBe(GRANTED);
      expect((await locks.getLock({ resource: 'r' }, soon())).holderCount).toBe(1n);
      expect((await locks.acquireLock({ resources: ['r'] }, soon())).status).toBe(HELD);
      expect((await locks.extendLock({ resources: ['r'], lockToken }, soon())).status).toBe(DONE);
      expect((await locks.releaseLock({ resources: ['r'], lockToken }, soon())).status).toBe(DONE);
    }
  });

  test('what it grants later to a try that has failed is given back', async () => {
    const { locks, namespace } = await bed.start({ LOCK_QUORUM_MAX_CLOCK_SKEW_MS: '60000' });
    const key = keys.lock(namespace, 'late');
    await locks.acquireLock({ resources: ['late'], owner: 'first' });
    await bed.ask(2, 'DEL', key);
    bed.masterAt(2).signal('SIGSTOP');
    expect(await locks.acquireLock({ resources: ['late'], owner: 'second' })).toMatchObject({
      status: HELD,
      holder: { owner: 'first' },
    });
    bed.masterAt(2).signal('SIGCONT');
    await until(async () => (await bed.ask(2, 'HGET', key, 'fence')) !== null);
    await until(async () => (await bed.ask(2, 'HGET', key, 'vote')) === null);
    expect((await locks.getLock({ resource: 'late' })).holders).toMatchObject([{ owner: 'first' }]);
  });
});

test('with two of three masters stopped calls fail long before their deadline', async () => {
  const { locks, channel } = await bed.start();
  bed.masterAt(0).signal('SIGSTOP');
  bed.masterAt(2).signal('SIGSTOP');
  const lockToken = 'A'.repeat(32);
  const options = { deadline: Date.now() + 10_000 };
  const startedAt = performance.now();
  const calls: readonly (() => Promise<unknown>)[] = [
    () => locks.acquireLock({ resources: ['r'] }, options),
    () => locks.releaseLock({ resources: ['r'], lockToken }, options),
    () => locks.extendLock({ resources: ['r'], lockToken }, options),
    () => locks.getLock({ resource: 'r' }, options),
  ];
  for (const call of calls) expect((await failureOf(call())).code).toBe(Code.UNAVAILABLE);
  // four tries of 50 ms and the pauses between, and one of the others each
  expect(performance.now() - startedAt).toBeLessThan(3_000);
  await until(async () => (await checkHealth(channel, SERVICE)) === 'NOT_SERVING');
  bed.masterAt(2).signal('SIGCONT');
  await until(async () => (await checkHealth(channel, SERVICE)) === 'SERVING');
  expect((await locks.acquireLock({ resources: ['r'] })).status).toBe(GRANTED);
});

test('a service that is killed leaves no vote that lasts longer than its lease', async () => {
  const { locks, namespace } = await bed.start();
  const TTL_MS = 2_000;
  const killed = await startServiceProcess(bed.environment(namespace));
  const theirs = killed.channel().of(LockServiceService);
  const held = await theirs.acquireLock({ resources: ['held'], ttlMs: BigInt(TTL_MS) });
  expect(held.status).toBe(GRANTED);
  // it dies in the middle of all kinds of steps
  const dying = Array.from({ length: 200 }, (_, index) =>
    theirs.acquireLock({ resources: [`busy-${String(index % 20)}`], ttlMs: BigInt(TTL_MS) }).catch(() => undefined),
  );
  await Promise.race(dying);
  killed.signal('SIGKILL');
  await Promise.all(dying);
  for (const index of [0, 1, 2]) {
    const [, found] = (await bed.ask(index, 'SCAN', '0', 'MATCH', `${namespace}:lock:*`, 'COUNT', '1000')) as [
      string,
      string[],
    ];
    expect(found.length).toBeGreaterThan(0);
    for (const key of found) {
      const [end, since] = (await bed.ask(index, 'HMGET', key, 'vote_until', 'vote_since')) as (string | null)[];
      expect(Number(end) - Number(since)).toBeLessThanOrEqual(TTL_MS);
      expect(Number(await bed.ask(index, 'PTTL', key))).toBeGreaterThan(0);
    }
  }
  const next = await locks.acquireLock({ resources: ['held'], waitMs: 10_000n }, { deadline: Date.now() + 10_000 });
  expect(next.status).toBe(GRANTED);
  expect(next.grants[0]?.fencingToken).toBeGreaterThan(held.grants[0]?.fencingToken ?? 0n);
});
