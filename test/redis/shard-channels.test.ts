import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import { pino } from 'pino';
import { parseRedisUrl } from '../../src/config/redis-url.js';
import { ShardChannels } from '../../src/redis/shard-channels.js';
import { ChannelEar } from '../support/channel-ear.js';
import { rawRedis, type RawRedis } from '../support/raw-redis.js';
import { startRedis, until, type RedisServer } from '../support/redis-server.js';
import { randomNamespace, sharedRedisUrl, TOPOLOGIES } from '../support/service.js';

const open: ShardChannels[] = [];

function channelsOf(url: string): ShardChannels {
  const channels = new ShardChannels(parseRedisUrl(url), pino({ level: process.env.TEST_LOG_LEVEL ?? 'silent' }));
  open.push(channels);
  return channels;
}

afterEach(() => {
  for (const channels of open.splice(0)) channels.close();
});

describe.each(TOPOLOGIES)('on %s', (topology) => {
  const namespace = randomNamespace();
  let raw: RawRedis;
  beforeAll(async () => {
    raw = await rawRedis(topology);
  });
  afterAll(async () => {
    await raw.close();
  });
  const publish = (name: string, message: string): Promise<unknown> => raw.command('SPUBLISH', name, message);
  const nameOf = (index: number): string => `${namespace}:{${String(index)}}`;

  test('many channels, on all nodes: each listener is told of its own, from the subscription on', async () => {
    const channels = channelsOf(sharedRedisUrl(topology));
    const ears = Array.from({ length: 600 }, (_, index) => {
      const ear = new ChannelEar();
      channels.listen(nameOf(index), ear);
      return ear;
    });
    await until(() => ears.every(({ told }) => told.length === 1));
    await Promise.all(ears.map((_, index) => publish(nameOf(index), String(index))));
    await until(() => ears.every(({ told }) => told.length === 2));
    expect(ears.map(({ told }) => told)).toEqual(ears.map((_, index) => ['subscribed', `message ${String(index)}`]));
  });

  test('several listeners of one channel come and go; only the last one takes it along', async () => {
    const channels = channelsOf(sharedRedisUrl(topology));
    const name = nameOf(0);
    const [first, second, third] = [new ChannelEar(), new ChannelEar(), new ChannelEar()];
    const stopFirst = channels.listen(name, first);
    const stopSecond = channels.listen(name, second);
    await second.until('subscribed');
    channels.listen(name, third);
    await third.until('subscribed');
    stopFirst();
    stopFirst();
    await publish(name, 'one');
    await Promise.all([second.until('message one'), third.until('message one')]);
    stopSecond();
    await publish(name, 'two');
    await third.until('message two');
    expect([first.told, second.told]).toEqual([['subscribed'], ['subscribed', 'message one']]);
  });

  test('who stops and listens again, however quickly, is subscribed', async () => {
    const channels = channelsOf(sharedRedisUrl(topology));
    const name = nameOf(1);
    for (let round = 0; round < 20; round++) {
      const given = new ChannelEar();
      const stop = channels.listen(name, given);
      if (round % 3 > 0) await given.until('subscribed');
      if (round % 3 > 1) await publish(name, 'for given');
      stop();
      const ear = new ChannelEar();
      const stopEar = channels.listen(name, ear);
      await ear.until('subscribed');
      await publish(name, String(round));
      await ear.until(`message ${String(round)}`);
      stopEar();
    }
    const subscribers = async (): Promise<string> => String(await raw.command('SPUBLISH', name, 'to nobody'));
    await until(async () => (await subscribers()) === '0');
    expect(await subscribers()).toBe('0');
  });
});

describe('of one server', () => {
  let redis: RedisServer;
  beforeAll(async () => {
    redis = await startRedis();
  });
  afterAll(async () => {
    await redis.remove();
  });

  const connections = async (): Promise<number> =>
    String(await redis.command('CLIENT', 'LIST', 'TYPE', 'pubsub'))
      .split('\n')
      .filter((line) => line.startsWith('id=')).length;

  test('a connection is there while somebody listens, and not before', async () => {
    const channels = channelsOf(redis.url);
    expect(await connections()).toBe(0);
    const [ear, other] = [new ChannelEar(), new ChannelEar()];
    channels.listen('t-own:a', ear);
    channels.listen('t-own:b', other);
    await Promise.all([ear.until('subscribed'), other.until('subscribed')]);
    expect(await connections()).toBe(1);
    channels.close();
    await until(async () => (await connections()) === 0);
    expect([...ear.told, ...other.told]).not.toContain('lost');
  });

  test('a connection that is killed comes back with its channels', async () => {
    const channels = channelsOf(redis.url);
    const ear = new ChannelEar();
    channels.listen('t-own:k', ear);
    for (let round = 0; round < 3; round++) {
      await ear.until('subscribed');
      await redis.command('CLIENT', 'KILL', 'TYPE', 'pubsub');
      await ear.until('lost');
    }
    await ear.until('subscribed');
    await redis.command('SPUBLISH', 't-own:k', 'x');
    await ear.until('message x');
    expect(ear.told).toHaveLength(8);
  });

  test.each([
    ['dies and comes back', 'SIGKILL'],
    ['hangs and goes on', 'SIGSTOP'],
  ] as const)('a server that %s is noticed, and found again', async (_, signal) => {
    const channels = channelsOf(redis.url);
    const ear = new ChannelEar();
    channels.listen('t-own:s', ear);
    await ear.until('subscribed');
    if (signal === 'SIGKILL') await redis.stop(signal);
    else redis.signal(signal);
    await ear.until('lost');
    const late = new ChannelEar();
    channels.listen('t-own:late', late);
    if (signal === 'SIGKILL') await redis.restart();
    else redis.signal('SIGCONT');
    await Promise.all([ear.until('subscribed'), late.until('subscribed')]);
    for (const name of ['t-own:s', 't-own:late']) await redis.command('SPUBLISH', name, 'x');
    await Promise.all([ear.until('message x'), late.until('message x')]);
    expect(ear.told).toEqual(['subscribed', 'lost', 'subscribed', 'message x']);
  });
});
