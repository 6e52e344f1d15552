import { status as Code } from '@grpc/grpc-js';
import { afterEach, describe, expect, test } from '@jest/globals';
import { CacheServiceService } from '../../src/gen/shardkeep/cache/v1/cache.js';
import { AcquireLockRequest, AcquireLockStatus, LockServiceService } from '../../src/gen/shardkeep/lock/v1/lock.js';
import { RateLimitServiceService } from '../../src/gen/shardkeep/ratelimit/v1/ratelimit.js';
import type { TestChannel } from '../support/client.js';
import { codeOf, RawPipeline } from '../support/pipeline-stream.js';
import { startRedis, until, type RedisServer } from '../support/redis-server.js';
import { killServiceProcesses, startServiceProcess } from '../support/service-process.js';
import { sharedRedisUrl } from '../support/service.js';
import { encode, get, GET, increment, INCREMENT, LIST_POLICIES, METHODS } from './requests.js';

/** What one stream does to the others, to the drain, and to what it leaves in Redis. */

const ACQUIRE_LOCK = METHODS.length;
const streams: RawPipeline[] = [];
const redises: RedisServer[] = [];

afterEach(async () => {
  for (const stream of streams.splice(0)) stream.cancel();
  await killServiceProcesses();
  await Promise.all(redises.splice(0).map((redis) => redis.remove()));
});

async function ownRedis(): Promise<RedisServer> {
  const redis = await startRedis();
  redises.push(redis);
  return redis;
}

/** A stream on a connection of its own, or on that of a channel. */
async function open(at: string | TestChannel): Promise<RawPipeline> {
  const stream = new RawPipeline(typeof at === 'string' ? at : at.client);
  streams.push(stream);
  stream.send({ methods: [...METHODS, 'shardkeep.lock.v1.LockService/AcquireLock'] });
  await stream.until(() => stream.frames.length > 0);
  return stream;
}

const codes = (stream: RawPipeline): unknown[] => stream.answers.map((answer) => [answer.id, codeOf(answer)]);

test('a stream that breaks the protocol ends alone: other streams and unary calls of its connection go on', async () => {
  const redis = await ownRedis();
  const service = await startServiceProcess({ REDIS_URL: redis.url });
  const channel = service.channel();
  const [broken, other] = await Promise.all([open(channel), open(channel)]);
  redis.signal('SIGSTOP');
  other.send({ calls: [{ id: 1, method: INCREMENT, request: increment('n'), timeoutMs: 30_000 }] });
  const unary = channel.of(CacheServiceService).get({ key: 'x' }, { deadline: Date.now() + 30_000 });
  broken.send({ calls: [{ id: 1, method: GET, request: get('x'), timeoutMs: 50 }] });
  broken.send({ calls: [{ id: 0, method: INCREMENT, request: increment('n') }] });
  expect((await broken.ended).code).toBe(Code.INVALID_ARGUMENT);
  expect(codes(broken)).toEqual([[1, Code.DEADLINE_EXCEEDED]]);
  redis.signal('SIGCONT');
  expect(await unary).toEqual({ entry: undefined });
  await other.untilAnswers(1);
  other.send({ calls: [{ id: 2, method: LIST_POLICIES }] });
  await other.untilAnswers(2);
  expect(codes(other)).toEqual([
    [1, Code.OK],
    [2, Code.OK],
  ]);
  expect(await redis.command('GET', `${service.namespace}:cache:{n}`)).toBe('1');
});

test('a record that somebody damaged fails its own call, and no other of the frame', async () => {
  const redis = await ownRedis();
  const service = await startServiceProcess({ REDIS_URL: redis.url });
  const channel = service.channel();
  const cache = channel.of(CacheServiceService);
  await cache.set({ key: 'x', value: Buffer.from('v') });
  const damaged = Buffer.alloc(40);
  // format 1, a value, and that far behind the end
  damaged.set([1, 0xff, 0xff, 1]);
  await redis.command('SET', `${service.namespace}:cache:{damaged}`, damaged.toString('latin1'));
  const stream = await open(channel);
  stream.send({
    calls: ['x', 'damaged', 'x'].map((key, index) => ({ id: index + 1, method: GET, request: get(key) })),
  });
  await stream.untilAnswers(3);
  expect(codes(stream).toSorted()).toEqual([
    [1, Code.OK],
    [2, Code.FAILED_PRECONDITION],
    [3, Code.OK],
  ]);
});

