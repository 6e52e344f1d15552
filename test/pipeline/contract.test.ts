import { status as Code } from '@grpc/grpc-js';
import { ErrorInfo } from 'nice-grpc-error-details';
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import { GetManyRequest, GetResponse, IncrementResponse } from '../../src/gen/shardkeep/cache/v1/cache.js';
import type { Answer } from '../../src/gen/shardkeep/pipeline/v1/pipeline.js';
import { CreateSessionRequest } from '../../src/gen/shardkeep/session/v1/session.js';
import { failureOf } from '../support/client.js';
import { codeOf, encodeFrame, RawPipeline, responseOf, type FramedCall } from '../support/pipeline-stream.js';
import { startRedis, type RedisServer } from '../support/redis-server.js';
import { sharedRedisUrl, startTestService, type TestService } from '../support/service.js';

import {
  CREATE_SESSION,
  encode,
  get,
  GET,
  GET_MANY,
  increment,
  INCREMENT,
  LIST_POLICIES,
  METHODS,
  set,
  SET,
} from './requests.js';

/** What docs/pipeline.md promises a client in any language. */

function reasonOf(answer: Answer | undefined): string {
  const details = answer?.outcome?.$case === 'failure' ? answer.outcome.value.details : [];
  const info = details.find(({ typeUrl }) => typeUrl === 'type.googleapis.com/google.rpc.ErrorInfo');
  return info === undefined ? '' : ErrorInfo.decode(info.value).reason;
}

let service: TestService;
const streams: RawPipeline[] = [];

beforeAll(async () => {
  service = await startTestService({ REDIS_URL: sharedRedisUrl('standalone'), MAX_STREAM_CALLS: '50' });
});
afterEach(() => {
  for (const stream of streams.splice(0)) stream.cancel();
});
afterAll(async () => {
  await service.stop();
});

function open(address = service.address): RawPipeline {
  const stream = new RawPipeline(address);
  streams.push(stream);
  stream.send({ methods: METHODS });
  return stream;
}

const byId = (stream: RawPipeline, id: number): Answer | undefined => stream.answers.find((answer) => answer.id === id);

const countOf = async (key: string): Promise<bigint> => (await service.cache.increment({ key, delta: 0n })).value;

test('the first frame carries the limits, and no other does', async () => {
  const stream = open();
  stream.send({ calls: [{ id: 1, method: GET, request: get('x') }] });
  await stream.untilAnswers(1);
  const [first, ...others] = stream.frames;
  expect(first?.limits).toMatchObject({ maxCallsInFlight: 50, maxRequestBytes: 262_144 });
  expect(others.filter(({ limits }) => limits !== undefined)).toEqual([]);
});

test('every call gets its own answer, and half-closing ends the stream with OK when all have theirs', async () => {
  const stream = open();
  await service.cache.set({ key: 'known', value: Buffer.from('value') });
  const calls = Array.from({ length: 40 }, (_, index) => ({
    id: 1_000 - index * 7,
    method: index % 2 === 0 ? GET : INCREMENT,
    request: index % 2 === 0 ? get('known') : increment('own answers'),
  }));
  stream.send({ calls });
  stream.halfClose();
  expect((await stream.ended).code).toBe(Code.OK);
  expect(stream.answers.map(({ id }) => id).sort()).toEqual(calls.map(({ id }) => id).sort());
  const values = calls
    .filter(({ method }) => method === GET)
    .map(({ id }) => GetResponse.decode(responseOf(byId(stream, id))));
  expect(values.every(({ entry }) => entry?.value.toString() === 'value')).toBe(true);
  const counts = calls
    .filter(({ method }) => method === INCREMENT)
    .map(({ id }) => IncrementResponse.decode(responseOf(byId(stream, id))).value);
  expect(new Set(counts).size).toBe(20);
});

test('an id is free again once it is answered, and may be as large as 32 bits allow', async () => {
  const stream = open();
  for (let round = 1; round <= 3; round++) {
    stream.send({ calls: [{ id: 0xffffffff, method: INCREMENT, request: increment('reused') }] });
    const answers = await stream.untilAnswers(round);
    expect(IncrementResponse.decode(responseOf(answers[round - 1])).value).toBe(BigInt(round));
  }
});

