import { afterAll, beforeAll, expect, test } from '@jest/globals';
import calculateSlot from 'cluster-key-slot';
import { pino } from 'pino';
import { parseRedisUrl } from '../../src/config/redis-url.js';
import { ShardChannels } from '../../src/redis/shard-channels.js';
import { ChannelEar } from '../support/channel-ear.js';
import { startCluster, until, type RedisCluster, type RedisServer } from '../support/redis-server.js';
import { beginSlotMove, endSlotMove, type SlotMove } from '../support/slot-moves.js';

/** Shard channels whose slot, or whose master, goes elsewhere. */

let cluster: RedisCluster;
let channels: ShardChannels;

beforeAll(async () => {
  cluster = await startCluster(3, 1);
  channels = new ShardChannels(parseRedisUrl(cluster.url), pino({ level: process.env.TEST_LOG_LEVEL ?? 'silent' }));
});
afterAll(async () => {
  channels.close();
  await cluster.remove();
});

function masterAt(index: number): RedisServer {
  const master = cluster.masters[index];
  if (master === undefined) throw new Error('no such master');
  return master;
}

/** So many channels of the n-th master, each in a slot of its own. */
function namesOn(index: number, count: number): string[] {
  const owner = (slot: number): number => Math.floor((slot * 3) / 16_384);
  const bySlot = new Map<number, string>();
  for (let candidate = 0; bySlot.size < count; candidate++) {
    const name = `t-channels:{${String(candidate)}}`;
    if (owner(calculateSlot(name)) === index) bySlot.set(calculateSlot(name), name);
  }
  return [...bySlot.values()];
}

async function listen(name: string): Promise<ChannelEar> {
  const ear = new ChannelEar();
  channels.listen(name, ear);
  await ear.until('subscribed');
  return ear;
}

async function moveSlot(move: SlotMove): Promise<void> {
  await beginSlotMove(move);
  await endSlotMove(move, cluster.masters);
}

/** Publishes until the listener is told, since the nodes may not agree yet. */
async function untilHeard(ear: ChannelEar, name: string, server: RedisServer): Promise<void> {
  const before = ear.told.length;
  await until(async () => {
    await server.command('SPUBLISH', name, 'x');
    return ear.told.slice(before).includes('message x');
  });
}

test('slots that go to another master, and come back: their channels follow, and others stay', async () => {
  const names = namesOn(0, 24);
  const ears = await Promise.all(names.map((name) => listen(name)));
  const [first = '', second = ''] = names;
  const [ear, other] = ears;
  if (ear === undefined || other === undefined) throw new Error('no channels');
  const slot = calculateSlot(first);
  for (const [source, target] of [
    [masterAt(0), masterAt(1)],
    [masterAt(1), masterAt(0)],
    [masterAt(0), masterAt(2)],
  ] as const) {
    await moveSlot({ slot, source, target });
    await ear.until('lost');
    await ear.until('subscribed');
    await untilHeard(ear, first, target);
  }
  await untilHeard(other, second, masterAt(0));
  // to one that had none of them
  const [third = ''] = names.slice(2);
  await moveSlot({ slot: calculateSlot(third), source: masterAt(0), target: masterAt(2) });
  await ears[2]?.until('subscribed');
  await untilHeard(ears[2] ?? ear, third, masterAt(2));
  expect(ears.every(({ told }) => told.includes('subscribed'))).toBe(true);
});

test('a master that hands over while it lives, and one that dies: their channels go on at the successor', async () => {
  for (const [index, how] of [
    [1, 'hands over'],
    [2, 'dies'],
  ] as const) {
    const [name = ''] = namesOn(index, 1);
    const ear = await listen(name);
    const replica = await replicaOf(masterAt(index));
    if (how === 'dies') await masterAt(index).stop('SIGKILL');
    else await replica.command('CLUSTER', 'FAILOVER');
    await until(async () => String(await replica.command('ROLE')).startsWith('master'));
    await untilHeard(ear, name, replica);
    expect(ear.told).toContain('lost');
  }
});

async function replicaOf(master: RedisServer): Promise<RedisServer> {
  for (const replica of cluster.replicas) {
    const [role, , port] = (await replica.command('ROLE')) as unknown[];
    if (role === 'slave' && port === master.port) return replica;
  }
  throw new Error('no replica');
}
