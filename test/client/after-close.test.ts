import { afterAll, beforeAll, expect, test } from '@jest/globals';
import {
  CancelledError,
  connect,
  LockLostError,
  UnavailableError,
  type ShardkeepClient,
} from '../../src/client/index.js';
import { sharedRedisUrl, startTestService, type TestService } from '../support/service.js';

/** What docs/client.md says of a client that is closed. */

let service: TestService;
let closed: ShardkeepClient;
let ran = 0;
beforeAll(async () => {
  service = await startTestService({ REDIS_URL: sharedRedisUrl('standalone') });
  closed = connect(service.address, { logger: false });
  await closed.close();
});
afterAll(() => service.stop());

const run = (): number => (ran += 1);
const runWriter = (): void => {
  run();
};
const runBody = (): Promise<number> => Promise.resolve(run());
const failureOf = (call: Promise<unknown>): Promise<unknown> =>
  call.then(
    () => 'an answer',
    (error: unknown) => error,
  );
async function drained(loop: AsyncIterable<unknown>): Promise<void> {
  const loopsOn = loop[Symbol.asyncIterator]();
  while ((await loopsOn.next()).done !== true);
}

const calls: readonly [string, () => Promise<unknown>][] = [
  ['get', () => closed.cache.get('k')],
  ['set', () => closed.cache.set('k', 1, { ttlMs: 1_000 })],
  ['delete', () => closed.cache.delete('k')],
  ['increment', () => closed.cache.increment('n', 1, { ttlMs: 1_000 })],
  ['writeThrough', () => closed.cache.writeThrough('k', 1, runWriter, { ttlMs: 1_000 })],
  ['cacheAside', () => closed.cache.cacheAside('k', run, { ttlMs: 1_000 })],
  ['warm', () => closed.cache.warm('k', run, { ttlMs: 1_000 })],
  ['createSession', () => closed.sessions.createSession({ userId: 'ada' })],
  ['withLock', () => closed.locks.withLock('l', {}, runBody)],
  ['acquireLock', () => closed.locks.acquireLock('l')],
  ['listLocks', () => drained(closed.locks.listLocks())],
  ['watchLocks', () => drained(closed.locks.watchLocks({ prefix: '' }))],
  ['check', () => closed.rateLimits.check('user:ada', 'chat')],
  ['holdConcurrency', () => closed.rateLimits.holdConcurrency([{ subject: 'user:ada', policy: 'chat' }])],
  ['health.check', () => closed.health.check()],
];

test.each(calls)('%s is not done', async (_, call) => {
  ran = 0;
  const error = await failureOf(call());
  expect(error).toBeInstanceOf(UnavailableError);
  expect(error).toMatchObject({ outcomeUnknown: false });
  expect(ran).toBe(0);
});

test('a watch of sessions ends at once', async () => {
  const watch = closed.sessions.watchSessions({ all: true });
  await drained(watch);
  await expect(watch.ready).rejects.toBeInstanceOf(CancelledError);
});

test('what is open ends, and what was held can be given back', async () => {
  const closing = connect(service.address, { logger: false, timeoutMs: 30_000 });
  const held = await closing.locks.holdLock(`close:${String(process.pid)}`);
  const policy = { name: 'seats', algorithm: 'concurrency', limit: 1, windowMs: 30_000 } as const;
  const slots = await closing.rateLimits.holdConcurrency([{ subject: `user:${String(process.pid)}`, policy }]);
  if (slots.status !== 'held') throw new Error(slots.status);
  const sessions = closing.sessions.watchSessions({ all: true });
  await sessions.ready;
  const sessionsOver = drained(sessions);
  const locks = closing.locks.watchLocks({ prefix: 'close:' })[Symbol.asyncIterator]();
  await locks.next();
  const locksOver = failureOf(drained({ [Symbol.asyncIterator]: () => locks }));
  let begun = (): void => undefined;
  const hasBegun = new Promise<void>((resolve) => {
    begun = resolve;
  });
  const load = ({ signal }: { signal: AbortSignal }): Promise<never> => {
    begun();
    return new Promise((_, reject) => {
      signal.addEventListener('abort', () => {
        reject(new Error('told'));
      });
    });
  };
  const loaded = failureOf(closing.cache.cacheAside(`close:${String(process.pid)}`, load, { ttlMs: 1_000 }));
  await hasBegun;
  const inFlight = closing.health.check();

  await closing.close();
  expect(await inFlight).toBe('serving');
  expect(held.signal.reason).toBeInstanceOf(LockLostError);
  expect(held.signal.reason).toMatchObject({ loss: 'closed' });
  expect(slots.signal.aborted).toBe(true);
  await sessionsOver;
  expect(await locksOver).toBeInstanceOf(CancelledError);
  expect(await loaded).toBeInstanceOf(CancelledError);
  await held.release();
  slots.release();
  await closing.close();
});
