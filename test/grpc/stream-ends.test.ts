import { once } from 'node:events';
import { connect, constants, type IncomingHttpHeaders } from 'node:http2';
import { status as Code } from '@grpc/grpc-js';
import { afterEach, describe, expect, test } from '@jest/globals';
import { Consistency, type GetRequest, type KeyTtl } from '../../src/gen/shardkeep/cache/v1/cache.js';
import type { StreamContext } from '../../src/grpc/rpc.js';
import { failureOf } from '../support/client.js';
import { until } from '../support/redis-server.js';
import { openStream, type TestStream } from '../support/stream-client.js';
import {
  said,
  startStreamService,
  StreamService,
  type StreamServiceFixture,
  type StreamServiceOptions,
} from '../support/stream-service.js';

/** How streams end: by their callers, by too many of them, by a drain. */

let service: StreamServiceFixture;
const NO_TIME = 1;
const LONG_MS = 10_000;

afterEach(async () => {
  service.channel.close();
  await service.drain(NO_TIME);
});

type Stream = TestStream<GetRequest, KeyTtl>;

async function start(options: StreamServiceOptions): Promise<void> {
  service = await startStreamService(options);
}

const list = (key = 'k', deadline?: number): Stream =>
  openStream(service.channel, StreamService.list, { key }, deadline === undefined ? {} : { deadline });
const talk = (): Stream => openStream(service.channel, StreamService.talk);
const keysOf = (messages: readonly KeyTtl[]): string[] => messages.map(({ key }) => key);

/** Resolves when the call has ended, as a handler with nothing to say waits. */
function ended(call: StreamContext): Promise<string> {
  return new Promise((resolve) => {
    call.whenEnded(resolve);
  });
}

/** Calls `list` with a timeout that the caller leaves to the service: one of its own would cancel at about that time. */
async function statusOfTimeout(timeout: string): Promise<number> {
  const session = connect(`http://${service.address}`);
  const request = session.request({
    [constants.HTTP2_HEADER_METHOD]: 'POST',
    [constants.HTTP2_HEADER_PATH]: StreamService.list.path,
    'content-type': 'application/grpc',
    te: 'trailers',
    'grpc-timeout': timeout,
  });
  const payload = StreamService.list.requestSerialize({ key: 'k', consistency: Consistency.UNSPECIFIED });
  const prefix = Buffer.alloc(5);
  prefix.writeUInt32BE(payload.length, 1);
  request.resume().end(Buffer.concat([prefix, payload]));
  const [trailers] = (await once(request, 'trailers')) as [IncomingHttpHeaders];
  session.close();
  return Number(trailers['grpc-status']);
}

/** Says hello, waits for the end of the call, and tells of its cleaning up. */
function lasting(events: string[]) {
  return async function* (_: unknown, call: StreamContext): AsyncGenerator<KeyTtl, void> {
    try {
      yield said('hello');
      events.push(await ended(call));
      yield said('too late');
    } finally {
      events.push('cleaned up');
    }
  };
}

/** Waits until a handler is asked for no more. */
async function untilStalled(made: () => number): Promise<void> {
  let before = 0;
  await until(() => {
    const now = made();
    const stalled = now > 0 && now === before;
    before = now;
    return stalled;
  });
}

describe('the end of a call', () => {
  test('by its caller reaches the handler, which cleans up', async () => {
    const events: string[] = [];
    await start({ list: lasting(events), talk: (_, call) => lasting(events)(undefined, call) });
    for (const open of [list, talk]) {
      const stream = open();
      await stream.untilMessages(1);
      stream.cancel();
      expect(await stream.code()).toBe(Code.CANCELLED);
      await until(() => events.length === 2);
      expect(events.splice(0)).toEqual(['cancelled', 'cleaned up']);
    }
    expect(service.codes).toEqual([Code.CANCELLED, Code.CANCELLED]);
  });

  test('by a lost connection does too', async () => {
    const events: string[] = [];
    await start({ list: lasting(events) });
    const stream = list();
    await stream.untilMessages(1);
    service.channel.close();
    stream.cancel();
    await until(() => events.length === 2);
    expect(events).toEqual(['cancelled', 'cleaned up']);
  });

  test("by the caller's own deadline, and there is no other", async () => {
    const events: string[] = [];
    await start({ list: lasting(events) });
    const patient = list();
    expect(await statusOfTimeout('100m')).toBe(Code.DEADLINE_EXCEEDED);
    await until(() => events.length === 2);
    expect(events).toEqual(['deadline', 'cleaned up']);
    // the default for unary calls was over long ago
    await patient.untilMessages(1);
    expect(service.codes).toEqual([Code.DEADLINE_EXCEEDED]);
  });

  test('wakes an iterator of whatever kind by its `return`', async () => {
    let wake = (): void => undefined;
    const woken = new Promise<void>((resolve) => {
      wake = resolve;
    });
    await start({
      list: () => ({
        [Symbol.asyncIterator]: () => ({
          next: () => new Promise(() => undefined),
          return: () => {
            wake();
            return Promise.resolve({ done: true, value: undefined });
          },
        }),
      }),
    });
    const stream = list('k', Date.now() + 100);
    await stream.code();
    await expect(woken).resolves.toBeUndefined();
  });
});

