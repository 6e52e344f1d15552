import { status as Code } from '@grpc/grpc-js';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { ErrorReply } from 'redis';
import { GetResponse } from '../../src/gen/shardkeep/cache/v1/cache.js';
import { BatchedReads } from '../../src/redis/batched-reads.js';
import { get } from '../pipeline/requests.js';
import { failureOf } from '../support/client.js';
import { codeOf, RawPipeline, responseOf } from '../support/pipeline-stream.js';
import { rawRedis, type RawRedis } from '../support/raw-redis.js';
import { startRedis } from '../support/redis-server.js';
import { killServiceProcesses, startServiceProcess } from '../support/service-process.js';
import { sharedRedisUrl, startTestService, type TestService } from '../support/service.js';

/** Reads of one turn share a command; nobody who reads may notice. */

describe('reads of one frame', () => {
  let service: TestService;
  let raw: RawRedis;
  let stream: RawPipeline;
  beforeAll(async () => {
    service = await startTestService({
      REDIS_URL: sharedRedisUrl('standalone'),
      MAX_STREAM_CALLS: '2000',
      // what is written at once takes its time on a busy machine
      DEFAULT_DEADLINE_MS: '30000',
    });
    raw = await rawRedis('standalone');
    stream = new RawPipeline(service.address);
    stream.send({ methods: ['shardkeep.cache.v1.CacheService/Get'] });
  });
  afterAll(async () => {
    stream.cancel();
    await raw.close();
    await service.stop();
  });

  /** What becomes of each read when all come in one frame: its value, undefined for none, or the code it fails with. */
  async function inOneFrame(keys: readonly string[]): Promise<unknown[]> {
    const before = stream.answers.length;
    stream.send({ calls: keys.map((key, index) => ({ id: index + 1, request: get(key) })) });
    await stream.untilAnswers(before + keys.length);
    const answers = stream.answers.slice(before).sort((left, right) => left.id - right.id);
    expect(answers.map(({ id }) => id)).toEqual(keys.map((_, index) => index + 1));
    return answers.map((answer) =>
      answer.outcome?.$case === 'response'
        ? GetResponse.decode(responseOf(answer)).entry?.value.toString()
        : codeOf(answer),
    );
  }

  async function alone(key: string): Promise<unknown> {
    return service.cache.get({ key }).then(
      ({ entry }) => entry?.value.toString(),
      async (error: unknown) => (await failureOf(Promise.reject(error as Error))).code,
    );
  }

  const set = (key: string): Promise<unknown> => service.cache.set({ key, value: Buffer.from(`value of ${key}`) });
  const redisKey = (key: string): string => `${service.namespace}:cache:{${key}}`;

  test('of every kind of key are answered as each alone', async () => {
    await Promise.all(['hit 1', 'hit 2'].map(set));
    await service.cache.set({ key: 'empty', value: Buffer.alloc(0) });
    await raw.command('RPUSH', redisKey('list'), 'item');
    await raw.command('SET', redisKey('text'), 'written by somebody else');
    await service.cache.increment({ key: 'counter', delta: 5n });
    const kinds = ['hit 1', 'list', 'miss 1', 'hit 2', 'text', 'empty', 'miss 2', 'counter', 'hit 1'];
    const each: unknown[] = [];
    for (const key of kinds) each.push(await alone(key));
    expect(each.slice(0, 4)).toEqual(['value of hit 1', Code.FAILED_PRECONDITION, undefined, 'value of hit 2']);
    expect(await inOneFrame(kinds)).toEqual(each);
    // misses without a key of another kind, and a key of another kind without others
    expect(await inOneFrame(['miss 1', 'hit 1', 'miss 2'])).toEqual([undefined, 'value of hit 1', undefined]);
    expect(await inOneFrame(['list'])).toEqual([Code.FAILED_PRECONDITION]);
    expect(await inOneFrame(['list', 'list'])).toEqual([Code.FAILED_PRECONDITION, Code.FAILED_PRECONDITION]);
  });

  test('are answered each with its own value, however many they are', async () => {
    const keys = Array.from({ length: 1_500 }, (_, index) => `many ${String(index)}`);
    const there = keys.filter((_, index) => index % 3 !== 1);
    await Promise.all(there.map(set));
    await raw.command('RPUSH', redisKey('many 700'), 'item');
    const expected = keys.map((key, index) => {
      if (index === 700) return Code.FAILED_PRECONDITION;
      return index % 3 === 1 ? undefined : `value of ${key}`;
    });
    expect(await inOneFrame(keys)).toEqual(expected);
    const most = keys.slice(0, 256);
    const { items } = await service.cache.getMany({ keys: most });
    expect(items.map(({ entry }) => entry?.value.toString())).toEqual(expected.slice(0, 256));
  });
});

