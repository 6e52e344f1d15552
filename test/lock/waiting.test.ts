import { status as Code } from '@grpc/grpc-js';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { AcquireLockStatus, type AcquireLockResponse } from '../../src/gen/shardkeep/lock/v1/lock.js';
import { failureOf } from '../support/client.js';
import { startRedis, until, type RedisServer } from '../support/redis-server.js';
import { onEachTopology, sharedRedisUrl, startTestService, type TestService } from '../support/service.js';
import { fenceOf, LockUser, LONG_MS, openAcquire } from './lock-support.js';

const { GRANTED, HELD } = AcquireLockStatus;

onEachTopology('waiting', (service, topology) => {
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

  test('those who wait are granted in the order they came, through any service, each by the release before', async () => {
    const held = await one.granted('fifo');
    const order: number[] = [];
    const fences: bigint[] = [fenceOf(held)];
    const waits: Promise<void>[] = [];
    for (let index = 0; index < 12; index++) {
      const user = index % 3 === 0 ? other : one;
      waits.push(
        user.granted('fifo', { waitMs: LONG_MS, owner: String(index) }).then(async (answer) => {
          order.push(index);
          fences.push(fenceOf(answer));
          await user.release('fifo', answer);
        }),
      );
      await one.untilWaiting('fifo', index + 1);
    }
    const { waiters, holderCount } = await other.look('fifo');
    expect(holderCount).toBe(1n);
    expect(waiters.map(({ owner }) => owner)).toEqual(Array.from({ length: 12 }, (_, index) => String(index)));
    await one.release('fifo', held);
    await Promise.all(waits);
    expect(order).toEqual(order.toSorted((a, b) => a - b));
    expect(fences).toEqual(fences.toSorted((a, b) => Number(a - b)));
    expect(new Set(fences).size).toBe(13);
    expect(await one.look('fifo')).toMatchObject({ holderCount: 0n, waitingCount: 0n, fencingToken: fences.at(-1) });
  });

  test('nobody comes between a release and who waits', async () => {
    const held = await one.granted('barge');
    const waits: Promise<AcquireLockResponse>[] = [];
    for (let index = 0; index < 8; index++) {
      waits.push(one.granted('barge', { waitMs: LONG_MS }));
      await one.untilWaiting('barge', index + 1);
    }
    let waiting = waits.length;
    const barge = async (): Promise<AcquireLockResponse> => {
      for (;;) {
        const before = waiting;
        const answer = await other.acquire('barge');
        if (answer.status === GRANTED)
          return before === 0 ? answer : Promise.reject(new Error(`${String(before)} waited`));
      }
    };
    const barger = barge();
    await one.release('barge', held);
    for (const wait of waits) {
      const answer = await wait;
      waiting--;
      await one.release('barge', answer);
    }
    expect((await barger).status).toBe(GRANTED);
  });

  test('a wait that is over is refused with what is in the way, and leaves the queue', async () => {
    const held = await one.granted('over', { owner: 'ada' });
    const first = one.acquire('over', { waitMs: LONG_MS });
    await one.untilWaiting('over', 1);
    const answer = await other.acquire('over', { waitMs: 30n });
    expect(answer).toMatchObject({ status: HELD, lockToken: '', grants: [], waitingCount: 1n });
    expect(answer).toMatchObject({ blockingResource: 'over', holder: { owner: 'ada', fencingToken: fenceOf(held) } });
    await one.untilWaiting('over', 1);
    await one.release('over', held);
    expect((await first).status).toBe(GRANTED);
  });

  test('a wait ends before its call’s deadline', async () => {
    await one.granted('deadline');
    const request = { resources: ['deadline'], waitMs: LONG_MS };
    const answer = await service().locks.acquireLock(request, { deadline: Date.now() + 400 });
    expect(answer.status).toBe(HELD);
    await one.untilWaiting('deadline', 0);
  });

  test('who gives up leaves the queue, and the next is first', async () => {
    const held = await one.granted('cancel');
    const given = openAcquire(service(), { resources: ['cancel'], waitMs: LONG_MS });
    await one.untilWaiting('cancel', 1);
    const next = other.granted('cancel', { waitMs: LONG_MS });
    await one.untilWaiting('cancel', 2);
    given.cancel();
    expect((await failureOf(given.answer)).code).toBe(Code.CANCELLED);
    await one.untilWaiting('cancel', 1);
    await one.release('cancel', held);
    await other.release('cancel', await next);
  });

  test('a lock that is given to who just gave up goes to the next, 100 times', async () => {
    for (let round = 0; round < 100; round++) {
      const resource = `race-${String(round)}`;
      const held = await one.granted(resource);
      const given = openAcquire(service(), { resources: [resource], waitMs: LONG_MS });
      await one.untilWaiting(resource, 1);
      const next = other.granted(resource, { waitMs: LONG_MS });
      await one.untilWaiting(resource, 2);
      const released = one.release(resource, held);
      given.cancel();
      await Promise.all([released, given.answer.catch(() => undefined)]);
      await other.release(resource, await next);
      expect(await one.look(resource)).toMatchObject({ holderCount: 0n, waitingCount: 0n });
    }
  });

  test('a lease that ends without release goes to who waits, also through another service', async () => {
    const late = await one.granted('lapse', { ttlMs: 200n });
    const next = await other.granted('lapse', { waitMs: LONG_MS });
    expect(fenceOf(next)).toBeGreaterThan(fenceOf(late));
    const last = one.granted('lapse', { waitMs: LONG_MS, ttlMs: 200n });
    await one.untilWaiting('lapse', 1);
    await service().locks.extendLock({ resources: ['lapse'], lockToken: next.lockToken, ttlMs: 100n });
    expect(fenceOf(await last)).toBeGreaterThan(fenceOf(next));
  });

  test('a lease that is extended again and again is waited for until it ends', async () => {
    const held = await one.granted('extended', { ttlMs: 300n });
    const next = other.granted('extended', { waitMs: LONG_MS });
    await one.untilWaiting('extended', 1);
    let isGranted = false;
    void next.then(() => (isGranted = true));
    for (let round = 0; round < 20; round++) {
      await service().locks.extendLock({ resources: ['extended'], lockToken: held.lockToken, ttlMs: 300n });
      await until(async () => ((await one.look('extended')).holders[0]?.ttlMs ?? 0n) < 250n);
    }
    expect(isGranted).toBe(false);
    expect(fenceOf(await next)).toBeGreaterThan(fenceOf(held));
  });

  test('a lease that ends without release, after the lock changed hands, goes to who waits in another service', async () => {
    const held = await one.granted('handed');
    const next = one.granted('handed', { ttlMs: 300n, waitMs: LONG_MS });
    await one.untilWaiting('handed', 1);
    // it was told of the lease of an hour, and does not look by itself before its wait is over
    const last = other.acquire('handed', { waitMs: 8_000n });
    await one.untilWaiting('handed', 2);
    await one.release('handed', held);
    const lapsed = await next;
    const answer = await last;
    expect(answer.status).toBe(GRANTED);
    expect(fenceOf(answer)).toBeGreaterThan(fenceOf(lapsed));
  });

  test('two calls of one request stand at one place and get one grant', async () => {
    const held = await one.granted('request');
    const requestId = 'one-request-twice';
    const first = one.acquire('request', { waitMs: LONG_MS, requestId });
    await one.untilWaiting('request', 1);
    const behind = one.acquire('request', { waitMs: LONG_MS });
    await one.untilWaiting('request', 2);
    const retry = one.acquire('request', { waitMs: LONG_MS, requestId });
    await one.look('request');
    await one.release('request', held);
    const [mine, again] = await Promise.all([first, retry]);
    expect([mine.status, again.status]).toEqual([GRANTED, GRANTED]);
    expect(again.lockToken).toBe(mine.lockToken);
    expect(again.grants).toEqual(mine.grants);
    await one.release('request', mine);
    expect((await behind).status).toBe(GRANTED);
  });

  test('a service that goes away lets go of who waits; those of another wait on', async () => {
    const leaving = await startTestService({ REDIS_URL: sharedRedisUrl(topology), NAMESPACE: service().namespace });
    const held = await one.granted('drain');
    const gone = new LockUser(leaving).acquire('drain', { waitMs: LONG_MS });
    await one.untilWaiting('drain', 1);
    const stays = other.granted('drain', { waitMs: LONG_MS });
    await one.untilWaiting('drain', 2);
    expect(await leaving.service.drain()).toBe(true);
    expect((await gone).status).toBe(HELD);
    await one.untilWaiting('drain', 1);
    await one.release('drain', held);
    await stays;
    await leaving.stop();
  });
});

