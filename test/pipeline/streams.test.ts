import { existsSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { status as Code } from '@grpc/grpc-js';
import { afterEach, expect, test } from '@jest/globals';
import { CacheServiceService, GetResponse, IncrementResponse } from '../../src/gen/shardkeep/cache/v1/cache.js';
import type { Answer } from '../../src/gen/shardkeep/pipeline/v1/pipeline.js';
import { CreateSessionRequest, SessionServiceService } from '../../src/gen/shardkeep/session/v1/session.js';
import { codeOf, RawPipeline, responseOf } from '../support/pipeline-stream.js';
import { startRedis, until, type RedisServer } from '../support/redis-server.js';
import { killServiceProcesses, startServiceProcess, type ServiceProcess } from '../support/service-process.js';
import { policiesFile, sharedRedisUrl } from '../support/service.js';
import { CREATE_SESSION, encode, get, GET, increment, INCREMENT, LIST_POLICIES, METHODS } from './requests.js';

/** Streams of a service process that drains, whose caller goes, or does not read. */

const LIVE_MEMORY = fileURLToPath(new URL('../support/live-memory.mjs', import.meta.url));

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

async function open(address: string): Promise<RawPipeline> {
  const stream = new RawPipeline(address);
  streams.push(stream);
  stream.send({ methods: METHODS });
  await stream.until(() => stream.frames.length > 0);
  return stream;
}

function isOk(answer: Answer): boolean {
  return answer.outcome?.$case === 'response';
}

/** Memory is read from /proc, so these are skipped, and counted, elsewhere. */
const onLinux = existsSync('/proc/self/status') ? test : test.skip;

function residentBytes({ pid }: ServiceProcess): number {
  const [, kilobytes = ''] = /VmRSS:\s+(\d+) kB/.exec(readFileSync(`/proc/${String(pid)}/status`, 'utf8')) ?? [];
  return Number(kilobytes) * 1_024;
}

/** What the process holds after a collection; it was started with LIVE_MEMORY. */
async function liveBytes(service: ServiceProcess): Promise<number> {
  const seen = service.logs.length;
  service.signal('SIGUSR2');
  const { bytes } = await service.log((line) => line.msg === 'live memory' && service.logs.indexOf(line) >= seen);
  return Number(bytes);
}

test('a drain says so, answers what is in flight, starts nothing more, and ends with the stream', async () => {
  const redis = await ownRedis();
  const service = await startServiceProcess({ REDIS_URL: redis.url });
  const stream = await open(service.address);
  stream.send({ calls: [{ id: 1, method: INCREMENT, request: increment('n') }] });
  await stream.untilAnswers(1);
  redis.signal('SIGSTOP');
  stream.send({ calls: [{ id: 2, method: INCREMENT, request: increment('n'), timeoutMs: 30_000 }] });
  stream.send({ calls: [{ id: 3, method: LIST_POLICIES }] });
  await stream.untilAnswers(2);
  service.signal('SIGTERM');
  await stream.until(() => stream.frames.some(({ draining }) => draining));
  stream.send({ calls: [{ id: 4, method: INCREMENT, request: increment('n') }] });
  await stream.untilAnswers(3);
  redis.signal('SIGCONT');
  await stream.untilAnswers(4);
  stream.halfClose();

  expect(stream.answers.map((answer) => [answer.id, codeOf(answer)])).toEqual([
    [1, Code.OK],
    [3, Code.OK],
    [4, Code.UNAVAILABLE],
    [2, Code.OK],
  ]);
  expect((await stream.ended).code).toBe(Code.OK);
  expect(await service.exited).toEqual({ code: 0, signal: null });
  expect(await redis.command('GET', `${service.namespace}:cache:{n}`)).toBe('2');
});

test('a caller that does not know of draining holds no drain', async () => {
  const service = await startServiceProcess({ REDIS_URL: sharedRedisUrl('standalone'), DRAIN_TIMEOUT_MS: '15000' });
  const stream = await open(service.address);
  stream.send({ calls: [{ id: 1, method: GET, request: get('x') }] });
  await stream.untilAnswers(1);
  service.signal('SIGTERM');
  expect((await stream.ended).code).toBe(Code.UNAVAILABLE);
  expect(await service.exited).toEqual({ code: 0, signal: null });
});

test('a session that was created for a caller who is gone is given back', async () => {
  const redis = await ownRedis();
  // without a rate policy, which would ask Redis first and so end before there is a session
  const service = await startServiceProcess({
    REDIS_URL: redis.url,
    POLICIES_FILE: policiesFile({ rpc_limits: [] }),
  });
  const stream = await open(service.address);
  redis.signal('SIGSTOP');
  const request = encode(CreateSessionRequest, { userId: 'gone' });
  stream.send({ calls: [{ id: 1, method: CREATE_SESSION, request, timeoutMs: 30_000 }] });
  stream.send({ calls: [{ id: 2, method: LIST_POLICIES }] });
  await stream.untilAnswers(1);
  stream.cancel();
  await stream.ended;
  const channel = service.channel();
  // the service has noticed when a call behind it has been answered
  await channel
    .of(CacheServiceService)
    .get({ key: 'x' }, { deadline: Date.now() + 200 })
    .catch(() => undefined);
  redis.signal('SIGCONT');
  const sessions = channel.of(SessionServiceService);
  await until(async () => String(await redis.command('KEYS', '*:session:*')) !== '');
  await until(async () => (await sessions.listUserSessions({ userId: 'gone' })).totalCount === 0);
  const counted = String(await redis.command('KEYS', '*:sessions:*counters'));
  expect(Number(await redis.command('HGET', counted, 'active'))).toBe(0);
});

onLinux(
  'a caller that does not read is not read either: memory stays bounded, others are served, and nothing is lost',
  async () => {
    const service = await startServiceProcess({ REDIS_URL: sharedRedisUrl('standalone'), MAX_STREAM_CALLS: '100000' });
    const value = Buffer.alloc(65_536, 'v');
    const cache = service.channel().of(CacheServiceService);
    await cache.set({ key: 'large', value });
    const stream = await open(service.address);
    const before = residentBytes(service);

    // 3,000 answers of 64 KiB are 188 MiB
    stream.pause();
    const total = 3_000;
    for (let id = 1; id <= total; id++) {
      stream.send({ calls: [{ id, method: GET, request: get('large'), timeoutMs: 60_000 }] });
      if (id % 100 === 0) await cache.get({ key: 'small' });
    }
    await Promise.all(Array.from({ length: 200 }, () => cache.get({ key: 'small' })));
    // 32 MiB of long answers may wait, what came in one read of the socket beside them; the rest is V8's slack
    expect(residentBytes(service) - before).toBeLessThan(120 * 1_048_576);

    stream.resume();
    await stream.untilAnswers(total);
    expect(new Set(stream.answers.map(({ id }) => id)).size).toBe(total);
    const whole = stream.answers.filter((answer) => isOk(answer));
    expect(whole.every((answer) => GetResponse.decode(responseOf(answer)).entry?.value.equals(value) === true)).toBe(
      true,
    );
    const refused = stream.answers.filter((answer) => !isOk(answer));
    expect(new Set(refused.map(codeOf))).toEqual(new Set(refused.length === 0 ? [] : [Code.RESOURCE_EXHAUSTED]));
    // and goes on
    stream.send({ calls: [{ id: 1, method: GET, request: get('large') }] });
    expect(responseOf((await stream.untilAnswers(total + 1))[total]).length).toBeGreaterThan(65_536);
  },
);

const CALLS = 300_000;

test(`${String(CALLS)} calls through one stream keep memory flat`, async () => {
  const service = await startServiceProcess(
    { REDIS_URL: sharedRedisUrl('standalone') },
    { nodeArgs: ['--expose-gc', '--import', LIVE_MEMORY] },
  );
  const stream = await open(service.address);
  const frame = 500;
  let settled = 0;
  for (let sent = 0; sent < CALLS; sent += frame) {
    const calls = Array.from({ length: frame }, (_, index) => {
      const id = index + 1;
      return index % 10 === 0
        ? { id, method: INCREMENT, request: increment('leak') }
        : { id, method: GET, request: get(`leak ${String(index)}`) };
    });
    stream.send({ calls });
    await stream.untilAnswers(frame);
    stream.answers.length = 0;
    stream.frames.length = 0;
    // the first third fills caches
    if (sent === CALLS / 3) settled = await liveBytes(service);
  }
  const growth = (await liveBytes(service)) - settled;
  stream.send({ calls: [{ id: 1, method: INCREMENT, request: increment('leak', 0n) }] });
  const [last] = await stream.untilAnswers(1);
  expect(IncrementResponse.decode(responseOf(last)).value).toBe(BigInt(CALLS / 10));
  // 32 bytes kept of each call of the other two thirds would be 6.4 MB
  expect(growth).toBeLessThan(6 * 1_048_576);
}, 120_000);
