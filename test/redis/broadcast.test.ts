import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { pino } from 'pino';
import { parseRedisUrl } from '../../src/config/redis-url.js';
import { KeyBroadcast } from '../../src/redis/broadcast.js';
import { startRedis, until, type RedisServer } from '../support/redis-server.js';

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
