import { status as Code } from '@grpc/grpc-js';
import { afterEach, describe, expect, test } from '@jest/globals';
import { connect, type ConnectOptions, type ShardkeepClient } from '../../src/client/index.js';
import { AcquireLockStatus, LockOwnershipStatus } from '../../src/gen/shardkeep/lock/v1/lock.js';
import { errorOf } from '../support/client-error.js';
import { until } from '../support/redis-server.js';
import { onEachTopology, sharedRedisUrl, startTestService } from '../support/service.js';

const open: ShardkeepClient[] = [];

function client(address: string, options: ConnectOptions = {}): ShardkeepClient {
  // no deadline of these tests is about how fast this machine is
  const connected = connect(address, { timeoutMs: 30_000, logger: false, retry: { maxAttempts: 1 }, ...options });
  open.push(connected);
  return connected;
}

afterEach(async () => {
  await Promise.all(open.splice(0).map((connected) => connected.close()));
});

const TRANSPORTS = ['pipeline', 'unary'] as const;

onEachTopology('the client', (service) => {
  describe.each(TRANSPORTS)('over %s', (transport) => {
    test('answers what was set, with version and time to live', async () => {
      const { cache } = client(service().address, { transport }).rpc;
      const value = Buffer.from([0, 1, 0xff, 0xfe]);
      const { stored, version } = await cache.set({ key: 'a', value, expiry: { $case: 'ttlMs', value: 60_000n } });
      expect(stored).toBe(true);
      const { entry } = await cache.get({ key: 'a' });
      expect(entry).toMatchObject({ value, version });
      // how much is left is judged by a copy of Redis's clock, so no more can be said of it
      expect(entry?.ttlMs).toBeGreaterThan(0n);
      expect(await cache.get({ key: 'not there' })).toEqual({ entry: undefined });
    });

    test('tells an empty value and one without expiry from a miss', async () => {
      const { cache } = client(service().address, { transport }).rpc;
      await cache.set({ key: 'empty', value: Buffer.alloc(0), expiry: { $case: 'noExpiry', value: true } });
      const { entry } = await cache.get({ key: 'empty' });
      expect(entry).toMatchObject({ value: Buffer.alloc(0), ttlMs: undefined });
    });

    test('creates, validates and destroys a session', async () => {
      const { sessions } = client(service().address, { transport }).rpc;
      const userId = `user ${transport}`;
      const { session, sessionToken } = await sessions.createSession({ userId, metadata: new Map([['ip', '::1']]) });
      expect(await sessions.validateSession({ sessionToken })).toMatchObject({ session: { userId } });
      await sessions.destroySession({ sessionId: session?.sessionId ?? '' });
      expect(await sessions.validateSession({ sessionToken })).toMatchObject({ session: undefined });
    });

    test('acquires and releases a lock, and checks a limit', async () => {
      const { locks, rateLimits } = client(service().address, { transport }).rpc;
      const acquired = await locks.acquireLock({ resources: [`trade ${transport}`], ttlMs: 5_000n });
      expect(acquired.status).toBe(AcquireLockStatus.GRANTED);
      const { lockToken } = acquired;
      expect(await locks.releaseLock({ resources: [`trade ${transport}`], lockToken })).toEqual({
        status: LockOwnershipStatus.DONE,
        notHeldResources: [],
      });
      const limits = [{ subject: `user:${transport}`, policy: { $case: 'policyName' as const, value: 'chat' } }];
      expect(await rateLimits.checkRateLimit({ limits })).toMatchObject({ allowed: true });
    });

    test('tells which fields were wrong, by the reason of the catalogue', async () => {
      const { cache } = client(service().address, { transport }).rpc;
      const error = await errorOf(cache.touch({ keys: ['', 'x'], expiry: { $case: 'ttlMs', value: 0n } }));
      expect(error).toMatchObject({ code: Code.INVALID_ARGUMENT, reason: 'INVALID_FIELD' });
      expect(error.fields).toEqual(['keys[0]', 'ttlMs']);
    });

    test('an error tells which call failed, and in its stack who made it', async () => {
      const { sessions } = client(service().address, { transport });
      const login = async (): Promise<unknown> => await sessions.createSession({ userId: '' });
      const error = await errorOf(login());
      expect(error.rpc).toBe('SessionService/CreateSession');
      expect(error.stack).toMatch(/at (?:async )?login /);
    });

    test('fails a request that is no message, and goes on', async () => {
      const { cache } = client(service().address, { transport }).rpc;
      const wrong = { key: 'k', value: 'text' as unknown as Buffer };
      expect((await errorOf(cache.set(wrong))).code).toBe(Code.INVALID_ARGUMENT);
      const other = cache.get({ key: 'k' });
      expect((await errorOf(cache.get({ key: 'k' }, { timeoutMs: Number.NaN }))).code).toBe(Code.INVALID_ARGUMENT);
      expect(await other).toEqual({ entry: undefined });
      expect(await cache.exists({ keys: ['k'] })).toEqual({ exists: [false] });
    });

    test('gives a call up by its signal, also before it begins', async () => {
      const { cache } = client(service().address, { transport }).rpc;
      expect((await errorOf(cache.get({ key: 'x' }, { signal: AbortSignal.abort() }))).code).toBe(Code.CANCELLED);
      const controller = new AbortController();
      const call = cache.get({ key: 'x' }, { signal: controller.signal });
      controller.abort();
      expect((await errorOf(call)).code).toBe(Code.CANCELLED);
      expect(await cache.get({ key: 'x' })).toEqual({ entry: undefined });
    });

    test('a call given up in the turn that made it waits for nothing at the service', async () => {
      const { locks } = client(service().address, { transport }).rpc;
      const resources = [`given up ${transport}`];
      const { lockToken } = await locks.acquireLock({ resources, ttlMs: 60_000n });
      const calls = Array.from({ length: 50 }, () => {
        const controller = new AbortController();
        const call = errorOf(locks.acquireLock({ resources, waitMs: 25_000n }, { signal: controller.signal }));
        controller.abort();
        return call;
      });
      for (const { code } of await Promise.all(calls)) expect(code).toBe(Code.CANCELLED);
      // stands behind all that wait; who was given up is not in the queue, or leaves it
      const waiting = locks.acquireLock({ resources, waitMs: 20_000n });
      await until(async () => (await locks.getLock({ resource: resources[0] ?? '' })).waitingCount === 1n);
      await locks.releaseLock({ resources, lockToken });
      expect((await waiting).status).toBe(AcquireLockStatus.GRANTED);
    });

    test('answers the calls in flight when it is closed, and takes no more', async () => {
      const closing = client(service().address, { transport });
      const calls = Array.from({ length: 100 }, (_, index) =>
        closing.rpc.cache.get({ key: `closing ${String(index)}` }),
      );
      const closed = closing.close();
      expect(await Promise.all(calls)).toHaveLength(100);
      await closed;
      expect((await errorOf(closing.rpc.cache.get({ key: 'x' }))).code).toBe(Code.UNAVAILABLE);
    });

    test('may be closed twice, also while calls are in flight', async () => {
      const closing = client(service().address, { transport });
      const call = closing.rpc.cache.get({ key: 'closing' });
      await Promise.all([closing.close(), closing.close()]);
      expect(await call).toEqual({ entry: undefined });
      await closing.close();
    });

    test('takes any timeout, however long', async () => {
      const { cache } = client(service().address, { transport }).rpc;
      for (const timeoutMs of [Infinity, Number.MAX_SAFE_INTEGER]) {
        expect(await cache.get({ key: 'not there' }, { timeoutMs })).toEqual({ entry: undefined });
      }
    });
  });

  test('keeps 5,000 calls of one tick apart', async () => {
    const { cache } = client(service().address).rpc;
    const names = Array.from({ length: 5_000 }, (_, index) => `many ${String(index)}`);
    await Promise.all(names.map((key) => cache.set({ key, value: Buffer.from(key) })));
    const answers = await Promise.all(names.map((key) => cache.get({ key })));
    expect(answers.map(({ entry }) => entry?.value.toString())).toEqual(names);
  });

  test('sends what is too large for the pipeline as a unary call', async () => {
    const { cache } = client(service().address).rpc;
    const value = Buffer.alloc(1_000_000, 'large');
    expect(await cache.set({ key: 'large', value })).toMatchObject({ stored: true });
    expect((await cache.get({ key: 'large' })).entry?.value.equals(value)).toBe(true);
  });
});

test('the client holds back what the service does not take at once', async () => {
  const service = await startTestService({ REDIS_URL: sharedRedisUrl('standalone'), MAX_STREAM_CALLS: '3' });
  const { cache } = client(service.address).rpc;
  const counts = await Promise.all(Array.from({ length: 500 }, () => cache.increment({ key: 'n', delta: 1n })));
  expect(new Set(counts.map(({ value }) => value)).size).toBe(500);
  await service.stop();
});