test('methods may be named later, in the frame of their first call', async () => {
  const stream = new RawPipeline(service.address);
  streams.push(stream);
  stream.send({ methods: METHODS.slice(0, 1), calls: [{ id: 1, method: 0, request: get('x') }] });
  stream.send({ methods: METHODS.slice(1, 2), calls: [{ id: 2, method: 1, request: set('later', Buffer.from('v')) }] });
  await stream.untilAnswers(2);
  expect(stream.answers.map(codeOf)).toEqual([Code.OK, Code.OK]);
});

describe('what fails one call fails no other:', () => {
  const good: FramedCall = { id: 2, method: GET, request: get('x') };
  const alone = async (bad: FramedCall, methods: readonly string[] = []): Promise<Answer | undefined> => {
    const stream = open();
    stream.send({ methods, calls: [bad, good] });
    await stream.untilAnswers(2);
    expect(codeOf(byId(stream, 2))).toBe(Code.OK);
    return byId(stream, bad.id);
  };

  test.each([
    'shardkeep.cache.v1.CacheService/Nothing',
    'shardkeep.pipeline.v1.PipelineService/Pipeline',
    'grpc.health.v1.Health/Check',
    '',
  ])('a name that is no unary RPC of ours: %j', async (name) => {
    expect(codeOf(await alone({ id: 1, method: METHODS.length }, [name]))).toBe(Code.UNIMPLEMENTED);
  });

  test('a request that is no message', async () => {
    const answer = await alone({ id: 1, method: GET, request: Buffer.from([0xff]) });
    expect([codeOf(answer), reasonOf(answer)]).toEqual([Code.INVALID_ARGUMENT, 'INVALID_FIELD']);
  });

  test('a request with a wrong field, with the same status as over unary', async () => {
    const answer = await alone({ id: 1, method: GET, request: get('') });
    const unary = await failureOf(service.cache.get({ key: '' }));
    expect([codeOf(answer), reasonOf(answer)]).toEqual([unary.code, unary.reason]);
  });

  test('a request that is too large for the pipeline, which is not started', async () => {
    const answer = await alone({ id: 1, method: SET, request: set('too large', Buffer.alloc(262_144)) });
    expect([codeOf(answer), reasonOf(answer)]).toEqual([Code.RESOURCE_EXHAUSTED, 'MESSAGE_TOO_LARGE']);
    expect(await service.cache.exists({ keys: ['too large'] })).toEqual({ exists: [false] });
  });

  test('an answer that is larger than a message may be', async () => {
    const keys = Array.from({ length: 5 }, (_, index) => `large ${String(index)}`);
    await Promise.all(keys.map((key) => service.cache.set({ key, value: Buffer.alloc(1_048_576, key) })));
    const answer = await alone({ id: 1, method: GET_MANY, request: encode(GetManyRequest, { keys }) });
    expect([codeOf(answer), reasonOf(answer)]).toEqual([Code.RESOURCE_EXHAUSTED, 'MESSAGE_TOO_LARGE']);
    expect(await failureOf(service.cache.getMany({ keys }))).toMatchObject({ reason: 'MESSAGE_TOO_LARGE' });
  });

  test('a rate policy of the RPC', async () => {
    const stream = open();
    const request = encode(CreateSessionRequest, { userId: 'flood' });
    stream.send({
      calls: Array.from({ length: 12 }, (_, index) => ({ id: index + 1, method: CREATE_SESSION, request })),
    });
    const answers = await stream.untilAnswers(12);
    expect(answers.filter((answer) => reasonOf(answer) === 'RATE_LIMITED')).toHaveLength(2);
  });
});

test('calls above the bound are refused and not started; the others are answered', async () => {
  const stream = open();
  stream.send({
    calls: Array.from({ length: 60 }, (_, index) => ({
      id: index + 1,
      method: INCREMENT,
      request: increment('bound'),
    })),
  });
  const answers = await stream.untilAnswers(60);
  const refused = answers.filter((answer) => reasonOf(answer) === 'OVERLOADED');
  expect(refused).toHaveLength(10);
  expect(await countOf('bound')).toBe(50n);
});

