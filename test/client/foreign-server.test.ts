import { performance } from 'node:perf_hooks';
import { afterEach, describe, expect, test } from '@jest/globals';
import { Metadata, status as Code, type sendUnaryData } from '@grpc/grpc-js';
import { connect, ShardkeepError, type ConnectOptions, type ShardkeepClient } from '../../src/client/index.js';
import { CacheServiceService, type GetRequest, type GetResponse } from '../../src/gen/shardkeep/cache/v1/cache.js';
import type { Answer, PipelineRequest } from '../../src/gen/shardkeep/pipeline/v1/pipeline.js';
import { errorOf } from '../support/client-error.js';
import { until } from '../support/redis-server.js';
import {
  DRAINING,
  encodeFrame,
  LIMITS,
  refusal,
  startForeignServer,
  stopForeignServers,
  success,
  type ForeignBehaviour,
} from '../support/foreign-server.js';

/** The client before servers that are not ours, or that break the protocol. */

const clients: ShardkeepClient[] = [];

function client(address: string, options: ConnectOptions = {}): ShardkeepClient {
  const connected = connect(address, { timeoutMs: 30_000, logger: false, retry: { maxAttempts: 1 }, ...options });
  clients.push(connected);
  return connected;
}

afterEach(async () => {
  await Promise.all(clients.splice(0).map((connected) => connected.close()));
  stopForeignServers();
});

const TRANSPORTS = ['pipeline', 'unary'] as const;
const MISS: GetResponse = CacheServiceService.get.responseDeserialize(Buffer.alloc(0));

test('without the pipeline, a wrong request that waits for the stream fails alone, and one that was given up is not sent', async () => {
  const keys: string[] = [];
  const { address } = await startForeignServer({
    cache: {
      get: ({ request }: { request: GetRequest }, callback: sendUnaryData<object>) => {
        keys.push(request.key);
        callback(null, MISS);
      },
    },
  });
  const { cache } = client(address).rpc;
  const controller = new AbortController();
  // a number where the proto has 64 bits cannot be encoded
  const wrong = cache.set({ key: 'k', expiry: { $case: 'ttlMs', value: 60_000 as unknown as bigint } });
  const givenUp = cache.get({ key: 'given up' }, { signal: controller.signal });
  const right = cache.get({ key: 'right' });
  controller.abort();
  expect((await errorOf(wrong)).code).toBe(Code.INVALID_ARGUMENT);
  expect((await errorOf(givenUp)).code).toBe(Code.CANCELLED);
  expect(await right).toEqual({ entry: undefined });
  expect(keys).toEqual(['right']);
});

describe.each(TRANSPORTS)('a server with details of its own, over %s', (transport) => {
  async function errorWith(details: Buffer): Promise<ShardkeepError> {
    const { address } = await startForeignServer({
      cache: {
        get: (_: unknown, callback: sendUnaryData<object>) => {
          const metadata = new Metadata();
          metadata.set('grpc-status-details-bin', details);
          callback({ code: Code.RESOURCE_EXHAUSTED, details: 'as the trailer has it', metadata });
        },
      },
    });
    const connected = client(address, { transport });
    const error = await errorOf(connected.rpc.cache.get({ key: 'x' }));
    // nothing may hold it
    await connected.close();
    return error;
  }

  test('that are no google.rpc.Status fails a call by code and message', async () => {
    const error = await errorWith(Buffer.from([0xff, 0xff]));
    expect(error).toMatchObject({ code: Code.RESOURCE_EXHAUSTED, reason: '', fields: [] });
    expect(error.message).toContain('as the trailer has it');
  });

  test('that carry another code fails a call by the code of the trailer', async () => {
    const otherCode = Buffer.from([(1 << 3) | 0, Code.ABORTED]);
    expect((await errorWith(otherCode)).code).toBe(Code.RESOURCE_EXHAUSTED);
  });
});

describe.each(['open', 'closing'] as const)('a client that is %s', (state) => {
  test('sends no more on a stream that drains, and what waits on another one', async () => {
    const seen: number[] = [];
    const server = await startForeignServer({
      pipeline: (stream) => {
        const number = server.streams.indexOf(stream);
        stream.write({ limits: { ...LIMITS, maxCallsInFlight: number === 0 ? 2 : 1 } });
        stream.on('data', ({ calls }: PipelineRequest) => {
          seen.push(...calls.map(() => number));
          if (number === 0) {
            held.push(...calls.map(success));
            if (held.length === 2) stream.write({ draining: true });
            return;
          }
          stream.write({ answers: calls.map(success) });
          // only now, so that the old stream has room while others wait
          if (seen.length === 3) server.streams[0]?.write({ answers: held.slice(0, 1) });
          if (seen.length === 10) server.streams[0]?.write({ answers: held.slice(1) });
        });
        stream.on('end', () => stream.end());
      },
    });
    const held: Answer[] = [];
    const connected = client(server.address);
    const calls = Array.from({ length: 10 }, () => connected.rpc.cache.get({ key: 'x' }));
    const closed = state === 'closing' ? connected.close() : undefined;
    expect(await Promise.all(calls)).toEqual(calls.map(() => ({ entry: undefined })));
    await closed;
    expect(seen).toEqual([0, 0, 1, 1, 1, 1, 1, 1, 1, 1]);
  });
});

