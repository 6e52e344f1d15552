import { status as Code } from '@grpc/grpc-js';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { ErrorReply } from 'redis';
import { CheckRateLimitRequest, CheckRateLimitResponse } from '../../src/gen/shardkeep/ratelimit/v1/ratelimit.js';
import {
  Consistency,
  GetRequest,
  GetResponse,
  SetRequest,
  SetResponse,
} from '../../src/gen/shardkeep/cache/v1/cache.js';
import { AcquireLockRequest, AcquireLockResponse, AcquireLockStatus } from '../../src/gen/shardkeep/lock/v1/lock.js';
import { BatchedScripts } from '../../src/redis/batched-scripts.js';
import { luaScript, type BoundScript, type ScriptArg } from '../../src/redis/lua-script.js';
import { setScript } from '../../src/cache/scripts.js';
import { checkRateLimitScript } from '../../src/ratelimit/scripts.js';
import { encode, set } from '../pipeline/requests.js';
import { codeOf, RawPipeline, responseOf } from '../support/pipeline-stream.js';
import { rawRedis, type RawRedis } from '../support/raw-redis.js';
import { commandOn, startRedis, type RedisServer } from '../support/redis-server.js';
import { killServiceProcesses, startServiceProcess } from '../support/service-process.js';
import { randomNamespace, sharedRedisUrl, startTestService, type TestService } from '../support/service.js';

/** Calls of one turn share a command; nobody who calls may notice. */

const METHODS = [
  'shardkeep.cache.v1.CacheService/Set',
  'shardkeep.cache.v1.CacheService/Get',
  'shardkeep.lock.v1.LockService/AcquireLock',
  'shardkeep.ratelimit.v1.RateLimitService/CheckRateLimit',
];
const [SET, GET, ACQUIRE, CHECK] = [0, 1, 2, 3];

interface FrameCall {
  readonly method: number;
  readonly request: Buffer;
}

/** Sends calls as one frame, and answers what becomes of each: its response, or the code it fails with. */
async function inOneFrame(stream: RawPipeline, calls: readonly FrameCall[]): Promise<(Buffer | number)[]> {
  const before = stream.answers.length;
  stream.send({ calls: calls.map((call, index) => ({ id: index + 1, ...call })) });
  await stream.untilAnswers(before + calls.length);
  const answers = stream.answers.slice(before).sort((left, right) => left.id - right.id);
  expect(answers.map(({ id }) => id)).toEqual(calls.map((_, index) => index + 1));
  return answers.map((answer) => (answer.outcome?.$case === 'response' ? responseOf(answer) : codeOf(answer)));
}

const setOf = (message: Partial<SetRequest>): FrameCall => ({ method: SET, request: encode(SetRequest, message) });
const stored = (outcome: Buffer | number): boolean | number =>
  Buffer.isBuffer(outcome) ? SetResponse.decode(outcome).stored : outcome;

