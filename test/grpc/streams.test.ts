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

// eslint-disable-next-line @typescript-eslint/require-await -- a handler that has all at hand
async function* threeTimes({ key }: GetRequest): AsyncGenerator<KeyTtl, void> {
  for (let index = 0; index < 3; index++) yield said(`${key}${String(index)}`);
}

async function* echo(requests: AsyncIterable<GetRequest>): AsyncGenerator<KeyTtl, void> {
  for await (const { key } of requests) yield said(key);
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

  test('that fails while it is read tells its status, behind all that it has said before', async () => {
    const said16 = Array.from({ length: 16 }, (_, index) => said(String(index)));
    await start({
      // eslint-disable-next-line @typescript-eslint/require-await -- it has all at hand
      talk: async function* (requests) {
        const reading = (async () => {
          for await (const request of requests) if (request.key === 'never') break;
        })();
        reading.catch(() => undefined);
        yield* said16;
        throw new DomainError('DRAINING', 'going away');
      },
    });
    const stream = talk();
    stream.send({ key: 'hello' });
    expect(await failureOf(stream.result)).toMatchObject({ code: Code.UNAVAILABLE, reason: 'DRAINING' });
    expect(keysOf(stream.messages)).toEqual(keysOf(said16));
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