describe('a frame that breaks the protocol is not started and ends the stream, after the answers to earlier ones:', () => {
  const call = (id: number): FramedCall => ({ id, method: INCREMENT, request: increment('broken') });
  test.each<[string, Buffer]>([
    ['the id 0', encodeFrame({ calls: [call(9), call(0)] })],
    ['the same id twice', encodeFrame({ calls: [call(9), call(8), call(9)] })],
    ['a method number outside the table', encodeFrame({ calls: [call(9), { ...call(8), method: METHODS.length }] })],
    [
      'more methods than a table holds',
      encodeFrame({ methods: Array.from({ length: 251 }, () => 'a/b'), calls: [call(9)] }),
    ],
    ['a field that ends too early', Buffer.concat([encodeFrame({ calls: [call(9)] }), Buffer.from([0x12, 0x7f])])],
    ['no message at all', Buffer.from('GET / HTTP/1.1\r\n')],
  ])('%s', async (_, bytes) => {
    const before = await countOf('broken');
    const other = open();
    const stream = open();
    stream.send({ calls: [{ id: 1, method: INCREMENT, request: increment('broken') }] });
    stream.sendBytes(bytes);
    // never read
    stream.send({ calls: [call(20)] });
    expect((await stream.ended).code).toBe(Code.INVALID_ARGUMENT);
    expect(stream.answers.map((answer) => [answer.id, codeOf(answer)])).toEqual([[1, Code.OK]]);
    expect(await countOf('broken')).toBe(before + 1n);
    other.send({ calls: [{ id: 1, method: GET, request: get('x') }] });
    await other.untilAnswers(1);
  });

  test('a frame above the transport’s limit', async () => {
    const stream = open();
    stream.sendBytes(Buffer.alloc(5_000_000));
    expect((await stream.ended).code).toBe(Code.RESOURCE_EXHAUSTED);
  });
});

describe('while Redis is silent', () => {
  let redis: RedisServer;
  let slow: TestService;
  beforeAll(async () => {
    redis = await startRedis();
    slow = await startTestService({ REDIS_URL: redis.url, LIMIT_REDIS_URL: sharedRedisUrl('standalone') });
  });
  afterEach(() => {
    redis.signal('SIGCONT');
  });
  afterAll(async () => {
    await slow.stop();
    await redis.remove();
  });

  test('a call that waits holds no other, and each has its own deadline', async () => {
    const stream = open(slow.address);
    await stream.until(() => stream.frames.length > 0);
    redis.signal('SIGSTOP');
    stream.send({
      calls: [
        { id: 1, method: INCREMENT, request: increment('late'), timeoutMs: 30_000 },
        { id: 2, method: GET, request: get('x'), timeoutMs: 50 },
        { id: 3, method: LIST_POLICIES },
      ],
    });
    await stream.untilAnswers(2);
    expect(stream.answers.map((answer) => [answer.id, codeOf(answer)])).toEqual([
      [3, Code.OK],
      [2, Code.DEADLINE_EXCEEDED],
    ]);
    redis.signal('SIGCONT');
    await stream.untilAnswers(3);
    expect(IncrementResponse.decode(responseOf(byId(stream, 1))).value).toBe(1n);
  });

  test('a call that is given up is answered once, with CANCELLED; ids that are not in flight are ignored', async () => {
    const stream = open(slow.address);
    await stream.until(() => stream.frames.length > 0);
    redis.signal('SIGSTOP');
    stream.send({
      calls: [1, 2].map((id) => ({ id, method: GET, request: get('x'), timeoutMs: 30_000 })),
      cancelledIds: [7],
    });
    stream.send({ cancelledIds: [1, 1, 99] });
    await stream.untilAnswers(1);
    redis.signal('SIGCONT');
    stream.halfClose();
    expect((await stream.ended).code).toBe(Code.OK);
    expect(stream.answers.map((answer) => [answer.id, codeOf(answer)])).toEqual([
      [1, Code.CANCELLED],
      [2, Code.OK],
    ]);
  });

  test('an id in flight may not be used again: its call is answered, and the stream ends', async () => {
    const stream = open(slow.address);
    await stream.until(() => stream.frames.length > 0);
    redis.signal('SIGSTOP');
    stream.send({ calls: [{ id: 1, method: GET, request: get('x'), timeoutMs: 1_000 }] });
    stream.send({ calls: [2, 1].map((id) => ({ id, method: INCREMENT, request: increment('reuse') })) });
    // Redis stays silent until the first call's deadline, so that its id is in flight all the time
    expect((await stream.ended).code).toBe(Code.INVALID_ARGUMENT);
    redis.signal('SIGCONT');
    expect(stream.answers.map((answer) => [answer.id, codeOf(answer)])).toEqual([[1, Code.DEADLINE_EXCEEDED]]);
    expect((await slow.cache.increment({ key: 'reuse', delta: 0n })).value).toBe(0n);
  });
});
