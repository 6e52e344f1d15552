import { connect as connectTcp } from 'node:net';
import { Metadata, status as Code } from '@grpc/grpc-js';
import { afterEach, describe, expect, test } from '@jest/globals';
import { CacheServiceService } from '../../src/gen/shardkeep/cache/v1/cache.js';
import { failureOf, TestChannel } from '../support/client.js';
import { HealthWatch } from '../support/health-client.js';
import { grpcMessage, Http2Caller, RawConnection } from '../support/http2-caller.js';
import { freePort, until } from '../support/redis-server.js';
import { RawPipeline } from '../support/pipeline-stream.js';
import { sdkClient } from '../support/sdk-client.js';
import { sharedRedisUrl, startTestService, type Environment, type TestService } from '../support/service.js';
import { startSilentProxy } from '../support/silent-proxy.js';

/** How much one connection, and all of them, may take of a service. */

const GET = '/shardkeep.cache.v1.CacheService/Get';
const MESSAGE = grpcMessage(Buffer.from([0x0a, 0x01, 0x78]));

let service: TestService;
const closings: (() => void)[] = [];
afterEach(async () => {
  for (const close of closings.splice(0)) close();
  await service.stop();
});

async function start(env: Environment): Promise<TestService> {
  service = await startTestService({ REDIS_URL: sharedRedisUrl('standalone'), ...env });
  return service;
}

function callerOf(address: string): Http2Caller {
  const caller = new Http2Caller(address);
  closings.push(() => {
    caller.close();
  });
  return caller;
}

async function rejected(reason: string): Promise<number> {
  const metrics = await service.service.metrics.registry.metrics();
  return Number(new RegExp(`^shardkeep_rpc_rejected_total\\{reason="${reason}"\\} (.+)$`, 'm').exec(metrics)?.[1]);
}

describe('connections beyond MAX_CONNECTIONS', () => {
  test('are closed before anything is read, and health has a listener that none of it reaches', async () => {
    const healthListen = `127.0.0.1:${String(await freePort())}`;
    const { address, cache } = await start({ MAX_CONNECTIONS: '3', HEALTH_LISTEN: healthListen });
    await cache.get({ key: 'x' });
    const health = new TestChannel(healthListen);
    const watch = new HealthWatch(health.client, 'liveness');
    closings.push(() => {
      watch.cancel();
      health.close();
    });
    await until(() => watch.last === 'SERVING');
    const two = [callerOf(address), callerOf(address)];
    for (const caller of two) await caller.request({ path: GET, body: MESSAGE });
    const many = Array.from({ length: 50 }, () => new RawConnection(address));
    for (const { socket } of many) socket.resume();
    await Promise.all(many.map(({ closed }) => closed));
    expect(await rejected('connections')).toBe(50);
    // those that were there stay
    for (const caller of two) {
      expect(await caller.request({ path: GET, body: MESSAGE })).toMatchObject({ grpcStatus: Code.OK });
    }
    expect((await cache.get({ key: 'x' })).entry).toBeUndefined();
    expect(watch.statuses).toEqual(['SERVING']);
    // and one that goes makes room
    two[0]?.close();
    await until(async () => {
      const { grpcStatus } = await callerOf(address).request({ path: GET, body: MESSAGE });
      return grpcStatus === Code.OK;
    });
  });
});

describe('metadata', () => {
  const withMetadata = (key: string, bytes: number): Metadata => {
    const metadata = new Metadata();
    metadata.set(key, 'a'.repeat(bytes));
    return metadata;
  };

  test.each([
    ['a unary call', GET],
    ['a stream', '/shardkeep.cache.v1.CacheService/Watch'],
    ['the pipeline', '/shardkeep.pipeline.v1.PipelineService/Pipeline'],
  ])('of %s that is too large is refused by name', async (_, path) => {
    const { channel } = await start({ MAX_METADATA_BYTES: '1024' });
    const identity = (bytes: Buffer): Buffer => bytes;
    const call = (metadata: Metadata): Promise<unknown> =>
      new Promise((resolve, reject) => {
        const options = { deadline: Date.now() + 1_000 };
        const stream = channel.client.makeBidiStreamRequest(path, identity, identity, metadata, options);
        stream.on('error', reject).on('end', resolve).resume();
        stream.write(Buffer.from([0x0a, 0x01, 0x78]));
        stream.end();
      });
    const failure = await failureOf(call(withMetadata('x-trace', 1_024)));
    expect(failure).toMatchObject({ code: Code.RESOURCE_EXHAUSTED, reason: 'METADATA_TOO_LARGE' });
    expect(await rejected('metadata')).toBe(1);
    // whatever becomes of it then
    await call(withMetadata('x-trace', 512)).catch(() => undefined);
    expect(await rejected('metadata')).toBe(1);
  });
});