test('a call that has not left when its stream breaks goes on the next one', async () => {
  const server = await startForeignServer({
    pipeline: (stream) => {
      stream.write({ limits: { ...LIMITS, maxCallsInFlight: 1 } });
      stream.on('data', ({ calls }: PipelineRequest) => {
        const answers = encodeFrame({ answers: calls.map(success) });
        // the answer makes room for the next call, whose frame would leave at the end of the tick
        stream.write(server.streams.length === 1 ? Buffer.concat([answers, Buffer.from([0xff])]) : answers);
      });
      stream.on('end', () => stream.end());
    },
  });
  const { cache } = client(server.address).rpc;
  const calls = [cache.get({ key: 'answered' }), cache.get({ key: 'not sent' })];
  expect(await Promise.all(calls)).toEqual([{ entry: undefined }, { entry: undefined }]);
  expect(server.streams).toHaveLength(2);
});

test('a server that greets each stream with `draining` is backed off from, and calls wait for one that does not', async () => {
  const openedAtMs: number[] = [];
  const server = await startForeignServer({
    pipeline: (stream) => {
      openedAtMs.push(performance.now());
      stream.write({ limits: LIMITS, draining: openedAtMs.length < 5 });
      stream.on('data', ({ calls }: PipelineRequest) => stream.write({ answers: calls.map(success) }));
      stream.on('end', () => stream.end());
    },
  });
  const { cache } = client(server.address).rpc;
  expect(await cache.get({ key: 'x' }, { timeoutMs: 10_000 })).toEqual({ entry: undefined });
  expect(openedAtMs).toHaveLength(5);
  const gapsMs = openedAtMs.slice(1).map((atMs, index) => atMs - (openedAtMs[index] ?? 0));
  // the first is replaced at once; then the shortest times of the jitter, less the part of 1 ms that a timer leaves out
  for (const [attempt, ms] of gapsMs.slice(1).entries()) expect(ms).toBeGreaterThan(50 * 2 ** attempt - 1);
});

describe('calls that were not started because their service drains', () => {
  test.each(['open', 'closing'] as const)('go on another stream of a client that is %s', async (state) => {
    const server = await startForeignServer({
      pipeline: (stream) => {
        const number = server.streams.indexOf(stream);
        stream.write({ limits: LIMITS });
        // the first four only refuse, and do not say that they drain
        stream.on('data', ({ calls }: PipelineRequest) => {
          stream.write({ answers: calls.map(number < 4 ? refusal : success) });
        });
        stream.on('end', () => stream.end());
      },
    });
    const connected = client(server.address, { timeoutMs: 10_000 });
    const calls = Array.from({ length: 10 }, () => connected.rpc.cache.get({ key: 'x' }));
    const closed = state === 'closing' ? connected.close() : undefined;
    expect(await Promise.all(calls)).toEqual(calls.map(() => ({ entry: undefined })));
    await closed;
    expect(server.streams).toHaveLength(5);
  });

  function refusingServer(refusals: number, onRefused: (refused: number) => void = () => undefined): ForeignBehaviour {
    let refused = 0;
    const get = (_: unknown, callback: sendUnaryData<object>): void => {
      if (refused === refusals) {
        callback(null, MISS);
        return;
      }
      refused++;
      const metadata = new Metadata();
      metadata.set('grpc-status-details-bin', DRAINING);
      callback({ code: Code.UNAVAILABLE, details: 'the service is going away', metadata });
      onRefused(refused);
    };
    return { cache: { get } };
  }

  test.each(TRANSPORTS)('are sent again as unary calls over %s', async (transport) => {
    const { address } = await startForeignServer(refusingServer(4));
    const { cache } = client(address, { transport, timeoutMs: 10_000 }).rpc;
    expect(await cache.get({ key: 'x' })).toEqual({ entry: undefined });
  });

  test.each(TRANSPORTS)('fail as such when their time is over, over %s', async (transport) => {
    let refused = 0;
    const { address } = await startForeignServer(refusingServer(Infinity, () => refused++));
    const { cache } = client(address, { transport, timeoutMs: 300 }).rpc;
    const { code, reason } = await errorOf(cache.get({ key: 'x' }));
    // its time ends between two attempts, or in the middle of one
    expect([`${String(Code.DEADLINE_EXCEEDED)} `, `${String(Code.UNAVAILABLE)} DRAINING`]).toContain(
      `${String(code)} ${reason}`,
    );
    expect(refused).toBeGreaterThan(2);
  });

  test.each(TRANSPORTS)('can be given up while they wait, over %s', async (transport) => {
    const controller = new AbortController();
    const giveUp = (refused: number): void => {
      // once its answer is there the call waits for the next attempt
      if (refused === 7)
        setImmediate(() =>
          setImmediate(() => {
            controller.abort();
          }),
        );
    };
    const { address } = await startForeignServer(refusingServer(Infinity, giveUp));
    const { cache } = client(address, { transport, timeoutMs: 60_000 }).rpc;
    expect((await errorOf(cache.get({ key: 'x' }, { signal: controller.signal }))).code).toBe(Code.CANCELLED);
  });
});

