import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { Locks } from '../../../src/client/locks/locks.js';
import { SILENT } from '../../../src/client/logger.js';
import type { DuplexMessageStream } from '../../../src/client/index.js';
import { until } from '../../support/redis-server.js';
import { sharedRedisUrl, startTestService, type TestService } from '../../support/service.js';
import { aborted, afterwards, client, newName } from './locks-support.js';

/** How many streams a client has, and for how long. */

let service: TestService;
beforeAll(async () => {
  service = await startTestService({ REDIS_URL: sharedRedisUrl('standalone') });
});
afterAll(() => service.stop());

type Stream = DuplexMessageStream<never, unknown>;

function watched(): { readonly locks: Locks; readonly streams: Stream[]; readonly ended: Set<Stream> } {
  const { rpc } = client(service.address);
  const [streams, ended]: [Stream[], Set<Stream>] = [[], new Set()];
  const holdLocks: typeof rpc.locks.holdLocks = (options) => {
    const stream = rpc.locks.holdLocks(options);
    const end = stream.end.bind(stream);
    stream.end = () => {
      ended.add(stream as unknown as Stream);
      end();
    };
    streams.push(stream as unknown as Stream);
    return stream;
  };
  const locks = new Locks({ ...rpc.locks, holdLocks }, { timeoutMs: 30_000, logger: SILENT });
  afterwards(() => locks.close());
  return { locks, streams, ended };
}

test('all locks share a stream, which is opened with the first one and ends behind the last', async () => {
  const { locks, streams, ended } = watched();
  await locks.acquireLock(newName());
  expect(streams).toHaveLength(0);
  const held = await Promise.all(Array.from({ length: 20 }, () => locks.holdLock(newName())));
  await locks.withLock(newName(), {}, () => Promise.resolve());
  expect(streams).toHaveLength(1);
  const [last, ...others] = held;
  await Promise.all(others.map((lock) => lock.release()));
  expect(ended.size).toBe(0);
  await last?.release();
  await until(() => ended.size === 1);
  const anew = await locks.holdLock(newName());
  expect(streams).toHaveLength(2);
  expect(anew.signal.aborted).toBe(false);
  await anew.release();
});

test('a stream that broke loses its locks, and the next lock has another one', async () => {
  const { locks, streams } = watched();
  const [one, two] = await Promise.all([locks.holdLock(newName()), locks.holdLock(newName())]);
  streams[0]?.cancel();
  for (const lock of [one, two]) {
    expect(await aborted(lock.signal)).toMatchObject({ loss: 'disconnected' });
    await lock.release();
  }
  const next = await locks.holdLock(newName());
  expect(streams).toHaveLength(2);
  await next.release();
});

test('a lock that is lost and never released does not keep its stream', async () => {
  const { locks, ended } = watched();
  const name = newName();
  const lock = await locks.holdLock(name);
  await locks.forceReleaseLock(name, 'stuck');
  await aborted(lock.signal);
  await until(() => ended.size === 1);
  expect(lock.signal.reason).toMatchObject({ loss: 'force_released' });
});
