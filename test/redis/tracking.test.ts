import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import { pino } from 'pino';
import { createClient } from 'redis';
import { parseRedisUrl } from '../../src/config/redis-url.js';
import { KeyTracking } from '../../src/redis/tracking.js';
import { rawRedis, type RawRedis } from '../support/raw-redis.js';
import { serviceUrl, startRedis, until, type RedisServer } from '../support/redis-server.js';
import { randomNamespace, sharedRedisUrl, TOPOLOGIES } from '../support/service.js';
import { startTcpProxy } from '../support/tcp-proxy.js';
import { Listener } from '../support/tracked-listener.js';
import { asOurselves } from '../support/redis-user.js';

const logger = pino({ level: process.env.TEST_LOG_LEVEL ?? 'silent' });
const open: KeyTracking[] = [];

function track(url: string): KeyTracking {
  const tracking = new KeyTracking(parseRedisUrl(url), logger);
  open.push(tracking);
  return tracking;
}

afterEach(async () => {
  await Promise.all(open.splice(0).map((tracking) => tracking.close()));
});

describe.each(TOPOLOGIES)('on %s', (topology) => {
  const namespace = randomNamespace();
  let raw: RawRedis;
  let count = 0;
  beforeAll(async () => {
    raw = await rawRedis(topology);
  });
  afterAll(async () => {
    await raw.close();
  });
  const newKey = (): string => `${namespace}:key:{${String(++count)}}`;

  test.each<[string, (key: string) => Promise<unknown>]>([
    ['SET', (key) => raw.command('SET', key, 'new')],
    ['DEL', (key) => raw.command('DEL', key)],
    ['UNLINK', (key) => raw.command('UNLINK', key)],
    ['SETRANGE', (key) => raw.command('SETRANGE', key, '0', 'x')],
    ['a new expiry', (key) => raw.command('PEXPIRE', key, '60000')],
    ['an expiry that has come', (key) => raw.command('PEXPIRE', key, '1')],
    [
      'another kind of thing in its place',
      async (key) => {
        await raw.command('DEL', key);
        await raw.command('RPUSH', key, 'item');
      },
    ],
  ])('every listener of a key is called once after %s', async (_, change) => {
    const tracking = track(sharedRedisUrl(topology));
    const key = newKey();
    // on the same node
    const other = `${key}:other`;
    await raw.command('SET', key, 'old');
    const listeners = [new Listener(), new Listener(), new Listener()];
    const bystander = new Listener();
    await tracking.read(other, bystander.onChange);
    for (const { onChange } of listeners)
      expect((await tracking.read(key, onChange)).value).toEqual(Buffer.from('old'));
    await change(key);
    await Promise.all(listeners.map((listener) => listener.told));
    await raw.command('SET', key, 'again').catch(() => undefined);
    await raw.command('DEL', key);
    // what another key's push says comes behind all of these
    const last = new Listener();
    await tracking.read(other, last.onChange);
    await raw.command('SET', other, 'x');
    await last.told;
    expect(listeners.map(({ calls }) => calls)).toEqual([1, 1, 1]);
    expect(bystander.calls).toBe(1);
  });

  test('a key that is not there is null, and its creation is told', async () => {
    const tracking = track(sharedRedisUrl(topology));
    const key = newKey();
    const listener = new Listener();
    expect((await tracking.read(key, listener.onChange)).value).toBeNull();
    expect(listener.calls).toBe(0);
    await raw.command('SET', key, 'x');
    await listener.told;
  });

  test('one that stopped is not called; the others of its key are', async () => {
    const tracking = track(sharedRedisUrl(topology));
    const key = newKey();
    const listeners = Array.from({ length: 5 }, () => new Listener());
    const reads = [];
    for (const { onChange } of listeners) reads.push(await tracking.read(key, onChange));
    for (const index of [0, 2, 4]) reads[index]?.stop();
    reads[2]?.stop();
    await raw.command('SET', key, 'x');
    await Promise.all([listeners[1]?.told, listeners[3]?.told]);
    expect(listeners.map(({ calls }) => calls)).toEqual([0, 1, 0, 1, 0]);
  });

  test('a key that was told is tracked again by the next read', async () => {
    const tracking = track(sharedRedisUrl(topology));
    const key = newKey();
    for (let round = 0; round < 20; round++) {
      const listener = new Listener();
      const { value } = await tracking.read(key, listener.onChange);
      expect(value).toEqual(round === 0 ? null : Buffer.from(String(round - 1)));
      await raw.command('SET', key, String(round));
      await listener.told;
    }
  });

  test('a key of another kind fails, and its listener is never called', async () => {
    const tracking = track(sharedRedisUrl(topology));
    const key = newKey();
    await raw.command('RPUSH', key, 'item');
    const listener = new Listener();
    await expect(tracking.read(key, listener.onChange)).rejects.toMatchObject({ code: 'WRONG_TYPE' });
    await raw.command('DEL', key);
    const later = new Listener();
    await tracking.read(key, later.onChange);
    await raw.command('SET', key, 'x');
    await later.told;
    expect(listener.calls).toBe(0);
  });

  test('no value older than a write that was answered is read, and none that was read goes stale untold', async () => {
    const tracking = track(sharedRedisUrl(topology));
    const keys = Array.from({ length: 10 }, newKey);
    let answered = 0;
    const writer = (async () => {
      for (let version = 1; version <= 300; version++) {
        for (const key of keys) await raw.command('SET', key, String(version));
        answered = version;
      }
    })();
    const readers = keys.flatMap((key) =>
      Array.from({ length: 4 }, async () => {
        while (answered < 300) {
          const listener = new Listener();
          const before = answered;
          const { value } = await tracking.read(key, listener.onChange);
          expect(Number(value)).toBeGreaterThanOrEqual(before);
          // the writer goes on, so a change is certain until the last version
          if (Number(value) < 300) await listener.told;
        }
      }),
    );
    await Promise.all([writer, ...readers]);
  });
});

