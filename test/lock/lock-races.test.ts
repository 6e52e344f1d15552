import { setImmediate as nextTurn } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { createClient } from 'redis';
import { AcquireLockStatus, LockOwnershipStatus } from '../../src/gen/shardkeep/lock/v1/lock.js';
import {
  onEachTopology,
  randomNamespace,
  sharedRedisUrl,
  startTestService,
  type TestService,
} from '../support/service.js';
import { asOurselves } from '../support/redis-user.js';

const { GRANTED, HELD } = AcquireLockStatus;

interface Grant {
  readonly fencingToken: bigint;
  readonly release: () => Promise<unknown>;
}

/** Answers at once: a grant, or undefined when another holds the lock. */
type TryAcquire = () => Promise<Grant | undefined>;

/** Lets contenders enter a critical section so many times each; counts who met another in there. */
async function contend(
  contenders: readonly TryAcquire[],
  rounds: number,
): Promise<{ readonly overlaps: number; readonly fencingTokens: readonly bigint[] }> {
  let inside = 0;
  let overlaps = 0;
  const fencingTokens: bigint[] = [];
  const enter = async (tryAcquire: TryAcquire): Promise<void> => {
    let grant: Grant | undefined;
    while (grant === undefined) grant = await tryAcquire();
    fencingTokens.push(grant.fencingToken);
    inside++;
    if (inside > 1) overlaps++;
    await nextTurn();
    inside--;
    await grant.release();
  };
  await Promise.all(
    contenders.map(async (tryAcquire) => {
      for (let round = 0; round < rounds; round++) await enter(tryAcquire);
    }),
  );
  return { overlaps, fencingTokens };
}

function contender({ locks }: TestService, resource: string): TryAcquire {
  return async () => {
    const { status, lockToken, grants } = await locks.acquireLock({ resources: [resource], ttlMs: 60_000n });
    if (status !== GRANTED) return undefined;
    return {
      fencingToken: grants[0]?.fencingToken ?? 0n,
      release: () => locks.releaseLock({ resources: [resource], lockToken }),
    };
  };
}

onEachTopology('lock races over three services', (service, topology) => {
  const others: TestService[] = [];
  const anyOf = (index: number): TestService => [service(), ...others][index % 3] ?? service();

  beforeAll(async () => {
    const env = { REDIS_URL: sharedRedisUrl(topology), NAMESPACE: service().namespace };
    others.push(...(await Promise.all([startTestService(env), startTestService(env)])));
  });
  afterAll(async () => {
    await Promise.all(others.map((other) => other.stop()));
  });

  test('of 50 parallel AcquireLock exactly one is granted, and the others name it', async () => {
    const replies = await Promise.all(
      Array.from({ length: 50 }, (_, index) =>
        anyOf(index).locks.acquireLock({ resources: ['one'], owner: `contender-${String(index)}` }),
      ),
    );
    const granted = replies.filter(({ status }) => status === GRANTED);
    expect(granted).toHaveLength(1);
    const fencingToken = granted[0]?.grants[0]?.fencingToken;
    const held = replies.filter(({ status }) => status === HELD);
    expect(held).toHaveLength(49);
    expect(new Set(held.map(({ holder }) => holder?.fencingToken))).toEqual(new Set([fencingToken]));
  });

  test('two are never inside, and fencing tokens strictly grow over the grants', async () => {
    const contenders = Array.from({ length: 6 }, (_, index) => contender(anyOf(index), 'section'));
    const { overlaps, fencingTokens } = await contend(contenders, 10);
    expect(overlaps).toBe(0);
    expect(fencingTokens).toHaveLength(6 * 10);
    const falling = fencingTokens.filter((token, index) => index > 0 && token <= (fencingTokens[index - 1] ?? 0n));
    expect(falling).toEqual([]);
  });

  test('parallel calls with one request_id get one grant', async () => {
    const request = { resources: ['same'], requestId: 'same-request-identity' };
    const replies = await Promise.all(
      Array.from({ length: 20 }, (_, index) => anyOf(index).locks.acquireLock(request)),
    );
    expect(replies[0]?.status).toBe(GRANTED);
    expect(replies).toEqual(replies.map(() => replies[0]));
  });

  test('of 20 parallel ReleaseLock exactly one is done', async () => {
    const { lockToken } = await service().locks.acquireLock({ resources: ['once'] });
    const replies = await Promise.all(
      Array.from({ length: 20 }, (_, index) => anyOf(index).locks.releaseLock({ resources: ['once'], lockToken })),
    );
    expect(replies.filter(({ status }) => status === LockOwnershipStatus.DONE)).toHaveLength(1);
  });
});

test('the contenders do meet when the lock looks first and takes then', async () => {
  const client = createClient({ url: asOurselves(sharedRedisUrl('standalone')) });
  await client.connect();
  try {
    const key = `${randomNamespace()}:naive`;
    const naive: TryAcquire = async () => {
      if ((await client.exists(key)) > 0) return undefined;
      await client.set(key, 'taken', { expiration: { type: 'PX', value: 60_000 } });
      return { fencingToken: 0n, release: () => client.del(key) };
    };
    const { overlaps } = await contend(
      Array.from({ length: 9 }, () => naive),
      3,
    );
    expect(overlaps).toBeGreaterThan(0);
  } finally {
    await client.close();
  }
});