describe('calls of one frame', () => {
  let service: TestService;
  let raw: RawRedis;
  let stream: RawPipeline;
  beforeAll(async () => {
    service = await startTestService({
      REDIS_URL: sharedRedisUrl('standalone'),
      MAX_STREAM_CALLS: '2000',
      NEAR_CACHE_MAX_BYTES: '1000000',
    });
    raw = await rawRedis('standalone');
    stream = new RawPipeline(service.address);
    stream.send({ methods: METHODS });
  });
  afterAll(async () => {
    stream.cancel();
    await raw.close();
    await service.stop();
  });

  test('are answered as each alone, and one that fails fails alone', async () => {
    await raw.command('RPUSH', `${service.namespace}:cache:{list}`, 'item');
    await service.cache.set({ key: 'there', value: Buffer.from('old') });
    const guard = { resource: 'lock', fencingToken: 7n };
    await service.cache.set({ key: 'guarded', value: Buffer.from('old'), guard });
    const value = Buffer.from('new');
    const outcomes = await inOneFrame(stream, [
      setOf({ key: 'first', value }),
      setOf({ key: 'list', value }),
      setOf({ key: 'there', value, condition: { $case: 'ifAbsent', value: true } }),
      setOf({ key: 'there', value, condition: { $case: 'ifPresent', value: true } }),
      setOf({ key: 'guarded', value, guard: { ...guard, fencingToken: 6n } }),
      setOf({ key: '', value }),
      setOf({ key: 'tagged', value, tags: ['a', 'b'] }),
      setOf({ key: 'last', value: Buffer.alloc(0) }),
    ]);
    expect(outcomes.map(stored)).toEqual([
      true,
      Code.FAILED_PRECONDITION,
      false,
      true,
      Code.FAILED_PRECONDITION,
      Code.INVALID_ARGUMENT,
      true,
      true,
    ]);
    const keys = ['first', 'there', 'guarded', 'tagged', 'last'];
    const { items } = await service.cache.getMany({ keys });
    expect(items.map(({ entry }) => entry?.value.toString())).toEqual(['new', 'new', 'old', 'new', '']);
  });

  test('of the same key have versions that grow, and the last of them stays', async () => {
    const values = Array.from({ length: 100 }, (_, index) => Buffer.from(String(index)));
    const outcomes = await inOneFrame(
      stream,
      values.map((value) => setOf({ key: 'same', value })),
    );
    const versions = outcomes.map((outcome) => SetResponse.decode(outcome as Buffer).version);
    expect(versions).toEqual(versions.toSorted((a, b) => (a < b ? -1 : 1)));
    expect(new Set(versions).size).toBe(values.length);
    const { entry } = await service.cache.get({ key: 'same' });
    expect([entry?.value.toString(), entry?.version]).toEqual(['99', versions.at(-1)]);
  });

  test('with values of any size', async () => {
    const sizes = [10, 40_000, 200_000, 20_000, 20_000, 0, 31, 32, 65_536, 100];
    const values = sizes.map((size, index) => Buffer.alloc(size, index));
    const outcomes = await inOneFrame(
      stream,
      values.map((value, index) => setOf({ key: `size ${String(index)}`, value })),
    );
    expect(outcomes.map(stored)).toEqual(sizes.map(() => true));
    for (const [index, value] of values.entries()) {
      const { entry } = await service.cache.get({ key: `size ${String(index)}` });
      expect(entry?.value.equals(value)).toBe(true);
    }
  });

  test('a resource has one holder, and a limit admits as many as it says', async () => {
    const acquire = { method: ACQUIRE, request: encode(AcquireLockRequest, { resources: ['contended'] }) };
    const limit = { subject: 'user:1', policy: { $case: 'policyName' as const, value: 'chat' } };
    const other = { ...limit, subject: 'user:2' };
    const one = { method: CHECK, request: encode(CheckRateLimitRequest, { limits: [limit] }) };
    const two = { method: CHECK, request: encode(CheckRateLimitRequest, { limits: [limit, other] }) };
    // 6 of one limit and 8 of both: 10 in all of the first
    const calls = [...Array.from({ length: 6 }, () => [acquire, one, two]).flat(), acquire, two, two];
    const outcomes = await inOneFrame(stream, calls);
    const of = (method: number): Buffer[] =>
      outcomes.filter((_, index) => calls[index]?.method === method).map((outcome) => outcome as Buffer);
    const statuses = of(ACQUIRE).map((response) => AcquireLockResponse.decode(response).status);
    expect(statuses.toSorted()).toEqual([
      AcquireLockStatus.GRANTED,
      ...Array.from({ length: 6 }, () => AcquireLockStatus.HELD),
    ]);
    const checks = of(CHECK).map((response) => CheckRateLimitResponse.decode(response));
    expect(checks.filter(({ allowed }) => allowed)).toHaveLength(10);
  });

  test('are seen by near reads as soon as they are answered', async () => {
    const keys = Array.from({ length: 60 }, (_, index) => `near ${String(index)}`);
    const read = async (): Promise<(string | undefined)[]> => {
      const outcomes = await inOneFrame(
        stream,
        keys.map((key) => ({ method: GET, request: encode(GetRequest, { key, consistency: Consistency.NEAR }) })),
      );
      return outcomes.map((outcome) => GetResponse.decode(outcome as Buffer).entry?.value.toString());
    };
    for (const round of ['1', '2', '3']) {
      await inOneFrame(
        stream,
        keys.map((key) => setOf({ key, value: Buffer.from(round) })),
      );
      expect(await read()).toEqual(keys.map(() => round));
      expect(await read()).toEqual(keys.map(() => round));
    }
  });
});