describe('when Redis gets in the way', () => {
  let redis: RedisServer;
  let service: TestService;
  let user: LockUser;
  beforeAll(async () => {
    redis = await startRedis();
    service = await startTestService({ REDIS_URL: redis.url });
    user = new LockUser(service);
  });
  afterAll(async () => {
    await service.stop();
    await redis.remove();
  });

  test('a notification that got lost is repaired when it can be heard again', async () => {
    const held = await user.granted('deaf');
    const waits = [user.granted('deaf', { waitMs: LONG_MS }), user.granted('deaf', { waitMs: LONG_MS })];
    await user.untilWaiting('deaf', 2);
    const kill = redis.command('CLIENT', 'KILL', 'TYPE', 'pubsub');
    const release = user.release('deaf', held);
    await Promise.all([kill, release]);
    // whoever was granted first
    const first = await Promise.race(waits);
    await user.release('deaf', first);
    const answers = await Promise.all(waits);
    expect(new Set(answers.map(fenceOf)).size).toBe(2);
  });

  test('a Redis that dies and comes back empty: who waits stands in the queue again, or is granted', async () => {
    await user.granted('empty');
    const waits = Array.from({ length: 5 }, () => user.acquire('empty', { waitMs: 30_000n }));
    await user.untilWaiting('empty', 5);
    await redis.stop('SIGKILL');
    await redis.restart();
    const fences: bigint[] = [];
    for (const wait of waits.map((answer) =>
      answer.then((granted) => user.release('empty', granted).then(() => granted)),
    )) {
      fences.push(fenceOf(await wait));
    }
    expect(new Set(fences).size).toBe(5);
  });
});
