import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { status as Code } from '@grpc/grpc-js';
import {
  FillStatus,
  GetOrLeaseStatus as Status,
  type GetOrLeaseRequest,
} from '../../src/gen/shardkeep/cache/v1/cache.js';
import { failureOf } from '../support/client.js';
import { rawRedis, type RawRedis } from '../support/raw-redis.js';
import { until } from '../support/redis-server.js';
import { onEachTopology, randomNamespace } from '../support/service.js';

const MINUTE = 60_000n;
const ttl = (value: bigint) => ({ $case: 'ttlMs', value }) as const;
const freshness = (freshMs: bigint, staleMs: bigint) => ({ $case: 'freshness', value: { freshMs, staleMs } }) as const;
const loaded = (text: string) => ({ $case: 'value', value: Buffer.from(text) }) as const;
const absent = { $case: 'absent', value: true } as const;
const notModified = { $case: 'notModified', value: true } as const;

onEachTopology('leases', (service, topology) => {
  let raw: RawRedis;
  beforeAll(async () => {
    raw = await rawRedis(topology);
  });
  afterAll(async () => {
    await raw.close();
  });

  const redisKey = (key: string): string => `${service().namespace}:cache:{${key}}`;
  const newKey = (): string => `lease:${randomNamespace()}`;
  const getOrLease = (key: string, more: Partial<GetOrLeaseRequest> = {}) =>
    service().cache.getOrLease({ key, leaseMs: MINUTE, ...more });
  const valueOf = (answer: { entry: { value: Buffer } | undefined }): string | undefined =>
    answer.entry?.value.toString();

  /** A key that holds a filled entry. */
  async function filled(
    fill: Partial<Parameters<ReturnType<typeof service>['cache']['fill']>[0]> = {},
  ): Promise<string> {
    const key = newKey();
    const { leaseToken } = await getOrLease(key);
    const { status } = await service().cache.fill({
      ...{ key, leaseToken, result: loaded('value'), expiry: ttl(MINUTE) },
      ...fill,
    });
    expect(status).toBe(FillStatus.FILLED);
    return key;
  }

  /** A filled entry that is some ms old also by a clock that is some ms behind. */
  async function aged(expiry = ttl(MINUTE)): Promise<string> {
    const key = await filled({ expiry });
    await until(
      async () => Number((await service().cache.get({ key })).entry?.ttlMs ?? 0n) < Number(expiry.value) - 20,
    );
    return key;
  }

  /** Makes an entry stale without waiting. */
  const staleEntry = (): Promise<string> => filled({ expiry: freshness(1n, MINUTE) });

  describe('of a missing key', () => {
    test('go to one caller; the others are told to wait, and all hit once it filled', async () => {
      const { cache } = service();
      const key = newKey();
      const answers = await Promise.all(Array.from({ length: 30 }, () => getOrLease(key)));
      const leased = answers.filter(({ status }) => status === Status.LEASED);
      expect(leased).toHaveLength(1);
      const [winner] = leased;
      expect(winner).toMatchObject({ entry: undefined, absent: false, loadFailed: false, retryAfterMs: 0n });
      for (const other of answers.filter((answer) => answer !== winner)) {
        expect(other).toMatchObject({ status: Status.LOADING, entry: undefined, loadFailed: false });
        expect(other.leaseToken).toHaveLength(0);
        expect(other.retryAfterMs).toBeGreaterThan(0n);
        expect(other.retryAfterMs).toBeLessThanOrEqual(MINUTE);
      }
      // to everybody else it is not there
      expect((await cache.get({ key })).entry).toBeUndefined();
      expect((await cache.exists({ keys: [key] })).exists).toEqual([false]);
      const filling = {
        key,
        leaseToken: winner?.leaseToken ?? Buffer.alloc(0),
        result: loaded('v'),
        expiry: ttl(MINUTE),
      };
      const { status, version } = await cache.fill(filling);
      expect(status).toBe(FillStatus.FILLED);
      expect(await getOrLease(key)).toMatchObject({ status: Status.HIT, entry: { version, stale: false } });
      expect(valueOf(await cache.get({ key }))).toBe('v');
      // a lease fills once
      expect((await cache.fill(filling)).status).toBe(FillStatus.LEASE_LOST);
    });

    test('end with their time, and the key with them', async () => {
      const key = newKey();
      await getOrLease(key, { leaseMs: 1n });
      await until(async () => (await raw.command('EXISTS', redisKey(key))) === 0);
      expect((await getOrLease(key)).status).toBe(Status.LEASED);
    });

    test('are renewed by their holder, and by nobody else', async () => {
      const { cache } = service();
      const key = newKey();
      const { leaseToken } = await getOrLease(key, { leaseMs: 5_000n });
      expect(await cache.renewLease({ key, leaseToken, leaseMs: MINUTE })).toEqual({ renewed: true });
      expect(Number(await raw.command('PTTL', redisKey(key)))).toBeGreaterThan(50_000);
      const stranger = Buffer.from(leaseToken);
      stranger[0] = (stranger[0] ?? 0) ^ 1;
      expect(await cache.renewLease({ key, leaseToken: stranger, leaseMs: MINUTE })).toEqual({ renewed: false });
      expect(await cache.failLease({ key, leaseToken: stranger })).toEqual({ failed: false });
      const result = loaded('stolen');
      expect((await cache.fill({ key, leaseToken: stranger, result })).status).toBe(FillStatus.LEASE_LOST);
      expect(await cache.renewLease({ key: newKey(), leaseToken, leaseMs: 1n })).toEqual({ renewed: false });
      // all zero is how a failed load is marked; nobody holds that
      expect(await cache.failLease({ key, leaseToken, retryAfterMs: MINUTE })).toEqual({ failed: true });
      const nobody = Buffer.alloc(24);
      expect((await cache.fill({ key, leaseToken: nobody, result })).status).toBe(FillStatus.LEASE_LOST);
      expect(await cache.renewLease({ key, leaseToken: nobody, leaseMs: 1n })).toEqual({ renewed: false });
    });

    test.each(['set', 'setMany', 'delete'] as const)('are lost by a %s in between', async (write) => {
      const { cache } = service();
      const key = newKey();
      const { leaseToken } = await getOrLease(key);
      if (write === 'set') await cache.set({ key, value: Buffer.from('newer') });
      else if (write === 'setMany') {
        const empty = { expiry: undefined, condition: undefined, tags: [], jitterPercent: 0, guard: undefined };
        await cache.setMany({ entries: [{ key, value: Buffer.from('newer'), ...empty }] });
      } else expect(await cache.delete({ keys: [key] })).toEqual({ deleted: [false] });
      expect(await cache.renewLease({ key, leaseToken, leaseMs: MINUTE })).toEqual({ renewed: false });
      expect((await cache.fill({ key, leaseToken, result: loaded('older') })).status).toBe(FillStatus.LEASE_LOST);
      expect(valueOf(await cache.get({ key }))).toBe(write === 'delete' ? undefined : 'newer');
    });

    test('are given back by FailLease: at once, or when the wait is over', async () => {
      const { cache } = service();
      const key = newKey();
      const first = await getOrLease(key);
      expect(await cache.failLease({ key, leaseToken: first.leaseToken })).toEqual({ failed: true });
      expect(await raw.command('EXISTS', redisKey(key))).toBe(0);
      const second = await getOrLease(key);
      expect(second.status).toBe(Status.LEASED);
      await cache.failLease({ key, leaseToken: second.leaseToken, retryAfterMs: MINUTE });
      expect(await getOrLease(key, { waitMs: 30_000n })).toMatchObject({ status: Status.LOADING, loadFailed: true });
      expect((await cache.fill({ key, ...second, result: loaded('late') })).status).toBe(FillStatus.LEASE_LOST);
    });
  });

  describe('of an entry that is stale', () => {
    test('go to one caller with the entry; the others get the entry; a plain Get too', async () => {
      const { cache } = service();
      const key = await staleEntry();
      await until(async () => (await cache.get({ key })).entry?.stale === true);
      const answers = await Promise.all(Array.from({ length: 20 }, () => getOrLease(key)));
      expect(answers.map(valueOf)).toEqual(answers.map(() => 'value'));
      const statuses = answers.map(({ status }) => status);
      expect(statuses.filter((status) => status === Status.LEASED)).toHaveLength(1);
      expect(statuses.filter((status) => status === Status.STALE)).toHaveLength(19);
      const leaseToken = answers.find(({ status }) => status === Status.LEASED)?.leaseToken ?? Buffer.alloc(0);
      await cache.fill({ key, leaseToken, result: loaded('fresh'), expiry: freshness(MINUTE, MINUTE) });
      expect(await getOrLease(key)).toMatchObject({ status: Status.HIT, entry: { stale: false } });
      expect(valueOf(await cache.get({ key }))).toBe('fresh');
    });

    test('are followed by a pause when the load fails: everybody gets the entry, and nobody loads', async () => {
      const { cache } = service();
      const key = await staleEntry();
      let lease = await getOrLease(key);
      await until(async () => {
        if (lease.status !== Status.LEASED) lease = await getOrLease(key);
        return lease.status === Status.LEASED;
      });
      await cache.failLease({ key, leaseToken: lease.leaseToken, retryAfterMs: MINUTE });
      const answer = await getOrLease(key);
      expect(answer).toMatchObject({ status: Status.STALE, loadFailed: true });
      expect(valueOf(answer)).toBe('value');
      expect(answer.retryAfterMs).toBeGreaterThan(50_000n);
    });

    test('end with the entry: after its life it is a miss', async () => {
      const { cache } = service();
      const key = await filled({ expiry: freshness(1n, 1n) });
      await until(async () => (await cache.get({ key })).entry === undefined);
      expect((await getOrLease(key)).entry).toBeUndefined();
    });

    test('may find that it is not modified: the same value, a new life', async () => {
      const { cache } = service();
      const key = await staleEntry();
      let lease = await getOrLease(key);
      await until(async () => {
        if (lease.status !== Status.LEASED) lease = await getOrLease(key);
        return lease.status === Status.LEASED;
      });
      const before = lease.entry?.version ?? 0n;
      const { status, version } = await cache.fill({ key, ...lease, result: notModified, expiry: ttl(MINUTE) });
      expect(status).toBe(FillStatus.FILLED);
      expect(version).toBeGreaterThan(before);
      expect(await getOrLease(key)).toMatchObject({ status: Status.HIT, entry: { version, stale: false } });
      expect(valueOf(await cache.get({ key }))).toBe('value');
    });

    test('find nothing that could be not modified where there is no entry', async () => {
      const key = newKey();
      const lease = await getOrLease(key);
      expect((await service().cache.fill({ key, ...lease, result: notModified })).status).toBe(FillStatus.LEASE_LOST);
    });
  });

  describe('of an entry that is fresh', () => {
    test('tell how long it is, of the time it has left', async () => {
      const { cache } = service();
      const key = await filled({ expiry: freshness(MINUTE, MINUTE) });
      for (const { entry } of [await getOrLease(key), await cache.get({ key })]) {
        expect(entry?.freshTtlMs).toBeGreaterThan(0n);
        expect((entry?.ttlMs ?? 0n) - (entry?.freshTtlMs ?? 0n)).toBe(MINUTE);
      }
      const stale = await staleEntry();
      await until(async () => (await cache.get({ key: stale })).entry?.stale === true);
      expect((await cache.get({ key: stale })).entry?.freshTtlMs).toBeUndefined();
      expect((await cache.get({ key: await filled({ expiry: ttl(MINUTE) }) })).entry?.freshTtlMs).toBeUndefined();
    });

    test('are not granted, unless early', async () => {
      const key = await filled();
      expect((await getOrLease(key)).status).toBe(Status.HIT);
      expect((await getOrLease(key, { early: { $case: 'earlyFraction', value: 0.9 } })).status).toBe(Status.HIT);
    });

    test('are granted early once, with the entry, and everybody else still hits', async () => {
      const { cache } = service();
      const key = await aged();
      const early = { $case: 'earlyFraction', value: Number.MIN_VALUE } as const;
      const answers = await Promise.all(Array.from({ length: 20 }, () => getOrLease(key, { early })));
      expect(answers.map(valueOf)).toEqual(answers.map(() => 'value'));
      const leased = answers.filter(({ status }) => status === Status.LEASED);
      expect(leased).toHaveLength(1);
      expect(answers.filter(({ status }) => status === Status.HIT)).toHaveLength(19);
      await cache.fill({ key, leaseToken: leased[0]?.leaseToken ?? Buffer.alloc(0), result: loaded('next') });
      expect(valueOf(await getOrLease(key))).toBe('next');
    });

    test('by XFetch come the sooner the longer the load took', async () => {
      const { cache } = service();
      const key = newKey();
      const { leaseToken } = await getOrLease(key);
      // as if the load had taken half a minute
      const packed = (await raw.command('GET', redisKey(key))) as Buffer;
      const grantedAt = 24 + 3 + 16 + packed.subarray(24).indexOf(Buffer.from([6, 0, 28]));
      packed.writeUIntBE(packed.readUIntBE(grantedAt, 6) - 30_000, grantedAt, 6);
      await raw.command('SET', redisKey(key), packed, 'KEEPTTL');
      await cache.fill({ key, leaseToken, result: loaded('slow'), expiry: ttl(MINUTE) });
      const beta = (value: bigint | number) => ({ $case: 'earlyBeta', value: Number(value) }) as const;
      // 30 s · 10⁻⁹ · −ln(u) is less than a minute for every u that a double can be
      expect((await getOrLease(key, { early: beta(1e-9) })).status).toBe(Status.HIT);
      // with 100 it is more than a minute but for u > 0.98
      let status = Status.HIT;
      await until(async () => {
        ({ status } = await getOrLease(key, { early: beta(100n) }));
        return status === Status.LEASED;
      });
      const instant = await filled();
      for (let round = 0; round < 20; round++) {
        expect((await getOrLease(instant, { early: beta(1) })).status).toBe(Status.HIT);
      }
    });

    test('outlive the entry they were granted for: what comes late still lands', async () => {
      const { cache } = service();
      const key = await aged(ttl(500n));
      const lease = await getOrLease(key, { early: { $case: 'earlyFraction', value: Number.MIN_VALUE } });
      expect(lease.status).toBe(Status.LEASED);
      await until(async () => (await cache.get({ key })).entry === undefined);
      expect((await getOrLease(key)).status).toBe(Status.LOADING);
      expect((await cache.fill({ key, ...lease, result: loaded('late'), expiry: ttl(MINUTE) })).status).toBe(
        FillStatus.FILLED,
      );
      expect(valueOf(await cache.get({ key }))).toBe('late');
    });
  });

  test('what the source has not is remembered, and a miss for everything but GetOrLease', async () => {
    const { cache } = service();
    const key = await filled({ result: absent });
    expect(await getOrLease(key)).toMatchObject({ status: Status.HIT, absent: true });
    expect((await cache.get({ key })).entry).toBeUndefined();
    expect((await cache.getMany({ keys: [key] })).items[0]?.entry).toBeUndefined();
    expect((await cache.exists({ keys: [key] })).exists).toEqual([false]);
    expect((await cache.getTtl({ keys: [key] })).items[0]?.exists).toBe(false);
    expect((await cache.touch({ keys: [key] })).touched).toEqual([false]);
    const present = { key, value: Buffer.from('x'), condition: { $case: 'ifPresent', value: true } } as const;
    expect((await cache.set(present)).stored).toBe(false);
    expect((await cache.set({ ...present, condition: { $case: 'ifAbsent', value: true } })).stored).toBe(true);
    expect(await getOrLease(key)).toMatchObject({ status: Status.HIT, absent: false });
  });

  test('a key of another kind is refused, and stays', async () => {
    const { cache } = service();
    const key = newKey();
    await cache.increment({ key, delta: 5n });
    const leaseToken = Buffer.alloc(24, 1);
    for (const call of [
      getOrLease(key),
      cache.fill({ key, leaseToken, result: loaded('x') }),
      cache.renewLease({ key, leaseToken, leaseMs: 1n }),
      cache.failLease({ key, leaseToken }),
    ]) {
      expect(await failureOf(call)).toMatchObject({ code: Code.FAILED_PRECONDITION, reason: 'WRONG_TYPE' });
    }
    expect((await cache.increment({ key })).value).toBe(5n);
  });

  test('a lease and Touch do not hurt each other', async () => {
    const { cache } = service();
    const key = await aged(ttl(30_000n));
    const lease = await getOrLease(key, { early: { $case: 'earlyFraction', value: Number.MIN_VALUE } });
    expect(await cache.touch({ keys: [key], expiry: ttl(1_000n) })).toEqual({ touched: [true] });
    // the entry ends sooner now, the lease does not
    expect((await cache.getTtl({ keys: [key] })).items[0]?.ttlMs).toBeLessThanOrEqual(1_000n);
    expect(Number(await raw.command('PTTL', redisKey(key)))).toBeGreaterThan(50_000);
    await cache.touch({ keys: [key], expiry: { $case: 'noExpiry', value: true } });
    expect((await cache.fill({ key, ...lease, result: loaded('x'), expiry: ttl(MINUTE) })).status).toBe(
      FillStatus.FILLED,
    );
    expect(Number(await raw.command('PTTL', redisKey(key)))).toBeGreaterThan(50_000);
  });

  test('jitter shortens, by as much as it may and no more', async () => {
    const { cache } = service();
    const ttls: number[] = [];
    for (let round = 0; round < 60; round++) {
      const key = newKey();
      await cache.set({ key, value: Buffer.from('x'), expiry: ttl(1_000_000n), jitterPercent: 50 });
      ttls.push(Number(await raw.command('PTTL', redisKey(key))));
    }
    // a second for the time between SET and PTTL
    expect(Math.min(...ttls)).toBeGreaterThanOrEqual(499_000);
    expect(Math.max(...ttls)).toBeLessThanOrEqual(1_000_000);
    // all of 60 within one tenth of the range: once in 10^60
    expect(Math.max(...ttls) - Math.min(...ttls)).toBeGreaterThan(50_000);
  });
});
