import { constants } from 'node:http2';
import { status as Code } from '@grpc/grpc-js';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { CacheServiceService } from '../../src/gen/shardkeep/cache/v1/cache.js';
import { TestChannel, type PromiseClient } from '../support/client.js';
import { checkHealth } from '../support/health-client.js';
import { FRAME, grpcMessage, http2Frame, Http2Caller, RawConnection } from '../support/http2-caller.js';
import { freePort } from '../support/redis-server.js';
import { killServiceProcesses, startServiceProcess, type ServiceProcess } from '../support/service-process.js';
import { sharedRedisUrl } from '../support/service.js';

/** What a broken or a hostile client may send. Each costs its own connection at most, and the others go on. */

const GET = '/shardkeep.cache.v1.CacheService/Get';
/** `GetRequest {key: "x"}`. */
const REQUEST = Buffer.from([0x0a, 0x01, 0x78]);
const MESSAGE = grpcMessage(REQUEST);

let service: ServiceProcess;
let address: string;
let others: PromiseClient<typeof CacheServiceService>;
let health: TestChannel;

beforeAll(async () => {
  const healthListen = `127.0.0.1:${String(await freePort())}`;
  service = await startServiceProcess({
    ...{ REDIS_URL: sharedRedisUrl('standalone'), HEALTH_LISTEN: healthListen },
    // how soon what is left of a bad connection is gone
    ...{ KEEPALIVE_TIME_MS: '500', KEEPALIVE_TIMEOUT_MS: '500' },
  });
  ({ address } = service);
  others = service.channel().of(CacheServiceService);
  health = new TestChannel(healthListen);
});
afterAll(async () => {
  health.close();
  await killServiceProcesses();
});

/** Others call, and are told of health, for as long as this takes; answers what became of them and the service. */
async function othersDuring(work: Promise<unknown>): Promise<unknown> {
  const progress = { over: false, unhealthy: 0 };
  const calls = async (): Promise<void> => {
    while (!progress.over) {
      await others.set({ key: 'others', value: REQUEST });
      if ((await checkHealth(health, 'liveness')) !== 'SERVING') progress.unhealthy++;
    }
  };
  const calling = calls();
  try {
    await work;
  } finally {
    progress.over = true;
    await calling;
  }
  await others.get({ key: 'others' });
  const errors = service.logs.filter(({ level }) => Number(level) >= 50);
  return { unhealthy: progress.unhealthy, running: service.running, errors };
}

const UNHARMED = { unhealthy: 0, running: true, errors: [] };

