import { existsSync, readFileSync } from 'node:fs';
import { status as Code } from '@grpc/grpc-js';
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import { CacheServiceService, GetManyRequest, GetResponse } from '../../src/gen/shardkeep/cache/v1/cache.js';
import { codeOf, encodeFrame, RawPipeline, responseOf } from '../support/pipeline-stream.js';
import { killServiceProcesses, startServiceProcess, type ServiceProcess } from '../support/service-process.js';
import { sharedRedisUrl } from '../support/service.js';
import { encode, get, GET, GET_MANY, INCREMENT, increment, METHODS } from './requests.js';

/** How much one frame, one stream and one caller may ask of a service, to the last one that is allowed. */

const MIB = 1_048_576;
const MAX_CALLS = 4_096;
const MAX_METHODS = 256;

let service: ServiceProcess;
const streams: RawPipeline[] = [];
const ids = (count: number): number[] => Array.from({ length: count }, (_, index) => index + 1);

beforeAll(async () => {
  service = await startServiceProcess({ REDIS_URL: sharedRedisUrl('standalone'), MAX_STREAM_CALLS: '5000' });
});
afterEach(() => {
  for (const stream of streams.splice(0)) stream.cancel();
});
afterAll(killServiceProcesses);

async function open(at = service, methods: readonly string[] = METHODS): Promise<RawPipeline> {
  const stream = new RawPipeline(at.address);
  streams.push(stream);
  if (methods.length > 0) stream.send({ methods });
  await stream.until(() => stream.frames.length > 0);
  return stream;
}

/** Memory is read from /proc, so these are skipped, and counted, elsewhere. */
const onLinux = existsSync('/proc/self/status') ? test : test.skip;

function memory({ pid }: ServiceProcess, what: 'VmRSS' | 'VmHWM'): number {
  const status = readFileSync(`/proc/${String(pid)}/status`, 'utf8');
  return Number(new RegExp(`${what}:\\s+(\\d+) kB`).exec(status)?.[1]) * 1_024;
}

describe('as many as are allowed, and one more:', () => {
  test('calls in a frame', async () => {
    const key = 'calls in a frame';
    const calls = (count: number) => ids(count).map((id) => ({ id, method: INCREMENT, request: increment(key) }));
    const stream = await open();
    stream.send({ calls: calls(MAX_CALLS) });
    await stream.untilAnswers(MAX_CALLS);
    expect(new Set(stream.answers.map(codeOf))).toEqual(new Set([Code.OK]));
    stream.send({ calls: calls(MAX_CALLS + 1) });
    expect((await stream.ended).code).toBe(Code.INVALID_ARGUMENT);
    const cache = service.channel().of(CacheServiceService);
    expect((await cache.increment({ key, delta: 0n })).value).toBe(BigInt(MAX_CALLS));
  });

  test('ids given up in a frame, packed or not', async () => {
    const unpacked = (count: number): Buffer => Buffer.concat(ids(count).map(() => Buffer.from([0x18, 7])));
    for (const bytesOf of [(count: number) => encodeFrame({ cancelledIds: ids(count) }), unpacked]) {
      const stream = await open();
      stream.sendBytes(bytesOf(MAX_CALLS));
      stream.send({ calls: [{ id: 1, method: GET, request: get('x') }] });
      expect((await stream.untilAnswers(1)).map(codeOf)).toEqual([Code.OK]);
      stream.sendBytes(bytesOf(MAX_CALLS + 1));
      expect((await stream.ended).code).toBe(Code.INVALID_ARGUMENT);
    }
  });

  test('names in the table of a stream, over all its frames', async () => {
    const stream = await open(service, []);
    const [name = ''] = METHODS;
    stream.send({ methods: Array.from({ length: MAX_METHODS - 1 }, () => 'no.such/Method') });
    stream.send({ methods: [name], calls: [{ id: 1, method: MAX_METHODS - 1, request: get('x') }] });
    expect((await stream.untilAnswers(1)).map(codeOf)).toEqual([Code.OK]);
    stream.send({ methods: [name] });
    expect((await stream.ended).code).toBe(Code.INVALID_ARGUMENT);
  });

  test('characters of a name', async () => {
    const stream = await open(service, []);
    stream.send({ methods: ['ü'.repeat(256)], calls: [{ id: 1 }] });
    expect((await stream.untilAnswers(1)).map(codeOf)).toEqual([Code.UNIMPLEMENTED]);
    stream.send({ methods: ['u'.repeat(257)] });
    expect((await stream.ended).code).toBe(Code.INVALID_ARGUMENT);
  });

  test('bytes of a request', async () => {
    const stream = await open();
    // an unknown field fills the request up: tag 15, and a length of three bytes
    const padded = (byteLength: number): Buffer => {
      const request = get('x');
      const filling = byteLength - request.length - 4;
      const length = [(filling & 0x7f) | 0x80, ((filling >> 7) & 0x7f) | 0x80, filling >> 14];
      return Buffer.concat([request, Buffer.from([0x7a, ...length]), Buffer.alloc(filling)]);
    };
    stream.send({ calls: [{ id: 1, method: GET, request: padded(262_144) }] });
    stream.send({ calls: [{ id: 2, method: GET, request: padded(262_145) }] });
    await stream.untilAnswers(2);
    const codes = stream.answers.map((answer) => [answer.id, codeOf(answer)]);
    expect(codes.sort()).toEqual([
      [1, Code.OK],
      [2, Code.RESOURCE_EXHAUSTED],
    ]);
  });

  test('bytes of a frame', async () => {
    const limit = (await open()).frames[0]?.limits?.maxFrameBytes ?? 0;
    const frame = (byteLength: number): Buffer => {
      const call = encodeFrame({ calls: [{ id: 1, method: GET, request: get('x') }] });
      const filling = byteLength - call.length - 5;
      const length = [0, 7, 14].map((shift) => ((filling >> shift) & 0x7f) | 0x80);
      return Buffer.concat([call, Buffer.from([0x7a, ...length, filling >> 21]), Buffer.alloc(filling)]);
    };
    const stream = await open();
    stream.sendBytes(frame(limit));
    expect((await stream.untilAnswers(1)).map(codeOf)).toEqual([Code.OK]);
    stream.sendBytes(frame(limit + 1));
    expect((await stream.ended).code).toBe(Code.RESOURCE_EXHAUSTED);
  });
});

