import { afterEach, expect, test } from '@jest/globals';
import { ResourceExhaustedError, UnavailableError, type ShardkeepClient } from '../../src/client/index.js';
import { errorOf } from '../support/client-error.js';
import { freeAddress } from '../support/free-address.js';
import { sdkClient } from '../support/sdk-client.js';
import { killServiceProcesses, startServiceProcess } from '../support/service-process.js';
import { sharedRedisUrl } from '../support/service.js';

afterEach(killServiceProcesses);

/** Every kind of stream that the client opens. */
const STREAMS: readonly (readonly [string, (client: ShardkeepClient) => AsyncIterator<unknown>])[] = [
  ['of the server', ({ rpc }) => rpc.sessions.watchSessions({ all: true })],
  ['in both directions', ({ rpc }) => rpc.cache.watch()],
  ['of locks', ({ locks }) => locks.watchLocks({ resources: ['a'] })],
  ['of health', ({ health }) => health.watch()],
];

test.each(STREAMS)('a stream %s that finds no service was not sent', async (_, open) => {
  const client = sdkClient(await freeAddress());
  const error = await errorOf(open(client).next());
  expect(error).toBeInstanceOf(UnavailableError);
  expect(error).toMatchObject({ reason: '', outcomeUnknown: false });
});

test('a stream whose service is killed has an unknown outcome', async () => {
  const service = await startServiceProcess({ REDIS_URL: sharedRedisUrl('standalone') });
  const stream = sdkClient(service.address).rpc.health.watch({ service: '' });
  await stream.next();
  const ended = errorOf(stream.next());
  await service.stop('SIGKILL');
  expect(await ended).toMatchObject({ reason: 'OUTCOME_UNKNOWN' });
});

/** A client of a service that takes one stream at a time: it opens no other one before the last is given up. */
async function clientOfOneStream(): Promise<ShardkeepClient> {
  const service = await startServiceProcess({ REDIS_URL: sharedRedisUrl('standalone'), MAX_STREAMS: '1' });
  return sdkClient(service.address);
}

test('a watch that is left before its first event, or while that is waited for, is given up', async () => {
  const { sessions } = await clientOfOneStream();
  const unread = sessions.watchSessions({ all: true });
  await unread.ready;
  await unread[Symbol.asyncIterator]().return?.();

  const waiting = sessions.watchSessions({ all: true });
  await waiting.ready;
  const iterator = waiting[Symbol.asyncIterator]();
  const next = iterator.next();
  await iterator.return?.();
  expect(await next).toEqual({ done: true, value: undefined });

  const last = sessions.watchSessions({ all: true });
  await last.ready;
  last.close();
});

test('a stream of locks that is left is given up, at once and while a change is waited for', async () => {
  const { locks } = await clientOfOneStream();
  const opened = async (): Promise<AsyncIterableIterator<unknown, undefined>> => {
    for (;;) {
      const stream = locks.watchLocks({ resources: ['a'] });
      try {
        await stream.next();
        return stream;
      } catch (error) {
        if (!(error instanceof ResourceExhaustedError)) throw error;
      }
    }
  };
  await (await opened()).return?.();
  const stream = await opened();
  const change = stream.next();
  await stream.return?.();
  expect(await change).toEqual({ done: true, value: undefined });
  await (await opened()).return?.();
});

test('an iterator that is left before it begins opens no stream', async () => {
  const client = sdkClient(await freeAddress());
  for (const watch of [client.health.watch(), client.locks.watchLocks({ resources: ['a'] })]) {
    await watch.return?.();
    // otherwise it would find no service
    expect(await watch.next()).toEqual({ done: true, value: undefined });
  }
});