describe('a request that is none', () => {
  test.each([
    [
      'of another content type',
      { path: GET, body: MESSAGE, headers: { 'content-type': 'text/plain' } },
      415,
      undefined,
    ],
    ['to a method that is not there', { path: `${GET}Nothing`, body: MESSAGE }, 200, Code.UNIMPLEMENTED],
    [
      'with an encoding that nobody knows',
      { path: GET, body: grpcMessage(REQUEST, { compressed: true }), headers: { 'grpc-encoding': 'snappy' } },
      200,
      Code.UNIMPLEMENTED,
    ],
    ['that cannot be decoded', { path: GET, body: grpcMessage(Buffer.from([0xff, 0xff])) }, 200, Code.INVALID_ARGUMENT],
    ['that ends before its message does', { path: GET, body: MESSAGE.subarray(0, 6) }, 200, Code.UNIMPLEMENTED],
    ['without a message', { path: GET }, 200, Code.UNIMPLEMENTED],
    ['with two', { path: GET, body: Buffer.concat([MESSAGE, MESSAGE]) }, 200, Code.UNIMPLEMENTED],
    ['larger than it may be', { path: GET, body: Buffer.from([0, 0x7f, 0, 0, 0]) }, 200, Code.RESOURCE_EXHAUSTED],
    [
      'with too much metadata',
      { path: GET, body: MESSAGE, headers: { x: 'a'.repeat(9_000) } },
      200,
      Code.RESOURCE_EXHAUSTED,
    ],
    [
      'with far too much',
      { path: GET, body: MESSAGE, headers: { x: 'a'.repeat(60_000) } },
      200,
      Code.RESOURCE_EXHAUSTED,
    ],
  ])('%s has its status, and the connection serves on', async (_, request, httpStatus, grpcStatus) => {
    const caller = new Http2Caller(address);
    expect(await caller.request(request)).toMatchObject({ httpStatus, grpcStatus });
    expect(await caller.request({ path: GET, body: MESSAGE })).toMatchObject({ grpcStatus: Code.OK });
    caller.close();
  });

  test.each([
    [
      'more headers than HTTP/2 takes',
      Object.fromEntries(Array.from({ length: 500 }, (_, n) => [`x-${String(n)}`, ''])),
    ],
    ['a header of a megabyte', { x: 'a'.repeat(1_000_000) }],
  ])('%s are refused without a status', async (_, headers) => {
    const caller = new Http2Caller(address);
    const { grpcStatus, resetCode } = await caller.request({ path: GET, body: MESSAGE, headers });
    expect(grpcStatus).toBeUndefined();
    expect(resetCode).not.toBe(constants.NGHTTP2_NO_ERROR);
    caller.close();
    expect(await othersDuring(Promise.resolve())).toEqual(UNHARMED);
  });

  test('HTTP/1.1 ends the connection', async () => {
    const connection = new RawConnection(address, { preface: false });
    connection.socket.resume();
    connection.socket.write('POST /x HTTP/1.1\r\nhost: shard\r\n\r\n');
    expect(await othersDuring(connection.closed)).toEqual(UNHARMED);
  });

  test('a caller that goes in the middle of a frame leaves nothing behind', async () => {
    const connection = new RawConnection(address);
    const headers = http2Frame(FRAME.headers, { stream: 1, payload: Buffer.alloc(64, 0x82) });
    connection.socket.write(headers.subarray(0, 20));
    connection.socket.end();
    connection.socket.resume();
    expect(await othersDuring(connection.closed)).toEqual(UNHARMED);
  });
});

describe('a flood of', () => {
  const ping = http2Frame(FRAME.ping, { payload: Buffer.alloc(8) });
  const settings = http2Frame(FRAME.settings, { payload: Buffer.from([0, 3, 0, 0, 0, 100]) });

  test.each([
    ['pings', ping, false],
    ['pings whose answers are read', ping, true],
    ['settings', settings, false],
    ['settings whose answers are read', settings, true],
    ['noise', Buffer.from('noise that is no frame'), false],
  ])('%s ends its connection', async (_, piece, reads) => {
    expect(await othersDuring(new RawConnection(address).flood(piece, { reads }))).toEqual(UNHARMED);
  });

  test('headers that never end does', async () => {
    const connection = new RawConnection(address);
    connection.socket.write(http2Frame(FRAME.headers, { stream: 1, payload: Buffer.from([0x83]) }));
    const more = http2Frame(FRAME.continuation, { stream: 1, payload: Buffer.from([0x40, 1, 0x61, 1, 0x62]) });
    expect(await othersDuring(connection.flood(more, { reads: true }))).toEqual(UNHARMED);
  });

  test('streams that are reset as soon as they are open does', async () => {
    const caller = new Http2Caller(address);
    const reset = (): void => {
      for (let n = 0; n < 100 && !caller.session.destroyed && !caller.session.closed; n++) {
        const stream = caller.session.request({ ':method': 'POST', ':path': GET, 'content-type': 'application/grpc' });
        stream.on('error', () => undefined);
        stream.close(constants.NGHTTP2_CANCEL);
      }
      if (!caller.session.destroyed) setImmediate(reset);
    };
    reset();
    expect(await othersDuring(caller.closed)).toEqual(UNHARMED);
  });
});
