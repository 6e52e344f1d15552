import { performance } from 'node:perf_hooks';
import { setTimeout as delay } from 'node:timers/promises';
import { afterEach, describe, expect, test } from '@jest/globals';
import type { Lock } from '../../../src/client/locks/acquire-outcome.js';
import { HeldLease, type LeaseKeeper } from '../../../src/client/locks/held-lease.js';
import { SILENT } from '../../../src/client/logger.js';
import { until } from '../../support/redis-server.js';
import { aborted, gate } from './locks-support.js';

/** A lease with a keeper that answers as a test wants. */

const LOCK: Lock = {
  resources: ['a', 'b'],
  lockToken: 'A'.repeat(32),
  grants: [
    { resource: 'a', fencingToken: 7, holdCount: 1 },
    { resource: 'b', fencingToken: 8, holdCount: 1 },
  ],
  fencingToken: 7,
  expiresAtMs: 0,
};
const LEASE_MS = 2_000;
const AGES_MS = 3_600_000;

class TestKeeper implements LeaseKeeper {
  renewals = 0;
  releases = 0;

  constructor(
    private readonly onRenew: () => Promise<boolean> = () => Promise.resolve(true),
    private readonly onRelease: () => Promise<void> = () => Promise.resolve(),
  ) {}

  renew(): Promise<boolean> {
    this.renewals++;
    return this.onRenew();
  }

  release(): Promise<void> {
    this.releases++;
    return this.onRelease();
  }
}

const leases: HeldLease[] = [];
afterEach(async () => {
  await Promise.all(leases.splice(0).map((lease) => lease.release()));
});

async function leaseOf(keeper: LeaseKeeper, { leaseMs = LEASE_MS, ageMs = 0 } = {}): Promise<HeldLease> {
  const askedAt = performance.now() - ageMs;
  const lease = new HeldLease(LOCK, { leaseMs, askedAt, keeper, logger: SILENT });
  leases.push(lease);
  await lease.freshen();
  return lease;
}

describe('a lease', () => {
  test('lasts as long as it is renewed', async () => {
    const keeper = new TestKeeper();
    const lease = await leaseOf(keeper);
    await until(() => keeper.renewals >= 4);
    expect(lease.signal.aborted).toBe(false);
    expect(lease).toMatchObject({ resources: ['a', 'b'], fencingToken: 7, grants: LOCK.grants });
  });

  test('is renewed again soon where that failed, and is kept when it works in time', async () => {
    let failures = 0;
    const keeper = new TestKeeper(() =>
      ++failures <= 3 ? Promise.reject(new Error('Redis is away')) : Promise.resolve(true),
    );
    const lease = await leaseOf(keeper, { leaseMs: 5_000, ageMs: 1_400 });
    await until(() => keeper.renewals >= 5);
    expect(lease.loss).toBeUndefined();
  });

  test('is lost when it is told to be, with the first renewal', async () => {
    const keeper = new TestKeeper(() => Promise.resolve(false));
    const lease = await leaseOf(keeper);
    expect(await aborted(lease.signal)).toMatchObject({
      name: 'LockLostError',
      loss: 'expired',
      resources: ['a', 'b'],
    });
    expect(keeper.renewals).toBe(1);
  });

  test('is lost before it is over where nothing is heard, and stays lost when something is', async () => {
    const { opened, open } = gate();
    const keeper = new TestKeeper(() => opened.then(() => true));
    const askedAt = performance.now();
    const lease = await leaseOf(keeper, { leaseMs: 2_000 });
    await aborted(lease.signal);
    // as long as this process runs at all
    expect(performance.now() - askedAt).toBeGreaterThan(1_900);
    open();
    await delay(0);
    expect(lease.signal.aborted).toBe(true);
    expect(keeper.renewals).toBe(1);
  });

  test('that nobody was there for is lost in the moment when it is asked', async () => {
    const lease = await leaseOf(new TestKeeper(), { leaseMs: 100 });
    const from = performance.now();
    while (performance.now() < from + 120);
    expect(lease.signal.aborted).toBe(true);
    expect(lease.loss).toBe(lease.signal.reason);
  });

  test('of a lock that waited is renewed before its holder begins, or is none', async () => {
    const keeper = new TestKeeper();
    const lease = await leaseOf(keeper, { leaseMs: AGES_MS, ageMs: 2 * AGES_MS });
    expect(keeper.renewals).toBe(1);
    expect(lease.signal.aborted).toBe(false);

    const away = new TestKeeper(() => Promise.reject(new Error('Redis is away')));
    const old = await leaseOf(away, { leaseMs: AGES_MS, ageMs: 2 * AGES_MS });
    expect(old.loss).toMatchObject({ loss: 'expired' });
    const young = await leaseOf(away, { leaseMs: AGES_MS, ageMs: AGES_MS / 2 });
    expect(young.loss).toBeUndefined();
  });
});

describe('a release', () => {
  test('is done once, and of a lock that is closed not at all', async () => {
    const keeper = new TestKeeper();
    const lease = await leaseOf(keeper);
    await Promise.all([lease.release(), lease.release()]);
    await lease.release();
    expect(keeper.releases).toBe(1);
    const closed = await leaseOf(keeper);
    closed.lose('closed');
    await closed.release();
    expect(keeper.releases).toBe(1);
  });

  test('that fails is none of the caller’s business', async () => {
    const keeper = new TestKeeper(undefined, () => Promise.reject(new Error('away')));
    const lease = await leaseOf(keeper);
    await lease.release();
    expect(lease.loss).toBeUndefined();
  });

  test('that overtakes a renewal makes no loss of it', async () => {
    const { opened, open } = gate();
    const keeper = new TestKeeper(() => opened.then(() => false));
    const lease = await leaseOf(keeper);
    await until(() => keeper.renewals === 1);
    await lease.release();
    open();
    await delay(0);
    expect(lease.signal.aborted).toBe(false);
  });

  test.each([
    ['force_released', true],
    ['disconnected', false],
    ['closed', false],
  ] as const)('under way, and the lock is %s: it was lost before: %p', async (loss, isLost) => {
    const { opened, open } = gate();
    const lease = await leaseOf(new TestKeeper(undefined, () => opened));
    const released = lease.release();
    lease.lose(loss);
    open();
    await released;
    expect(lease.loss !== undefined).toBe(isLost);
    lease.lose('force_released');
    expect(lease.loss !== undefined).toBe(isLost);
  });

  test('of a lost lock gives back what may be left, and waits for nothing', async () => {
    const keeper = new TestKeeper(undefined, () => new Promise(() => undefined));
    const lease = await leaseOf(keeper);
    lease.lose('force_released', 'maintenance');
    await lease.release();
    expect(keeper.releases).toBe(1);
    expect(lease.signal.reason).toMatchObject({ loss: 'force_released', detail: 'maintenance' });
  });
});
