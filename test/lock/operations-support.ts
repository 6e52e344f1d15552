import { expect } from '@jest/globals';
import {
  AcquireLockStatus,
  type AcquireLockResponse,
  type GetLockStatsResponse,
} from '../../src/gen/shardkeep/lock/v1/lock.js';
import { until } from '../support/redis-server.js';
import type { TestService } from '../support/service.js';

/** Locks that are held and waited for. */

export const HOUR_MS = 3_600_000n;
const WAIT_MS = 60_000n;

type Locks = TestService['locks'];
type Request = Parameters<Locks['acquireLock']>[0];

/** A lock that was free. */
export async function hold(locks: Locks, resource: string, more: Request = {}): Promise<AcquireLockResponse> {
  const granted = await locks.acquireLock({ resources: [resource], ttlMs: HOUR_MS, owner: 'holder', ...more });
  expect(granted.status).toBe(AcquireLockStatus.GRANTED);
  return granted;
}

export function fenceOf({ grants }: AcquireLockResponse): bigint {
  return grants[0]?.fencingToken ?? 0n;
}

/** Stands in the queue when this resolves; `granted` is what it is answered. */
export async function queueUp(
  locks: Locks,
  resource: string,
  more: Request = {},
): Promise<{ readonly granted: Promise<AcquireLockResponse> }> {
  const { waitingCount } = await locks.getLock({ resource });
  const request = { resources: [resource], ttlMs: HOUR_MS, waitMs: WAIT_MS, ...more };
  // a wait ends before its call's deadline
  const granted = locks.acquireLock(request, { deadline: Date.now() + Number(WAIT_MS) + 1_000 });
  // for whoever does not wait for it
  granted.catch(() => undefined);
  await until(async () => (await locks.getLock({ resource })).waitingCount > waitingCount);
  return { granted };
}

type Counted = Omit<GetLockStatsResponse, 'minutes' | 'hottest' | 'complete'>;

/** What GetLockStats counts that is not 0, but for times. */
export async function countsOf(locks: Locks): Promise<Partial<Record<keyof Counted, number>>> {
  const { minutes, hottest, complete, waitedMs, heldMs, ...counts } = await locks.getLockStats({ hottestCount: 100 });
  expect(complete).toBe(true);
  expect(minutes).toBeLessThanOrEqual(60);
  expect([waitedMs, heldMs].every((ms) => ms >= 0n)).toBe(true);
  expect(hottest.length).toBeLessThanOrEqual(100);
  const numbers = Object.entries(counts).map(([name, count]) => [name, Number(count)] as const);
  return Object.fromEntries(numbers.filter(([, count]) => count !== 0));
}
