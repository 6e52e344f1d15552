import { afterAll, beforeAll, expect, test } from '@jest/globals';
import calculateSlot from 'cluster-key-slot';
import { pino } from 'pino';
import { parseRedisUrl } from '../../src/config/redis-url.js';
import { KeyTracking } from '../../src/redis/tracking.js';
import { startCluster, until, type RedisCluster, type RedisServer } from '../support/redis-server.js';
import { beginSlotMove, endSlotMove } from '../support/slot-moves.js';
import { Listener } from '../support/tracked-listener.js';

/** Listeners of keys whose slot, or whose master, goes elsewhere. */

let cluster: RedisCluster;
let tracking: KeyTracking;
const masters: RedisServer[] = [];

beforeAll(async () => {
  cluster = await startCluster(3, 1);
  masters.push(...cluster.masters);
  tracking = new KeyTracking(parseRedisUrl(cluster.url), pino({ level: process.env.TEST_LOG_LEVEL ?? 'silent' }));
});
afterAll(async () => {
  await tracking.close();
  await cluster.remove();
});

function masterAt(index: number): RedisServer {
  const master = masters[index];
  if (master === undefined) throw new Error('no such master');
  return master;
}

/** Keys on the n-th master, all in one slot. */
function keysOn(index: number, names: readonly string[]): string[] {
  const owner = (slot: number): number => Math.floor((slot * 3) / 16_384);
  for (let candidate = 0; ; candidate++) {
    const tag = String(candidate);
    if (owner(calculateSlot(tag)) === index) return names.map((name) => `t-tracking:{${tag}}:${name}`);
  }
}

/** Reads until that is possible, and answers who is told of the next change. */
async function tracked(key: string): Promise<Listener> {
  let listener = new Listener();
  await until(async () => {
    listener = new Listener();
    await tracking.read(key, listener.onChange);
    return listener.calls === 0;
  });
  return listener;
}

test('a slot on its way: who watched is told, also of a key that was not there, and reads follow it', async () => {
  const source = masterAt(0);
  const target = masterAt(1);
  const [moved = '', stayed = '', missing = ''] = keysOn(0, ['moved', 'stayed', 'missing']);
  const move = { slot: calculateSlot(moved), source, target };
  for (const key of [moved, stayed]) await source.command('SET', key, 'old');
  const [ofMoved, ofStayed, ofMissing] = [await tracked(moved), await tracked(stayed), await tracked(missing)];

  await beginSlotMove(move);
  // nobody has written: what would be created now is created on the other side, without a push
  await ofMissing.told;
  await Promise.all([ofMoved.told, ofStayed.told]);

  const again = await tracked(moved);
  await source.command('MIGRATE', '127.0.0.1', String(target.port), moved, '0', '5000');
  await again.told;
  // answered by the importing side, which does not track yet: told already
  for (const [key, value] of [
    [moved, Buffer.from('old')],
    [missing, null],
  ] as const) {
    const listener = new Listener();
    expect((await tracking.read(key, listener.onChange)).value).toEqual(value);
    expect(listener.calls).toBe(1);
  }
  const onSource = await tracked(stayed);

  await source.command('MIGRATE', '127.0.0.1', String(target.port), stayed, '0', '5000');
  await onSource.told;
  await endSlotMove(move, cluster.masters);
  for (const key of [moved, stayed, missing]) {
    const listener = await tracked(key);
    await target.command('SET', key, 'new');
    await listener.told;
    expect((await tracking.read(key, () => undefined)).value).toEqual(Buffer.from('new'));
  }
});

test('a master that is deposed while the connection to it stays: who watched is told, and reads go to its successor', async () => {
  const [key = ''] = keysOn(1, ['deposed']);
  await masterAt(1).command('SET', key, 'old');
  const listener = await tracked(key);
  const replica = await replicaOf(masterAt(1));
  await replica.command('CLUSTER', 'FAILOVER');
  await listener.told;
  await until(async () => String(await replica.command('ROLE')).startsWith('master'));
  masters[1] = replica;
  const again = await tracked(key);
  await replica.command('SET', key, 'new');
  await again.told;
  expect((await tracking.read(key, () => undefined)).value).toEqual(Buffer.from('new'));
});

test('a master that dies: who watched its keys is told, nobody else, and its successor is found', async () => {
  const [key = ''] = keysOn(2, ['dead']);
  const [elsewhere = ''] = keysOn(1, ['elsewhere']);
  const bystander = await tracked(elsewhere);
  const listener = await tracked(key);
  const replica = await replicaOf(masterAt(2));
  await masterAt(2).stop('SIGKILL');
  await listener.told;
  expect(bystander.calls).toBe(0);
  await expect(tracking.read(key, () => undefined)).rejects.toMatchObject({ code: 'REDIS_UNAVAILABLE' });
  const again = await tracked(key);
  await replica.command('SET', key, 'new');
  await again.told;
});

async function replicaOf(master: RedisServer): Promise<RedisServer> {
  for (const replica of cluster.replicas) {
    const [role, , port] = (await replica.command('ROLE')) as unknown[];
    if (role === 'slave' && port === master.port) return replica;
  }
  throw new Error('no replica');
}