describe('a Redis of its own', () => {
  const COUNT = 100;
  let redis: RedisServer;
  let stream: RawPipeline;
  beforeAll(async () => {
    redis = await startRedis();
    const service = await startServiceProcess({ REDIS_URL: redis.url });
    stream = new RawPipeline(service.address);
    stream.send({ methods: METHODS });
  });
  afterAll(async () => {
    await killServiceProcesses();
    await redis.remove();
  });

  const sets = Array.from({ length: COUNT }, (_, index) => setOf({ key: String(index), value: Buffer.from('x') }));

  test('that forgot the scripts gets them again', async () => {
    await commandOn(redis.port, ['SCRIPT', 'FLUSH']);
    expect((await inOneFrame(stream, sets)).map(stored)).toEqual(sets.map(() => true));
  });

  test('is sent few commands for many calls', async () => {
    await commandOn(redis.port, ['CONFIG', 'RESETSTAT']);
    await inOneFrame(stream, sets);
    const info = String(await commandOn(redis.port, ['INFO', 'commandstats']));
    expect(Number(/cmdstat_set:calls=(\d+)/.exec(info)?.[1])).toBe(COUNT);
    // 32 a command
    expect(Number(/cmdstat_evalsha:calls=(\d+)/.exec(info)?.[1])).toBe(4);
  });

  test('that is full refuses each write, as out of memory', async () => {
    await commandOn(redis.port, ['CONFIG', 'SET', 'maxmemory', '1']);
    expect(new Set(await inOneFrame(stream, sets))).toEqual(new Set([Code.RESOURCE_EXHAUSTED]));
    await commandOn(redis.port, ['CONFIG', 'SET', 'maxmemory', '0']);
    expect((await inOneFrame(stream, sets)).map(stored)).toEqual(sets.map(() => true));
  });

  test('that dies leaves each write unanswered once, its outcome unknown', async () => {
    redis.signal('SIGSTOP');
    const before = stream.answers.length;
    stream.send({ calls: sets.map((call, index) => ({ id: index + 1, timeoutMs: 30_000, ...call })) });
    // a wrong request is answered at once, behind the frame before it
    stream.send({ calls: [{ id: COUNT + 1, method: SET, request: set('', Buffer.alloc(0)) }] });
    await stream.untilAnswers(before + 1);
    await redis.stop('SIGKILL');
    await stream.untilAnswers(before + COUNT + 1);
    const answers = stream.answers.slice(before);
    expect(answers.map(({ id }) => id).toSorted((a, b) => a - b)).toEqual(
      Array.from({ length: COUNT + 1 }, (_, index) => index + 1),
    );
    expect(new Set(answers.slice(1).map(codeOf))).toEqual(new Set([Code.UNAVAILABLE]));
  });
});