describe('a request that never ends', () => {
  const half = MESSAGE.subarray(0, 6);
  const ends = false;

  test.each<[string, Record<string, string>]>([
    ['without a deadline', {}],
    ['with one that is far away', { 'grpc-timeout': '1H' }],
  ])('%s ends at MAX_DEADLINE_MS, and counts as nothing in flight meanwhile', async (_, headers) => {
    const { address, cache } = await start({
      ...{ MAX_IN_FLIGHT: '1', MAX_DEADLINE_MS: '700', DEFAULT_DEADLINE_MS: '700' },
    });
    const caller = callerOf(address);
    const paths = [GET, '/shardkeep.cache.v1.CacheService/DeletePattern'];
    const slow = paths.map((path) => caller.request({ path, body: half, headers, ends }));
    expect((await cache.get({ key: 'x' })).entry).toBeUndefined();
    for (const answer of await Promise.all(slow)) expect(answer).toMatchObject({ grpcStatus: Code.DEADLINE_EXCEEDED });
    expect(await rejected('slow_request')).toBe(2);
    // it is the request that has to end, and the stream whose request has ended goes on
    expect((await cache.get({ key: 'x' })).entry).toBeUndefined();
  });

  test('is no way to keep a connection busy: with many of them it has to go', async () => {
    const { address } = await start({ MAX_DEADLINE_MS: '300', DEFAULT_DEADLINE_MS: '300' });
    const caller = callerOf(address);
    const own = { 'grpc-timeout': '100m' };
    const slow = Array.from({ length: 30 }, (_, n) =>
      caller.request({ path: GET, body: half, headers: n % 2 === 0 ? {} : own, ends }),
    );
    await Promise.all(slow);
    await caller.closed;
    expect(await rejected('slow_request')).toBeGreaterThanOrEqual(16);
  });
});

describe('an answer that nobody takes', () => {
  test('is given up beyond 32 MiB of them, and its connection closed when none is taken; others read on', async () => {
    const { address, cache } = await start({
      ...{ MAX_DEADLINE_MS: '6000', DEFAULT_DEADLINE_MS: '6000', REDIS_TIMEOUT_MS: '30000' },
    });
    await cache.set({ key: 'x', value: Buffer.alloc(1_000_000, 7) });
    const caller = callerOf(address);
    await caller.request({ path: GET, body: Buffer.from([...[0, 0, 0, 0, 3], 0x0a, 1, 0x79]) });
    const ask = (): Promise<void> =>
      new Promise((resolve) => {
        const stream = caller.session.request({ ':method': 'POST', ':path': GET, 'content-type': 'application/grpc' });
        // without a listener for its headers the answer would be read, and thrown away
        stream.on('response', () => {
          resolve();
        });
        stream.on('error', () => undefined).on('close', resolve);
        stream.end(MESSAGE);
      });
    await until(async () => {
      await Promise.all(Array.from({ length: 20 }, ask));
      return (await rejected('slow_reader')) >= 20;
    });
    expect((await cache.get({ key: 'x' })).entry?.value.length).toBe(1_000_000);
    await caller.closed;
    expect((await cache.get({ key: 'x' })).entry?.value.length).toBe(1_000_000);
  });
});

