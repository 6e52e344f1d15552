import { Buffer } from 'node:buffer';
import { afterEach, expect, test } from '@jest/globals';
import { Server, ServerCredentials, status as Code, type ServerWritableStream } from '@grpc/grpc-js';
import { ResumingStream } from '../../../src/client/sessions/resuming-stream.js';
import { SILENT } from '../../../src/client/logger.js';
import {
  SessionEventType,
  SessionServiceService,
  WatchSessionsResponse,
  type WatchSessionsRequest,
} from '../../../src/gen/shardkeep/session/v1/session.js';
import { errorOf } from '../../support/client-error.js';
import { client } from './support.js';
import { WatchListener } from './watch-listener.js';

/** A watch over streams that end in every way there is: a server that plays what is written for it. */

type Stream = ServerWritableStream<WatchSessionsRequest, WatchSessionsResponse>;
type Part = (stream: Stream) => void;

const servers: Server[] = [];
afterEach(() => {
  for (const server of servers.splice(0)) server.forceShutdown();
});

interface Played {
  readonly address: string;
  /** The cursors that streams were opened with, so far. */
  readonly cursors: readonly string[];
}

/** Each stream gets the next part, the last one all that come later. */
async function play(...parts: Part[]): Promise<Played> {
  const server = new Server();
  servers.push(server);
  const cursors: string[] = [];
  const watchSessions = (stream: Stream): void => {
    stream.on('error', () => undefined);
    const part = parts[Math.min(cursors.length, parts.length - 1)];
    cursors.push(stream.request.cursor.toString());
    part?.(stream);
  };
  server.addService({ watchSessions: SessionServiceService.watchSessions }, { watchSessions });
  const port = await new Promise<number>((resolve, reject) => {
    server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (error, bound) => {
      if (error) reject(error);
      else resolve(bound);
    });
  });
  return { address: `127.0.0.1:${String(port)}`, cursors };
}

function tells(cursor: string, ...sessionIds: string[]): Part {
  const events = sessionIds.map((sessionId) => ({ sessionId, type: SessionEventType.CREATED }));
  return (stream) => {
    stream.write(WatchSessionsResponse.fromPartial({ cursor: Buffer.from(cursor), events }));
  };
}

function fails(code: Code): Part {
  return (stream) => {
    stream.emit('error', { code, details: 'as the test wants it' });
  };
}

function inTurn(...parts: Part[]): Part {
  return (stream) => {
    for (const part of parts) part(stream);
  };
}

const ends: Part = (stream) => {
  stream.end();
};
const saysNothing: Part = () => undefined;

function watch(address: string): WatchListener {
  return new WatchListener(client(address).sessions.watchSessions({ all: true }));
}

test('each stream goes on behind the last cursor that came, however the one before ended', async () => {
  const { address, cursors } = await play(
    inTurn(tells('a', 'one'), ends),
    fails(Code.UNAVAILABLE),
    inTurn(tells('b', 'two'), tells('', 'three'), fails(Code.INTERNAL)),
    fails(Code.RESOURCE_EXHAUSTED),
    fails(Code.DEADLINE_EXCEEDED),
    inTurn(tells('c'), fails(Code.CANCELLED)),
    tells('d', 'four'),
  );
  const listener = watch(address);
  expect(await listener.untilBrief(4)).toEqual(['created one', 'created two', 'created three', 'created four']);
  expect(cursors).toEqual(['', 'a', 'a', 'b', 'b', 'b', 'c']);
});

test('an outage is logged when it begins and when it is over, not at each try', async () => {
  const { address } = await play(
    inTurn(tells('a', 'one'), fails(Code.UNAVAILABLE)),
    fails(Code.UNAVAILABLE),
    fails(Code.INTERNAL),
    inTurn(tells('b', 'two'), ends),
    tells('c', 'three'),
  );
  const lines: object[] = [];
  const log = (details: object): void => void lines.push(details);
  const logger = { debug: log, warn: log, error: log };
  const listener = new WatchListener(client(address, { logger }).sessions.watchSessions({ all: true }));
  await listener.untilBrief(3);
  expect(lines).toEqual([expect.objectContaining({ code: 'UNAVAILABLE' }), {}, {}, {}]);
  listener.watch.close();
});

test('what happened between two streams without a cursor is to be looked at', async () => {
  const { address } = await play(
    fails(Code.UNAVAILABLE),
    inTurn(tells('', 'one'), ends),
    inTurn(tells('', 'two'), tells('a'), ends),
    tells('b', 'three'),
  );
  const listener = watch(address);
  expect(await listener.untilBrief(4)).toEqual(['created one', 'resync', 'created two', 'created three']);
});

test.each([Code.INVALID_ARGUMENT, Code.PERMISSION_DENIED, Code.UNAUTHENTICATED, Code.UNIMPLEMENTED])(
  'a stream that is refused with %s is the end, also after others',
  async (code) => {
    const refused = await play(fails(code));
    const listener = watch(refused.address);
    expect((await errorOf(listener.ended)).code).toBe(code);
    expect((await errorOf(listener.watch.ready)).code).toBe(code);
    expect(refused.cursors).toHaveLength(1);

    const later = await play(inTurn(tells('a', 'one'), ends), fails(code));
    const told = watch(later.address);
    expect((await errorOf(told.ended)).code).toBe(code);
    expect(told.events).toHaveLength(1);
    await told.watch.ready;
  },
);

test('a credential that runs out under a stream is replaced by the next one', async () => {
  const { address, cursors } = await play(inTurn(tells('a', 'one'), fails(Code.UNAUTHENTICATED)), tells('b', 'two'));
  const listener = watch(address);
  expect(await listener.untilBrief(2)).toEqual(['created one', 'created two']);
  expect(cursors).toEqual(['', 'a']);
});

test('a service that has no sessions is the end', async () => {
  const server = new Server();
  servers.push(server);
  const port = await new Promise<number>((resolve) => {
    server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (_error, bound) => {
      resolve(bound);
    });
  });
  expect((await errorOf(watch(`127.0.0.1:${String(port)}`).ended)).code).toBe(Code.UNIMPLEMENTED);
});

test('a stream that says nothing for too long is given up', async () => {
  const { address, cursors } = await play(tells('a'), saysNothing, tells('b'));
  const { rpc } = client(address);
  const open = (cursor: Buffer) => rpc.sessions.watchSessions({ all: true, cursor });
  const stream = new ResumingStream({ open, cursor: Buffer.alloc(0), logger: SILENT, silenceMs: 200 });
  expect((await stream.next())?.cursor.toString()).toBe('a');
  expect((await stream.next())?.cursor.toString()).toBe('b');
  expect(cursors).toEqual(['', 'a', 'a']);
  stream.close();
  expect(await stream.next()).toBeUndefined();
});
