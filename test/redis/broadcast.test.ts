import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { pino } from 'pino';
import { parseRedisUrl } from '../../src/config/redis-url.js';
import { KeyBroadcast } from '../../src/redis/broadcast.js';
import { importersOf, parseClusterNodes } from '../../src/redis/cluster-nodes.js';
import { serviceUrl, startRedis, until, type RedisServer } from '../support/redis-server.js';
import { startTcpProxy, type TcpProxy } from '../support/tcp-proxy.js';

/** What is told while other prefixes are followed over other connections. */

let redis: RedisServer;
let broadcast: KeyBroadcast;
let told: string[];

beforeEach(async () => {
  redis = await startRedis();
});

afterEach(async () => {
  broadcast.close();
  await redis.remove();
});

function broadcastOf(url: string): KeyBroadcast {
  told = [];
  broadcast = new KeyBroadcast(parseRedisUrl(url), pino({ level: 'silent' }), {
    onPush: (key) => told.push(key ?? 'all'),
    onInForce: (prefixes) => told.push(`in force: ${prefixes.join(' ')}`),
    onLost: () => told.push('lost'),
  });
  return broadcast;
}

function untilTold(what: string): Promise<void> {
  return until(() => told.includes(what));
}

test('a prefix that is let go is not covered any more, though its connection is still there', async () => {
  broadcastOf(redis.url).follow(['a:', 'b:']);
  await untilTold('in force: a: b:');
  expect(broadcast.covers('a:1')).toBe(true);
  broadcast.follow(['b:']);
  // who took this for covered would miss what comes between the connections of b: and the next ones
  expect([broadcast.covers('a:1'), broadcast.covers('b:1')]).toEqual([false, true]);
  broadcast.follow(['a:', 'b:']);
  await untilTold('in force: b:');
  await until(() => broadcast.covers('a:1'));
});

describe('what Redis told before other connections took over', () => {
  let proxy: TcpProxy;
  beforeEach(async () => {
    proxy = await startTcpProxy(redis.port);
    broadcastOf(serviceUrl(proxy.port)).follow(['a:1']);
    await untilTold('in force: a:1');
    proxy.hold('a:1');
    await redis.command('SET', 'a:1', 'changed');
    await proxy.held(1);
    broadcast.follow(['a:']);
    await untilTold('in force: a:');
  });
  afterEach(() => proxy.close());

  test('is told when it comes', async () => {
    proxy.release();
    await untilTold('a:1');
    expect(told).not.toContain('lost');
    broadcast.follow(['a:', 'b:']);
    await untilTold('in force: a: b:');
  });

  test('is lost with its connection, and that is told', async () => {
    const connections = String(await redis.command('CLIENT', 'LIST')).split('\n');
    const leaving = connections.filter((line) => line.includes('flags=tB')).sort((a, b) => idOf(a) - idOf(b))[0] ?? '';
    await redis.command('CLIENT', 'KILL', 'ID', String(idOf(leaving)));
    await untilTold('lost');
    expect(told.slice(told.indexOf('lost'))).toEqual(['lost', 'in force: a:']);
    expect(told).not.toContain('a:1');
  });
});

test('a master that gets its first slot is one to listen to, from when the source tells of it', () => {
  const nodes = parseClusterNodes(
    [
      'aa01 127.0.0.1:1@11 myself,master - 0 0 1 connected 0-99 [7->-bb02] [8-<-cc03]',
      'bb02 127.0.0.1:2@12 master - 0 0 2 connected',
      'cc03 127.0.0.1:3@13 master - 0 0 3 connected 100-16383',
    ].join('\n'),
  );
  expect(importersOf(nodes)).toEqual(new Set(['bb02']));
});

function idOf(client: string): number {
  return Number(/\bid=(\d+)/.exec(client)?.[1]);
}