describe('a connection', () => {
  test('whose other side is gone without a word is closed', async () => {
    const { address, service: running } = await start({ KEEPALIVE_TIME_MS: '300', KEEPALIVE_TIMEOUT_MS: '300' });
    const proxy = await startSilentProxy(Number(address.split(':')[1]));
    const channel = new TestChannel(`127.0.0.1:${String(proxy.port)}`);
    const watch = new HealthWatch(channel.client, 'liveness');
    closings.push(() => {
      channel.close();
      void proxy.close();
    });
    await until(() => watch.last === 'SERVING');
    const pipeline = new RawPipeline(channel.client);
    await until(() => pipeline.frames.length > 0);
    const open = async (): Promise<boolean> =>
      (await running.metrics.registry.metrics()).includes('shardkeep_pipeline_streams 1');
    expect(await open()).toBe(true);
    proxy.silence('both');
    await until(async () => !(await open()));
  });

  test('that nobody uses is closed, unless a stream is open', async () => {
    const { address } = await start({ MAX_CONNECTION_IDLE_MS: '300' });
    const [idle, busy] = [callerOf(address), callerOf(address)];
    await idle.request({ path: GET, body: MESSAGE });
    const path = '/shardkeep.pipeline.v1.PipelineService/Pipeline';
    const stream = busy.request({ path, ends: false });
    await idle.closed;
    expect(await Promise.race([stream, Promise.resolve('open')])).toBe('open');
    expect(await busy.request({ path: GET, body: MESSAGE })).toMatchObject({ grpcStatus: Code.OK });
  });

  test('has only so many streams of the pipeline', async () => {
    const { channel } = await start({});
    const streams = Array.from({ length: 65 }, () => new RawPipeline(channel.client));
    const codes = await Promise.race(streams.map(({ ended }) => ended));
    expect(codes.code).toBe(Code.RESOURCE_EXHAUSTED);
    await until(() => streams.filter(({ frames }) => frames.length > 0).length === 64);
    expect(await rejected('overload')).toBe(1);
    for (const stream of streams) stream.cancel();
  });
});

describe('connections that get old', () => {
  test.each(['pipeline', 'unary'] as const)('are replaced by a client that does not notice: %s', async (transport) => {
    const { address } = await start({ MAX_CONNECTION_AGE_MS: '300', MAX_DEADLINE_MS: '20000' });
    let connections = 0;
    const proxy = await startSilentProxy(Number(address.split(':')[1]), () => connections++);
    closings.push(() => void proxy.close());
    // a call that fails is not tried again: none may fail
    const client = sdkClient(`127.0.0.1:${String(proxy.port)}`, { transport, retry: { maxAttempts: 1 } });
    const lock = await client.locks.holdLock('door');
    let lost = 0;
    lock.signal.addEventListener('abort', () => lost++);
    const counters = await Promise.all(
      Array.from({ length: 4 }, async (_, n) => {
        let calls = 0;
        while (connections < 6) {
          await client.cache.increment(`calls:${String(n)}`, 1);
          calls++;
        }
        return { calls, counted: await client.cache.increment(`calls:${String(n)}`, 0) };
      }),
    );
    for (const { calls, counted } of counters) expect(counted).toBe(calls);
    expect(lost).toBe(0);
    await lock.release();
  });

  test('end the streams of others with DRAINING, after those were told to go elsewhere', async () => {
    const { channel } = await start({ MAX_CONNECTION_AGE_MS: '300', MAX_DEADLINE_MS: '20000' });
    const identity = (bytes: Buffer): Buffer => bytes;
    const open = (): Promise<unknown> =>
      new Promise((resolve, reject) => {
        const path = '/shardkeep.cache.v1.CacheService/Watch';
        const watch = channel.client.makeBidiStreamRequest(path, identity, identity, new Metadata(), {});
        watch.on('error', reject).on('end', resolve).resume();
      });
    expect(await failureOf(open())).toMatchObject({ code: Code.UNAVAILABLE, reason: 'DRAINING' });
    expect(await failureOf(open())).toMatchObject({ code: Code.UNAVAILABLE, reason: 'DRAINING' });
    expect((await channel.of(CacheServiceService).get({ key: 'x' })).entry).toBeUndefined();
  });
});

test('half a handshake holds nobody up', async () => {
  const { address, cache } = await start({ KEEPALIVE_TIME_MS: '300', KEEPALIVE_TIMEOUT_MS: '300' });
  const silent = connectTcp(Number(address.split(':')[1]), '127.0.0.1');
  const closed = new Promise<void>((resolve) => {
    silent.on('close', () => {
      resolve();
    });
  });
  silent.resume();
  expect((await cache.get({ key: 'x' })).entry).toBeUndefined();
  await closed;
  expect((await cache.get({ key: 'x' })).entry).toBeUndefined();
});
