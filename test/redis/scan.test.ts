import { afterAll, beforeAll, expect, test } from '@jest/globals';
import type { MasterNode } from '../../src/redis/connection.js';
import { scanMasters } from '../../src/redis/scan.js';
import { DatabaseSnapshot } from '../support/database-snapshot.js';
import { startRedis, type RedisServer } from '../support/redis-server.js';

/** Going through the masters while they are not what they were; each is a real Redis. */

const KEYS = 2_000;
let servers: readonly RedisServer[];
let masters: MasterNode[];
let databases: readonly DatabaseSnapshot[];

beforeAll(async () => {
  servers = await Promise.all([startRedis(), startRedis()]);
  databases = await Promise.all(servers.map(({ url }) => DatabaseSnapshot.open(url)));
  for (const [at, database] of databases.entries()) {
    const pairs = Array.from({ length: KEYS }, (_, index) => [`k:${String(at)}:${String(index)}`, 'v']);
    await database.command(['MSET', ...pairs.flat(), `other:${String(at)}`, 'v']);
  }
  masters = databases.map((database, at) => ({
    address: `node-${String(at)}`,
    connectedTimes: 1,
    send: (command) => database.command(command.map(String)),
  }));
});
afterAll(async () => {
  await Promise.all(databases.map((database) => database.close()));
  await Promise.all(servers.map((server) => server.remove()));
});

/** Every key as often as it was found; `meanwhile` runs after each page. */
async function scan(
  known: () => readonly MasterNode[],
  meanwhile = (): void => undefined,
): Promise<Map<string, number>> {
  const found = new Map<string, number>();
  for await (const page of scanMasters(known, 'k:*')) {
    for (const key of page.map(String)) found.set(key, (found.get(key) ?? 0) + 1);
    meanwhile();
  }
  return found;
}

test('every key of every master is found once, and no other', async () => {
  const found = await scan(() => masters);
  expect(found.size).toBe(2 * KEYS);
  expect(new Set(found.values())).toEqual(new Set([1]));
});

test('a master that was connected again in between is gone through anew', async () => {
  let pages = 0;
  const found = await scan(
    () => masters.map((master) => ({ ...master, connectedTimes: pages >= 3 ? 2 : 1 })),
    () => pages++,
  );
  const counts = [...found].filter(([key]) => key.startsWith('k:0:')).map(([, count]) => count);
  expect(counts).toHaveLength(KEYS);
  expect(Math.min(...counts)).toBe(1);
  expect(Math.max(...counts)).toBe(2);
});

test('a master that another one replaces is left, and the other gone through', async () => {
  let pages = 0;
  const [first, second] = masters;
  if (first === undefined || second === undefined) throw new Error('two masters are needed');
  const found = await scan(
    () => [pages < 3 ? first : second],
    () => pages++,
  );
  expect([...found.keys()].filter((key) => key.startsWith('k:1:'))).toHaveLength(KEYS);
});

test('without a master there is nothing to go through', async () => {
  await expect(scan(() => [])).rejects.toMatchObject({ code: 'REDIS_UNAVAILABLE' });
});
