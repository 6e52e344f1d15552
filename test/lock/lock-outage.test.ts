import { status as Code } from '@grpc/grpc-js';
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import { AcquireLockStatus, LockOwnershipStatus } from '../../src/gen/shardkeep/lock/v1/lock.js';
import { failureOf } from '../support/client.js';
import { startRedis, until, type RedisServer } from '../support/redis-server.js';
import { startTestService, type TestService } from '../support/service.js';

const { GRANTED, HELD } = AcquireLockStatus;
const { DONE } = LockOwnershipStatus;
const HOUR_MS = 3_600_000n;
const DEADLINE_MS = 250;

let redis: RedisServer;
let service: TestService;

beforeAll(async () => {
  redis = await startRedis(['--maxmemory-policy', 'noeviction']);
  service = await startTestService({ REDIS_URL: redis.url });
});
afterAll(async () => {
  await service.stop();
  await redis.remove();
});

describe('a caller whose deadline passes while Redis stands still', () => {
  afterEach(() => {
    redis.signal('SIGCONT');
  });

  /**
   * A call that needs no Redis, on the same HTTP/2 connection: when it is answered, the service has got whatever was
   * sent before it, also that a client gave up (whose clock runs out a little before the service's).
   */
  const untilServiceHeard = async (): Promise<void> => {
    expect((await failureOf(service.locks.getLock({ resource: '' }))).code).toBe(Code.INVALID_ARGUMENT);
  };

  /** Sends AcquireLock to a Redis that stands still, and lets the call run into its deadline. */
  const acquireInVain = async (resource: string, requestId = ''): Promise<void> => {
    const request = { resources: [resource], ttlMs: HOUR_MS, requestId };
    const failure = await failureOf(service.locks.acquireLock(request, { deadline: Date.now() + DEADLINE_MS }));
    expect(failure.code).toBe(Code.DEADLINE_EXCEEDED);
    await untilServiceHeard();
  };

  /** The fencing token tells that there was a grant. */
  const untilGivenBack = (resource: string): Promise<void> =>
    until(async () => {
      const { holders, fencingToken } = await service.locks.getLock({ resource });
      return fencingToken > 0n && holders.length === 0;
    });

  test('leaves no lock behind', async () => {
    redis.signal('SIGSTOP');
    await acquireInVain('ghost');
    redis.signal('SIGCONT');
    await untilGivenBack('ghost');
    expect((await service.locks.acquireLock({ resources: ['ghost'] })).status).toBe(GRANTED);
  });

  test('and tries again in time keeps the grant that the first try was given', async () => {
    const requestId = 'retry-after-deadline';
    redis.signal('SIGSTOP');
    await acquireInVain('again', requestId);
    const retry = service.locks.acquireLock({ resources: ['again'], ttlMs: HOUR_MS, requestId });
    await untilServiceHeard();
    redis.signal('SIGCONT');
    const { status, lockToken } = await retry;
    expect(status).toBe(GRANTED);
    // one connection: when this is answered, what the first try gave back is on its way before the next command
    await service.locks.getLock({ resource: 'again' });
    expect((await service.locks.acquireLock({ resources: ['again'] })).status).toBe(HELD);
    expect((await service.locks.releaseLock({ resources: ['again'], lockToken })).status).toBe(DONE);
  });

  test('on a needless retry keeps what it already holds', async () => {
    const requestId = 'retry-without-need';
    const held = await service.locks.acquireLock({ resources: ['needless'], ttlMs: HOUR_MS, requestId });
    redis.signal('SIGSTOP');
    await acquireInVain('needless', requestId);
    redis.signal('SIGCONT');
    await service.locks.getLock({ resource: 'needless' });
    const extended = await service.locks.extendLock({ resources: ['needless'], lockToken: held.lockToken });
    expect(extended.status).toBe(DONE);
  });

  test('on every try leaves no lock behind', async () => {
    const requestId = 'retry-all-in-vain';
    redis.signal('SIGSTOP');
    await Promise.all([acquireInVain('vain', requestId), acquireInVain('vain', requestId)]);
    redis.signal('SIGCONT');
    await untilGivenBack('vain');
    expect((await service.locks.acquireLock({ resources: ['vain'] })).status).toBe(GRANTED);
  });

  test('was refused a held lock and takes nothing from its holder', async () => {
    const held = await service.locks.acquireLock({ resources: ['other'], ttlMs: HOUR_MS });
    redis.signal('SIGSTOP');
    await acquireInVain('other');
    redis.signal('SIGCONT');
    await service.locks.getLock({ resource: 'other' });
    expect((await service.locks.releaseLock({ resources: ['other'], lockToken: held.lockToken })).status).toBe(DONE);
  });
});

test('a Redis out of memory grants nothing, but releases, extends and tells', async () => {
  const [mine, yours] = await Promise.all([
    service.locks.acquireLock({ resources: ['full'] }),
    service.locks.acquireLock({ resources: ['filled'] }),
  ]);
  await redis.command('CONFIG', 'SET', 'maxmemory', '1');
  try {
    expect(await failureOf(service.locks.acquireLock({ resources: ['new'] }))).toMatchObject({
      code: Code.RESOURCE_EXHAUSTED,
      reason: 'REDIS_OUT_OF_MEMORY',
    });
    const extended = await service.locks.extendLock({ resources: ['full'], lockToken: mine.lockToken, ttlMs: HOUR_MS });
    expect(extended.status).toBe(DONE);
    expect((await service.locks.getLock({ resource: 'full' })).holders).toHaveLength(1);
    const released = await service.locks.releaseLock({ resources: ['filled'], lockToken: yours.lockToken });
    expect(released.status).toBe(DONE);
  } finally {
    await redis.command('CONFIG', 'SET', 'maxmemory', '0');
  }
});

test('a Redis that is away grants nothing', async () => {
  await redis.stop();
  try {
    const failure = await failureOf(service.locks.acquireLock({ resources: ['away'] }));
    expect(failure).toMatchObject({ code: Code.UNAVAILABLE });
    expect(failure.retryAfterMs).toBeGreaterThan(0);
  } finally {
    await redis.restart();
  }
});
