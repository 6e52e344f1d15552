import { status as Code } from '@grpc/grpc-js';
import { afterEach, describe, expect, test } from '@jest/globals';
import { DomainError } from '../../src/errors.js';
import type { GetRequest, KeyTtl } from '../../src/gen/shardkeep/cache/v1/cache.js';
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

/** What every stream RPC has from the transport and the invoker. */

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

// eslint-disable-next-line @typescript-eslint/require-await -- a handler that has all at hand
async function* threeTimes({ key }: GetRequest): AsyncGenerator<KeyTtl, void> {
  for (let index = 0; index < 3; index++) yield said(`${key}${String(index)}`);
}

async function* echo(requests: AsyncIterable<GetRequest>): AsyncGenerator<KeyTtl, void> {
  for await (const { key } of requests) yield said(key);
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

describe('a stream of responses', () => {
  test('comes in order and ends with OK', async () => {
    await start({ list: threeTimes });
    expect(keysOf(await list().result)).toEqual(['k0', 'k1', 'k2']);
    expect(service.codes).toEqual([Code.OK]);
  });

  test('may be empty', async () => {
    await start({});
    expect(await list().result).toEqual([]);
  });

  test('does not begin for a wrong request', async () => {
    let started = false;
    await start({
      list: (request) => {
        started = true;
        return threeTimes(request);
      },
    });
    expect(await failureOf(list('').result)).toMatchObject({ code: Code.INVALID_ARGUMENT, fields: ['key'] });
    const cut = service.channel.rawStream(StreamService.list.path, Buffer.from([0x0a, 0x7f]));
    expect(await failureOf(cut)).toMatchObject({ code: Code.INVALID_ARGUMENT, reason: 'INVALID_FIELD' });
    expect(started).toBe(false);
  });

  test('is charged to the rate policy of its RPC once, and does not begin when that denies it', async () => {
    const charged: unknown[] = [];
    await start({
      list: threeTimes,
      talk: echo,
      gate: async (request) => {
        charged.push((request as GetRequest).key);
        await Promise.resolve();
        if (charged.length > 2) throw new DomainError('RATE_LIMITED', 'too many calls', { retryAfterMs: 7 });
      },
    });
    await list('first').result;
    const second = talk();
    for (const key of ['second', 'third']) second.send({ key });
    second.halfClose();
    expect(keysOf(await second.result)).toEqual(['second', 'third']);
    expect(charged).toEqual(['first', 'second']);
    const denied = list('denied');
    expect(await failureOf(denied.result)).toMatchObject({ reason: 'RATE_LIMITED', retryAfterMs: 7 });
    expect(denied.messages).toEqual([]);
  });

  test('that fails tells its status with details, behind what came before', async () => {
    await start({
      list: async function* (request) {
        yield* threeTimes(request);
        throw new DomainError('REDIS_UNAVAILABLE', 'away', { retryAfterMs: 9, metadata: { node: 'a' } });
      },
    });
    const stream = list();
    expect(await failureOf(stream.result)).toMatchObject({
      code: Code.UNAVAILABLE,
      reason: 'REDIS_UNAVAILABLE',
      metadata: { node: 'a' },
      retryAfterMs: 9,
    });
    expect(stream.messages).toHaveLength(3);
    expect(service.codes).toEqual([Code.UNAVAILABLE]);
  });

  test('that fails as nobody foresaw is INTERNAL, its cause logged once and not sent', async () => {
    await start({
      // eslint-disable-next-line require-yield, @typescript-eslint/require-await -- fails before
      list: async function* () {
        throw new TypeError('open-sesame');
      },
    });
    const stream = list();
    await expect(stream.result).rejects.toThrow(/INTERNAL: internal error$/);
    expect(service.logs.filter(({ msg }) => msg === 'rpc failed')).toHaveLength(1);
    expect(JSON.stringify(service.logs)).toContain('open-sesame');
  });

  test('with a message above the limit ends there, and the handler cleans up', async () => {
    const events: string[] = [];
    await start({
      // eslint-disable-next-line @typescript-eslint/require-await -- has all at hand
      list: async function* () {
        try {
          yield said('small');
          yield said('x'.repeat(4_194_305));
        } finally {
          events.push('cleaned up');
        }
      },
    });
    const stream = list();
    expect(await failureOf(stream.result)).toMatchObject({ reason: 'MESSAGE_TOO_LARGE' });
    expect(keysOf(stream.messages)).toEqual(['small']);
    await until(() => events.length === 1);
  });
});

describe('a stream both ways', () => {
  test('answers while it is asked, and ends when both have said all', async () => {
    await start({ talk: echo });
    const stream = talk();
    for (const key of ['a', 'b']) {
      stream.send({ key });
      await stream.untilMessages(key === 'a' ? 1 : 2);
    }
    stream.halfClose();
    expect(keysOf(await stream.result)).toEqual(['a', 'b']);
  });

  test('may end before its caller has said all', async () => {
    await start({
      talk: async function* (requests) {
        for await (const { key } of requests) {
          yield said(key);
          if (key === 'last') break;
        }
        yield said('bye');
      },
    });
    const stream = talk();
    for (const key of ['first', 'last', 'never read']) stream.send({ key });
    expect(keysOf(await stream.result)).toEqual(['first', 'last', 'bye']);
  });

  test('ends at a wrong message, whatever the handler makes of it', async () => {
    const events: string[] = [];
    await start({
      talk: async function* (requests, call) {
        try {
          yield* echo(requests);
        } catch (error) {
          events.push(error instanceof DomainError ? error.code : 'another error');
        }
        events.push(await ended(call));
        yield said('not sent');
      },
    });
    const stream = talk();
    stream.send({ key: 'right' });
    await stream.untilMessages(1);
    stream.send({ key: '' });
    expect(await failureOf(stream.result)).toMatchObject({ code: Code.INVALID_ARGUMENT, fields: ['key'] });
    expect(keysOf(stream.messages)).toEqual(['right']);
    await until(() => events.length === 2);
    expect(events).toEqual(['INVALID_FIELD', 'answered']);
    expect(service.codes).toEqual([Code.INVALID_ARGUMENT]);
  });

  test('is read only as its handler asks', async () => {
    const decoded: number[] = [];
    let read = (): void => undefined;
    const asked = new Promise<void>((resolve) => {
      read = resolve;
    });
    let total = 0;
    await start({
      gate: () => {
        decoded.push(total);
        return undefined;
      },
      talk: async function* (requests) {
        yield said('hello');
        await asked;
        for await (const { key } of requests) {
          total++;
          if (key === 'last') yield said(String(total));
        }
      },
    });
    const stream = talk();
    for (let index = 0; index < 100; index++) stream.send({ key: 'k' });
    await stream.untilMessages(1);
    expect(decoded).toEqual([]);
    stream.send({ key: 'last' });
    stream.halfClose();
    read();
    expect(keysOf(await stream.result)).toEqual(['hello', '101']);
  });
});

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
    expect(await list('k', Date.now() + 100).code()).toBe(Code.DEADLINE_EXCEEDED);
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
