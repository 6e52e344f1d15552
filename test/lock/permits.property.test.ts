import assert from 'node:assert/strict';
import { status as Code } from '@grpc/grpc-js';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import fc from 'fast-check';
import {
  AcquireLockStatus,
  LockOwnershipStatus,
  type LockServiceService,
} from '../../src/gen/shardkeep/lock/v1/lock.js';
import type { PromiseClient } from '../support/client.js';
import { sharedRedisUrl, startTestService, type TestService } from '../support/service.js';

/** Locks against a model of them, call by call: permits, capacities, re-entry, tokens. Nothing waits, no lease ends. */

interface Held {
  readonly lockToken: string;
  readonly owner: string;
  readonly permits: number;
  readonly isReentrant: boolean;
}

class Model {
  readonly held: Held[] = [];
  fence = 0n;
  /** Released tokens. */
  readonly gone: string[] = [];
}

type Locks = PromiseClient<typeof LockServiceService>;
interface Real {
  readonly locks: Locks;
  readonly resource: string;
}

const ALL = 1_000_000_000;
/** Permits in use: an owner that holds as reentrant uses them once. */
function used({ held }: Model): number {
  const counted = new Set<string>();
  let sum = 0;
  for (const { owner, permits, isReentrant } of held) {
    if (isReentrant && counted.has(owner)) continue;
    if (isReentrant) counted.add(owner);
    sum += permits === 0 ? ALL : permits;
  }
  return sum;
}

class Acquire implements fc.AsyncCommand<Model, Real> {
  constructor(
    private readonly owner: string,
    private readonly permits: number,
    private readonly capacity: number,
    private readonly reentrant: boolean,
  ) {}

  check = (): boolean => this.permits <= this.capacity;

  async run(model: Model, { locks, resource }: Real): Promise<void> {
    const { owner, permits, reentrant } = this;
    const capacity = permits === 0 ? 0 : this.capacity;
    const mine = model.held.filter((one) => reentrant && one.isReentrant && one.owner === owner);
    const [first] = mine;
    const call = locks.acquireLock({ resources: [resource], ttlMs: 3_600_000n, owner, permits, capacity, reentrant });
    if (first !== undefined && first.permits !== 0 && (permits === 0 || permits > first.permits)) {
      await assert.rejects(call, { code: Code.FAILED_PRECONDITION });
      return;
    }
    const answer = await call;
    const hasRoom = permits === 0 ? used(model) === 0 : used(model) + permits <= capacity;
    if (first === undefined && !hasRoom) {
      assert.equal(answer.status, AcquireLockStatus.HELD);
      return;
    }
    assert.equal(answer.status, AcquireLockStatus.GRANTED);
    const [grant] = answer.grants;
    const token = grant?.fencingToken ?? 0n;
    if (first === undefined && (permits === 0 || model.fence === 0n)) assert.ok(token > model.fence);
    else assert.equal(token, model.fence);
    model.fence = token;
    assert.equal(grant?.holdCount, mine.length + 1);
    model.held.push({
      ...{ lockToken: answer.lockToken, owner, isReentrant: reentrant },
      permits: first?.permits ?? permits,
    });
  }

  toString = (): string => JSON.stringify(this);
}

class Release implements fc.AsyncCommand<Model, Real> {
  constructor(
    private readonly index: number,
    private readonly again: boolean,
  ) {}

  check = ({ held, gone }: Readonly<Model>): boolean => (this.again ? gone : held).length > 0;

  async run(model: Model, { locks, resource }: Real): Promise<void> {
    const { held, gone } = model;
    const lockToken = this.again ? gone[this.index % gone.length] : held[this.index % held.length]?.lockToken;
    if (lockToken === undefined) return;
    const { status } = await locks.releaseLock({ resources: [resource], lockToken });
    assert.equal(status, this.again ? LockOwnershipStatus.NOT_HOLDER : LockOwnershipStatus.DONE);
    if (this.again) return;
    held.splice(this.index % held.length, 1);
    gone.push(lockToken);
  }

  toString = (): string => `Release(${String(this.index)}, ${String(this.again)})`;
}

class Look implements fc.AsyncCommand<Model, Real> {
  check = (): boolean => true;

  async run({ held, fence }: Model, { locks, resource }: Real): Promise<void> {
    const state = await locks.getLock({ resource });
    const { fencingToken, holderCount, waitingCount } = state;
    assert.deepEqual(
      { fencingToken, holderCount, waitingCount },
      { fencingToken: fence, holderCount: BigInt(held.length), waitingCount: 0n },
    );
    const brief = (of: readonly { owner: string; permits: number }[]): string[] =>
      of.map(({ owner, permits }) => `${owner} ${String(permits)}`).toSorted();
    assert.deepEqual(brief(state.holders), brief(held));
  }

  toString = (): string => 'Look';
}

let service: TestService;
beforeAll(async () => {
  service = await startTestService({ REDIS_URL: sharedRedisUrl('standalone') });
});
afterAll(async () => {
  await service.stop();
});

test('whatever is taken and released, the lock is as the model says', async () => {
  let runs = 0;
  const permits = fc.nat({ max: 4 });
  const owner = fc.constantFrom('ada', 'bob');
  const commands = [
    fc
      .tuple(owner, permits, fc.integer({ min: 1, max: 5 }), fc.boolean())
      .map(([name, count, capacity, reentrant]) => new Acquire(name, count, capacity, reentrant)),
    fc.tuple(fc.nat({ max: 20 }), fc.boolean()).map(([index, again]) => new Release(index, again && index % 3 === 0)),
    fc.constant(new Look()),
  ];
  await fc.assert(
    fc.asyncProperty(fc.commands(commands, { maxCommands: 60, size: 'max' }), async (sequence) => {
      const resource = `model-${String(runs++)}`;
      await fc.asyncModelRun(() => ({ model: new Model(), real: { locks: service.locks, resource } }), sequence);
    }),
    { numRuns: 80, seed: 20_261_121 },
  );
  expect(runs).toBeGreaterThanOrEqual(80);
});
