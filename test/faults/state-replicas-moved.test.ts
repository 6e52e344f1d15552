import { status as Code } from '@grpc/grpc-js';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import calculateSlot from 'cluster-key-slot';
import { AcquireLockStatus } from '../../src/gen/shardkeep/lock/v1/lock.js';
import { keys } from '../../src/redis/keys.js';
import { failureOf } from '../support/client.js';
import { startCluster, until, type RedisCluster, type RedisServer } from '../support/redis-server.js';
import { policiesFile, startTestService, type TestService } from '../support/service.js';
import { beginSlotMove, endSlotMove, type SlotMove } from '../support/slot-moves.js';

/** STATE_REPLICAS in a Cluster whose slots move: the replicas that count are those of the master that wrote. */

interface Shard {
  readonly master: RedisServer;
  readonly replica: RedisServer;
}

let cluster: RedisCluster;
let service: TestService;
let source: Shard;
let target: Shard;

beforeAll(async () => {
  cluster = await startCluster(2, 1);
  service = await startTestService({
    REDIS_URL: cluster.url,
    STATE_REPLICAS: '1',
    STATE_REPLICAS_TIMEOUT_MS: '1000',
    REDIS_TIMEOUT_MS: '10000',
    POLICIES_FILE: policiesFile({ rpc_limits: [] }),
  });
  // startCluster gives each master one, in this order
  const [first, second] = cluster.masters.map((master, index) => ({ master, replica: cluster.replicas[index] }));
  if (first?.replica === undefined || second?.replica === undefined) throw new Error('two masters are needed');
  [source, target] = [first, second] as [Shard, Shard];
});
afterAll(async () => {
  await service.stop();
  await cluster.remove();
});

const acquire = (name: string) => service.locks.acquireLock({ resources: [name] }, { deadline: Date.now() + 20_000 });
const slotOf = (name: string): number => calculateSlot(keys.lock(service.namespace, name));
/** startCluster gives the first of two masters the first half of the slots. */
const isAtSource = (name: string): boolean => slotOf(name) < 8_192;

/** A lock that the service takes for one of the source, whatever became of its slot since. */
async function movedLock(prefix: string, how: Move): Promise<string> {
  const names = Array.from({ length: 100 }, (_, index) => `${prefix}-${String(index)}`);
  const [lock, atSource] = names.filter(isAtSource);
  const atTarget = names.find((name) => !isAtSource(name));
  if (lock === undefined || atSource === undefined || atTarget === undefined) throw new RangeError('no names');
  // until the replicas of both have acknowledged
  for (const name of [atSource, atTarget]) await until(() => acquire(name).then(() => true));
  await how({ slot: slotOf(lock), source: source.master, target: target.master });
  return lock;
}

type Move = (move: SlotMove) => Promise<void>;

const move: Move = async (slotMove) => {
  await beginSlotMove(slotMove);
  await endSlotMove(slotMove, cluster.masters);
};
/** On its way, and the lock is not there yet: so it is asked for where it will be. */
const halfMove: Move = beginSlotMove;
const moveAndHalfBack: Move = async (there) => {
  await move(there);
  await beginSlotMove({ slot: there.slot, source: there.target, target: there.source });
};

const MOVES = [
  { what: 'moved', how: move, writer: () => target, other: () => source },
  { what: 'is on its way', how: halfMove, writer: () => target, other: () => source },
  { what: 'moved and is on its way back', how: moveAndHalfBack, writer: () => source, other: () => target },
];

describe.each(MOVES)('a slot that $what', ({ what, how, writer, other }) => {
  test('nothing is acknowledged without a replica of the master that wrote', async () => {
    const lock = await movedLock(`alone ${what}`, how);
    writer().replica.signal('SIGSTOP');
    const failure = await failureOf(acquire(lock));
    writer().replica.signal('SIGCONT');
    // refused where the first master on the way is the writer and has found out by then
    expect(failure.code).toBe(Code.UNAVAILABLE);
    expect(['OUTCOME_UNKNOWN', 'REDIS_UNAVAILABLE']).toContain(failure.reason);
  });

  test('a replica of the other master is not waited for', async () => {
    const lock = await movedLock(`other ${what}`, how);
    other().replica.signal('SIGSTOP');
    const { status } = await acquire(lock);
    other().replica.signal('SIGCONT');
    expect(status).toBe(AcquireLockStatus.GRANTED);
  });
});