describe('a caller who does not read', () => {
  const CHUNK = 'x'.repeat(512);

  test('holds the handler, which goes on when it reads again', async () => {
    let made = 0;
    await start({
      // eslint-disable-next-line @typescript-eslint/require-await -- as fast as it is asked
      list: async function* () {
        for (; made < 20_000; made++) yield said(CHUNK);
      },
    });
    const stream = list();
    stream.pause();
    await untilStalled(() => made);
    // what the windows of HTTP/2 and the buffers on both sides hold, of 10 MB
    expect(made * CHUNK.length).toBeLessThan(1_000_000);
    stream.resume();
    expect(await stream.result).toHaveLength(20_000);
  });

  test('does not keep the handler when it goes', async () => {
    const events: string[] = [];
    let made = 0;
    await start({
      // eslint-disable-next-line @typescript-eslint/require-await -- as fast as it is asked
      list: async function* () {
        try {
          for (;;) {
            made++;
            yield said(CHUNK);
          }
        } finally {
          events.push('cleaned up');
        }
      },
    });
    const stream = list();
    stream.pause();
    await untilStalled(() => made);
    stream.cancel();
    await until(() => events.length === 1);
    expect(service.codes).toEqual([Code.CANCELLED]);
  });
});

test('of more streams than may be open the next is refused at once, until a handler is done', async () => {
  let cleanUp = (): void => undefined;
  const cleaned = new Promise<void>((resolve) => {
    cleanUp = resolve;
  });
  await start({
    maxStreams: 1,
    list: async function* (_, call) {
      try {
        yield said('hello');
        await ended(call);
      } finally {
        await cleaned;
      }
    },
  });
  const first = list();
  await first.untilMessages(1);
  const overloaded = { code: Code.RESOURCE_EXHAUSTED, reason: 'OVERLOADED' };
  const failure = await failureOf(list().result);
  expect(failure).toMatchObject(overloaded);
  expect(failure.retryAfterMs).toBeGreaterThan(0);
  first.cancel();
  await first.code();
  expect(await failureOf(list().result)).toMatchObject(overloaded);
  cleanUp();
  await until(async () => {
    const next = list();
    const came = await next.untilMessages(1).then(
      () => true,
      () => false,
    );
    next.cancel();
    return came;
  });
});

describe('a drain', () => {
  test('ends a stream that lasts at once, with a word of when to come back, and lets it clean up', async () => {
    const events: string[] = [];
    await start({ list: lasting(events) });
    const stream = list();
    await stream.untilMessages(1);
    const finished = service.drain(LONG_MS);
    expect(await failureOf(stream.result)).toMatchObject({
      code: Code.UNAVAILABLE,
      reason: 'DRAINING',
      retryAfterMs: 0,
    });
    expect(await finished).toBe(true);
    expect(events).toEqual(['draining', 'cleaned up']);
    expect(service.codes).toEqual([Code.UNAVAILABLE]);
  });

  test('lets a stream that does something finish, and tells it to', async () => {
    await start({
      onDrain: 'finish',
      list: async function* (_, call) {
        yield said(String(call.draining));
        await new Promise<void>((resolve) => {
          call.whenDraining(resolve);
        });
        yield said(String(call.draining));
      },
    });
    const stream = list();
    await stream.untilMessages(1);
    expect(await service.drain(LONG_MS)).toBe(true);
    expect(keysOf(await stream.result)).toEqual(['false', 'true']);
  });

  test('tells a stream that does not finish in time', async () => {
    const events: string[] = [];
    await start({ onDrain: 'finish', list: lasting(events) });
    const stream = list();
    await stream.untilMessages(1);
    expect(await service.drain(50)).toBe(false);
    expect(await failureOf(stream.result)).toMatchObject({ code: Code.UNAVAILABLE, reason: 'DRAINING' });
    await until(() => events.length === 2);
    expect(events).toEqual(['draining', 'cleaned up']);
  });

  test('starts no stream', async () => {
    await start({ onDrain: 'finish', list: lasting([]) });
    const open = list();
    await open.untilMessages(1);
    const finished = service.drain(500);
    expect(await failureOf(list().result)).toMatchObject({ code: Code.UNAVAILABLE });
    open.cancel();
    expect(await finished).toBe(true);
  });

  test('is not held by a caller who does not read', async () => {
    let made = 0;
    await start({
      // eslint-disable-next-line @typescript-eslint/require-await -- as fast as it is asked
      list: async function* () {
        for (;;) {
          made++;
          yield said('x'.repeat(512));
        }
      },
    });
    const stream = list();
    stream.pause();
    await untilStalled(() => made);
    const startedAt = performance.now();
    expect(await service.drain(LONG_MS)).toBe(true);
    expect(performance.now() - startedAt).toBeLessThan(LONG_MS / 2);
    stream.cancel();
    await stream.code();
  });
});
