import { afterAll, beforeAll, expect, test } from '@jest/globals';
import type { MasterNode } from '../../src/redis/connection.js';
import { PagedScan, SCAN_BEGIN, type ScanPlace } from '../../src/redis/paged-scan.js';
import { DatabaseSnapshot } from '../support/database-snapshot.js';
import { startRedis, type RedisServer } from '../support/redis-server.js';

/** Going through the masters in steps of different processes, while they are not what they were; each is a real Redis. */

const KEYS = 1_000;
let servers: readonly RedisServer[];
let masters: readonly MasterNode[];
let databases: readonly DatabaseSnapshot[];

beforeAll(async () => {
  servers = await Promise.all([startRedis(), startRedis(), startRedis()]);
  databases = await Promise.all(servers.map(({ url }) => DatabaseSnapshot.open(url)));
  for (const [at, database] of databases.entries()) {
    // the last one is to take over from the second one, and has what that has
    const of = at === 2 ? 1 : at;
    const pairs = Array.from({ length: KEYS }, (_, index) => [`k:${String(of)}:${String(index)}`, 'v']);
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

/** How often each key was found. Every step is one of a process that knows only the place; `known` is called with its number. */
async function scan(known: (step: number) => readonly MasterNode[]): Promise<Map<string, number>> {
  const found = new Map<string, number>();
  let place: ScanPlace | undefined = SCAN_BEGIN;
  for (let step = 0; place !== undefined; step++) {
    const current = step;
    const { keys, next }: Awaited<ReturnType<PagedScan['step']>> = await new PagedScan(
      () => known(current),
      'k:*',
      (error) => error,
    ).step(place, 100);
    for (const key of keys.map(String)) found.set(key, (found.get(key) ?? 0) + 1);
    place = next;
    expect(step).toBeLessThan(200);
  }
  return found;
}

const two = (): readonly MasterNode[] => masters.slice(0, 2);
const ofMaster = (found: ReadonlyMap<string, number>, at: number): number[] =>
  [...found].filter(([key]) => key.startsWith(`k:${String(at)}:`)).map(([, count]) => count);

test('every key of every master is found once, and no other', async () => {
  const found = await scan(two);
  expect(found.size).toBe(2 * KEYS);
  expect(new Set(found.values())).toEqual(new Set([1]));
});

test('masters that are named in another order are gone through once all the same', async () => {
  const found = await scan((step) => (step % 2 === 0 ? two() : two().toReversed()));
  expect(found.size).toBe(2 * KEYS);
  expect(new Set(found.values())).toEqual(new Set([1]));
});

test.each([3, 9, 15])(
  'a replica that takes over after %i steps is gone through anew, wherever its name stands',
  async (after) => {
    const [first, second, third] = masters;
    if (first === undefined || second === undefined || third === undefined) throw new Error('no masters');
    const found = await scan((step) => (step < after ? [first, second] : [third, first]));
    expect(ofMaster(found, 0)).toHaveLength(KEYS);
    expect(ofMaster(found, 1)).toHaveLength(KEYS);
    expect(Math.max(...ofMaster(found, 0))).toBe(1);
  },
);

test('a step during which a master was connected anew counts for nothing', async () => {
  let asked = 0;
  const found = await scan(() => two().map((master) => ({ ...master, connectedTimes: Math.floor(asked++ / 7) })));
  expect(found.size).toBe(2 * KEYS);
  expect(new Set(found.values())).toEqual(new Set([1]));
});

test('where no master is known it throws', async () => {
  await expect(scan(() => [])).rejects.toMatchObject({ code: 'REDIS_UNAVAILABLE' });
});