onLinux('a frame of the smallest things that fill it is refused before it is more than a frame in memory', async () => {
  const byteLength = 4 * MIB - 64;
  const filledWith = (...bytes: number[]): Buffer => Buffer.alloc(byteLength, Buffer.from(bytes));
  const contentLength = byteLength - 5;
  const length = [0, 7, 14].map((shift) => ((contentLength >> shift) & 0x7f) | 0x80);
  const packedIds = Buffer.concat([
    Buffer.from([0x1a, ...length, contentLength >> 21]),
    Buffer.alloc(contentLength, 1),
  ]);
  const frames = { calls: filledWith(0x12, 0), names: filledWith(0x0a, 0), ids: filledWith(0x18, 1), packedIds };
  for (const [what, bytes] of Object.entries(frames)) {
    const own = await startServiceProcess({ REDIS_URL: sharedRedisUrl('standalone') });
    const stream = await open(own);
    const before = memory(own, 'VmHWM');
    stream.sendBytes(bytes);
    expect((await stream.ended).code).toBe(Code.INVALID_ARGUMENT);
    const growth = memory(own, 'VmHWM') - before;
    // the chunks it came in, the frame they became and what V8 keeps of both; two million objects are 65 to 175 MiB
    expect({ what, growth, bounded: growth < 40 * MIB }).toEqual({ what, growth, bounded: true });
    await own.stop();
  }
});

onLinux(
  'a stream that once had a long answer does not keep its memory',
  async () => {
    const own = await startServiceProcess({ REDIS_URL: sharedRedisUrl('standalone') });
    await own
      .channel()
      .of(CacheServiceService)
      .set({ key: 'long', value: Buffer.alloc(MIB, 'v') });
    const request = encode(GetManyRequest, { keys: ['long', 'long', 'long'] });
    const growth: number[] = [];
    let settled = 0;
    const count = 150;
    for (let opened = 1; opened <= count; opened++) {
      const stream = await open(own);
      stream.send({ calls: [{ id: 1, method: GET_MANY, request }] });
      const [answer] = await stream.untilAnswers(1);
      expect(responseOf(answer).length).toBeGreaterThan(3 * MIB);
      stream.answers.length = 0;
      stream.frames.length = 0;
      // one after the other until V8 has found its size; then each further stream costs what it keeps
      if (opened === 50) settled = memory(own, 'VmRSS');
      if (opened > 50) growth.push(memory(own, 'VmRSS') - settled);
    }
    // all of them are open; a third of each answer would be 100 MiB
    expect(Math.min(...growth.slice(-20))).toBeLessThan(100 * MIB);
    await own.stop();
  },
  40_000,
);

test('long answers beyond the bound are refused one by one, and a caller that reads gets all when it asks again', async () => {
  const cache = service.channel().of(CacheServiceService);
  const count = 100;
  const values = Array.from({ length: count }, (_, index) => Buffer.alloc(MIB, `value ${String(index)} `));
  for (const [index, value] of values.entries()) await cache.set({ key: `long ${String(index)}`, value });
  const stream = await open();
  const got = new Map<number, Buffer>();
  const refusals: unknown[] = [];
  for (let sent = 0, round = 0; got.size < count; round++) {
    const missing = ids(count).filter((id) => !got.has(id));
    const calls = missing.map((id) => ({ id, method: GET, timeoutMs: 30_000, request: get(`long ${String(id - 1)}`) }));
    sent += calls.length;
    stream.send({ calls });
    await stream.untilAnswers(sent);
    for (const answer of stream.answers.slice(sent - calls.length)) {
      if (answer.outcome?.$case === 'response') got.set(answer.id, responseOf(answer));
      else refusals.push(codeOf(answer));
    }
    // each round gets what the bound holds at least
    expect(got.size).toBeGreaterThanOrEqual(Math.min(count, 32 * (round + 1)));
  }
  expect(new Set(refusals)).toEqual(new Set([Code.RESOURCE_EXHAUSTED]));
  for (const [id, response] of got) {
    expect(GetResponse.decode(response).entry?.value.equals(values[id - 1] ?? Buffer.alloc(0))).toBe(true);
  }
});