test('a call that is given up on a stream that drains is given up at the service too', async () => {
  const server = await startForeignServer({
    pipeline: (stream) => {
      stream.write({ limits: LIMITS });
      stream.on('data', ({ calls, cancelledIds }: PipelineRequest) => {
        if (server.streams[0] !== stream) stream.write({ answers: calls.map(success) });
        else if (calls.length > 0) stream.write({ draining: true });
        else givenUp(cancelledIds);
      });
      stream.on('end', () => stream.end());
    },
  });
  let givenUp: (ids: readonly number[]) => void = () => undefined;
  const ids = new Promise<readonly number[]>((resolve) => {
    givenUp = resolve;
  });
  const { cache } = client(server.address).rpc;
  const controller = new AbortController();
  const held = errorOf(cache.get({ key: 'held' }, { signal: controller.signal }));
  await until(() => server.streams.length === 2);
  controller.abort();
  expect((await held).code).toBe(Code.CANCELLED);
  expect(await ids).toHaveLength(1);
});

test('thousands of calls that time out at once are given up in frames that a service takes', async () => {
  const CALLS = 6_000;
  let givenUp = 0;
  let longest = 0;
  const { address } = await startForeignServer({
    pipeline: (stream) => {
      stream.write({ limits: { ...LIMITS, maxCallsInFlight: 10_000 } });
      stream.on('data', ({ cancelledIds }: PipelineRequest) => {
        givenUp += cancelledIds.length;
        longest = Math.max(longest, cancelledIds.length);
      });
      stream.on('end', () => stream.end());
    },
  });
  const { cache } = client(address).rpc;
  const controller = new AbortController();
  const calls = Array.from({ length: CALLS }, () => errorOf(cache.get({ key: 'x' }, { signal: controller.signal })));
  // the calls have left when one behind them has failed
  await errorOf(cache.get({ key: 'x' }, { timeoutMs: 500 }));
  controller.abort();
  await Promise.all(calls);
  await until(() => givenUp === CALLS + 1);
  expect(longest).toBeLessThanOrEqual(4_096);
});

test('calls that ended while they waited leave their place to others', async () => {
  const PLACES = 16_384;
  const server = await startForeignServer({
    pipeline: (stream) => {
      stream.on('data', ({ calls }: PipelineRequest) => stream.write({ answers: calls.map(success) }));
      stream.on('end', () => stream.end());
    },
  });
  const { cache } = client(server.address).rpc;
  await until(() => server.streams.length === 1);
  const waiting = Array.from({ length: PLACES }, () => errorOf(cache.get({ key: 'x' }, { timeoutMs: 100 })));
  expect((await errorOf(cache.get({ key: 'one too many' }))).code).toBe(Code.RESOURCE_EXHAUSTED);
  for (const { code } of await Promise.all(waiting)) expect(code).toBe(Code.DEADLINE_EXCEEDED);
  const others = Array.from({ length: PLACES }, () => cache.get({ key: 'x' }, { timeoutMs: 15_000 }));
  server.streams[0]?.write({ limits: LIMITS });
  expect(await Promise.all(others)).toHaveLength(PLACES);
});

test('close() ends an idle stream of a service that says nothing', async () => {
  const ended: Promise<void>[] = [];
  const { address } = await startForeignServer({
    pipeline: (stream) => {
      ended.push(new Promise((resolve) => stream.on('cancelled', resolve)));
      stream.write({ limits: LIMITS });
      stream.on('data', ({ calls }: PipelineRequest) => stream.write({ answers: calls.map(success) }));
    },
  });
  const connected = client(address);
  await connected.rpc.cache.get({ key: 'x' });
  await connected.close();
  expect(ended).toHaveLength(1);
  await Promise.all(ended);
  // grpc-js would look after ten seconds
}, 5_000);

test('close() ends the streams of a service that says nothing, also one that drains', async () => {
  const ended: Promise<void>[] = [];
  const server = await startForeignServer({
    pipeline: (stream) => {
      ended.push(new Promise((resolve) => stream.on('cancelled', resolve)));
      // the first is accepted and drains with a call, the second is not even accepted
      if (ended.length === 1) stream.write({ limits: LIMITS });
      stream.on('data', ({ calls }: PipelineRequest) => {
        if (calls.length > 0) stream.write({ draining: true });
      });
    },
  });
  const connected = client(server.address);
  expect((await errorOf(connected.rpc.cache.get({ key: 'x' }, { timeoutMs: 100 }))).code).toBe(Code.DEADLINE_EXCEEDED);
  await until(() => ended.length === 2);
  await connected.close();
  await Promise.all(ended);
}, 5_000);