describe('a lock that is granted to a caller who waits no more is given back:', () => {
  const request = encode(AcquireLockRequest, { resources: ['door'], ttlMs: 600_000n });

  test.each<[string, (stream: RawPipeline) => Promise<unknown>]>([
    [
      'the stream was cancelled',
      (stream) => {
        stream.cancel();
        return stream.ended;
      },
    ],
    [
      'the call was given up',
      (stream) => {
        stream.send({ cancelledIds: [1] });
        return stream.untilAnswers(2);
      },
    ],
    [
      'the stream broke the protocol, and then went',
      async (stream) => {
        stream.send({ calls: [{ id: 0 }] });
        stream.cancel();
        await stream.ended;
      },
    ],
  ])('%s', async (_, leave) => {
    const redis = await ownRedis();
    const service = await startServiceProcess({ REDIS_URL: redis.url, LIMIT_REDIS_URL: sharedRedisUrl('standalone') });
    const channel = service.channel();
    const stream = await open(channel);
    redis.signal('SIGSTOP');
    stream.send({ calls: [{ id: 1, method: ACQUIRE_LOCK, request, timeoutMs: 30_000 }] });
    stream.send({ calls: [{ id: 2, method: LIST_POLICIES }] });
    await stream.untilAnswers(1);
    await leave(stream);
    // on the same connection: its answer tells that the service has seen what was sent before
    await channel.of(RateLimitServiceService).listPolicies({});
    redis.signal('SIGCONT');
    const locks = channel.of(LockServiceService);
    await until(async () => String(await redis.command('KEYS', `${service.namespace}:lock:*`)) !== '');
    // it was granted; long before its lease ends somebody else has it
    const next = { resources: ['door'], ttlMs: 600_000n };
    await until(async () => (await locks.acquireLock(next)).status === AcquireLockStatus.GRANTED);
    expect((await locks.acquireLock(next)).status).toBe(AcquireLockStatus.HELD);
  });
});

describe('a drain', () => {
  test('is not held by a caller who does not know of it and goes on sending', async () => {
    const service = await startServiceProcess({ REDIS_URL: sharedRedisUrl('standalone'), DRAIN_TIMEOUT_MS: '8000' });
    const stream = await open(service.address);
    let over = false;
    void stream.ended.then(() => (over = true));
    const persist = async (): Promise<void> => {
      for (let id = 1; !over; id++) {
        stream.send({ calls: [{ id, method: GET, request: get('x') }] });
        await stream.untilAnswers(id).catch(() => undefined);
      }
    };
    const persisting = persist();
    await stream.untilAnswers(1);
    service.signal('SIGTERM');
    expect((await stream.ended).code).toBe(Code.UNAVAILABLE);
    expect(await service.log('stopped')).toMatchObject({ finished: true });
    expect(await service.exited).toEqual({ code: 0, signal: null });
    await persisting;
    expect(new Set(stream.answers.map(codeOf))).toEqual(new Set([Code.OK, Code.UNAVAILABLE]));
  });

  test('waits for the answers that a stream which broke the protocol is still owed', async () => {
    const redis = await ownRedis();
    const service = await startServiceProcess({ REDIS_URL: redis.url });
    const stream = await open(service.address);
    redis.signal('SIGSTOP');
    stream.send({ calls: [{ id: 1, method: INCREMENT, request: increment('n'), timeoutMs: 30_000 }] });
    stream.send({ calls: [{ id: 2, method: LIST_POLICIES }] });
    await stream.untilAnswers(1);
    stream.sendBytes(Buffer.from('GET / HTTP/1.1\r\n'));
    service.signal('SIGTERM');
    await stream.until(() => stream.frames.some(({ draining }) => draining));
    redis.signal('SIGCONT');
    expect((await stream.ended).code).toBe(Code.INVALID_ARGUMENT);
    expect(codes(stream)).toEqual([
      [2, Code.OK],
      [1, Code.OK],
    ]);
    expect(await service.exited).toEqual({ code: 0, signal: null });
  });
});

test('the calls of a caller who does not read are not started until it does', async () => {
  const service = await startServiceProcess({ REDIS_URL: sharedRedisUrl('standalone') });
  const cache = service.channel().of(CacheServiceService);
  await cache.set({ key: 'large', value: Buffer.alloc(60_000, 'v') });
  const stream = await open(service.address);
  const gets = 200;
  stream.send({
    calls: Array.from({ length: gets }, (_, index) => ({ id: index + 1, method: GET, request: get('large') })),
  });
  await stream.untilAnswers(1);
  stream.pause();
  // Redis answers in turn, so that this one is behind all of them: 11 MiB wait now, less what is on its way
  await cache.get({ key: 'x' });
  const more = 50;
  for (let id = 1_001; id <= 1_000 + more; id++) {
    stream.send({ calls: [{ id, method: INCREMENT, request: increment('unread'), timeoutMs: 60_000 }] });
  }
  for (let other = 0; other < 200; other++) await cache.get({ key: 'x' });
  expect((await cache.increment({ key: 'unread', delta: 0n })).value).toBe(0n);

  stream.resume();
  await stream.untilAnswers(gets + more);
  expect(new Set(codes(stream).map(String)).size).toBe(gets + more);
  expect(new Set(stream.answers.map(codeOf))).toEqual(new Set([Code.OK]));
  expect((await cache.increment({ key: 'unread', delta: 0n })).value).toBe(BigInt(more));
});