/** What a real Redis does not answer. */
describe('between service and Redis', () => {
  interface Sent {
    readonly sha1: string;
    readonly keys: readonly string[];
    readonly args: readonly ScriptArg[];
  }

  function scripted(...replies: readonly unknown[]): { readonly sent: Sent[]; readonly scripts: BatchedScripts } {
    const sent: Sent[] = [];
    const scripts = new BatchedScripts(
      ({ sha1 }, keys, args) => {
        const reply = replies[sent.length];
        sent.push({ sha1, keys, args });
        return reply instanceof Error ? Promise.reject(reply) : Promise.resolve(reply);
      },
      (error) => new Error(`made of ${(error as Error).message}`),
    );
    return { sent, scripts };
  }

  const bound = (entry: string, value: Buffer = Buffer.from('v')): BoundScript<{ readonly version: number }> =>
    setScript.bind(
      { entry },
      { value, ttlMs: '0', condition: 'always', version: '', freshMs: '0', tags: '', guard: '' },
    );
  const outcomes = (scripts: BatchedScripts, calls: readonly BoundScript<{ readonly version: number }>[]) =>
    Promise.all(
      calls.map((call) =>
        scripts.run(call).then(
          ({ version }) => version,
          (error: unknown) => (error as Error).message,
        ),
      ),
    );
  const STORED = Buffer.from('STORED');

  test('one call alone is the plain script', async () => {
    const { sent, scripts } = scripted([STORED, 5]);
    expect(await outcomes(scripts, [bound('a')])).toEqual([5]);
    expect(sent).toEqual([{ sha1: setScript.sha1, keys: ['a'], args: bound('a').args }]);
  });

  test('several are one command; those of another turn are not among them', async () => {
    const { sent, scripts } = scripted([2, STORED, 1, 2, STORED, 2], [STORED, 3]);
    expect(await outcomes(scripts, [bound('a'), bound('b')])).toEqual([1, 2]);
    expect(await outcomes(scripts, [bound('c')])).toEqual([3]);
    expect(sent.map(({ sha1, keys }) => [sha1, keys])).toEqual([
      [setScript.batch?.sha1, ['a', 'b']],
      [setScript.sha1, ['c']],
    ]);
  });

  test('an error of one is its own, an error of the command that of all, as is a reply that is too short or none', async () => {
    const refused = new ErrorReply('WRONGTYPE');
    const calls = [bound('a'), bound('b'), bound('c')];
    expect(await outcomes(scripted([refused, 2, STORED, 2, 2, STORED, 3]).scripts, calls)).toEqual([
      'made of WRONGTYPE',
      2,
      3,
    ]);
    expect(await outcomes(scripted(new Error('lost')).scripts, calls)).toEqual(['lost', 'lost', 'lost']);
    for (const reply of [[2, STORED], [2, STORED, 1, STORED], [2, STORED, 1, 9], 'text', null]) {
      const failed = await outcomes(scripted(reply).scripts, calls);
      expect(failed.at(-1)).toContain('unexpected reply');
    }
  });

  test('one reply that cannot be read fails no other', async () => {
    const { scripts } = scripted([1, STORED, 2, STORED, 2]);
    expect(await outcomes(scripts, [bound('a'), bound('b')])).toEqual([expect.stringContaining('unexpected'), 2]);
  });

  test('a command has at most 32 calls, and no more bytes than it should', async () => {
    const large = Buffer.alloc(20_000);
    const many = Array.from({ length: 70 }, (_, index) => bound(String(index)));
    const all = scripted();
    await outcomes(all.scripts, [
      ...many,
      bound('large', large),
      bound('larger', Buffer.alloc(100_000)),
      bound('small'),
    ]);
    expect(all.sent.map(({ keys }) => keys.length)).toEqual([32, 32, 7, 1, 1]);
    const some = scripted();
    await outcomes(some.scripts, [bound('1', large), bound('2', large), bound('3', large)]);
    expect(some.sent.map(({ keys }) => keys.length)).toEqual([1, 1, 1]);
  });

  test('calls with different numbers of keys are different commands', async () => {
    const { sent, scripts } = scripted();
    const check = (...rings: string[]): Promise<unknown> =>
      scripts
        .run(
          checkRateLimitScript.bind(
            { '...limits': rings },
            { calls: '1', minCost: '0', chargeDenied: '0', '...limits': rings.flatMap(() => ['1', '10']) },
          ),
        )
        .catch(() => undefined);
    await Promise.all([check('a'), check('b'), check('c', 'd'), check('e', 'f'), check('g')]);
    expect(sent.map(({ keys }) => keys)).toEqual([['a', 'b'], ['c', 'd', 'e', 'f'], ['g']]);
  });
});

test('what a script raises is the error of its call alone', async () => {
  const script = luaScript({
    file: './raises.lua',
    from: import.meta.url,
    keys: ['key'],
    args: ['way'],
    batched: 32,
    parse: (reply) => reply,
  });
  const raw = await rawRedis('standalone');
  const key = `${randomNamespace()}:raises`;
  await raw.command('SET', key, 'text');
  const scripts = new BatchedScripts(
    ({ source }, keys, args) => raw.command('EVAL', source, String(keys.length), ...keys, ...args),
    (error) => error,
  );
  const codeOfFailure = (failure: unknown): string => (failure as Error).message.replace(/ .*/, '');
  const ways = ['none', 'lua', 'runtime', 'redis', 'reply', 'none'];
  const together = await Promise.all(
    ways.map((way) => scripts.run(script.bind({ key }, { way })).then(String, codeOfFailure)),
  );
  expect(together).toEqual(['none', 'ERR', 'ERR', 'WRONGTYPE', 'BADARG', 'none']);
  for (const [index, way] of ways.entries()) {
    const alone = await raw.command('EVAL', script.source, '1', key, way).then(String, codeOfFailure);
    expect(alone).toBe(together[index]);
  }
  await raw.command('DEL', key);
  await raw.close();
});
