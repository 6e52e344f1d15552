import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { AcquireLockStatus } from '../../src/gen/shardkeep/lock/v1/lock.js';
import { until } from '../support/redis-server.js';
import { onEachTopology, sharedRedisUrl, startTestService, type TestService } from '../support/service.js';
import { Hold } from './hold-support.js';
import { fenceOf, LockUser, LONG_MS } from './lock-support.js';

/** What one script finds over, and what it does besides, in the same step. */

const { GRANTED, HELD } = AcquireLockStatus;
const ALL = { permits: 0 };
const SHORT_MS = 60n;

onEachTopology('in one step', (service, topology) => {
  let one: LockUser;
  /** Through another service on the same Redis. */
  let other: LockUser;
  let second: TestService;
  beforeAll(async () => {
    one = new LockUser(service());
    second = await startTestService({ REDIS_URL: sharedRedisUrl(topology), NAMESPACE: service().namespace });
    other = new LockUser(second);
  });
  afterAll(async () => {
    await second.stop();
  });

  /** What was granted for so short a time is over by Redis's clock; looking at the lock clears nothing. */
  async function untilHolders(resource: string, count: number): Promise<void> {
    await until(async () => (await one.look(resource)).holderCount === BigInt(count));
  }

  test('the last grant of an owner goes beside one that ran out: the owner holds nothing any more', async () => {
    const again = { reentrant: true, owner: 'ada' };
    await one.granted('group', { ...again, ttlMs: SHORT_MS });
    const last = await one.granted('group', again);
    await untilHolders('group', 1);
    await one.release('group', last);
    const { lockToken } = await one.granted('group', { owner: 'bob' });
    expect((await one.acquire('group', again)).status).toBe(HELD);
    expect((await one.look('group')).holderCount).toBe(1n);
    await one.release('group', { lockToken });
  });

  test('who holds the lock as one of several is the only one that does, when a stream that kept it ends', async () => {
    const hold = new Hold(service().channel);
    const again = { reentrant: true, owner: 'ada' };
    await one.granted('streamed', { ...again, ttlMs: SHORT_MS });
    await hold.take('streamed', again);
    await untilHolders('streamed', 1);
    hold.stream.halfClose();
    await untilHolders('streamed', 0);
    await one.granted('streamed', { owner: 'bob' });
    expect((await one.acquire('streamed', again)).status).toBe(HELD);
  });

  test('of several that are handed over together each takes up its own, and none is left in the queue', async () => {
    const writer = await one.granted('readers', { ...ALL, ttlMs: 700n });
    expect(writer.status).toBe(GRANTED);
    const readers = await Promise.all(
      Array.from({ length: 5 }, () => one.granted('readers', { permits: 1, waitMs: LONG_MS })),
    );
    expect(await one.look('readers')).toMatchObject({ holderCount: 5n, waitingCount: 0n });
    await Promise.all(readers.map((reader) => one.release('readers', reader)));
    // it waits for nobody
    await one.granted('readers', ALL);
  });

  describe('calls of one request', () => {
    const request = (name: string): { requestId: string; ttlMs: bigint } => ({
      requestId: `request of ${name} and nobody else`,
      ttlMs: LONG_MS,
    });

    test('one that gives up leaves the place to the other, and nobody overtakes it', async () => {
      const held = await one.granted('place');
      const waits = one.granted('place', { ...request('place'), waitMs: LONG_MS });
      await one.untilWaiting('place', 1);
      const impatient = other.acquire('place', { ...request('place'), waitMs: 300n });
      const next = one.granted('place', { waitMs: LONG_MS, owner: 'next' });
      await one.untilWaiting('place', 2);
      expect((await impatient).status).toBe(HELD);
      expect(await one.look('place')).toMatchObject({ waitingCount: 2n, waiters: [{ owner: '' }, { owner: 'next' }] });
      await one.release('place', held);
      await one.release('place', await waits);
      await one.release('place', await next);
    });

    test('all that wait are answered the same grant at once, in whichever service', async () => {
      const held = await one.granted('all');
      const users = [one, one, other, other];
      const waits: Promise<unknown>[] = [];
      const answers: { lockToken: string; fence: bigint }[] = [];
      for (const user of users) {
        const asked = user.granted('all', { ...request('all'), ttlMs: 2_000n, waitMs: LONG_MS });
        waits.push(asked.then((answer) => answers.push({ lockToken: answer.lockToken, fence: fenceOf(answer) })));
        // so that each has the place before the next takes it over
        await one.look('all');
      }
      await one.untilWaiting('all', 1);
      await one.release('all', held);
      await Promise.all(waits);
      // who was not told would look when that lease is over, and be granted anew
      expect(new Set(answers.map(({ lockToken, fence }) => `${lockToken} ${String(fence)}`)).size).toBe(1);
    });

    test('a retry whose own turn it is gets the lock, and has no place besides', async () => {
      await one.granted('turn', { ttlMs: 400n });
      const first = one.acquire('turn', { ...request('turn'), waitMs: LONG_MS });
      await one.untilWaiting('turn', 1);
      await until(async () => (await other.acquire('turn', request('turn'))).status === GRANTED);
      const { lockToken } = await first;
      expect(await one.look('turn')).toMatchObject({ holderCount: 1n, waitingCount: 0n });
      await one.release('turn', { lockToken });
      await one.granted('turn');
    });
  });

  describe('a stream that asks again for several resources, of which one is taken', () => {
    test('leaves what the other stream keeps to that', async () => {
      const requestId = 'a request of two resources';
      const first = new Hold(service().channel);
      const both = { resources: ['kept', 'lost'], requestId, ttlMs: 900n };
      expect((await first.acquire(both)).status).toBe(GRANTED);
      await service().locks.forceReleaseLock({ resource: 'lost', reason: 'stuck' });
      await first.loss();
      await one.granted('lost');
      const retry = new Hold(second.channel);
      expect((await retry.acquire(both)).status).toBe(HELD);
      // longer than the lease: the first stream renews it
      const { holders } = await one.look('kept');
      await until(async () => {
        const now = (await one.look('kept')).holders[0];
        return now !== undefined && now.expiresAtMs > (holders[0]?.expiresAtMs ?? 0n) + 900n;
      });
      expect(first.losses).toHaveLength(1);
      first.stream.halfClose();
      retry.stream.halfClose();
      await one.untilFree('kept');
    });

    test('leaves it in its grace where nobody keeps it', async () => {
      const requestId = 'another request of two resources';
      const first = new Hold(service().channel);
      const both = { resources: ['in grace', 'gone'], requestId, graceMs: 1_500 };
      expect((await first.acquire(both)).status).toBe(GRANTED);
      first.stream.cancel();
      await service().locks.forceReleaseLock({ resource: 'gone', reason: 'stuck' });
      await one.granted('gone');
      const retry = new Hold(second.channel);
      expect((await retry.acquire(both)).status).toBe(HELD);
      await one.untilFree('in grace');
      retry.stream.halfClose();
    });
  });

  test('a stream that is cancelled is one that broke: what it kept stays for its grace', async () => {
    for (let round = 0; round < 20; round++) {
      const name = `cancelled ${String(round)}`;
      const hold = new Hold(service().channel);
      const { lockToken } = await hold.take(name, { graceMs: 60_000, ttlMs: 30_000n });
      hold.stream.cancel();
      const { holders } = await one.look(name);
      // either way its lease is moved: to the end of the grace, or it is over
      await until(async () => {
        const now = (await one.look(name)).holders[0];
        return now?.expiresAtMs !== holders[0]?.expiresAtMs;
      });
      expect((await one.look(name)).holderCount).toBe(1n);
      await one.release(name, { lockToken });
    }
  });
});