test('when Redis dies under them, each read fails once, as unavailable', async () => {
  const redis = await startRedis();
  const service = await startServiceProcess({ REDIS_URL: redis.url });
  const stream = new RawPipeline(service.address);
  stream.send({ methods: ['shardkeep.cache.v1.CacheService/Get'] });
  const count = 300;
  redis.signal('SIGSTOP');
  stream.send({
    calls: Array.from({ length: count }, (_, index) => ({ id: index + 1, request: get('x'), timeoutMs: 30_000 })),
  });
  // a wrong request is answered at once, behind the frame before it
  stream.send({ calls: [{ id: count + 1, request: get('') }] });
  await stream.untilAnswers(1);
  await redis.stop('SIGKILL');
  stream.halfClose();
  expect((await stream.ended).code).toBe(Code.OK);
  expect(stream.answers.map(({ id }) => id).sort((left, right) => left - right)).toEqual(
    Array.from({ length: count + 1 }, (_, index) => index + 1),
  );
  expect(new Set(stream.answers.slice(1).map(codeOf))).toEqual(new Set([Code.UNAVAILABLE]));
  await killServiceProcesses();
  await redis.remove();
});

/** What cannot be made to happen between two commands of a real Redis happens here, in the order of the script. */
describe('between one command and the next', () => {
  interface Script {
    readonly commands: string[][];
    readonly reads: BatchedReads;
  }

  /** Answers command after command by the script; an Error among the replies is thrown. */
  function scripted(...replies: readonly unknown[]): Script {
    const commands: string[][] = [];
    const reads = new BatchedReads(
      (command) => {
        const reply = replies[commands.length];
        commands.push([...command]);
        return reply instanceof Error ? Promise.reject(reply) : Promise.resolve(reply);
      },
      (error) => new Error(`made of ${(error as Error).message}`),
    );
    return { commands, reads };
  }

  /** What each read gets: what Redis said, or how it failed. */
  function outcomes(reads: BatchedReads, keys: readonly string[]): Promise<unknown[]> {
    return Promise.all(
      keys.map((key) =>
        reads
          .get(key, (value) => {
            if (value === 'unreadable') throw new Error('unreadable');
            return value;
          })
          .catch((error: unknown) => (error as Error).message),
      ),
    );
  }

  test('one read alone is a plain GET, and no other command', async () => {
    const { reads, commands } = scripted('value');
    expect(await outcomes(reads, ['a'])).toEqual(['value']);
    expect(commands).toEqual([['GET', 'a']]);
  });

  test('reads of the same key share it, and each gets its answer', async () => {
    const { reads, commands } = scripted('1', ['1', '2'], [null, '2'], 1, new ErrorReply('WRONGTYPE'));
    expect(await outcomes(reads, ['a', 'a', 'a'])).toEqual(['1', '1', '1']);
    expect(await outcomes(reads, ['a', 'b', 'a', 'b'])).toEqual(['1', '2', '1', '2']);
    expect(await outcomes(reads, ['a', 'b', 'a'])).toEqual(['made of WRONGTYPE', '2', 'made of WRONGTYPE']);
    expect(commands).toEqual([
      ['GET', 'a'],
      ['MGET', 'a', 'b'],
      ['MGET', 'a', 'b'],
      ['EXISTS', 'a'],
      ['GET', 'a'],
    ]);
  });

  test('a read is never answered by a command that was sent before it was made', async () => {
    const answers: ((value: unknown) => void)[] = [];
    const reads = new BatchedReads(
      () => new Promise((resolve) => answers.push(resolve)),
      (error) => error,
    );
    const first = reads.get('a', (value) => value);
    await new Promise(setImmediate);
    const second = reads.get('a', (value) => value);
    await new Promise(setImmediate);
    expect(answers).toHaveLength(2);
    answers[1]?.('new');
    answers[0]?.('old');
    expect([await first, await second]).toEqual(['old', 'new']);
  });

  test('hits need no second command', async () => {
    const { reads, commands } = scripted(['1', '2']);
    expect(await outcomes(reads, ['a', 'b'])).toEqual(['1', '2']);
    expect(commands).toEqual([['MGET', 'a', 'b']]);
  });

  test('a key that is written after it was missing is read as it is then', async () => {
    const { reads, commands } = scripted([null, '2', null], 1, 'written since', null);
    expect(await outcomes(reads, ['a', 'b', 'c'])).toEqual(['written since', '2', null]);
    expect(commands).toEqual([
      ['MGET', 'a', 'b', 'c'],
      ['EXISTS', 'a', 'c'],
      ['GET', 'a'],
      ['GET', 'c'],
    ]);
  });

  test('a key of another kind that goes is missing; one that stays fails alone', async () => {
    const wrongType = new ErrorReply('WRONGTYPE');
    expect(await outcomes(scripted([null, '2'], 0).reads, ['list', 'b'])).toEqual([null, '2']);
    expect(await outcomes(scripted([null, null, '3'], 1, wrongType, null).reads, ['list', 'b', 'c'])).toEqual([
      'made of WRONGTYPE',
      null,
      '3',
    ]);
  });

  test('one value that cannot be read fails no other', async () => {
    expect(await outcomes(scripted(['unreadable', '2']).reads, ['a', 'b'])).toEqual(['unreadable', '2']);
    expect(await outcomes(scripted([null, null], 2, 'unreadable', '2').reads, ['a', 'b'])).toEqual(['unreadable', '2']);
  });

  test('an error of the shared command is the error of each read; of the second, of those that still wait', async () => {
    const lost = new Error('lost');
    expect(await outcomes(scripted(lost).reads, ['a', 'b'])).toEqual(['made of lost', 'made of lost']);
    expect(await outcomes(scripted([null, '2', null], lost).reads, ['a', 'b', 'c'])).toEqual([
      'made of lost',
      '2',
      'made of lost',
    ]);
  });

  test.each([[['only one']], ['no list'], [null]])(
    'a reply that is not one of the keys’ values (%j) fails all',
    async (reply) => {
      const [first, second] = await outcomes(scripted(reply).reads, ['a', 'b']);
      expect([first, second]).toEqual([expect.stringContaining('made of'), expect.stringContaining('made of')]);
    },
  );

  test('no command has more than 256 keys, and the next turn has a command of its own', async () => {
    const keys = Array.from({ length: 600 }, (_, index) => String(index));
    const chunks = [keys.slice(0, 256), keys.slice(256, 512), keys.slice(512)];
    const { reads, commands } = scripted(...chunks, ['x', 'y']);
    expect(await outcomes(reads, keys)).toEqual(keys);
    expect(await outcomes(reads, ['x', 'y'])).toEqual(['x', 'y']);
    expect(commands.map(([name, ...rest]) => [name, rest.length])).toEqual([
      ['MGET', 256],
      ['MGET', 256],
      ['MGET', 88],
      ['MGET', 2],
    ]);
  });
});
