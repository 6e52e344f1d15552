import calculateSlot from 'cluster-key-slot';
import { setTimeout as sleep } from 'node:timers/promises';
import { keys, partitionOfUser } from '../../../src/redis/keys.js';
import { beginSlotMove, endSlotMove } from '../../support/slot-moves.js';
import type { Row } from '../row.js';
import type { World } from '../world.js';

/** As test/support starts Clusters: a master counts as gone after 2 s. */
const NODE_TIMEOUT_MS = 2_000;
const MOVES = 8;
/** What has one key, which a redirection takes along. */
const ON_ONE_KEY = [
  ...['session.validate', 'session.read', 'session.update', 'session.verify'],
  ...['cache.get', 'cache.set', 'cache.increment', 'cache.count', 'cache.guarded'],
  ...['lock.acquire', 'lock.hold', 'lock.release', 'limit.window', 'limit.bucket'],
];

/** F5 and F6: masters of a Cluster that die, and slots that move. */
export const clusterFaults: readonly Row[] = [
  {
    id: 'F5-master',
    what: 'Cluster of 3 masters and 3 replicas: kill -9 of a master, whose replica takes over',
    setup: { servicesLive: true, clusterMasters: 3, afterMs: 10_000 },
    // what had not reached the replica is gone, and with it who held a lock
    expect: {
      mayLose: NODE_TIMEOUT_MS,
      holdersMayOverlap: true,
      limitResets: 1,
      recoveryMs: NODE_TIMEOUT_MS + 3_000,
    },
    inject: async (world) => {
      const master = world.random.pick(world.cluster.masters);
      const what = 'kill -9 of a master';
      world.begin(what);
      await master.stop('SIGKILL');
      world.end(what);
    },
  },
  {
    id: 'F6-slots',
    what: 'Cluster of 3 masters: slots with sessions, locks and cached values move 8 times under load',
    setup: { servicesLive: true, clusterMasters: 3 },
    expect: { unaffected: ON_ONE_KEY, recoveryMs: 0 },
    inject: async (world) => {
      const what = 'slots move';
      world.begin(what);
      for (let move = 0; move < MOVES; move++) {
        await moveSlot(world, slotInUse(world, move));
        await sleep(world.random.between(50, 300));
      }
      world.end(what);
    },
  },
];

function slotInUse({ namespace, random }: World, move: number): number {
  const player = partitionOfUser(`player-${String(random.below(4))}-${String(random.below(4))}`);
  const keysInUse = [
    keys.sessions(namespace, player).deadlines,
    keys.lock(namespace, `lock-${String(random.below(4))}`),
    keys.cache(namespace, `number-${String(random.below(8))}`),
    keys.cache(namespace, `counter-${String(random.below(4))}`),
  ];
  return calculateSlot(keysInUse[move % keysInUse.length] ?? '');
}

async function moveSlot({ cluster, random }: World, slot: number): Promise<void> {
  const { masters } = cluster;
  const isOwner = await Promise.all(
    masters.map(async (master) => {
      const nodes = String(await master.command('CLUSTER', 'NODES'));
      const mine = nodes.split('\n').find((line) => line.includes('myself')) ?? '';
      return mine
        .split(' ')
        .slice(8)
        .some((range) => isIn(range, slot));
    }),
  );
  const source = masters[isOwner.indexOf(true)];
  if (source === undefined) throw new Error(`nobody has slot ${String(slot)}`);
  const target = random.pick(masters.filter((master) => master !== source));
  const move = { slot, source, target };
  await beginSlotMove(move);
  for (;;) {
    const [key] = (await source.command('CLUSTER', 'GETKEYSINSLOT', String(slot), '1')) as readonly Buffer[];
    if (key === undefined) break;
    await source.command('MIGRATE', '127.0.0.1', String(target.port), String(key), '0', '5000');
  }
  await endSlotMove(move, masters);
}

function isIn(range: string, slot: number): boolean {
  const [from = '', to = from] = range.split('-');
  return Number(from) <= slot && slot <= Number(to);
}
