import { Readable } from 'node:stream';
import { Metadata, status as Code, type ClientReadableStream, type StatusObject } from '@grpc/grpc-js';
import { expect, test } from '@jest/globals';
import { CancelledError, UnavailableError } from '../../../src/client/index.js';
import { MessageStream } from '../../../src/client/rpc/message-stream.js';
import { errorOf } from '../../support/client-error.js';

/** A call of grpc-js whose messages and end the test decides; it counts what it was asked for. */
class FakeCall extends Readable {
  asked = 0;
  isCancelled = false;

  constructor(private readonly endless = false) {
    super({ objectMode: true });
  }

  override _read(): void {
    this.asked++;
    if (this.endless) this.push(this.isCancelled ? null : this.asked);
  }

  cancel(): void {
    this.isCancelled = true;
  }

  tell(...messages: number[]): void {
    for (const message of messages) this.push(message);
  }

  finish(code: Code, metadata = new Metadata()): void {
    const status: StatusObject = { code, details: 'as the test wants it', metadata };
    this.push(null);
    this.emit('status', status);
  }
}

function streamOf(call: FakeCall, wasNeverSent = false): MessageStream<number> {
  return new MessageStream(call as unknown as ClientReadableStream<number>, {
    onOver: () => undefined,
    wasNeverSent: () => wasNeverSent,
  });
}

function valueOf(result: IteratorResult<number, undefined>): number | undefined {
  return result.value;
}

async function turns(count: number): Promise<void> {
  for (let turn = 0; turn < count; turn++) await new Promise(setImmediate);
}

test('several next() at once are answered in their order, each message once', async () => {
  const call = new FakeCall();
  const stream = streamOf(call);
  const asked = [stream.next(), stream.next(), stream.next()];
  call.tell(1, 2, 3, 4);
  expect((await Promise.all(asked)).map(valueOf)).toEqual([1, 2, 3]);
  const last = [stream.next(), stream.next(), stream.next()];
  call.finish(Code.OK);
  expect((await Promise.all(last)).map(valueOf)).toEqual([4, undefined, undefined]);
});

test('of several next() one is told how the stream failed, and the others that it is over', async () => {
  const call = new FakeCall();
  const stream = streamOf(call);
  const [first, ...others] = [stream.next(), stream.next(), stream.next()];
  call.finish(Code.ABORTED);
  expect((await errorOf(first)).code).toBe(Code.ABORTED);
  expect((await Promise.all(others)).map(({ done }) => done)).toEqual([true, true]);
  expect(await stream.next()).toEqual({ done: true, value: undefined });
});

test('return() gives the call up, before the first next() and while one waits', async () => {
  for (const isAsked of [false, true]) {
    const call = new FakeCall();
    const stream = streamOf(call);
    const waiting = isAsked ? stream.next() : undefined;
    expect(await stream.return()).toEqual({ done: true, value: undefined });
    expect(await (waiting ?? stream.next())).toEqual({ done: true, value: undefined });
    await turns(1);
    expect(call.isCancelled).toBe(true);
  }
});

test('cancel() fails who waits', async () => {
  const call = new FakeCall();
  const stream = streamOf(call);
  const waiting = stream.next();
  stream.cancel();
  expect(await errorOf(waiting)).toBeInstanceOf(CancelledError);
  expect(await stream.next()).toEqual({ done: true, value: undefined });
});

test('a reader that stops holds the service back, and misses nothing when it goes on', async () => {
  const call = new FakeCall(true);
  const stream = streamOf(call);
  await turns(200);
  const held = call.asked;
  expect(held).toBeLessThan(200);
  await turns(50);
  expect(call.asked).toBe(held);
  for (let count = 1; count <= 1_000; count++) expect(valueOf(await stream.next())).toBe(count);
  // what is given up is read to its end
  call.cancel();
  stream.cancel();
});

test.each([
  [true, ''],
  [false, 'OUTCOME_UNKNOWN'],
])('that the connection failed is told apart: never sent %s, reason %j', async (wasNeverSent, reason) => {
  const call = new FakeCall();
  const stream = streamOf(call, wasNeverSent);
  call.finish(Code.UNAVAILABLE);
  const error = await errorOf(stream.next());
  expect(error).toBeInstanceOf(UnavailableError);
  expect(error.reason).toBe(reason);
});
