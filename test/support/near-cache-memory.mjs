import { once } from 'node:events';
import { createConnection } from 'node:net';
import { setImmediate } from 'node:timers/promises';
import { pino } from 'pino';

/**
 * Run by itself, on the build: fills near caches with `count` keys of the Redis at `url`, and says what they hold. Needs
 * --expose-gc.
 */

/** What is built may not be there yet when imports are checked. */
const built = (file) => import(new URL(`../../dist/${file}`, import.meta.url).href);
const { NearCache } = await built('cache/near-cache.js');
const { parseRedisUrl } = await built('config/redis-url.js');
const { KeyTracking } = await built('redis/tracking.js');

const [, , url = '', count = ''] = process.argv;
const KEYS = Number(count);
const MAX_BYTES = 2_000_000;

const keyOf = (index) => `t-memory:cache:{user:${String(index)}:profile}`;
const takeAll = (packed) => ({ value: packed === null ? 'none' : 'some' });
const fromRedis = () => Promise.resolve('from Redis');

async function used() {
  // what sockets read is given back some turns after it was collected
  for (let round = 0; round < 3; round++) {
    globalThis.gc();
    await setImmediate();
  }
  const { heapUsed, external } = process.memoryUsage();
  return heapUsed + external;
}

async function read(near, from) {
  for (let start = from; start < from + KEYS; start += 500) {
    const keys = Array.from({ length: 500 }, (_, index) => keyOf(start + index));
    await Promise.all(keys.map((key) => near.get(key, takeAll, fromRedis)));
  }
}

async function writeKeys() {
  const { hostname, port } = new URL(url);
  const socket = createConnection({ host: hostname, port: Number(port) });
  const value = 'x'.repeat(100);
  for (let index = 0; index < 2 * KEYS; index++) socket.write(`SET ${keyOf(index)} ${value}\r\n`);
  socket.end('QUIT\r\n').resume();
  await once(socket, 'close');
}

async function measure() {
  await writeKeys();
  const tracking = new KeyTracking(parseRedisUrl(url), pino({ level: 'silent' }));
  const options = { tracking, ttlMs: 60_000, keepsMissing: true };

  const roomy = new NearCache({ ...options, maxBytes: 100_000_000 });
  await read(roomy, 0);
  roomy.clear();
  const before = await used();
  await read(roomy, KEYS);
  const heldBytes = (await used()) - before;
  const { entries, bytes: countedBytes } = roomy.stats;
  roomy.clear();

  const bounded = new NearCache({ ...options, maxBytes: MAX_BYTES });
  await read(bounded, 0);
  bounded.clear();
  const empty = await used();
  for (const from of [0, KEYS, 0, KEYS]) await read(bounded, from);
  const full = { entries: bounded.stats.entries, heldBytes: (await used()) - empty, maxBytes: MAX_BYTES };
  await tracking.close();
  return { entries, heldBytes, countedBytes, bounded: full };
}

process.send(await measure());