test('FLUSHALL, FLUSHDB and eviction are told', async () => {
  const redis = await startRedis();
  const tracking = track(redis.url);
  for (const flush of ['FLUSHALL', 'FLUSHDB']) {
    const listeners = Array.from({ length: 50 }, () => new Listener());
    for (const [index, { onChange }] of listeners.entries())
      await tracking.read(`t-own:key ${String(index)}`, onChange);
    await redis.command(flush);
    await Promise.all(listeners.map((listener) => listener.told));
  }
  await redis.command('SET', 't-own:big', 'x'.repeat(2_000_000));
  const listener = new Listener();
  await tracking.read('t-own:big', listener.onChange);
  await redis.command('CONFIG', 'SET', 'maxmemory-policy', 'allkeys-lru');
  await redis.command('CONFIG', 'SET', 'maxmemory', '2mb');
  await redis.command('GET', 't-own:big');
  await listener.told;
  expect(await redis.command('EXISTS', 't-own:big')).toBe(0);
  await redis.remove();
});

describe('the connection', () => {
  let redis: RedisServer;
  beforeAll(async () => {
    redis = await startRedis();
  });
  afterAll(async () => {
    await redis.remove();
  });
  const trackers = async (): Promise<string[]> =>
    String(await redis.command('CLIENT', 'LIST'))
      .split('\n')
      .filter((line) => / flags=\S*t/.test(line));

  test('is opened by the first read', async () => {
    const tracking = track(redis.url);
    expect(await trackers()).toEqual([]);
    await Promise.all(['t-own:a', 't-own:b', 't-own:c'].map((key) => tracking.read(key, () => undefined)));
    expect(await trackers()).toHaveLength(1);
  });

  test('carries CLIENT CACHING and GET side by side, whatever else goes over it', async () => {
    const tracking = track(redis.url);
    await tracking.read('t-own:first', () => undefined);
    const monitor = createClient({ url: asOurselves(redis.url) });
    await monitor.connect();
    const seen: string[] = [];
    await monitor.monitor((line) => seen.push(line));
    const endAt = performance.now() + 2_500;
    // long enough for keep-alives to come in between
    await Promise.all(
      Array.from({ length: 40 }, async (_, reader) => {
        for (let round = 0; performance.now() < endAt; round++) {
          const keys = Array.from({ length: 5 }, (__, index) => ['t-own', reader, round, index].join(':'));
          await Promise.all(keys.map((key) => tracking.read(key, () => undefined)));
        }
      }),
    );
    await tracking.read('t-own:last', () => undefined);
    await until(() => seen.some((line) => line.includes('"t-own:last"')));
    monitor.destroy();
    const commands = seen.map((line) => line.slice(line.indexOf('"')).toLowerCase());
    const gets = commands.flatMap((command, index) => (command.startsWith('"get"') ? [index] : []));
    expect(gets.length).toBeGreaterThan(1_000);
    expect(gets.filter((index) => commands[index - 1] !== '"client" "caching" "yes"')).toEqual([]);
    expect(commands.filter((command) => command === '"ping"').length).toBeGreaterThan(1);
  });

  test('that is killed calls every listener at once, and the next read has another', async () => {
    const tracking = track(redis.url);
    const listeners = Array.from({ length: 20 }, () => new Listener());
    await Promise.all(listeners.map(({ onChange }, index) => tracking.read(`t-own:${String(index)}`, onChange)));
    const [id] = (await trackers()).map((line) => /id=(\d+)/.exec(line)?.[1] ?? '');
    await redis.command('CLIENT', 'KILL', 'ID', id ?? '');
    await Promise.all(listeners.map((listener) => listener.told));
    const again = new Listener();
    await until(() => tracking.read('t-own:a', again.onChange).then(() => true));
    await redis.command('SET', 't-own:a', 'changed');
    await again.told;
    expect(listeners.every(({ calls }) => calls === 1)).toBe(true);
  });

  test('that is silent counts as lost, also while reads go on', async () => {
    const tracking = track(redis.url);
    const listener = new Listener();
    await tracking.read('t-own:silent', listener.onChange);
    const stoppedAt = performance.now();
    redis.signal('SIGSTOP');
    // a write to the socket every now and then, so that its own timer never comes to its end
    const load = setInterval(() => {
      tracking.read('t-own:other', () => undefined).catch(() => undefined);
    }, 50);
    await listener.told;
    clearInterval(load);
    const silentMs = performance.now() - stoppedAt;
    redis.signal('SIGCONT');
    expect(silentMs).toBeLessThan(4_000);
    await until(() => tracking.read('t-own:silent', () => undefined).then(() => true));
  });

  test('to a Redis that died calls every listener; reads fail until it is back, and then track', async () => {
    const tracking = track(redis.url);
    const listener = new Listener();
    await tracking.read('t-own:key', listener.onChange);
    await redis.stop('SIGKILL');
    await listener.told;
    const unheard = new Listener();
    await expect(tracking.read('t-own:key', unheard.onChange)).rejects.toMatchObject({ code: 'REDIS_UNAVAILABLE' });
    await redis.restart();
    const again = new Listener();
    await until(() => tracking.read('t-own:key', again.onChange).then(() => true));
    await redis.command('SET', 't-own:key', 'x');
    await again.told;
    expect(unheard.calls).toBe(0);
  });

  test('that cannot be made fails the first reads at once', async () => {
    await redis.stop();
    const tracking = track(redis.url);
    const failures = await Promise.allSettled(['t-own:a', 't-own:b'].map((key) => tracking.read(key, () => undefined)));
    expect(failures.map(({ status }) => status)).toEqual(['rejected', 'rejected']);
    await redis.restart();
    await until(() => tracking.read('t-own:a', () => undefined).then(() => true));
  });

  test('that was closed on purpose calls those who are left, and takes no more reads', async () => {
    const tracking = track(redis.url);
    const listener = new Listener();
    await tracking.read('t-own:closed', listener.onChange);
    await tracking.close();
    await listener.told;
    await expect(tracking.read('t-own:closed', () => undefined)).rejects.toMatchObject({ code: 'REDIS_UNAVAILABLE' });
    await until(async () => (await trackers()).length === 0);
  });
});

test('a change between a read and its answer is told, in whichever order they arrive', async () => {
  const redis = await startRedis();
  const proxy = await startTcpProxy(redis.port);
  const tracking = track(serviceUrl(proxy.port));
  await tracking.read('t-own:warm', () => undefined);
  const size = (bytes: string): number => bytes.length;
  const push = size('>2\r\n$10\r\ninvalidate\r\n*1\r\n$3\r\nkey\r\n');

  // the answer comes first, and the push in the same piece
  await redis.command('SET', 't-own:key', 'old');
  proxy.hold('TRACKING');
  let listener = new Listener();
  let read = tracking.read('t-own:key', listener.onChange);
  await proxy.held(size('+OK\r\n$3\r\nold\r\n'));
  await redis.command('SET', 't-own:key', 'new');
  await proxy.held(size('+OK\r\n$3\r\nold\r\n') + push);
  proxy.release();
  expect((await read).value).toEqual(Buffer.from('old'));
  expect(listener.calls).toBe(1);

  // the push of an earlier read comes first: the answer is new, and a change after it is told to whoever reads then
  const earlier = new Listener();
  await tracking.read('t-own:key', earlier.onChange);
  proxy.hold('TRACKING');
  await redis.command('SET', 't-own:key', 'newer');
  await proxy.held(push);
  listener = new Listener();
  read = tracking.read('t-own:key', listener.onChange);
  await proxy.held(push + size('+OK\r\n$5\r\nnewer\r\n'));
  proxy.release();
  expect((await read).value).toEqual(Buffer.from('newer'));
  expect([earlier.calls, listener.calls]).toEqual([1, 1]);

  await proxy.close();
  await redis.remove();
});
